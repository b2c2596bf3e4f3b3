//! The command `faretra`: arenas from the shell. A library, because two programs run it: its own (`bin/faretra.rs`) and Python,
//! whose package brings the command along.
//!
//! - `args`: verbs, options, help. `failure`: the one line that says why.
//! - `arenas`: create, ls, stat, rm. `care`: who, recover, limit, trim, verify.
//! - `put`, `cat`, `export`: files into an arena and out of it, by the formats in `format`.
//! - `send`, `recv`: files into a channel and out of it. `follow`: a feed as it grows. `rows`: how both print.
//! - `open`, `values`: arenas as the command line names them, and what a name in one holds.
//! - `target`, `whole`: where an export goes.
//! - `channels`: what `stat` says of channels and feeds; close.
//! - `doctor`: what the machine offers, and what it costs.
//! - `demo`: the main job with real processes. `manual`: completions for shells, pages for `man`.
//! - `out`, `size`, `signal`, `panics`: standard output, figures, Ctrl-C, other crates' panics.
//! - `beside`: verbs that are programs of their own. `sql`, `serve`: what those for SQL, Flight and several hosts need, with the features `sql`, `serve`.
//! - `fuzzed`: what the project's fuzzing calls, with the feature `fuzz`.
//!
//! A module needs those below it only; `tests/it/circles.rs` fails otherwise.

#![deny(unsafe_code)]

mod arenas;
mod args;
mod beside;
mod care;
mod cat;
mod channels;
mod demo;
mod doctor;
mod export;
mod failure;
mod follow;
mod format;
#[cfg(feature = "fuzz")]
pub mod fuzzed;
mod manual;
mod open;
mod out;
mod panics;
#[cfg(any(feature = "serve", feature = "sql"))]
mod program;
mod put;
mod recv;
mod rows;
mod send;
#[cfg(feature = "serve")]
pub mod serve;
mod several;
mod signal;
mod size;
#[cfg(feature = "sql")]
pub mod sql;
mod target;
mod values;
mod whole;

use std::ffi::OsString;

use clap::Parser;

use args::{Cli, Verb};
use failure::{Failure, Result};

/// Runs the command with `arguments`, the first of which is its name, and returns its exit code.
///
/// `again` is how the demo starts its processes: a program and its first arguments, which those of the command follow.
/// It belongs to a process whose only job it is: it changes how signals are handled, and may not return when one comes.
pub fn main(arguments: impl IntoIterator<Item = OsString>, again: &[OsString]) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    beside::help(&arguments);
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(told) => {
            // Help that cannot be printed has no other place to go.
            let _ = told.print();
            return told.exit_code().try_into().unwrap_or(2);
        }
    };
    panics::install();
    match run(&cli, again) {
        Ok(()) => 0,
        Err(failure) => exit(failure),
    }
}

/// How a verb ends that did not succeed: exit 1 with one line on standard error, exit 2 for wrong usage, death by the
/// signal that interrupted it, or exit 0 when the reader of standard output (`| head`) had enough.
///
/// Does not return when a signal came: the process dies of that signal, so that a shell's loop around the command ends
/// too.
fn exit(failure: Failure) -> u8 {
    if out::stdout_closed() {
        return 0;
    }
    if let Some(signal) = signal::received() {
        if let Failure::Interrupted(text) = failure {
            signal::last_words(text);
        }
        signal::say_last_words();
        signal::die_of(signal);
    }
    let (text, code) = match failure {
        Failure::Usage(text) => (text, 2),
        Failure::Failed(text) | Failure::Interrupted(text) => (with_limit(text), 1),
    };
    failure::note(text);
    code
}

/// Names the limit that the system's words for it leave out. (Of writers of other crates the text is all there is.)
fn with_limit(text: String) -> String {
    let too_large = std::io::Error::from_raw_os_error(nix::libc::EFBIG).to_string();
    match text.contains(&too_large) {
        true => format!("{text}; this process may not make larger files: `ulimit -f unlimited` lifts that"),
        false => text,
    }
}

fn run(cli: &Cli, again: &[OsString]) -> Result<()> {
    // The demo decides when its parts end: in them signals keep their default action.
    if !matches!(cli.verb, Verb::DemoPart(_)) {
        let failed = |error| Failure::new(format!("cannot handle signals: {error}"));
        signal::install().map_err(failed)?;
    }
    obey(cli, again)
}

/// Does what the verb says.
fn obey(cli: &Cli, again: &[OsString]) -> Result<()> {
    match &cli.verb {
        Verb::Demo(demo) => demo::run(cli, demo, again),
        Verb::Create(create) => arenas::create(cli, create),
        Verb::Ls(ls) => arenas::ls(cli, ls),
        Verb::Stat(stat) => arenas::stat(cli, stat),
        Verb::Close(args) => channels::close(cli, args),
        Verb::Rm(rm) => arenas::rm(cli, rm),
        Verb::Put(put) => put::put(cli, put),
        Verb::Cat(cat) if cat.follow => follow::follow(cli, cat),
        Verb::Cat(cat) => cat::cat(cli, cat),
        Verb::Export(export) => export::export(cli, export),
        Verb::Send(args) => send::send(cli, args),
        Verb::Recv(args) => recv::recv(cli, args),
        Verb::Who(who) => care::who(cli, who),
        Verb::Recover(one) => care::recover(cli, one),
        Verb::Limit(limit) => care::limit(cli, limit),
        Verb::Trim(one) => care::trim(cli, one),
        Verb::Verify(one) => care::verify(cli, one),
        Verb::Doctor(args) => doctor::doctor(cli, args),
        Verb::Sql(args) => beside::sql(cli, args),
        Verb::Serve(args) => beside::serve(cli, args),
        Verb::Cluster(args) => beside::cluster(cli, args),
        Verb::Completions(args) => manual::completions(args),
        Verb::Man(args) => manual::man(args),
        Verb::DemoPart(part) => demo::part(cli, part),
    }
}
