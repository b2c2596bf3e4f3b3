//! What the commands that serve (`faretra-flight` and `faretra-distributed`, crates of their own) share with this one: how arenas are
//! opened, how sizes are read, how failures end a process. No promise is made for it.

use std::path::Path;

use faretra::{Arena, Options};

pub use crate::failure::{Failure, Result, note};
use crate::open;
pub use crate::out::Out;
pub use crate::program::run;
pub use crate::size::parse as size;

/// Opens an arena in this directory, if one is named, to take part in it; values are validated each time if they are not trusted.
pub fn open(dir: Option<&Path>, trust_others: bool, untrusted: bool, name: &str) -> Result<Arena> {
    Ok(options(dir, trust_others, untrusted).open(name)?)
}

/// Options with this directory, if one is named; values are validated each time if they are not trusted.
pub fn options(dir: Option<&Path>, trust_others: bool, untrusted: bool) -> Options {
    open::options_of(dir, trust_others).untrusted(untrusted)
}
