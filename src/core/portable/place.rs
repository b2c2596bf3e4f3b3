//! The files of an arena: its name, and what its participants lock.
//!
//! ```text
//! DIR/faretra.NAME            the name: a line that says which segment. Made whole, by a hard link
//! DIR/.faretra-ID/            the side directory, from before the segment is made until after it is unlinked
//!     making                  locked by who makes the arena, until it has its name
//!     SEAT.INCARNATION        locked by who has that seat (see "Who is alive" in segment.rs)
//! ```
//!
//! A segment has no name but its ID, which is random, so nobody finds a segment that is half made, and all can find one that
//! was left behind:
//!
//! * S2: a side directory in which nothing is locked, and whose ID no name says *after* that was seen, belongs to nobody: who
//!   made the arena is dead or has removed it, and nobody takes part. Whoever sweeps unlinks its segment.
//! * S3: who locks a file looks afterwards whether it still is there. Who sweeps removes a file under its lock.

use std::fs::File;
use std::io::{Error as IoError, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs4::fs_std::FileExt;

use crate::core::front::MAGIC;
use crate::core::kernel::{make_private_directory, private_file};
use crate::core::word::Owner;
use crate::error::{Error, Result};

const SIDE: &str = ".faretra-";
const NAMES: &str = "faretra.";
const LINE: &str = "faretra\nportable ";
const MAKING: &str = "making";

/// How often a lock is asked for that somebody looks at, a millisecond each.
const PATIENCE: u32 = 50;

/// Where an arena's files are.
#[derive(Clone, Debug)]
pub struct Place {
    name: PathBuf,
    side: PathBuf,
    id: String,
}

fn os(action: &'static str, path: &Path) -> impl FnOnce(IoError) -> Error {
    move |source| Error::Os { action, path: path.to_owned(), source }
}

impl Place {
    fn new(name: &Path, id: String) -> Place {
        let side = name.with_file_name(format!("{SIDE}{id}"));
        Place { name: name.to_owned(), side, id }
    }

    /// A place for a new arena of this name, which it has not got yet, and what says that it is being made.
    pub fn make(name: &Path) -> Result<(Place, File)> {
        loop {
            // Random, as the keys of hash maps are.
            let id = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), name);
            let place = Place::new(name, format!("{id:016x}"));
            match make_private_directory(&place.side) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                done => done.map_err(os("create a segment in", name.parent().unwrap_or(name)))?,
            }
            match place.take(MAKING) {
                Ok(Some(making)) => return Ok((place, making)),
                Ok(None) => {}
                Err(e) => {
                    place.remove_side();
                    return Err(os("create a segment in", name.parent().unwrap_or(name))(e));
                }
            }
        }
    }

    /// The place that a name says.
    pub fn find(name: &Path) -> Result<Place> {
        let mut text = String::new();
        let file = File::open(name).map_err(os("open", name))?;
        let wrong = |reason: &str| Error::NotAnArena { path: name.to_owned(), reason: reason.into() };
        if !file.metadata().map_err(os("look at", name))?.is_file() {
            return Err(wrong("it is no regular file"));
        }
        // No longer than what a name says; a file of Linux's own back-end is terabytes.
        match file.take(256).read_to_string(&mut text) {
            Err(e) if e.kind() != ErrorKind::InvalidData => return Err(os("read", name)(e)),
            _ => {}
        }
        match id_in(&text) {
            Some(id) => Ok(Place::new(name, id.to_owned())),
            None if looks_like_ours(name) => {
                Err(wrong("it was made by the back-end of Linux, and this program has the portable one"))
            }
            None => Err(wrong("it does not begin like an arena; it is somebody else's file")),
        }
    }

    /// What the system knows the segment by: short enough for macOS (30 bytes).
    pub fn os_id(&self) -> String {
        os_id(&self.id)
    }

    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Gives a new arena its name. `false`: the name is taken.
    pub fn publish(&self) -> Result<bool> {
        let draft = self.side.join("name");
        let fail = || os("name", &self.name);
        let mut file = private_file().write(true).create_new(true).open(&draft).map_err(|e| fail()(e))?;
        writeln!(file, "{LINE}{}", self.id).map_err(|e| fail()(e))?;
        let linked = std::fs::hard_link(&draft, &self.name);
        // What stays is swept with the directory.
        let _ = std::fs::remove_file(&draft);
        match linked {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
            done => done.map(|()| true).map_err(|e| fail()(e)),
        }
    }

    /// Nobody makes it any more: it has its name, or never gets it.
    pub fn made(&self) {
        let _ = std::fs::remove_file(self.side.join(MAKING));
    }

    /// Whether the name is this arena's.
    pub fn has_name(&self) -> Result<bool> {
        match Place::find(&self.name) {
            Ok(found) => Ok(found.id == self.id),
            Err(Error::NotAnArena { .. }) => Ok(false),
            Err(Error::Os { source, .. }) if is_missing(&source) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Takes the name away. The side directory is there before, so that what a death leaves is found (S2).
    pub fn remove_name(&self) -> Result<()> {
        match make_private_directory(&self.side) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(os("remove", &self.name)(e)),
            _ => {}
        }
        match std::fs::remove_file(&self.name) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(os("remove", &self.name)(e)),
            _ => Ok(()),
        }
    }

    /// Removes the side directory, if nothing is in it.
    pub fn remove_side(&self) {
        let _ = std::fs::remove_dir(&self.side);
    }

    fn file_of(owner: Owner) -> String {
        format!("{}.{}", owner.seat, owner.incarnation)
    }

    /// Locks the file of `owner`. `None`: somebody has it. That of its predecessor in the seat, whose words are settled, goes.
    pub fn lock(&self, owner: Owner) -> Option<File> {
        let before = owner.incarnation.wrapping_sub(1);
        let _ = std::fs::remove_file(self.side.join(Place::file_of(Owner { incarnation: before, ..owner })));
        self.take(&Place::file_of(owner)).ok()?
    }

    /// Removes the file of `owner`, which has it locked.
    pub fn unlock(&self, owner: Owner) {
        let _ = std::fs::remove_file(self.side.join(Place::file_of(owner)));
    }

    /// Makes and locks a file (S3). `None`: somebody has it.
    fn take(&self, file: &str) -> Result<Option<File>, IoError> {
        let path = self.side.join(file);
        for _ in 0..PATIENCE {
            let opened = private_file().read(true).write(true).create(true).truncate(false).open(&path);
            let file = match opened {
                Ok(file) => file,
                // The directory was swept.
                Err(e) if is_missing(&e) => {
                    let _ = make_private_directory(&self.side);
                    continue;
                }
                Err(e) => return Err(e),
            };
            match FileExt::try_lock_exclusive(&file) {
                Ok(true) if path.exists() => return Ok(Some(file)),
                // It was swept since.
                Ok(true) => {}
                // As a rule somebody looks.
                Ok(false) => std::thread::sleep(Duration::from_millis(1)),
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// Whether somebody has the lock of `owner`. Doubt means "yes". `None`: there is no file, because `owner` never locked it, or
    /// because somebody else removed it.
    pub fn is_locked(&self, owner: Owner) -> Option<bool> {
        let path = self.side.join(Place::file_of(owner));
        match File::open(&path) {
            // Shared, so that who looks is in the way of nobody else who looks.
            Ok(file) => Some(!FileExt::try_lock_shared(&file).unwrap_or(false)),
            Err(e) if is_missing(&e) => None,
            Err(_) => Some(true),
        }
    }

    /// Removes what arenas of a directory left that are nobody's any more (S2): `unlink` is given what their segments are
    /// known by.
    pub fn sweep(dir: &Path, unlink: impl Fn(&str)) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let file = entry.file_name();
            let Some(id) = file.to_str().and_then(|file| file.strip_prefix(SIDE)) else { continue };
            let side = entry.path();
            let files: Vec<PathBuf> =
                std::fs::read_dir(&side).into_iter().flatten().flatten().map(|e| e.path()).collect();
            let locked: Option<Vec<File>> = files
                .iter()
                .map(|path| File::open(path).ok().filter(|f| FileExt::try_lock_exclusive(f).unwrap_or(false)))
                .collect();
            let Some(_locked) = locked else { continue };
            if is_named(dir, id) {
                continue;
            }
            unlink(&os_id(id));
            for path in files {
                let _ = std::fs::remove_file(path);
            }
            let _ = std::fs::remove_dir(side);
        }
    }
}

fn os_id(id: &str) -> String {
    format!("/faretra-{id}")
}

fn is_missing(e: &IoError) -> bool {
    matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn id_in(text: &str) -> Option<&str> {
    let id = text.strip_prefix(LINE)?.strip_suffix('\n')?;
    (id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

/// Whether a name of the directory says this ID, as far as its names can be read; doubt means "yes".
fn is_named(dir: &Path, id: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return true };
    entries.flatten().any(|entry| {
        let is_name = entry.file_name().to_str().is_some_and(|file| file.starts_with(NAMES));
        is_name && Place::find(&entry.path()).map_or_else(|e| matches!(e, Error::Os { .. }), |found| found.id == id)
    })
}

/// Whether a file at least began as an arena of some version.
pub fn looks_like_ours(path: &Path) -> bool {
    let mut magic = [0; 8];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && u64::from_le_bytes(magic) == MAGIC
}
