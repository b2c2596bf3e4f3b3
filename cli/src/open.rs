//! Arenas as the command line names them.

use std::path::Path;

use faretra::{Arena, Options};

use crate::args::Cli;
use crate::failure::{Result, note_once};
use crate::signal::SLICE;

/// Options with the directory that the command line names.
pub fn options(cli: &Cli) -> Options {
    options_of(cli.dir.as_deref(), cli.trust_others)
}

/// Options with this directory, if it is named, and with or without trust in other users.
#[allow(unsafe_code, reason = "signs the contract of `trust_others` for a user who said so")]
pub fn options_of(dir: Option<&Path>, trust_others: bool) -> Options {
    let options = match dir {
        Some(dir) => Arena::options().dir(dir),
        None => Arena::options(),
    };
    match trust_others {
        // SAFETY: whoever gives the option vouches for all who can write the file: its help says so.
        true => unsafe { options.trust_others() },
        false => options,
    }
}

/// Opens an arena to take part in it.
pub fn open(cli: &Cli, name: &str) -> Result<Arena> {
    Ok(options(cli).open(name)?)
}

/// Opens an arena to look after it: possible also when all its seats but the spare one are taken.
pub fn open_to_care(cli: &Cli, name: &str) -> Result<Arena> {
    Ok(options(cli).spare_seat().open(name)?)
}

/// Waits for a writer's permit; a signal ends the wait.
pub fn writer(arena: &Arena) -> Result<faretra::Writer> {
    match arena.writer_timeout(SLICE) {
        Err(faretra::Error::TimedOut(_)) => {}
        other => return Ok(other?),
    }
    let name = arena.name();
    note_once(format_args!("waiting: all writers' permits of `{name}` are in use; `faretra who {name}` shows by whom"));
    Ok(arena.writer()?)
}
