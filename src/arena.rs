//! An arena that is open: what it has, and asking about it.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use ndarray::Dimension;

use crate::core::geometry::header;
use crate::core::mem::Mem;
use crate::core::name;
use crate::core::recover::Recovered;
use crate::core::seat::Core;
use crate::core::sys::Process;
use crate::core::verify::Violation;
use crate::core::wait::Until;
use crate::error::{Error, Missing, Result, in_time};
use crate::reader::{Batch, Bundled, Object, Table};
use crate::report::{ChannelInfo, Entry, Holder, Stats, channels, entries, holders, stats};
use crate::value::array::Array;
use crate::value::check::Values;
use crate::value::dtype::ArrayElement;
use crate::value::dynamic::DynArray;
use crate::value::view::{Attachment, Pin};
use crate::writer::Writer;

/// An arena that this process takes part in.
///
/// A clone is another handle to the same participation. The process leaves the arena when the last handle, and everything
/// that was read, made or opened through one, is dropped.
///
/// ```
/// use faretra::{Arena, MIB};
/// # let name = format!("doc-arena-{}", std::process::id());
/// # let name = name.as_str();
/// let arena = Arena::options().limit(64 * MIB).keep(false).create(name)?;
/// arena.writer()?.publish("greeting", "hello")?;
///
/// let same = Arena::open(name)?;                           // in any process
/// assert_eq!(same.get("greeting")?.bytes()?, b"hello");
/// assert_eq!(same.names()?[0].name, "greeting");
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Arena {
    at: Arc<Attachment>,
}

impl Arena {
    /// Opens this arena once more: takes part in it anew, with the directory and options that this handle was opened with. In
    /// a forked child this turns the handle that came through `fork`, on which all else is [`Error::Forked`], into one of
    /// the child's own. In any other process it is a second handle.
    ///
    /// The new handle has the very arena that this one has, also if the arena's name was taken away or stands for another
    /// arena by now: the file is reached by the descriptor that the process has of it, and by its name only where that
    /// descriptor was closed. Whom the file belongs to was asked when this handle was opened, and is not asked again.
    ///
    /// ```
    /// # let name = format!("doc-reopen-{}", std::process::id());
    /// # let arena = faretra::Arena::options().keep(false).create(&name)?;
    /// let arena = arena.reopen()?;                          // the first thing that a forked child does
    /// arena.writer()?.publish("from-the-child", b"bytes".as_slice())?;
    /// # Ok::<(), faretra::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if this process has closed the descriptor and the name was removed or is another arena's;
    /// [`Error::Limit`] if as many processes take part as can; [`Error::Os`].
    pub fn reopen(&self) -> Result<Arena> {
        match self.rejoin(1) {
            // As in `Options::open`.
            Err(Error::Limit { .. }) => {
                drop(self.rejoin(0)?);
                self.rejoin(1)
            }
            other => other,
        }
    }

    fn rejoin(&self, spare: u64) -> Result<Arena> {
        let tables = self.at.tables_again().map_err(|e| match e {
            Error::Os { source, .. }
                if source.kind() == ErrorKind::NotFound || source.kind() == ErrorKind::StaleNetworkFileHandle =>
            {
                let within = self.path().parent().unwrap_or(Path::new("/")).display().to_string();
                let detail = "it lost its name, and this process has closed the descriptor of its file".into();
                Error::NotFound { what: Missing::Arena, name: self.name().into(), within, detail }
            }
            other => other,
        })?;
        let seats = tables.geo.params.seats.saturating_sub(spare).max(1);
        let process = Process::current();
        let core = Core::rejoin(tables, seats, process, &Process::command().unwrap_or_default())?;
        core.env.close_lock_fd();
        core.recover()?;
        Ok(Arena { at: Arc::new(Attachment::new(core, self.name(), self.at.values)) })
    }

    pub(crate) fn attachment(&self) -> &Arc<Attachment> {
        &self.at
    }

    /// Returns the arena's name.
    pub fn name(&self) -> &str {
        &self.at.name
    }

    /// Returns the path of the arena's file.
    pub fn path(&self) -> &Path {
        self.at.path()
    }

