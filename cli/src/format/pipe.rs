//! Where bytes come from: files that can be read again from their beginning, and what comes only
//! once and when it likes: pipes, FIFOs, sockets, terminals.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::failure::{Context, Failure, Result};
use crate::signal;

/// How long a wait goes on at most before signals are looked at again. A signal that comes during
/// the wait ends it at once; one that comes just before it is seen only then.
const SLICE: Duration = Duration::from_millis(50);

/// What a path names.
pub enum Input {
    /// A regular file, at its beginning.
    File(File),
    /// Anything else that can be read.
    Pipe(Pipe),
}

/// Opens a file for reading; `-` is standard input.
pub fn open(path: &Path) -> Result<Input> {
    let file = match path == Path::new("-") {
        true => File::from(io::stdin().as_fd().try_clone_to_owned().doing("read", path)?),
        // Opening a FIFO waits for its writer otherwise, and no signal ends that.
        false => {
            let mut options = File::options();
            options.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).doing("read", path)?
        }
    };
    let kind = file.metadata().doing("read", path)?.file_type();
    if kind.is_dir() {
        return Err(Failure::new(format!(
            "cannot read {}: it is a directory, and one file is put at a time",
            path.display()
        )));
    }
    // Of a shared standard input, somebody may have read the beginning.
    if kind.is_file() && (&file).stream_position().doing("read", path)? == 0 {
        return Ok(Input::File(file));
    }
    Ok(Input::Pipe(Pipe { file, ahead: Vec::new(), patience: Patience::default() }))
}

/// Bytes that come once.
pub struct Pipe {
    file: File,
    /// What was looked at ahead of its turn.
    ahead: Vec<u8>,
    patience: Patience,
}

/// How long a [`Pipe`] may be silent before reading fails with `WouldBlock`: for ever, unless said.
#[derive(Clone, Default)]
pub struct Patience(Arc<Shared>);

#[derive(Default)]
struct Shared {
    limits: Mutex<Option<Limits>>,
    watch: Mutex<Option<Watch>>,
}

/// Looks whether it is worth waiting on.
type Watch = Box<dyn FnMut() -> Result<()> + Send>;

#[derive(Clone, Copy, Debug)]
struct Limits {
    pause: Duration,
    latest: Instant,
}

impl Patience {
    /// A pause of this length ends the reading, and after `most` from now anything does.
    pub fn wait(&self, pause: Duration, most: Duration) {
        *self.limits() = Some(Limits { pause, latest: Instant::now() + most });
    }

    /// Waits for ever again.
    pub fn wait_for_ever(&self) {
        *self.limits() = None;
    }

    /// Asks this again and again while it waits; an error ends the reading.
    pub fn watch(&self, watch: impl FnMut() -> Result<()> + Send + 'static) {
        *self.0.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(watch));
    }

    fn look(&self) -> io::Result<()> {
        let mut watch = self.0.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = watch.as_mut().map_or(Ok(()), |watch| watch());
        looked.map_err(|failure| io::Error::other(failure.into_text()))
    }

    fn limits(&self) -> std::sync::MutexGuard<'_, Option<Limits>> {
        self.0.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipe {
    /// What says how long it is waited for.
    pub fn patience(&self) -> Patience {
        self.patience.clone()
    }

    /// The first bytes, which are read all the same later; fewer if there are no more.
    pub fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        let mut ahead = std::mem::take(&mut self.ahead);
        let missing = count.saturating_sub(ahead.len());
        self.by_ref().take(missing as u64).read_to_end(&mut ahead)?;
        self.ahead = ahead;
        Ok(&self.ahead[..count.min(self.ahead.len())])
    }

    /// Copies all of it to a temporary file without a name, for formats that begin at the end.
    pub fn spool(mut self) -> Result<File> {
        let dir = std::env::temp_dir();
        let failed = |error: io::Error| {
            Failure::new(format!(
                "what comes through a pipe is first kept in a temporary file, and {} cannot hold it ({error}): \
                 let TMPDIR name a directory with room, or give a file",
                dir.display()
            ))
        };
        let mut spooled = tempfile::tempfile_in(&dir).map_err(failed)?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            signal::check()?;
            match self.read(&mut buffer)? {
                0 => break,
                count => spooled.write_all(&buffer[..count]).map_err(failed)?,
            }
        }
        spooled.seek(SeekFrom::Start(0))?;
        Ok(spooled)
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.ahead.is_empty() {
            let count = self.ahead.as_slice().read(buffer)?;
            self.ahead.drain(..count);
            return Ok(count);
        }
        let limits = *self.patience.limits();
        let deadline = limits.map(|limits| limits.latest.min(Instant::now() + limits.pause));
        loop {
            if signal::received().is_some() {
                return Err(io::Error::other("interrupted"));
            }
            let mut wait = SLICE;
            if let Some(deadline) = deadline {
                wait = wait.min(deadline.saturating_duration_since(Instant::now()));
                if wait.is_zero() {
                    return Err(ErrorKind::WouldBlock.into());
                }
            }
            // Rounded up, so that the last part of a millisecond is not spent in a loop.
            let wait = PollTimeout::try_from(wait + Duration::from_micros(999)).unwrap_or(PollTimeout::ZERO);
            let mut waiting = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waiting, wait) {
                Ok(0) => {
                    self.patience.look()?;
                    continue;
                }
                Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            match self.file.read(buffer) {
                // Somebody else read it first.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                result => return result,
            }
        }
    }
}
