//! Instructions, and locked ones among them, that operations take (`benches/counts`), against `benches/counts/baseline.json`.
//!
//! Times say little on a busy machine. Callgrind counts what one thread executes, which is the same each time; so a slow-down of a few
//! per cent is seen anywhere. It gives each instruction's address with how often it was executed: where those addresses hold a
//! locked instruction, objdump says, and addr2line which line of the source that is.

mod interpreted;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::tool::{Outcome, cargo, output, run, target};

/// The committed counts, below the workspace's root.
const FILE: &str = "benches/counts/baseline.json";

/// How much more than the baseline is no slow-down yet, in per cent; and where an interpreter is at work, too.
const SLACK: f64 = 3.0;
const SLACK_OF_PYTHON: f64 = 5.0;

/// Rounds that are counted.
const TIMES: u64 = 1000;

/// Where the counts were made, as they depend on it, and the counts.
#[derive(Serialize, Deserialize)]
struct Baseline {
    compiler: String,
    /// The interpreter, and the numpy that it has; absent where there was none.
    python: Option<String>,
    operations: BTreeMap<String, Count>,
}

/// What one operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Count {
    instructions: f64,
    /// Absent where objdump was.
    locked: Option<f64>,
}

/// An instruction by where the file that holds it has it, and how often it was executed.
type Executed = HashMap<u64, u64>;

/// How one operation's count compares with the baseline.
#[derive(Debug, PartialEq)]
enum Verdict {
    Same,
    Fewer,
    More(String),
}

/// The stage of `cargo xtask test`.
pub fn check(root: &Path) -> Outcome {
    let then = match read(root) {
        Ok(then) => then,
        Err(why) => return Outcome::Failed(why),
    };
    match measure(root, &mut |_, _, _| Ok(())) {
        Ok((now, lacks)) => compare(&then, &now, lacks),
        Err(outcome) => outcome,
    }
}

/// Counts, and accepts the counts.
pub fn write(root: &Path) -> Outcome {
    let now = match measure(root, &mut |_, _, _| Ok(())) {
        Ok((now, None)) => now,
        Ok((_, Some(lacks))) => return Outcome::Failed(format!("the baseline has {lacks}")),
        Err(outcome) => return outcome,
    };
    if now.operations.iter().any(|(name, count)| count.locked.is_none() && name != interpreted::OPERATION) {
        return Outcome::Failed("objdump (binutils) is missing, and the baseline has locked instructions too".into());
    }
    let written = serde_json::to_string_pretty(&now)
        .map_err(|error| error.to_string())
        .and_then(|text| std::fs::write(root.join(FILE), text + "\n").map_err(|error| error.to_string()));
    match written {
        Ok(()) => Outcome::Passed,
        Err(why) => Outcome::Failed(format!("{FILE}: {why}")),
    }
}

/// Counts, and says where the locked instructions of each operation are.
pub fn locked(root: &Path) -> Outcome {
    let told = measure(root, &mut |program, executed, locked| {
        let mut sites: Vec<(u64, u64)> =
            locked.iter().filter_map(|at| executed.get(at).map(|times| (*at, *times))).collect();
        sites.sort_unstable();
        let places = places(program, &sites.iter().map(|(at, _)| *at).collect::<Vec<_>>())?;
        let mut by_place = BTreeMap::<String, u64>::new();
        for ((_, times), place) in sites.iter().zip(places) {
            *by_place.entry(place).or_default() += times;
        }
        by_place.iter().for_each(|(place, times)| println!("  {:>8.2}  {place}", each(*times)));
        Ok(())
    });
    told.map_or_else(|outcome| outcome, |_| Outcome::Passed)
}

fn each(times: u64) -> f64 {
    (times as f64 / TIMES as f64 * 100.0).round() / 100.0
}

