//! What channels and feeds have in common: an end that is open in this process, waiting there, and the schema.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arrow_schema::{Schema, SchemaRef};

use crate::core::geometry::meta;
use crate::core::ring::{End, Ring};
use crate::core::seat::Core;
use crate::core::segment::Posix;
use crate::core::sys::Sys;
use crate::core::tables::Kind;
use crate::core::wait::SLICE;
use crate::core::word::Id;
use crate::core::zone::Draft;
use crate::error::{Error, Result};
use crate::reader::{Object, Table};
use crate::value::schema::empty_batch;
use crate::value::view::{Attachment, Pin, Sheet};
use crate::writer::{Value, Writer};

/// What is left of a wait; `None`: it has no end.
pub(crate) fn time_left(until: Option<Instant>) -> Option<Duration> {
    until.map(|until| until.saturating_duration_since(Instant::now()))
}

/// Which batches a channel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Batches and tables have the schema of the first one that was sent; another is [`Error::Mismatch`].
    OneSchema,
    /// Whatever is sent.
    Mixed,
}

/// A channel or feed, open in this process at one of its ends.
#[derive(Debug)]
pub(crate) struct Port {
    pub pin: Arc<Pin>,
    pub ring: Ring,
    pub end: End,
    pub name: Arc<str>,
    schema: OnceLock<SchemaRef>,
    /// How often somebody here has looked for deaths.
    looks: AtomicU64,
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Ok(core) = self.core() {
            core.leave_end(self.ring, self.end);
        }
    }
}

impl Port {
    /// Opens a channel or feed, or makes it with `draft` if there is none. `form`: its capacity, and whether it is
    /// mixed.
    pub fn open_or_make(
        at: &Arc<Attachment>,
        name: &str,
        kind: Kind,
        end: End,
        form: (u64, bool),
        draft: impl Fn(&Core<Posix>) -> Result<Draft>,
    ) -> Result<Port> {
        let port = Port::new(Pin::named_or_made(at, name, draft)?, kind, end, name)?;
        let found = (port.ring.capacity(), port.core()?.is_mixed(port.ring));
        if found != form {
            let says = |(capacity, mixed)| {
                format!("a {kind} for {capacity} items of {}", if mixed { "any kind" } else { "one schema" })
            };
            return Err(Error::Mismatch { name: name.into(), expected: says(form), found: says(found) });
        }
        Ok(port)
    }

    /// Fails if the object is of another kind.
    pub fn new(pin: Pin, expected: Kind, end: End, name: &str) -> Result<Port> {
        let core = pin.attachment().core()?;
        let kind = core.kind(pin.id())?;
        if kind != expected {
            let (expected, found) = (expected.to_string(), kind.to_string());
            return Err(Error::Mismatch { name: name.into(), expected, found });
        }
        let ring = core.ring_of(pin.id())?;
        core.join(ring, end);
        let looks = AtomicU64::new(0);
        Ok(Port { ring, pin: Arc::new(pin), end, name: name.into(), schema: OnceLock::new(), looks })
    }

    pub fn at(&self) -> &Arc<Attachment> {
        self.pin.attachment()
    }

    /// [`Attachment::core`].
    #[inline]
    pub fn core(&self) -> Result<&Core<Posix>> {
        self.at().core()
    }

    /// Waits at this end until `attempt` yields something, and looks for deaths meanwhile.
    pub fn wait<T>(&self, timeout: Option<Duration>, attempt: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
        let core = self.core()?;
        // Room is made by receivers alone; an item may come from a sender, or back from a receiver.
        let ends: &[End] = if self.end == End::Send { &[End::Receive] } else { &[End::Send, End::Receive] };
        let look = || {
            let looks = self.looks.fetch_add(1, Relaxed) + 1;
            let present = || ends.iter().flat_map(|end| core.present(self.ring, *end)).collect();
            // What somebody buried may not be settled: he may be stopped in the middle of that, or dead too.
            let buried = || ends.iter().any(|end| core.is_somebody_buried(self.ring, *end));
            if buried() || !core.gone_among(present(), looks as usize).is_empty() {
                // A failure here only means that this waiter did not help.
                let _ = core.recover(false);
            }
        };
        core.wait(self.ring.bell(self.end), timeout, look, attempt)
    }

    /// `Some(true)`: closed. `Some(false)`: nobody is there any more who receives.
    pub fn ended(&self) -> Option<bool> {
        let core = self.core().ok()?;
        let closed = core.is_closed(self.ring) || core.has_ended(self.ring);
        (closed || core.is_deserted(self.ring, End::Receive)).then_some(closed)
    }

