//! What stands for the things that Unix systems have, where there is nothing like them.

use std::fs::{Metadata, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Error, Result};

/// Nobody asks: locks are not inherited here, so that they say enough.
pub fn is_unused(_pid: u32) -> bool {
    false
}

/// There are no signals.
pub fn block_signals() {}

/// How a file is made. Who may read it is inherited from its directory, which is the user's own by default.
pub fn private_file() -> OpenOptions {
    OpenOptions::new()
}

/// Makes a directory. Who may use it is inherited.
pub fn make_private_directory(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir(path)
}

/// Nobody looks at lists of rights.
pub fn stranger(_file: &Metadata) -> Option<String> {
    None
}

/// There are no descriptors for `poll(2)`.
#[derive(Debug)]
pub struct Flag;

impl Flag {
    pub fn new() -> Result<Flag> {
        let text = "this platform has no descriptors that can be polled; wait with `Select`, a timed form or a future";
        let source = std::io::Error::new(ErrorKind::Unsupported, text);
        Err(Error::Os { action: "make", path: "a descriptor".into(), source })
    }

    pub fn raise(&self) {}

    pub fn lower(&self) {}
}
