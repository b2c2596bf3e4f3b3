//! The command without its habits of a process: for the project's fuzzing, which runs it many times in one. No promise is made for it.

use std::ffi::OsString;
use std::sync::Once;

use clap::Parser;

use crate::args::Cli;
use crate::failure::Failure;
use crate::panics;

/// Parses a command line, the first word of which is the command's name, and does nothing else. The error is what a user would read.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    Cli::try_parse_from(arguments).map(drop).map_err(|told| told.to_string())
}

/// Runs a command line as [`crate::main`] does, but signals keep the action that they have, and why it failed is returned.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(panics::install);
    let cli = Cli::try_parse_from(arguments).map_err(|told| told.to_string())?;
    crate::obey(&cli, &[]).map_err(Failure::into_text)
}
