//! Where an export goes. A regular file is there when it is whole ([`Whole`]). What is no regular
//! file (a device, a FIFO, a pipe behind `/dev/fd`) is written to directly and never replaced, and
//! links are followed. A reader of such a pipe that goes away is no error, as for standard output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::failure::{Context, Failure, Result, note_once};
use crate::out::{Out, Watched};
use crate::signal::{self, SLICE};
use crate::whole::{Whole, exists};

/// Links that are followed at most, as the kernel does.
const LINKS: usize = 40;

/// Bytes that are written to a file at once.
const BUFFER: usize = 1 << 20;

/// Where an export goes.
pub struct Target(Place);

enum Place {
    Stdout,
    Direct(File, Arc<AtomicU64>),
    Whole(Whole),
}

/// What a path leads to.
enum Found {
    Stdout,
    /// A descriptor of a process, whatever it is open on.
    Descriptor,
    /// Something that is no regular file.
    Special,
    /// A regular file that is there, or could be, under this name.
    File(PathBuf),
}

impl Target {
    /// Fails if nothing could be written there; said before the work.
    pub fn check(path: &Path, force: bool) -> Result<()> {
        find(path, force).map(drop)
    }

    /// Opens it. A FIFO waits for its reader here.
    pub fn open(path: &Path, force: bool) -> Result<Target> {
        let direct = |options: &mut OpenOptions| -> Result<Place> {
            Ok(Place::Direct(open_special(path, options)?, Arc::default()))
        };
        let place = match find(path, force)? {
            Found::Stdout => Place::Stdout,
            // Behind what the file has already, as the descriptor itself would.
            Found::Descriptor => direct(OpenOptions::new().append(true))?,
            Found::Special => direct(OpenOptions::new().write(true))?,
            Found::File(end) => Place::Whole(Whole::new(path, end, force)?),
        };
        if !matches!(place, Place::Whole(_)) {
            signal::last_words("what was written is not all of it");
        }
        Ok(Target(place))
    }

    /// Returns whether this is standard output, where nothing else is to be printed then.
    pub fn is_stdout(&self) -> bool {
        matches!(self.0, Place::Stdout)
    }

    /// What writes to it, buffered, and stops at a signal. Flush it.
    pub fn writer(&self) -> Result<Box<dyn Write + Send>> {
        Ok(match &self.0 {
            Place::Stdout => Box::new(Out::new()),
            Place::Direct(file, count) => {
                let counted = Counted { inner: Watched::new(file.try_clone()?), count: Arc::clone(count) };
                Box::new(BufWriter::with_capacity(BUFFER, counted))
            }
            Place::Whole(whole) => Box::new(BufWriter::with_capacity(BUFFER, Watched::new(whole.file()?))),
        })
    }

    /// Waits until the disk has what was written, if it goes to a disk.
    pub fn sync(&self) -> Result<()> {
        match &self.0 {
            Place::Whole(whole) => whole.sync(),
            _ => Ok(()),
        }
    }

    /// Ends the writing, and returns how many bytes there are.
    pub fn finish(self) -> Result<u64> {
        match self.0 {
            Place::Stdout => Ok(0),
            Place::Direct(_, count) => Ok(count.load(Ordering::Relaxed)),
            Place::Whole(whole) => whole.persist(),
        }
    }
}

/// Opens what is no regular file. As long as nobody reads a FIFO, that waits, and listens to signals.
fn open_special(path: &Path, options: &mut OpenOptions) -> Result<File> {
    loop {
        match options.custom_flags(OFlag::O_NONBLOCK.bits()).open(path) {
            Ok(file) => {
                let flags = fcntl(&file, FcntlArg::F_GETFL).map_err(io::Error::from).doing("write", path)?;
                let blocking = OFlag::from_bits_retain(flags) - OFlag::O_NONBLOCK;
                fcntl(&file, FcntlArg::F_SETFL(blocking)).map_err(io::Error::from).doing("write", path)?;
                return Ok(file);
            }
            Err(error) if error.raw_os_error() == Some(Errno::ENXIO as i32) && is_fifo(path) => {
                note_once(format_args!("waiting: nobody reads the FIFO {} yet", path.display()));
                signal::sleep(SLICE);
                signal::check()?;
            }
            Err(error) => return Err(error).doing("write", path),
        }
    }
}

fn is_fifo(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

fn find(path: &Path, force: bool) -> Result<Found> {
    if path == Path::new("-") {
        return Ok(Found::Stdout);
    }
    let end = follow(path).doing("write", path)?;
    if let Some(number) = descriptor(&end) {
        return Ok(match number {
            Some(1) => Found::Stdout,
            _ => Found::Descriptor,
        });
    }
    let kind = match fs::metadata(&end) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::File(end)),
        Err(error) => return Err(error).doing("write", path),
    };
    let path_text = path.display();
    if kind.is_dir() {
        Err(Failure::new(format!("{path_text} is a directory: give the name of a file in it")))
    } else if kind.is_socket() {
        Err(Failure::new(format!("{path_text} is a socket, which cannot be written by its name: give another name")))
    } else if kind.is_file() && !force {
        Err(exists(path))
    } else if kind.is_block_device() && !force {
        Err(Failure::new(format!("{path_text} is a disk: give another name, or --force to write over what is on it")))
    } else if kind.is_file() {
        Ok(Found::File(end))
    } else {
        Ok(Found::Special)
    }
}

/// Where the links that `path` names lead, also if nothing is there. Stops at a descriptor, whose
/// link is none of the file system.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        if descriptor(&path).is_some() {
            return Ok(path);
        }
        match fs::read_link(&path) {
            Ok(to) => {
                path.pop();
                path.push(to);
            }
            Err(_) => return Ok(path),
        }
    }
    Err(Errno::ELOOP.into())
}

/// Whether this names a descriptor of a process (`/dev/fd/N`, `/proc/self/fd/N`), and its number if
/// that process is this one.
fn descriptor(path: &Path) -> Option<Option<u32>> {
    let number: u32 = path.file_name()?.to_str()?.parse().ok()?;
    let dir = fs::canonicalize(path.parent()?).ok()?;
    let parts: Vec<Component<'_>> = dir.components().collect();
    let is = |at: usize, name: &str| parts.get(at).is_some_and(|part| part.as_os_str() == name);
    (is(1, "proc") && is(parts.len() - 1, "fd")).then(|| is(2, &std::process::id().to_string()).then_some(number))
}

struct Counted<W> {
    inner: W,
    count: Arc<AtomicU64>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.count.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
