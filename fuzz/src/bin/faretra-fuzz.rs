//! Fuzzing without tools: `faretra-fuzz --seconds 60 csv npy`.

#![allow(clippy::print_stdout, reason = "a command line tool talks to its user")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use faretra_fuzz::drive::{self, CHILD, Drive};
use faretra_fuzz::targets::{PLANTED, TARGETS, Target, find};

/// Gives mutated bytes to everything that reads bytes of strangers, and saves those that it dies of.
#[derive(Debug, Parser)]
#[command(name = "faretra-fuzz")]
struct Arguments {
    /// Targets; all of them, unless said
    targets: Vec<String>,
    /// How long, divided among the targets
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Inputs follow from this number
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The most inputs of a target
    #[arg(long, default_value_t = u64::MAX)]
    inputs: u64,
    /// How long one input may take, in seconds
    #[arg(long, default_value_t = 20)]
    deadline: u64,
    /// The most private memory that a target may have, in MiB
    #[arg(long, default_value_t = 1024)]
    memory: u64,
    /// Where inputs are saved that are findings
    #[arg(long, default_value = "target/fuzz/findings")]
    findings: PathBuf,
    /// Run this input alone, with one target
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Say what the targets are
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let [_, child, rest @ ..] = words.as_slice()
        && child == CHILD
    {
        return match drive::obey(rest, find) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => failed(&why),
        };
    }
    let arguments = Arguments::parse();
    if arguments.list {
        TARGETS.iter().chain(PLANTED).for_each(|target| println!("{:16} {}", target.name, target.what));
        return ExitCode::SUCCESS;
    }
    let mut targets: Vec<&'static Target> = vec![];
    for name in &arguments.targets {
        match find(name) {
            Some(target) => targets.push(target),
            None => return failed(&format!("there is no target `{name}`: --list lists them")),
        }
    }
    if targets.is_empty() {
        targets.extend(TARGETS);
    }
    match run(&arguments, &targets) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("faretra-fuzz: {why}");
    ExitCode::FAILURE
}

/// Returns how many findings there are.
fn run(arguments: &Arguments, targets: &[&'static Target]) -> std::io::Result<usize> {
    let plan = Drive {
        program: std::env::current_exe()?,
        seeds: Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds"),
        findings: arguments.findings.clone(),
        seed: arguments.seed,
        time: Duration::from_secs(arguments.seconds) / targets.len() as u32,
        inputs: arguments.inputs,
        deadline: Duration::from_secs(arguments.deadline),
        memory: arguments.memory << 20,
    };
    if let Some(input) = &arguments.input {
        let mut ended = 0;
        for target in targets {
            match drive::once(&plan, target, input)? {
                None => println!("{}: it returned", target.name),
                Some((end, said)) => {
                    println!("{}: {end}\n{}", target.name, said.trim_end());
                    ended += 1;
                }
            }
        }
        return Ok(ended);
    }
    let mut all = 0;
    for target in targets {
        let start = std::time::Instant::now();
        let (inputs, findings) = drive::drive(&plan, target)?;
        let time = start.elapsed().as_secs_f64();
        println!("{:14} {inputs:>9} inputs {time:6.1} s  {} findings", target.name, findings.len());
        let mut told = BTreeSet::new();
        // What was said of one is said of all that are like it.
        findings.iter().filter(|finding| told.insert(finding.fault())).for_each(|finding| println!("  {finding}"));
        all += findings.len();
    }
    Ok(all)
}