fn read(root: &Path) -> Result<Baseline, String> {
    let why = |error: String| format!("{FILE}: {error}; `cargo xtask counts --write` writes it");
    let text = std::fs::read_to_string(root.join(FILE)).map_err(|error| why(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| why(error.to_string()))
}

/// What is told of each operation: the program, what it executed, and where its locked instructions are.
type Tell<'a> = &'a mut dyn FnMut(&Path, &Executed, &BTreeSet<u64>) -> Result<(), String>;

/// The counts, and which of them could not be made and why.
fn measure(root: &Path, tell: Tell<'_>) -> Result<(Baseline, Option<String>), Outcome> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(Outcome::Skipped("the baseline is that of Linux on x86-64".into()));
    }
    if output(Command::new("valgrind").arg("--version")).is_err() {
        return Err(Outcome::Skipped("valgrind is not installed".into()));
    }
    // Both at once, and the package without its command: otherwise cargo would compile arrow twice, and what only the command needs.
    let packages = ["--package=counts", "--package=faretra-python", "--no-default-features"];
    match run(cargo(root).args(["build", "--release"]).args(packages)) {
        Outcome::Passed => {}
        other => return Err(other),
    }
    let program = target(root).with_file_name("release").join("counts");
    let dumps = target(root).with_file_name("counts");
    let failed = |why: String| Outcome::Failed(why);
    std::fs::create_dir_all(&dumps).map_err(|error| failed(format!("{}: {error}", dumps.display())))?;
    let locked = locked_instructions(&program);
    if let Err(why) = &locked {
        println!("  locked instructions are not counted: {why}");
    }
    let mut operations = BTreeMap::new();
    println!("  {:32} {:>12} {:>8}", "operation", "instructions", "locked");
    let names = output(&mut Command::new(&program)).map_err(failed)?;
    let names: Vec<&str> = names.lines().collect();
    let release = target(root).with_file_name("release");
    // Several at a time: other processes change nothing in what is counted.
    let (counted, python) = std::thread::scope(|scope| {
        let python = scope.spawn(|| interpreted::count(root, &release, &dumps));
        let these = |names: &[&str]| names.iter().map(|name| count(&program, name, &dumps)).collect::<Vec<_>>();
        let (first, second) = names.split_at(names.len() / 2);
        let first = scope.spawn(move || these(first));
        let second = these(second);
        let sound = "it does not panic";
        (first.join().expect(sound).into_iter().chain(second), python.join().expect(sound))
    });
    for (name, counted) in names.into_iter().zip(counted) {
        let (total, executed) = counted.map_err(failed)?;
        let of_these = |all: &BTreeSet<u64>| each(all.iter().filter_map(|at| executed.get(at)).sum());
        let count = Count { instructions: each(total), locked: locked.as_ref().ok().map(of_these) };
        let shown = count.locked.map_or("?".to_owned(), |locked| locked.to_string());
        println!("  {name:32} {:>12} {shown:>8}", count.instructions);
        if let Ok(locked) = &locked {
            tell(&program, &executed, locked).map_err(failed)?;
        }
        operations.insert(name.to_owned(), count);
    }
    let (python, lacks) = match python {
        Ok((instructions, python)) => {
            println!("  {:32} {instructions:>12}          {python}", interpreted::OPERATION);
            operations.insert(interpreted::OPERATION.to_owned(), Count { instructions, locked: None });
            (Some(python), None)
        }
        Err(Outcome::Skipped(why)) => (None, Some(format!("{} ({why})", interpreted::OPERATION))),
        Err(outcome) => return Err(outcome),
    };
    let compiler = output(Command::new("rustc").arg("--version")).map_err(failed)?.trim().to_owned();
    Ok((Baseline { compiler, python, operations }, lacks))
}

/// All instructions of one operation's counted rounds, and those of the program's own file one by one.
fn count(program: &Path, name: &str, dumps: &Path) -> Result<(u64, Executed), String> {
    let dump: PathBuf = dumps.join(format!("{name}.callgrind"));
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--toggle-collect=counts::counted*", "--dump-instr=yes"]);
    valgrind
        .args(["--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--callgrind-out-file={}", dump.display()));
    valgrind.arg(program).args([name, &TIMES.to_string()]);
    output(&mut valgrind)?;
    let text = std::fs::read_to_string(&dump).map_err(|error| format!("{}: {error}", dump.display()))?;
    parse(&text, &program.to_string_lossy()).ok_or_else(|| format!("{}: callgrind counted nothing", dump.display()))
}

/// Reads a dump of callgrind's: `ob=` says whose the lines `ADDRESS LINE COUNT` are that follow; the line after `calls=` has what was
/// executed elsewhere.
fn parse(dump: &str, program: &str) -> Option<(u64, Executed)> {
    let (mut total, mut ours, mut of_a_call) = (None, false, false);
    let mut executed = Executed::new();
    for line in dump.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            ours = object == program;
        } else if let Some(sum) = line.strip_prefix("totals: ") {
            total = sum.trim().parse().ok();
        } else if line.starts_with("calls=") {
            of_a_call = true;
        } else if let Some(cost) = line.strip_prefix("0x") {
            let cost: Vec<&str> = cost.split(' ').collect();
            if let ([at, _, times], true, false) = (&cost[..], ours, of_a_call) {
                *executed.entry(u64::from_str_radix(at, 16).ok()?).or_default() += times.parse::<u64>().ok()?;
            }
            of_a_call = false;
        }
    }
    total.filter(|total| *total > 0).map(|total| (total, executed))
}