    /// Returns whether it was opened with [`Options::untrusted`](crate::Options::untrusted).
    pub fn is_untrusted(&self) -> bool {
        self.attachment().values == Values::Untrusted
    }

    /// Returns the current object of a name, pinned, without a system call, a lock or a copy. Fails with
    /// [`Error::NotFound`] if there is none.
    #[inline]
    pub fn get(&self, name: &str) -> Result<Object> {
        match Pin::named(&self.at, name)? {
            Some(pin) => Object::pinned(pin, name),
            None => Err(self.missing(name)),
        }
    }

    pub(crate) fn of(at: &Arc<Attachment>) -> Arena {
        Arena { at: at.clone() }
    }

    #[cold]
    pub(crate) fn missing(&self, name: &str) -> Error {
        let within = self.name().to_owned();
        Error::NotFound { what: Missing::Object, name: name.into(), within, detail: String::new() }
    }

    /// Returns the current batch of a name. Fails with [`Error::NotFound`] if there is no object, and with
    /// [`Error::Mismatch`] for one of another kind.
    pub fn batch(&self, name: &str) -> Result<Batch> {
        self.get(name)?.try_into()
    }

    /// Returns the current table of a name; a batch is a table of one batch. Fails with [`Error::NotFound`] if there is no
    /// object, and with [`Error::Mismatch`] for one of another kind.
    pub fn table(&self, name: &str) -> Result<Table> {
        self.get(name)?.try_into()
    }

    /// Returns the current array of a name. Fails with [`Error::NotFound`] if there is no object, and with
    /// [`Error::Mismatch`] for one of another kind, element type or rank.
    pub fn array<T: ArrayElement, D: Dimension>(&self, name: &str) -> Result<Array<T, D>> {
        self.get(name)?.try_into()
    }

    /// Returns the current array under a name, whatever its element type and rank. Fails with [`Error::Mismatch`] for an
    /// object of another kind, and as [`Arena::get`] does.
    pub fn dyn_array(&self, name: &str) -> Result<DynArray> {
        self.get(name)?.try_into()
    }

    /// Returns the current bundle of a name. Fails with [`Error::NotFound`] if there is no object, and with
    /// [`Error::Mismatch`] for one of another kind.
    pub fn bundle(&self, name: &str) -> Result<Bundled> {
        self.get(name)?.try_into()
    }

    /// Waits until there is an object of this name whose version is above `newer_than` (0: any version), and returns it.
    /// Fails with [`Error::Interrupted`] if the interrupt hook ends the wait.
    pub fn wait_for(&self, name: &str, newer_than: u64) -> Result<Object> {
        self.wait_by(name, newer_than, Until::Forever)
    }

    /// Returns the object of that name if it is there now and its version is above `newer_than`, and `None` if not.
    pub fn try_wait_for(&self, name: &str, newer_than: u64) -> Result<Option<Object>> {
        in_time(self.wait_by(name, newer_than, Until::Now))
    }

    /// Waits as [`Arena::wait_for`] does. Fails with [`Error::TimedOut`] if no such object is there after `timeout`.
    pub fn wait_for_timeout(&self, name: &str, newer_than: u64, timeout: Duration) -> Result<Object> {
        self.wait_by(name, newer_than, Until::Within(timeout))
    }

    /// Waits as [`Arena::wait_for`] does. Fails with [`Error::TimedOut`] if no such object is there at `deadline`.
    pub fn wait_for_deadline(&self, name: &str, newer_than: u64, deadline: Instant) -> Result<Object> {
        self.wait_by(name, newer_than, Until::deadline(deadline))
    }

    fn wait_by(&self, name: &str, newer_than: u64, until: Until) -> Result<Object> {
        name::check(name)?;
        let until = until.started();
        let core = self.at.core()?;
        loop {
            let newer = || match Pin::named(&self.at, name)? {
                Some(pin) => Ok(Some(Object::pinned(pin, name)?).filter(|o| o.version() > newer_than)),
                None => Ok(None),
            };
            // A name that is there rings its own bell; until then any new name might be it.
            let found = core.lookup(name)?;
            let bell = found.map_or(header::NAME_BELL, |id| core.name_bell(id));
            let got = in_time(core.wait(bell, until.slice(), || {}, newer));
            if let Some(id) = found {
                core.unpin(id);
            }
            match got? {
                Some(object) => return Ok(object),
                None if until.is_over() => return Err(until.timed_out()),
                None => {}
            }
        }
    }

