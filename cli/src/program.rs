//! The start of the programs that are verbs of this one (`faretra-sql`, `faretra-flight`, `faretra-distributed`).

use std::process::ExitCode;

use clap::Parser;

use crate::failure::Result;
use crate::panics;

/// Parses the command line, obeys it, says why it failed if it did, and tells how the process ends. Does not return when a
/// signal ended it.
pub fn run<A: Parser>(obey: impl FnOnce(&A) -> Result<()>) -> ExitCode {
    let args = match A::try_parse() {
        Ok(args) => args,
        Err(told) => {
            // Help that cannot be printed has no other place to go.
            let _ = told.print();
            return ExitCode::from(told.exit_code().try_into().unwrap_or(2));
        }
    };
    panics::install();
    ExitCode::from(match obey(&args) {
        Ok(()) => 0,
        Err(failure) => crate::exit(failure),
    })
}