/// Where the program's locked instructions are: those with the prefix, exchanges with memory, and full fences.
fn locked_instructions(program: &Path) -> Result<BTreeSet<u64>, String> {
    let text = output(Command::new("objdump").args(["--disassemble", "--no-show-raw-insn"]).arg(program))?;
    Ok(text.lines().filter_map(locked_at).collect())
}

fn locked_at(line: &str) -> Option<u64> {
    let (at, instruction) = line.split_once(":\t")?;
    let locked = instruction.starts_with("lock ")
        || instruction.starts_with("mfence")
        || (instruction.starts_with("xchg") && instruction.contains('('));
    u64::from_str_radix(at.trim(), 16).ok().filter(|_| locked)
}

/// The lines of the source that those instructions are of: the innermost that says more than how an atomic is reached.
fn places(program: &Path, at: &[u64]) -> Result<Vec<String>, String> {
    let mut command = Command::new("addr2line");
    command.args(["--addresses", "--inlines", "--functions", "--demangle", "--exe"]).arg(program);
    command.args(at.iter().map(|at| format!("{at:#x}")));
    let text = output(&mut command)?;
    Ok(text.split("0x").skip(1).map(place).collect())
}

/// After an address: a function, its `FILE:LINE`, the function into which it is inlined, and so on.
fn place(frames: &str) -> String {
    let lines: Vec<&str> = frames.lines().skip(1).collect();
    let frames = lines.chunks_exact(2).map(|frame| (frame[0], frame[1]));
    let told = |(function, at): (&str, &str)| {
        let (_, at) = at.rsplit_once("/src/").unwrap_or(("", at));
        format!("{at} {function}")
    };
    let shell = ["/src/core/mem.rs", "/src/core/segment.rs", "/library/"];
    let plumbing = |at: &str| !at.contains("/src/") || shell.iter().any(|part| at.contains(part));
    let mut frames = frames.peekable();
    let innermost = frames.peek().copied();
    frames.find(|(_, at)| !plumbing(at)).or(innermost).map_or("?".to_owned(), told)
}

/// `lacks`: what could not be counted here.
fn compare(then: &Baseline, now: &Baseline, lacks: Option<String>) -> Outcome {
    let (mut more, mut fewer, mut unjudged) = (vec![], vec![], vec![]);
    for (name, count) in &now.operations {
        match then.operations.get(name).map(|before| judge(name, before, count)) {
            None => more.push(format!("{name}: the baseline does not have it")),
            Some(Verdict::Same) => {}
            Some(Verdict::Fewer) => fewer.push(name.as_str()),
            Some(Verdict::More(how)) if name == interpreted::OPERATION && then.python != now.python => {
                println!("  {name}: {how}");
                let [before, here] = [&then.python, &now.python].map(|python| python.as_deref().unwrap_or("none"));
                unjudged.push(format!("a judgement of {name}: the baseline is that of {before}, this is {here}"));
            }
            Some(Verdict::More(how)) => more.push(format!("{name}: {how}")),
        }
    }
    let gone = then.operations.keys().filter(|name| !now.operations.contains_key(*name));
    let gone = gone.filter(|name| lacks.is_none() || *name != interpreted::OPERATION);
    more.extend(gone.map(|name| format!("{name}: is in the baseline, and was not counted")));
    unjudged.extend(lacks);
    if !fewer.is_empty() {
        println!("  fewer than in the baseline: {}; `cargo xtask counts --write` keeps it so", fewer.join(", "));
    }
    more.iter().for_each(|row| println!("  {row}"));
    match more.len() {
        0 => {}
        rows if then.compiler != now.compiler => unjudged.push(format!(
            "a judgement of {rows} counts: the baseline is that of {}, this is {}",
            then.compiler, now.compiler
        )),
        rows => {
            return Outcome::Failed(format!(
                "{rows} counts grew, see above; `cargo xtask counts --write` accepts them"
            ));
        }
    }
    if unjudged.is_empty() { Outcome::Passed } else { Outcome::Partly(unjudged.join("; ")) }
}

