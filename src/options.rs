//! How arenas are created, opened, listed and removed.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::arena::Arena;
use crate::core::end::PATIENCE;
use crate::core::geometry::{Geometry, MAX_CAPACITY, Params, Sums, header};
use crate::core::kernel::{bytes_of, check_directory, default_directory, directory_room};
use crate::core::mem::Mem;
use crate::core::seat::Core;
use crate::core::segment::{Posix, default_capacity, looks_like_ours, standard_params};
use crate::core::sys::{Access, Process, Sys, Trust};
use crate::core::tables::Tables;
use crate::core::word::{ArenaLife, SEATS, Stay};
use crate::error::{Error, Missing, Result};
use crate::report::{ArenaInfo, Observer, Room, living};
use crate::value::check::Values;
use crate::value::view::Attachment;

/// The number of bytes in a KiB: 1024.
pub const KIB: u64 = 1 << 10;
/// The number of bytes in a MiB: 1024 KiB.
pub const MIB: u64 = 1 << 20;
/// The number of bytes in a GiB: 1024 MiB.
pub const GIB: u64 = 1 << 30;

const PREFIX: &str = "faretra.";

/// How arenas are created, opened, listed and removed: set what differs from the default, then call one of the methods
/// that do something. Those take `&self`, so that one `Options` serves many calls.
///
/// What is fixed or first set when an arena is created is ignored by every other call: `capacity`, `limit`, `writers`, `participants`,
/// `mode`, `keep`, `checksums` and `warm`. An arena that is there already stays as it was made, also for
/// [`open_or_create`](Options::open_or_create). What concerns this process alone is used by every call that takes part in
/// an arena: `spin`, `untrusted` and `vouch_for_values`. `dir` is used by all.
///
/// ```
/// use faretra::{Options, MIB};
/// # let name = format!("doc-options-{}", std::process::id());
/// # let name = name.as_str();
/// let options = Options::default().limit(64 * MIB).writers(4).keep(false);
/// let arena = options.create(name)?;
/// assert!(options.list()?.iter().any(|info| info.name == name));
/// assert_eq!(options.limit(1).open(name)?.limit(), 64 * MIB);      // it is there: the limit is ignored
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    dir: Option<PathBuf>,
    capacity: Option<u64>,
    limit: u64,
    writers: u32,
    participants: u32,
    mode: u32,
    keep: bool,
    sums: Sums,
    warm: Option<u64>,
    values: Values,
    trust: Trust,
    spare_seat: bool,
    spin: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            dir: None,
            capacity: None,
            limit: GIB,
            writers: 64,
            participants: 255,
            mode: 0o600,
            keep: true,
            sums: Sums::None,
            warm: None,
            values: Values::Checked,
            trust: Trust::OurFilesOnly,
            spare_seat: false,
            spin: 256,
        }
    }
}

