//! A file that is there when it is whole. Until then, and when we fail or die, nothing is.
//!
//! It is written without a name (`O_TMPFILE`) and linked to its name at the end, so that also a
//! process that is killed leaves nothing behind. A link cannot replace a file: a replacement gets a
//! name of its own, always the same one for the same file, and takes the file's place with the next
//! system call. Killed between these two, it leaves the finished file under that name, and the next
//! replacement removes it. A file system that has no files without a name gets a temporary file,
//! which stays when the process is killed.

use std::fs::{self, File, Metadata, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg, OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::linkat;
use tempfile::TempPath;

use crate::failure::{Context, Failure, Result};
use crate::signal::{self, Leftover};

/// How often we try to lock a directory, and how long we wait between two attempts.
const ATTEMPTS: usize = 1000;
const PAUSE: Duration = Duration::from_millis(2);

/// A file being written.
pub struct Whole {
    /// As the user named it.
    path: PathBuf,
    /// Where its links lead.
    end: PathBuf,
    force: bool,
    file: File,
    /// Its name until it is whole, where the file system wants one.
    named: Option<(TempPath, Leftover)>,
}

impl Whole {
    /// Begins the file `end`, which `path` leads to.
    pub fn new(path: &Path, end: PathBuf, force: bool) -> Result<Whole> {
        let dir = directory(&end);
        let unnamed = open(dir, OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::from_bits_truncate(0o666));
        let (file, named) = match unnamed {
            Ok(fd) if Path::new(&by_descriptor(&fd)).exists() => (File::from(fd), None),
            Ok(_) | Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL) => {
                let temporary = tempfile::Builder::new()
                    .prefix(".faretra-export-")
                    .permissions(Permissions::from_mode(0o666))
                    .tempfile_in(dir)
                    .doing("write", path)?;
                let (file, name) = temporary.into_parts();
                let leftover = signal::leftover(&name);
                (file, Some((name, leftover)))
            }
            Err(error) => return Err(io::Error::from(error)).doing("write", path),
        };
        Ok(Whole { path: path.to_owned(), end, force, file, named })
    }

    /// The file, to be written to.
    pub fn file(&self) -> Result<File> {
        self.file.try_clone().doing("write", &self.path)
    }

    /// Waits until the disk has what was written.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().doing("write", &self.path)
    }

    /// Gives the file its name, and returns how many bytes it has.
    pub fn persist(self) -> Result<u64> {
        signal::check()?;
        let bytes = self.file.metadata().doing("write", &self.path)?.len();
        // Looked at again: it may have come, or changed, since the work began.
        match self.end.symlink_metadata() {
            Ok(_) if !self.force => return Err(exists(&self.path)),
            Ok(old) if !old.is_file() => {
                return Err(Failure::new(format!(
                    "{} became something else than a regular file meanwhile, and was left alone",
                    self.path.display()
                )));
            }
            Ok(old) => keep(&self.file, &old).doing("write", &self.path)?,
            Err(_) => {}
        }
        let (path, force) = (self.path.clone(), self.force);
        match self.name() {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !force => Err(exists(&path)),
            Err(error) => Err(error).doing("write", &path),
        }
    }

    fn name(self) -> io::Result<()> {
        match (self.named, self.force) {
            (Some((name, _leftover)), true) => Ok(name.persist(&self.end)?),
            (Some((name, _leftover)), false) => Ok(name.persist_noclobber(&self.end)?),
            (None, true) => replace(&self.file, &self.end),
            (None, false) => link(&self.file, &self.end),
        }
    }
}

/// The failure of writing to a file that is there, and may be replaced with `--force`.
pub fn exists(path: &Path) -> Failure {
    Failure::new(format!("{} exists already: give --force to replace it, or another name", path.display()))
}

/// The directory that a file is in.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    }
}

fn by_descriptor(fd: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Gives a file without a name this name, which must be free.
fn link(file: &File, to: &Path) -> io::Result<()> {
    Ok(linkat(AT_FDCWD, by_descriptor(file).as_str(), AT_FDCWD, to, AtFlags::AT_SYMLINK_FOLLOW)?)
}

/// Gives a file without a name this name, in place of the file that has it.
fn replace(file: &File, to: &Path) -> io::Result<()> {
    match link(file, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other,
    }
    let _lock = lock(directory(to))?;
    let step = step(to);
    // The lock is ours: whoever left this is dead.
    match fs::remove_file(&step) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let _leftover = signal::leftover(&step);
    link(file, &step)?;
    fs::rename(&step, to)
}

/// The name that a replacement of this file has for a moment.
fn step(to: &Path) -> PathBuf {
    let mut hash = DefaultHasher::new();
    to.file_name().hash(&mut hash);
    directory(to).join(format!(".faretra-export-{:016x}", hash.finish()))
}

/// Keeps others from replacing files in this directory, for two system calls.
fn lock(dir: &Path) -> io::Result<Flock<File>> {
    let mut dir = File::open(dir)?;
    for _ in 0..ATTEMPTS {
        match Flock::lock(dir, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EWOULDBLOCK)) => dir = back,
            Err((_, error)) => return Err(error.into()),
        }
        signal::sleep(PAUSE);
    }
    Err(io::Error::other("another process keeps its directory locked"))
}

/// Gives a file the owner, group and mode of the one that it replaces, as far as we may.
fn keep(file: &File, old: &Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    let mut mode = old.mode() & 0o777;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) && fchown(file, Some(old.uid()), Some(old.gid())).is_err() {
        let group = new.gid() == old.gid() || fchown(file, None, Some(old.gid())).is_ok();
        if !group {
            // What another group was allowed is not for ours.
            mode &= 0o707;
        }
    }
    file.set_permissions(Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::{Whole, replace};
    use std::fs::{File, read_dir};
    use std::io::Write;

    /// What a process leaves that dies between its last two system calls is removed by the next.
    #[test]
    fn what_the_dead_left_is_removed_by_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("file");
        std::fs::write(&to, "old").unwrap();
        // All of it but the renaming.
        let dead = Whole::new(&to, to.clone(), true).unwrap();
        dead.file().unwrap().write_all(b"left").unwrap();
        super::link(&dead.file, &super::step(&to)).unwrap();
        drop(dead);
        let next = Whole::new(&to, to.clone(), true).unwrap();
        next.file().unwrap().write_all(b"new").unwrap();
        assert_eq!(next.persist().unwrap(), 3);
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "new");
        assert_eq!(read_dir(dir.path()).unwrap().count(), 1);
    }

    /// Two that replace one file at the same time both succeed, and one of the files is there.
    #[test]
    fn replacements_at_the_same_time_leave_one_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("file");
        std::thread::scope(|scope| {
            for text in ["one", "two"] {
                let to = &to;
                scope.spawn(move || {
                    for _ in 0..200 {
                        let whole = Whole::new(to, to.clone(), true).unwrap();
                        let mut file: File = whole.file().unwrap();
                        file.write_all(text.as_bytes()).unwrap();
                        replace(&whole.file, to).unwrap();
                    }
                });
            }
        });
        assert!(["one", "two"].contains(&std::fs::read_to_string(&to).unwrap().as_str()));
        assert_eq!(read_dir(dir.path()).unwrap().count(), 1);
    }
}