    /// What `open` finds under a name, as soon as it is there. What was there may have been removed since: then it is
    /// waited for again.
    pub(crate) fn when_named<T>(&self, name: &str, until: Until, open: impl Fn() -> Result<T>) -> Result<T> {
        let until = until.started();
        loop {
            self.wait_by(name, 0, until)?;
            match open() {
                Err(Error::NotFound { .. }) => {}
                other => return other,
            }
        }
    }

    /// Returns what each name stands for, by name: objects, channels, feeds and locks.
    pub fn names(&self) -> Result<Vec<Entry>> {
        entries(self.at.whole_core()?)
    }

    /// Waits until one of the arena's writers' permits is free, and returns a writer that holds it. The permit of a process
    /// that died comes back.
    pub fn writer(&self) -> Result<Writer> {
        self.permit(Until::Forever)
    }

    /// Returns a writer if one of the arena's writers' permits is free now, and `None` if not.
    pub fn try_writer(&self) -> Result<Option<Writer>> {
        in_time(self.permit(Until::Now))
    }

    /// Returns a writer as soon as one of the arena's writers' permits is free. Fails with [`Error::TimedOut`] if none is
    /// after `timeout`.
    pub fn writer_timeout(&self, timeout: Duration) -> Result<Writer> {
        self.permit(Until::Within(timeout))
    }

    /// A writer, if a permit becomes free before `deadline`.
    pub fn writer_deadline(&self, deadline: Instant) -> Result<Writer> {
        self.permit(Until::deadline(deadline))
    }

    fn permit(&self, until: Until) -> Result<Writer> {
        let core = self.at.core()?;
        let permit = core.lease(core.permits(), until)?;
        Ok(Writer::new(&self.at, permit))
    }

    /// Returns how many bytes the arena may use now.
    pub fn limit(&self) -> u64 {
        self.at.core().map_or(0, |core| core.limit())
    }

    /// Changes how many bytes the arena may use. A limit below what is in use frees nothing and stops growth. Fails with
    /// [`Error::Invalid`] for 0 bytes and for more than the capacity.
    pub fn set_limit(&self, bytes: u64) -> Result<()> {
        let core = self.at.core()?;
        let capacity = core.geo.params.capacity;
        if bytes == 0 || bytes > capacity {
            return Err(Error::invalid(format!(
                "the limit must be from 1 to the capacity, {capacity} bytes, not {bytes}"
            )));
        }
        core.env.store(header::LIMIT, bytes, Relaxed);
        Ok(())
    }

    /// Settles what dead participants left, and gives the memory of freed objects back to the system. Returns how many
    /// bytes of freed objects that were.
    pub fn trim(&self) -> Result<u64> {
        let core = self.at.whole_core()?;
        core.sweep()?;
        core.return_stash();
        Ok(core.trim(u64::MAX))
    }

    /// Settles what dead participants left, and returns what that was. Every participant does so when it joins, waits or runs
    /// out of memory, so that this call is for those who do not want to wait for that.
    pub fn recover(&self) -> Result<Recovered> {
        self.at.whole_core()?.sweep()
    }

    /// Checks every rule of the arena, and returns those that do not hold. An empty list means that the arena is sound.
    pub fn verify(&self) -> Result<Vec<Violation>> {
        self.at.whole_core()?.verify()
    }

    /// Returns how many bytes, objects and participants the arena has.
    pub fn stats(&self) -> Result<Stats> {
        stats(self.at.whole_core()?)
    }

    /// Returns the arena's channels and feeds, by name, with who is at their ends.
    pub fn channels(&self) -> Result<Vec<ChannelInfo>> {
        channels(self.at.whole_core()?)
    }

    /// Returns the processes that take part in the arena, with what each keeps in memory, holds and waits for.
    pub fn who(&self) -> Result<Vec<Holder>> {
        holders(self.at.whole_core()?)
    }
}
