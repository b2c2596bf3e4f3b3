//! What the command that serves (`faretra-flight`, a crate of its own) shares with this one: how arenas are opened, how sizes are
//! read, how failures end a process. No promise is made for it.

use std::path::Path;

use faretra::Arena;

pub use crate::failure::{Failure, Result, note};
pub use crate::out::Out;
pub use crate::size::parse as size;
use crate::{open, panics};

/// Opens an arena in this directory, if one is named, to take part in it; values are validated each time if they are not trusted.
pub fn open(dir: Option<&Path>, trust_others: bool, untrusted: bool, name: &str) -> Result<Arena> {
    Ok(open::options_of(dir, trust_others).untrusted(untrusted).open(name)?)
}

/// Keeps panics that are told as errors from being printed too.
pub fn quiet_panics() {
    panics::install();
}

/// The exit code of what ended like this, after a failure was said.
pub fn exit_code(ended: Result<()>) -> u8 {
    match ended {
        Ok(()) => 0,
        Err(failure) => crate::exit(failure),
    }
}
