//! Verbs that are programs of their own, installed beside this one or in PATH: what they are built of is not for everybody.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::args::{Cli, Cluster, Serve, Sql};
use crate::failure::{Context, Failure, Result};

/// The programs, and where the sources have them.
const SQL: (&str, &str) = ("faretra-sql", "sql");
const SERVE: (&str, &str) = ("faretra-flight", "flight");
const CLUSTER: (&str, &str) = ("faretra-distributed", "distributed");

/// `faretra sql`: becomes `faretra-sql`.
pub fn sql(cli: &Cli, args: &Sql) -> Result<()> {
    run(cli, "sql", SQL, &args.arguments)
}

/// `faretra serve`: becomes `faretra-flight`.
pub fn serve(cli: &Cli, args: &Serve) -> Result<()> {
    run(cli, "serve", SERVE, &args.arguments)
}

/// `faretra cluster`: becomes `faretra-distributed`.
pub fn cluster(cli: &Cli, args: &Cluster) -> Result<()> {
    run(cli, "cluster", CLUSTER, &args.arguments)
}

/// `faretra help sql`, `faretra help serve`, `faretra help cluster`: becomes the program, which tells more than this one knows.
/// Returns if something else is asked for, or the program is not installed.
pub fn help(arguments: &[OsString]) {
    let [_, help, verb] = arguments else { return };
    let program = [("sql", SQL), ("serve", SERVE), ("cluster", CLUSTER)].into_iter().find(|(known, _)| verb == known);
    if let (true, Some((_, (name, _)))) = (help == "help", program) {
        // Without it, what this one knows is told.
        let _ = Command::new(found(name)).arg("--help").exec();
    }
}

/// The program beside this one, or else its name, for PATH.
fn found(name: &str) -> OsString {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(name)).filter(|program| program.is_file());
    beside.map_or_else(|| OsString::from(name), OsString::from)
}

fn run(cli: &Cli, verb: &str, (name, sources): (&str, &str), arguments: &[OsString]) -> Result<()> {
    let program = found(name);
    let mut command = Command::new(&program);
    if let Some(dir) = &cli.dir {
        command.arg("--dir").arg(dir);
    }
    for (option, given) in [("--json", cli.json), ("--trust-others", cli.trust_others)] {
        command.args(given.then_some(option));
    }
    let error = command.args(arguments).exec();
    match error.kind() {
        ErrorKind::NotFound => Err(Failure::new(format!(
            "`faretra {verb}` is a program of its own, `{name}`, which is neither beside this one nor in PATH: \
             `cargo install {name}` installs it (in the sources: `cargo install --path {sources}`, with Rust 1.94)"
        ))),
        _ => Err(error).doing("run", Path::new(&program)),
    }
}
