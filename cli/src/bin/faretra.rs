//! The command as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    let again: Vec<_> = std::env::current_exe().into_iter().map(Into::into).collect();
    ExitCode::from(faretra_cli::main(std::env::args_os(), &again))
}