impl Options {
    /// Sets the directory of arenas, which is on a tmpfs. Used by every call. Default: the environment variable
    /// `FARETRA_DIR`, or `/dev/shm`. With the portable back-end any directory that nobody cleans will do, and the default is the
    /// directory of temporary files where there is no `/dev/shm`.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Options {
        self.dir = Some(dir.into());
        self
    }

    /// Sets how many bytes the arena may ever use. Used by [`create`](Options::create), and fixed then. It costs address
    /// space only (about 47 times as much, twice over in a process that drafts), and is rounded up to a power of two.
    /// Default: 16 times the limit, but not less than 64 GiB nor more than 256 GiB, and never less than the limit; 4 times the
    /// limit with the portable back-end. At most 1 TiB, of which a process may have no room for drafts.
    #[must_use]
    pub fn capacity(mut self, bytes: u64) -> Options {
        self.capacity = Some(bytes);
        self
    }

    /// Sets how many bytes the arena may use at first, all told. Used by [`create`](Options::create);
    /// [`Arena::set_limit`] changes it later. Default: 1 GiB.
    #[must_use]
    pub fn limit(mut self, bytes: u64) -> Options {
        self.limit = bytes;
        self
    }

    /// Sets how many writers there may be at a time, 1 to 1024. Used by [`create`](Options::create), and fixed then.
    /// Default: 64.
    #[must_use]
    pub fn writers(mut self, writers: u32) -> Options {
        self.writers = writers;
        self
    }

    /// Sets how many times the arena may be open at a time, in all processes together: 1 to 4,095. Used by
    /// [`create`](Options::create), and fixed then. Default: 255.
    ///
    /// Each participant that there may be costs 192 bytes of memory and some address space (about 0.2 % of 2 TiB). Each one
    /// that there is costs every call that frees an object two loads, because the call looks at the pins of all of them.
    #[must_use]
    pub fn participants(mut self, participants: u32) -> Options {
        self.participants = participants;
        self
    }

    /// Sets the permissions of the arena's file. Used by [`create`](Options::create). Default: 0600.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Options {
        self.mode = mode;
        self
    }

    /// Sets whether the arena stays when nobody takes part in it. With `false`, it goes with its last participant, however
    /// that ends. Used by [`create`](Options::create), and fixed then. Default: `true`.
    #[must_use]
    pub fn keep(mut self, keep: bool) -> Options {
        self.keep = keep;
        self
    }

    /// Sets whether each published object keeps a checksum of its bytes, taken while they are copied, so that
    /// [`Object::verify_checksums`](crate::Object::verify_checksums) and [`Arena::verify_deep`] can tell that they
    /// have changed since, and where. A publish takes longer by it (`cargo bench --bench ratios` tells how much); a read
    /// does not. Used by [`create`](Options::create), and fixed then. Default: `false`.
    #[must_use]
    pub fn checksums(mut self, checksums: bool) -> Options {
        self.sums = if checksums { Sums::Kept } else { Sums::None };
        self
    }

    /// Sets how many bytes of freed memory stay with the arena to be used again, because fresh memory is slow. They are
    /// given back under pressure and by [`Arena::trim`]. Used by [`create`](Options::create), and fixed then. Default:
    /// half of the limit.
    #[must_use]
    pub fn warm(mut self, bytes: u64) -> Options {
        self.warm = Some(bytes);
        self
    }

    /// Sets the most spins before a waiter of this process sleeps; with 0 it sleeps at once. The library lowers the number
    /// while spinning does not help. Used by every call that takes part in an arena. Default: 256, a few microseconds; 0
    /// on a machine with one processor.
    #[must_use]
    pub fn spin(mut self, looks: u32) -> Options {
        self.spin = looks;
        self
    }

    /// Lets [`open`](Options::open) take the one seat that is kept free, when all others are taken: for programs that look
    /// after an arena (remove names, recover, trim), and leave it at once.
    #[must_use]
    pub fn spare_seat(mut self) -> Options {
        self.spare_seat = true;
        self
    }

    /// Sets whether all values of a batch are validated each time the batch is read. With `false`, what decides where arrow
    /// reads (offsets, indices, UTF-8, counts of nulls) is checked, once per batch and process. Used by every call that
    /// takes part in an arena. Default: `false`.
    #[must_use]
    pub fn untrusted(mut self, untrusted: bool) -> Options {
        self.values = if untrusted { Values::Untrusted } else { Values::Checked };
        self
    }

    /// Leaves out the check of values: the first read of a batch of text costs as little as every other one. Used by every
    /// call that takes part in an arena.
    ///
    /// # Safety
    ///
    /// The offsets, indices, text and counts of nulls of every batch that is read are as some writer had them in a valid
    /// array: no process has written into the segment by accident, and no bit of it has changed.
    #[allow(unsafe_code, reason = "states a contract; does nothing by itself")]
    #[must_use]
    pub unsafe fn vouch_for_values(mut self) -> Options {
        self.values = Values::Vouched;
        self
    }

    /// Lets this process take part in arenas that belong to another user, or that others may write. Looking at one with
    /// [`observe`](Options::observe) needs no such trust.
    ///
    /// # Safety
    ///
    /// Every process that can write the file runs this crate's code on it, unaltered: one that does not
    /// can change bytes that this process has as `&[u8]`, or shrink the file under it.
    #[allow(unsafe_code, reason = "states a contract; does nothing by itself")]
    #[must_use]
    pub unsafe fn trust_others(mut self) -> Options {
        self.trust = Trust::Others;
        self
    }

    fn directory(&self) -> PathBuf {
        let given =
            self.dir.clone().or_else(|| std::env::var_os("FARETRA_DIR").filter(|d| !d.is_empty()).map(PathBuf::from));
        given.unwrap_or_else(default_directory)
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        check_arena_name(name)?;
        Ok(self.directory().join(format!("{PREFIX}{name}")))
    }

    fn missing(&self, name: &str, detail: &str) -> Error {
        let within = self.directory().display().to_string();
        Error::NotFound { what: Missing::Arena, name: name.into(), within, detail: detail.into() }
    }

    fn params(&self) -> Result<Params> {
        if self.limit == 0 {
            return Err(Error::invalid("the limit is 0 bytes; an arena needs some, say 1GiB"));
        }
        let capacity = self.capacity.unwrap_or_else(|| default_capacity(self.limit));
        if capacity > MAX_CAPACITY {
            let what = "bytes of capacity";
            return Err(Error::TooLarge {
                what,
                asked: capacity,
                most: MAX_CAPACITY,
                hint: "1 TiB serves any machine",
            });
        }
        if self.limit > capacity {
            return Err(Error::invalid(format!("limit {} is more than the capacity, {capacity} bytes", self.limit)));
        }
        if self.mode & !0o666 != 0 {
            return Err(Error::invalid(format!(
                "mode {:o} has bits that an arena's file has no use for; 600 or 660 are usual",
                self.mode
            )));
        }
        let most = (SEATS - 1) as u32;
        if !(1..=most).contains(&self.participants) {
            let given = self.participants;
            return Err(Error::invalid(format!("an arena has room for 1 to {most} participants, not for {given}")));
        }
        // And one seat to spare, for those who look after the arena.
        let params = standard_params(capacity, u64::from(self.participants) + 1, u64::from(self.writers));
        let stay = if self.keep { Stay::Kept } else { Stay::Ephemeral };
        Ok(Params { stay, sums: self.sums, ..params })
    }

    /// Makes a new arena and takes part in it. The arena appears whole, or not at all. What is left of an ephemeral arena of this
    /// name whose processes were all killed is removed.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`]; [`Error::Invalid`] and [`Error::TooLarge`] for a name or option that cannot be;
    /// [`Error::NotAnArena`] if the directory is not on a tmpfs; [`Error::NoSpace`]; [`Error::Os`].
    pub fn create(&self, name: &str) -> Result<Arena> {
        let path = self.path(name)?;
        let dir = self.directory();
        let geo = Geometry::new(self.params()?)?;
        check_directory(&dir)?;
        // Of an ephemeral arena whose processes were killed, nothing but the file is left: to ask about it removes that.
        if path.exists() && !matches!(self.info(name), Err(Error::NotFound { .. })) {
            return Err(Error::AlreadyExists { name: name.into(), path });
        }
        let posix = Posix::create(&dir, path.clone(), self.mode, &geo)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        for (off, value) in [
            (header::LIFE, ArenaLife::OPEN.0),
            (header::LIMIT, self.limit),
            (header::WARM_LIMIT, self.warm.unwrap_or(self.limit / 2)),
            (header::CREATED, now),
        ] {
            posix.store(off, value, Relaxed);
        }
        let (seats, process) = (self.seats(&geo), Process::current());
        let command = Process::command().unwrap_or_default();
        let core =
            Core::attach(Tables::new(posix, geo), seats, process, &command, |_| Ok(true))?.expect("nobody is refused");
        // Seat first, name last: an arena that can be seen has a participant.
        if !core.env.publish()? {
            core.detach();
            return Err(Error::AlreadyExists { name: name.into(), path });
        }
        Ok(self.arena(core, name))
    }

    /// Opens an arena, takes part in it, and settles what dead participants left.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::Limit`] if as many processes take part as can; [`Error::NotAnArena`] and
    /// [`Error::Damaged`] for a file that is none; [`Error::Untrusted`] for one that others may write; [`Error::Os`].
    pub fn open(&self, name: &str) -> Result<Arena> {
        match self.open_now(name) {
            // Seats of the dead are free again after a recovery, for which somebody must have a seat.
            Err(Error::Limit { .. }) if !self.spare_seat => {
                drop(self.clone().spare_seat().open_now(name)?);
                self.open_now(name)
            }
            other => other,
        }
    }

    fn open_now(&self, name: &str) -> Result<Arena> {
        let path = self.path(name)?;
        let (posix, geo) = match Posix::open(&path, Access::ReadWrite, self.trust) {
            Err(Error::Os { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Err(self.missing(name, ""));
            }
            other => other?,
        };
        let tables = Tables::new(posix, geo);
        if let Some(reason) = tables.impossible_marks() {
            return Err(Error::NotAnArena { path, reason });
        }
        let (seats, process) = (self.seats(&tables.geo), Process::current());
        let command = Process::command().unwrap_or_default();
        let Some(core) = Core::enter(tables, seats, process, &command)? else {
            return Err(self.missing(name, "it has just ended or is being removed"));
        };
        // What the dead left is settled by whoever comes next.
        core.recover()?;
        Ok(self.arena(core, name))
    }

    /// Opens the arena of this name, or makes it if there is none. Errors are those of [`open`](Options::open) and
    /// [`create`](Options::create).
    pub fn open_or_create(&self, name: &str) -> Result<Arena> {
        for _ in 0..100 {
            match self.open(name) {
                Err(Error::NotFound { .. }) => {}
                other => return other,
            }
            match self.create(name) {
                Err(Error::AlreadyExists { .. }) => {}
                other => return other,
            }
        }
        self.open(name)
    }

    /// How many of an arena's seats may be taken.
    fn seats(&self, geo: &Geometry) -> u64 {
        geo.params.seats.saturating_sub(u64::from(!self.spare_seat)).max(1)
    }

    fn arena(&self, core: Core<Posix>, name: &str) -> Arena {
        core.env.close_lock_fd();
        core.env.set_spin(self.spin);
        Arena::of(&Arc::new(Attachment::new(core, name, self.values)))
    }

    /// Takes an arena's name away. Processes that have the arena open go on; its memory goes with the last of them.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::TimedOut`] if another process is about to remove the arena and does not end;
    /// those of [`open`](Options::open). A file that only begins like an arena is removed all the same.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name)?;
        let arena = match self.clone().spare_seat().open(name) {
            Ok(arena) => arena,
            // An arena that cannot be used any more has no participants to race with.
            Err(Error::NotAnArena { .. }) if looks_like_ours(&path) => {
                return std::fs::remove_file(&path).map_err(|source| Error::Os { action: "remove", path, source });
            }
            Err(e) => return Err(e),
        };
        if arena.attachment().core()?.remove_arena()? {
            return Ok(());
        }
        Err(Error::TimedOut(Duration::from_millis(PATIENCE.into())))
    }

    /// Returns all arenas of the directory, by name. Removes ephemeral ones whose participants are all gone on the way. One
    /// that cannot be used says why in [`ArenaInfo::problem`].
    pub fn list(&self) -> Result<Vec<ArenaInfo>> {
        let dir = self.directory();
        let entries =
            std::fs::read_dir(&dir).map_err(|source| Error::Os { action: "list", path: dir.clone(), source })?;
        let mut all = vec![];
        for entry in entries.flatten() {
            let file = entry.file_name();
            let Some(name) = file.to_str().and_then(|f| f.strip_prefix(PREFIX)) else { continue };
            if check_arena_name(name).is_err() {
                continue;
            }
            match self.info(name) {
                Err(Error::NotFound { .. }) => {}
                Err(Error::Os { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                Ok(info) => all.push(info),
                Err(e) => all.push(ArenaInfo {
                    name: name.into(),
                    path: entry.path(),
                    bytes: entry.metadata().map_or(0, |m| bytes_of(&m)),
                    limit: 0,
                    capacity: 0,
                    participants: 0,
                    keep: true,
                    problem: Some(e.to_string()),
                }),
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    fn info(&self, name: &str) -> Result<ArenaInfo> {
        let seen = self.observe(name)?;
        let t = &seen.tables;
        let keep = t.is_kept();
        let alive = living(t)?;
        if !keep && alive.is_empty() {
            // Opening finds nobody there and prunes it; if somebody came meanwhile, it stays.
            if let Err(e @ Error::NotFound { .. }) = self.open(name) {
                return Err(e);
            }
        }
        Ok(ArenaInfo {
            name: name.into(),
            path: t.env.path().to_owned(),
            bytes: t.env.in_memory(),
            limit: t.limit(),
            capacity: t.geo.params.capacity,
            participants: alive.len() as u32,
            keep,
            problem: None,
        })
    }

    /// Returns a look at an arena without taking part in it: everything is mapped read-only, nothing can be pinned.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::NotAnArena`]; [`Error::Os`].
    pub fn observe(&self, name: &str) -> Result<Observer> {
        let path = self.path(name)?;
        match Posix::open(&path, Access::Read, self.trust) {
            Ok((env, geo)) => {
                let tables = Tables::new(env, geo);
                match tables.impossible_marks() {
                    Some(reason) => Err(Error::NotAnArena { path, reason }),
                    None => Ok(Observer { tables }),
                }
            }
            Err(Error::Os { source, .. }) if source.kind() == ErrorKind::NotFound => Err(self.missing(name, "")),
            Err(e) => Err(e),
        }
    }

    /// Returns how large the directory's file system is, and how much of it is free.
    pub fn room(&self) -> Result<Room> {
        let (free, size) = directory_room(&self.directory())?;
        Ok(Room { free, size })
    }
}

fn check_arena_name(name: &str) -> Result<()> {
    let fits = (1..=200).contains(&name.len()) && !name.starts_with('.');
    if fits && name.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != '/') {
        return Ok(());
    }
    let rule = "1 to 200 bytes without `/`, spaces and control characters, not beginning with a dot";
    Err(Error::invalid(format!("{name:?} is no name for an arena: {rule}")))
}

impl Arena {
    /// Returns the default options, to be changed and then used to create or open an arena.
    pub fn options() -> Options {
        Options::default()
    }

    /// Opens an arena with the default options, as [`Options::open`] does.
    pub fn open(name: &str) -> Result<Arena> {
        Options::default().open(name)
    }
}
