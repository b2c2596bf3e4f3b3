//! `faretra`: arenas from the shell.
//!
//! - `args`: verbs, options, help. `failure`: exit codes and the one line that says why.
//! - `arenas`: create, ls, stat, rm. `care`: who, recover, limit, trim, verify.
//! - `put`, `cat`, `export`: files into an arena and out of it, by the formats in `format`.
//! - `send`, `recv`: files into a channel and out of it. `follow`: a feed as it grows. `rows`: how both print.
//! - `target`, `whole`: where an export goes.
//! - `channels`: what `stat` says of channels and feeds; close.
//! - `demo`: the main job with real processes.
//! - `out`, `size`, `signal`, `panics`: standard output, figures, Ctrl-C, other crates' panics.

#![deny(unsafe_code)]

mod arenas;
mod args;
mod care;
mod cat;
mod channels;
mod demo;
mod export;
mod failure;
mod follow;
mod format;
mod out;
mod panics;
mod put;
mod recv;
mod rows;
mod send;
mod signal;
mod size;
mod target;
mod whole;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Verb};
use failure::{Failure, Result};

fn main() -> ExitCode {
    let cli = Cli::parse();
    panics::install();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}

fn run(cli: &Cli) -> Result<()> {
    // The demo decides when its parts end: in them signals keep their default action.
    if !matches!(cli.verb, Verb::DemoPart(_)) {
        let failed = |error| Failure::new(format!("cannot handle signals: {error}"));
        signal::install().map_err(failed)?;
    }
    match &cli.verb {
        Verb::Demo(demo) => demo::run(cli, demo),
        Verb::Create(create) => arenas::create(cli, create),
        Verb::Ls(ls) => arenas::ls(cli, ls),
        Verb::Stat(stat) => arenas::stat(cli, stat),
        Verb::Close(args) => channels::close(cli, args),
        Verb::Rm(rm) => arenas::rm(cli, rm),
        Verb::Put(put) => put::put(cli, put),
        Verb::Cat(cat) => cat::cat(cli, cat),
        Verb::Export(export) => export::export(cli, export),
        Verb::Send(args) => send::send(cli, args),
        Verb::Recv(args) => recv::recv(cli, args),
        Verb::Who(who) => care::who(cli, who),
        Verb::Recover(one) => care::recover(cli, one),
        Verb::Limit(limit) => care::limit(cli, limit),
        Verb::Trim(one) => care::trim(cli, one),
        Verb::Verify(one) => care::verify(cli, one),
        Verb::DemoPart(part) => demo::part(cli, part),
    }
}