    /// Makes an item of a value, waiting for memory while somebody may give some back; and the value, unless that
    /// is used up. (What has drafts in it does not wait: they keep memory meanwhile.)
    pub fn build<'a>(
        &self,
        writer: &Writer,
        value: Value<'a>,
        until: Option<Instant>,
    ) -> (Result<Sheet>, Option<Value<'a>>) {
        match value.gathered() {
            Ok(value) if value.is_used_up() => (writer.build(value), None),
            Ok(value) => (self.build_borrowed(writer, &value, until), Some(value)),
            Err(e) => (Err(e), None),
        }
    }

    /// Keeps nothing of a value while it waits for memory: who has built some parts, and waits for room for the next, may
    /// wait for another who does the same.
    fn build_borrowed(&self, writer: &Writer, value: &Value<'_>, until: Option<Instant>) -> Result<Sheet> {
        // Most find room at once.
        let mut built = writer.build_borrowed(value);
        let Err(Error::NoSpace { .. }) = built else { return built };
        let core = self.core()?;
        let bytes = writer.bytes_of(value)?;
        self.may_fit(bytes)?;
        let bell = self.ring.bell(End::Send);
        let mut made_room = Instant::now();
        loop {
            let asked = match built {
                Err(Error::NoSpace { asked, .. }) => asked,
                done => return done,
            };
            let left = time_left(until).map_or(SLICE, |left| left.min(SLICE));
            if left.is_zero() || self.ended().is_some() {
                return built;
            }
            // Until it is rung: an item that was acknowledged may have made room.
            let before = core.times_rung(bell);
            self.wait(Some(left), || Ok((core.times_rung(bell) != before).then_some(())))?;
            // About once a second more is done for it, and what is free is counted.
            built = if made_room.elapsed() >= Duration::from_secs(1) {
                made_room = Instant::now();
                writer.build_borrowed(value)
            } else if core.free_bytes() < bytes {
                built
            } else {
                core.trim(asked.max(bytes));
                writer.build_once(value)
            };
        }
    }

    /// Refuses at once what there could never be room for, instead of waiting for it.
    fn may_fit(&self, bytes: u64) -> Result<()> {
        let core = self.core()?;
        // What a feed holds stays until this is appended.
        let stays = core.records_bytes() + if self.ring.is_feed() { core.bytes_kept(self.ring) } else { 0 };
        let (_, file_system) = Sys::room(&core.env);
        if bytes.saturating_add(stays) > core.limit().min(file_system) {
            return Err(core.no_space(bytes));
        }
        Ok(())
    }

    /// An error for what has no schema.
    pub fn expect_one_schema(&self) -> Result<()> {
        if !self.core()?.is_mixed(self.ring) {
            return Ok(());
        }
        let (expected, found) = ("of one schema".into(), "of mixed contents".into());
        Err(Error::Mismatch { name: self.name.to_string(), expected, found })
    }

    /// The schema of its batches, if that is known.
    pub fn schema(&self) -> Result<Option<SchemaRef>> {
        if let Some(schema) = self.schema.get() {
            return Ok(Some(schema.clone()));
        }
        let Some(pin) = Pin::in_place(self.at(), self.ring.id)? else { return Ok(None) };
        let schema = Table::try_from(Object::pinned(pin, self.name.clone())?)?.schema();
        Ok(Some(self.schema.get_or_init(|| schema).clone()))
    }

    /// Its schema is this one, or becomes it; unless its contents are mixed. Waits for memory.
    pub fn check_schema(&self, writer: &Writer, schema: &SchemaRef, until: Option<Instant>) -> Result<()> {
        let core = self.core()?;
        if core.is_mixed(self.ring) {
            return Ok(());
        }
        loop {
            if let Some(known) = self.schema()? {
                let same = Arc::ptr_eq(&known, schema) || same_schema(&known, schema);
                return if same { Ok(()) } else { Err(self.wrong_schema(&known, schema)) };
            }
            let empty = empty_batch(schema)?;
            let mut sheet = self.build_borrowed(writer, &Value::Batch(&empty), until)?;
            sheet.put_in(self.ring.id)?;
            // Receivers may wait for just that.
            core.ring(self.ring.bell(End::Receive));
        }
    }

    fn wrong_schema(&self, known: &Schema, found: &Schema) -> Error {
        let name = format!("a batch for `{}`", self.name);
        Error::Mismatch { name, expected: format!("of schema {known}"), found: format!("of schema {found}") }
    }
}

fn same_schema(a: &Schema, b: &Schema) -> bool {
    a.fields() == b.fields() && a.metadata() == b.metadata()
}

impl Sheet {
    /// Puts it in the place of an object that has none yet. If somebody was faster, it is dropped.
    fn put_in(&mut self, container: Id) -> Result<()> {
        self.offer(|core, draft| {
            let place = core.place(core.geo.meta(container, meta::PLACE));
            let put = place.object().is_none() && core.put(draft, container, place)?;
            Ok((put, ()))
        })
    }
}
