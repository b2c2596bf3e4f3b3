//! What is said of Arrow IPC that cannot be read.

use std::fmt::Display;

use arrow_ipc::Message;
use flatbuffers::InvalidFlatbuffer;

use crate::failure::{Failure, Result};

/// The failure of a file that is cut or damaged, and where.
pub fn cut(what: impl Display) -> Failure {
    Failure::new(format!("the Arrow IPC file is cut or damaged: {what}"))
}

/// Why metadata cannot be read.
pub fn unreadable(what: &str, error: &InvalidFlatbuffer) -> Failure {
    match error {
        InvalidFlatbuffer::DepthLimitReached => Failure::new(format!(
            "its columns nest more than {} levels deep, which is the limit: flatten them first",
            faretra::MAX_DEPTH
        )),
        InvalidFlatbuffer::TooManyTables => Failure::new("its schema has more fields than Arrow's readers take"),
        error => cut(format!("{what} cannot be read ({error})")),
    }
}

/// A message's metadata, checked.
pub fn parse(bytes: &[u8]) -> Result<Message<'_>> {
    arrow_ipc::root_as_message(bytes).map_err(|error| unreadable("a message", &error))
}

/// Fails if there is not that much memory, so that a length that nobody meant does not end the process.
pub fn affordable(bytes: u64) -> Result<()> {
    let there = usize::try_from(bytes).is_ok_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok());
    match there {
        true => Ok(()),
        false => Err(Failure::new(format!("it asks for {bytes} bytes of memory at once, and there are not so many"))),
    }
}
