//! The command `faretra-sql`, which `faretra sql` runs: SQL over arenas, from the shell or at a prompt.
//!
//! - `args`: what the command line says. `prompt`: statements as somebody types them.
//! - `session`: arenas and files as the engine sees them; why a statement cannot be planned. `files`: those that the engine does not read.
//! - `run`: statements, one after the other. `rows`: what a statement gives, as it comes. `output`: where that goes.
//!
//! A module needs those below it only; `tests/it/circles.rs` of the workspace fails otherwise.

#![deny(unsafe_code)]

mod args;
mod files;
mod output;
mod prompt;
mod rows;
mod run;
mod session;

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use faretra_cli::sql::{self, Failure, Result};

use args::Args;
use rows::Engine;
use run::{Runner, check};
use session::Session;

fn main() -> ExitCode {
    sql::run(obey)
}

fn obey(args: &Args) -> Result<()> {
    let prompted = args.statements.is_none() && std::io::stdin().is_terminal();
    if !prompted {
        sql::obey_signals()?;
    }
    check(args)?;
    let engine = Engine::new()?;
    let session = Session::open(args)?;
    let runner = Runner::new(args, &session, &engine, prompted);
    match &args.statements {
        Some(text) => runner.all(text),
        None if prompted => prompt::prompt(&runner, &engine),
        None => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| Failure::new(format!("cannot read statements from standard input: {error}")))?;
            runner.all(&text)
        }
    }
}
