//! What Unix systems have and Windows has not.

use std::fs::{DirBuilder, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, kill};
use nix::unistd::Pid;

use crate::error::{Error, Result};

/// Whether no process has this pid, not even a zombie.
pub fn is_unused(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
    pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH))
}

/// Has signals handled by other threads than this one, which is the library's.
pub fn block_signals() {
    let _ = SigSet::all().thread_block();
}

/// How a file is made that this user alone may read and write.
pub fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Makes a directory that this user alone may use.
pub fn make_private_directory(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Why a file is not to be trusted: it is another user's, or others may write it.
pub fn stranger(file: &Metadata) -> Option<String> {
    let us = nix::unistd::geteuid().as_raw();
    match file.mode() & 0o022 {
        _ if file.uid() != us => Some(format!("its owner is user {}, you are user {us}", file.uid())),
        0 => None,
        _ => Some(format!("its mode {:o} lets others write it", file.mode() & 0o7777)),
    }
}

/// A descriptor that is readable while it is raised: one end of a pair of sockets.
#[derive(Debug)]
pub struct Flag {
    read: UnixStream,
    write: UnixStream,
}

impl Flag {
    pub fn new() -> Result<Flag> {
        let fail = |source| Error::Os { action: "make", path: "a pair of sockets".into(), source };
        let (read, write) = UnixStream::pair().map_err(fail)?;
        read.set_nonblocking(true).and_then(|()| write.set_nonblocking(true)).map_err(fail)?;
        Ok(Flag { read, write })
    }

    /// Makes it readable. One that takes no more bytes is.
    pub fn raise(&self) {
        let _ = (&self.write).write(&[1]);
    }

    /// Makes it unreadable.
    pub fn lower(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.read).read(&mut bytes), Ok(1..)) {}
    }
}

impl AsFd for Flag {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}