fn judge(name: &str, before: &Count, now: &Count) -> Verdict {
    let slack = if name == interpreted::OPERATION { SLACK_OF_PYTHON } else { SLACK };
    let grown = (now.instructions / before.instructions - 1.0) * 100.0;
    let mut more = vec![];
    if grown > slack {
        more.push(format!(
            "{} instructions, {} in the baseline: {grown:.1} % more, {slack} % are allowed",
            now.instructions, before.instructions
        ));
    }
    if let (Some(then), Some(now)) = (before.locked, now.locked)
        && now > then + 0.05
    {
        more.push(format!("{now} locked instructions, {then} in the baseline"));
    }
    match more.is_empty() {
        false => Verdict::More(more.join("; ")),
        true if grown < -slack => Verdict::Fewer,
        true => Verdict::Same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(instructions: f64, locked: f64) -> Count {
        Count { instructions, locked: Some(locked) }
    }

    /// Shows that a count that grew by more than the slack, a locked instruction more, and rows that only one side has are told.
    #[test]
    fn more_is_seen() {
        let before = count(1000.0, 3.0);
        assert_eq!(judge("a", &before, &count(1029.0, 3.0)), Verdict::Same);
        assert_eq!(judge("a", &before, &count(960.0, 3.0)), Verdict::Fewer);
        let Verdict::More(how) = judge("a", &before, &count(1040.0, 3.0)) else { panic!("4 % are more") };
        assert!(how.contains("4.0 % more"), "{how}");
        let Verdict::More(how) = judge("a", &before, &count(900.0, 4.0)) else { panic!("one more is locked") };
        assert_eq!(how, "4 locked instructions, 3 in the baseline");

        assert!(matches!(compare(&of("one", "a", 1000.0), &of("one", "a", 1000.0), None), Outcome::Passed));
        let Outcome::Failed(why) = compare(&of("one", "a", 1000.0), &of("one", "b", 1000.0), None) else {
            panic!("other rows")
        };
        assert!(why.starts_with("2 counts") && why.contains("--write"), "{why}");
        assert!(matches!(compare(&of("one", "a", 1000.0), &of("other", "b", 1000.0), None), Outcome::Partly(_)));
    }

    /// Shows that Python's count has a wider slack, is not judged with another interpreter, and may be missing for a reason only.
    #[test]
    fn pythons_count_is_judged_by_its_interpreter() {
        let python = |python: Option<&str>, instructions| Baseline {
            python: python.map(str::to_owned),
            ..of("one", interpreted::OPERATION, instructions)
        };
        let then = python(Some("3.11"), 1000.0);
        assert!(matches!(compare(&then, &python(Some("3.11"), 1040.0), None), Outcome::Passed));
        assert!(matches!(compare(&then, &python(Some("3.11"), 1060.0), None), Outcome::Failed(_)));
        let Outcome::Partly(why) = compare(&then, &python(Some("3.12"), 1060.0), None) else { panic!("another one") };
        assert!(why.contains("3.11") && why.contains("3.12"), "{why}");
        let none = Baseline { operations: BTreeMap::new(), ..python(None, 0.0) };
        assert!(matches!(compare(&then, &none, None), Outcome::Failed(_)));
        let Outcome::Partly(why) = compare(&then, &none, Some("no CPython".into())) else { panic!("a reason") };
        assert_eq!(why, "no CPython");
    }

    fn of(compiler: &str, name: &str, instructions: f64) -> Baseline {
        let operations = [(name.to_owned(), count(instructions, 3.0))].into();
        Baseline { compiler: compiler.into(), python: None, operations }
    }

    /// Shows that of a dump the program's own instructions are read, once each, and not what calls took.
    #[test]
    fn dumps_are_read() {
        let dump = "positions: instr line\nevents: Ir\n\nob=/program\nfl=/a.rs\nfn=counts::counted\n0x10 3 7\ncob=/lib\n\
            cfn=malloc\ncalls=2 0x99 5\n0x14 4 900\n0x10 3 1\n\nob=/lib\nfn=malloc\n0x10 3 900\n\ntotals: 908\n";
        assert_eq!(parse(dump, "/program"), Some((908, Executed::from([(0x10, 8)]))));
        assert_eq!(parse("totals: 0\n", "/program"), None);
    }

    /// Shows which instructions are locked ones.
    #[test]
    fn locked_ones_are_known() {
        let all = "  4a0:\tlock cmpxchg %rcx,(%rdi)\n  4a8:\txchg   %ax,%ax\n  4b0:\txchg   %rax,0x8(%rdi)\n  4b8:\tmfence\n\
            00000000000004a0 <f>:\n  4c0:\tmov    (%rdi),%rax\n";
        assert_eq!(all.lines().filter_map(locked_at).collect::<Vec<_>>(), [0x4a0, 0x4b0, 0x4b8]);
    }
}
