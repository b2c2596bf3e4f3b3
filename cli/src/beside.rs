//! Verbs that are programs of their own, installed beside this one or in PATH: what they are built of is not for everybody.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::args::{Cli, Sql};
use crate::failure::{Context, Failure, Result};

/// The program of `faretra sql`.
const SQL: &str = "faretra-sql";

/// `faretra sql`: becomes `faretra-sql`.
pub fn sql(cli: &Cli, args: &Sql) -> Result<()> {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(SQL)).filter(|program| program.is_file());
    let program = beside.as_deref().map_or(OsStr::new(SQL), Path::as_os_str);
    let mut command = Command::new(program);
    if let Some(dir) = &cli.dir {
        command.arg("--dir").arg(dir);
    }
    for (option, given) in [("--json", cli.json), ("--trust-others", cli.trust_others)] {
        command.args(given.then_some(option));
    }
    let error = command.args(&args.arguments).exec();
    match error.kind() {
        ErrorKind::NotFound => Err(Failure::new(format!(
            "`faretra sql` is a program of its own, `{SQL}`, which is neither beside this one nor in PATH: \
             `cargo install {SQL}` installs it (in the sources: `cargo install --path sql`, with Rust 1.94)"
        ))),
        _ => Err(error).doing("run", Path::new(program)),
    }
}
