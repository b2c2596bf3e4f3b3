//! What channels and feeds have in common: an end that is open in this process, waiting there, and the schema.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arrow_schema::{Schema, SchemaRef};
use smol_str::SmolStr;

use crate::arena::Arena;
use crate::core::cell::{End, MAX_CELLS, Ring};
use crate::core::geometry::meta;
use crate::core::ring::Outcome;
use crate::core::seat::Core;
use crate::core::segment::Posix;
use crate::core::sys::Sys;
use crate::core::tables::Kind;
use crate::core::wait::Until;
use crate::core::word::Id;
use crate::core::zone::Draft;
use crate::error::{Error, Result, in_time};
use crate::input::Value;
use crate::reader::{Object, Table};
use crate::value::schema::empty_batch;
use crate::value::view::{Attachment, Pin, Sheet};
use crate::writer::Writer;

/// Which values a channel or feed takes.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::channel::Contents;
/// # let name = format!("doc-contents-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let any = arena.writer()?.sender_with("any", 8, Contents::Mixed)?;
/// any.send(ndarray::arr1(&[1.0, 2.0]))?;
/// any.send("text")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Batches and tables of one schema, which is that of the first one; another schema is an [`Error::Mismatch`]. Values
    /// without a schema (arrays, bytes, bundles) are taken too.
    OneSchema,
    /// Any values, batches of different schemas among them.
    Mixed,
}

/// What an end of a channel or feed does when nobody is at the other end.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::RecvError;
/// use faretra::channel::WhenDeserted;
/// # let name = format!("doc-when-deserted-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let writer = arena.writer()?;
/// drop(writer.sender("jobs", 2)?);                          // the only sender leaves, and closes nothing
/// let mut receiver = arena.receiver("jobs")?;
/// assert!(matches!(receiver.recv(), Err(RecvError::Closed { clean: false })));
///
/// receiver.set_when_deserted(WhenDeserted::Block);
/// assert!(matches!(receiver.try_recv(), Err(RecvError::Empty)));
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenDeserted {
    /// Fails with `Closed { clean: false }`: nothing happens here before somebody comes to the other end.
    #[default]
    Fail,
    /// Waits until somebody comes to the other end and does what is waited for.
    Block,
}

/// What a channel or feed was made as, and what opening it again has to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortForm {
    /// `None`: a channel without a bound.
    pub(crate) capacity: Option<u64>,
    pub(crate) contents: Contents,
}

/// Why no more comes, as one end of a channel or feed sees the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Somebody closed it.
    Closed,
    /// Nobody is at the other end.
    Deserted,
}

impl Ended {
    pub(crate) fn is_clean(self) -> bool {
        self == Ended::Closed
    }
}

/// What an attempt came to; and a wait, which returns what its last attempt came to.
#[derive(Debug)]
pub(crate) enum Waited<T> {
    Came(T),
    Ended(Ended),
    /// Not yet; of a wait: not in time.
    NotYet,
    /// Of a wait: the interrupt hook ended it.
    Interrupted,
}

impl<T> From<Option<T>> for Waited<T> {
    fn from(came: Option<T>) -> Waited<T> {
        came.map_or(Waited::NotYet, Waited::Came)
    }
}

/// Why no item was made of a value.
#[derive(Debug)]
pub(crate) enum NotBuilt<'a> {
    /// There is no room for the value now; `ended`: and nobody will make any.
    NoSpace { value: Value<'a>, error: Box<Error>, ended: Option<Ended> },
    /// The interrupt hook ended the wait for memory.
    Interrupted(Value<'a>),
    /// The value cannot be an item here, or it was used up.
    Failed(Error),
}

impl From<Error> for NotBuilt<'_> {
    fn from(error: Error) -> Self {
        NotBuilt::Failed(error)
    }
}

/// A channel or feed, open in this process at one of its ends.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) pin: Arc<Pin>,
    pub(crate) ring: Ring,
    pub(crate) end: End,
    pub(crate) name: SmolStr,
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
    /// Opens a channel or feed, or makes it with `draft` if there is none.
    pub(crate) fn open_or_make(
        at: &Arc<Attachment>,
        name: &str,
        kind: Kind,
        form: PortForm,
        draft: impl Fn(&Core<Posix>) -> Result<Draft>,
    ) -> Result<Port> {
        crate::core::name::check(name)?;
        if let Some(capacity) = form.capacity
            && !(1..=MAX_CELLS).contains(&capacity)
        {
            return Err(Error::invalid(format!("a {kind} has room for 1 to {MAX_CELLS} items, not {capacity}")));
        }
        let port = Port::new(Pin::named_or_made(at, name, draft)?, kind, End::Send, name)?;
        let contents = if port.core()?.is_mixed(port.ring) { Contents::Mixed } else { Contents::OneSchema };
        let found = PortForm { capacity: port.capacity(), contents };
        if found != form {
            let says = |form: PortForm| {
                let items = if form.contents == Contents::Mixed { "any kind" } else { "one schema" };
                match form.capacity {
                    Some(capacity) => format!("a {kind} for {capacity} items of {items}"),
                    None => format!("a {kind} without a bound, for items of {items}"),
                }
            };
            return Err(Error::Mismatch { name: name.into(), expected: says(form), found: says(found) });
        }
        Ok(port)
    }

    /// Opens what a name stands for at one end. Fails if that is of another kind.
    pub(crate) fn named(arena: &Arena, name: &str, kind: Kind, end: End) -> Result<Port> {
        let pin = Pin::named(arena.attachment(), name)?.ok_or_else(|| arena.missing(name))?;
        Port::new(pin, kind, end, name)
    }

    fn new(pin: Pin, expected: Kind, end: End, name: &str) -> Result<Port> {
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

    /// This process at the other end of the channel or feed as well.
    pub(crate) fn other_end(&self) -> Result<Port> {
        let end = if self.end == End::Send { End::Receive } else { End::Send };
        self.core()?.join(self.ring, end);
        let schema = OnceLock::new();
        Ok(Port {
            pin: self.pin.clone(),
            ring: self.ring,
            end,
            name: self.name.clone(),
            schema,
            looks: AtomicU64::new(0),
        })
    }

    pub(crate) fn at(&self) -> &Arc<Attachment> {
        self.pin.attachment()
    }

    /// [`Attachment::core`].
    #[inline]
    pub(crate) fn core(&self) -> Result<&Core<Posix>> {
        self.at().core()
    }

    /// How many items there are; 0 in a forked child.
    pub(crate) fn len(&self) -> usize {
        self.core().map_or(0, |core| core.depth(self.ring) as usize)
    }

    /// How many items there is room for; `None`: as many as the arena has memory for.
    pub(crate) fn capacity(&self) -> Option<u64> {
        (!self.ring.is_chain()).then(|| self.ring.capacity())
    }

    /// Waits at this end until `attempt` comes to something, and looks for deaths meanwhile.
    pub(crate) fn wait<T>(&self, until: Until, mut attempt: impl FnMut() -> Result<Waited<T>>) -> Result<Waited<T>> {
        let core = self.core()?;
        let look = || self.look_for_deaths(core);
        // Those who poll see that nothing has come, time and again: no error is made of that.
        if until.is_now() {
            return match attempt() {
                Ok(Waited::NotYet) if core.is_time_to_look() => {
                    look();
                    attempt()
                }
                came => came,
            };
        }
        let something = || Ok(Some(attempt()?).filter(|came| !matches!(came, Waited::NotYet)));
        match core.wait(self.ring.bell(self.end), until, look, something) {
            Err(Error::Interrupted) => Ok(Waited::Interrupted),
            waited => Ok(in_time(waited)?.unwrap_or(Waited::NotYet)),
        }
    }

    /// Asks whether those died who could bring about what is waited for here.
    pub(crate) fn look_for_deaths(&self, core: &Core<Posix>) {
        // Room is made by receivers alone; an item may come from a sender, or back from a receiver.
        let ends: &[End] = if self.end == End::Send { &[End::Receive] } else { &[End::Send, End::Receive] };
        let looks = self.looks.fetch_add(1, Relaxed) + 1;
        let present = || ends.iter().flat_map(|end| core.present(self.ring, *end)).collect();
        // What somebody buried may not be settled: he may be stopped in the middle of that, or dead too.
        let buried = || ends.iter().any(|end| core.is_somebody_buried(self.ring, *end));
        if buried() || !core.gone_among(present(), looks as usize).is_empty() {
            // A failure here only means that this waiter did not help.
            let _ = core.recover();
        }
    }

    /// Waits until `put` has put an item in, or never will.
    pub(crate) fn wait_to_put(
        &self,
        until: Until,
        deserted: WhenDeserted,
        mut put: impl FnMut() -> Result<Outcome<()>>,
    ) -> Result<Waited<()>> {
        let core = self.core()?;
        // A feed needs nobody who reads it.
        let can_desert = deserted == WhenDeserted::Fail && !self.ring.is_feed();
        let is_deserted = || can_desert && core.is_deserted(self.ring, End::Receive);
        self.wait(until, || {
            let put = match put() {
                // A chain needs memory for cells, now and then, which receivers give back.
                Err(Error::NoSpace { asked, .. }) if self.ring.is_chain() => {
                    core.trim(asked);
                    Outcome::NotNow
                }
                put => put?,
            };
            Ok(match put {
                Outcome::Done(()) => Waited::Came(()),
                Outcome::Closed => Waited::Ended(Ended::Closed),
                Outcome::NotNow if is_deserted() => Waited::Ended(Ended::Deserted),
                Outcome::NotNow => Waited::NotYet,
            })
        })
    }

    /// Whether it was closed, or nobody is at the other end and that counts.
    pub(crate) fn ended(&self, deserted: WhenDeserted) -> Result<Option<Ended>> {
        let core = self.core()?;
        let other = if self.end == End::Send { End::Receive } else { End::Send };
        // First, as the last one may have closed it before it left.
        let deserted = deserted == WhenDeserted::Fail && core.is_deserted(self.ring, other);
        let closed = core.is_closed(self.ring) || core.has_ended(self.ring);
        Ok(if closed { Some(Ended::Closed) } else { deserted.then_some(Ended::Deserted) })
    }

    /// Makes an item of a value, and says its schema. Waits for memory while somebody may give some back, but not for a
    /// value that has drafts in it: they keep memory meanwhile.
    pub(crate) fn build<'a>(
        &self,
        writer: &Writer,
        value: Value<'a>,
        until: Until,
        deserted: WhenDeserted,
    ) -> Result<(Sheet, Option<SchemaRef>), NotBuilt<'a>> {
        let schema = value.schema()?;
        if let Some(schema) = &schema
            && let Err(e) = self.check_schema(writer, schema, until, deserted)
        {
            return Err(self.not_built(value, e, deserted));
        }
        if let Err(e) = self.make_room(until, deserted) {
            return Err(self.not_built(value, e, deserted));
        }
        let value = value.gathered()?;
        if value.is_used_up() {
            return Ok((writer.build(value)?, schema));
        }
        match self.build_borrowed(writer, &value, until, deserted) {
            Ok(sheet) => Ok((sheet, schema)),
            Err(e) => Err(self.not_built(value, e, deserted)),
        }
    }

    /// Waits for the memory that the next item's cell needs, with empty hands: an item that is built may keep what others
    /// wait for.
    fn make_room(&self, until: Until, deserted: WhenDeserted) -> Result<()> {
        if !self.ring.is_chain() {
            return Ok(());
        }
        let core = self.core()?;
        let bell = self.ring.bell(End::Send);
        let mut made = core.with_room(|| core.make_room(self.ring));
        loop {
            let asked = match made {
                Err(Error::NoSpace { asked, .. }) => asked,
                done => return done,
            };
            if until.is_over() || self.ended(deserted)?.is_some() {
                return made;
            }
            let before = core.times_rung(bell);
            let rung = self.wait(until.slice(), || Ok((core.times_rung(bell) != before).then_some(()).into()))?;
            if matches!(rung, Waited::Interrupted) {
                return Err(Error::Interrupted);
            }
            core.trim(asked);
            made = core.make_room(self.ring);
        }
    }

    /// Why a value was not built: memory is waited for as long as somebody may give some back.
    pub(crate) fn not_built<'a>(&self, value: Value<'a>, error: Error, deserted: WhenDeserted) -> NotBuilt<'a> {
        match (error, self.ended(deserted)) {
            (Error::Interrupted, _) => NotBuilt::Interrupted(value),
            (error @ Error::NoSpace { .. }, Ok(ended)) => NotBuilt::NoSpace { value, error: error.into(), ended },
            (error, _) => NotBuilt::Failed(error),
        }
    }

    /// Keeps nothing of a value while it waits for memory: who has built some parts, and waits for room for the next, may
    /// wait for another who does the same.
    fn build_borrowed(
        &self,
        writer: &Writer,
        value: &Value<'_>,
        until: Until,
        deserted: WhenDeserted,
    ) -> Result<Sheet> {
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
            if until.is_over() || self.ended(deserted)?.is_some() {
                return built;
            }
            // Until it is rung: an item that was acknowledged may have made room.
            let before = core.times_rung(bell);
            let rung = self.wait(until.slice(), || Ok((core.times_rung(bell) != before).then_some(()).into()))?;
            if matches!(rung, Waited::Interrupted) {
                return Err(Error::Interrupted);
            }
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
    pub(crate) fn may_fit(&self, bytes: u64) -> Result<()> {
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
    pub(crate) fn expect_one_schema(&self) -> Result<()> {
        if !self.core()?.is_mixed(self.ring) {
            return Ok(());
        }
        let (expected, found) = ("of one schema".into(), "of mixed contents".into());
        Err(Error::Mismatch { name: self.name.to_string(), expected, found })
    }

    /// The schema of its batches, if that is known.
    pub(crate) fn schema(&self) -> Result<Option<SchemaRef>> {
        if let Some(schema) = self.schema.get() {
            return Ok(Some(schema.clone()));
        }
        let Some(pin) = Pin::in_place(self.at(), self.ring.id)? else { return Ok(None) };
        let schema = Table::try_from(Object::pinned(pin, self.name.clone())?)?.schema();
        Ok(Some(self.schema.get_or_init(|| schema).clone()))
    }

    /// Waits until the schema of its batches is known, or never will be.
    pub(crate) fn wait_for_schema(&self, until: Until, deserted: WhenDeserted) -> Result<Waited<SchemaRef>> {
        self.wait(until, || {
            let ended = self.ended(deserted)?;
            // Looked at after that: the first batch may have come in between.
            Ok(match (self.schema()?, ended) {
                (Some(schema), _) => Waited::Came(schema),
                (None, Some(ended)) => Waited::Ended(ended),
                (None, None) => Waited::NotYet,
            })
        })
    }

    /// Its schema is this one, or becomes it; unless its contents are mixed. Waits for memory.
    pub(crate) fn check_schema(
        &self,
        writer: &Writer,
        schema: &SchemaRef,
        until: Until,
        deserted: WhenDeserted,
    ) -> Result<()> {
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
            let mut sheet = self.build_borrowed(writer, &Value::from(&empty), until, deserted)?;
            sheet.put_in(self.ring.id)?;
            // Receivers may wait for just that.
            core.ring_bell(self.ring.bell(End::Receive));
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
    /// Puts the draft in the place of an object that has none yet. It still is a draft if somebody was faster.
    fn put_in(&mut self, container: Id) -> Result<()> {
        self.offer(|core, draft| {
            let place = core.place(core.geo.meta(container, meta::PLACE));
            let put = place.object().is_none() && core.put(draft, container, place)?;
            Ok(if put { Outcome::Done(()) } else { Outcome::NotNow })
        })
        .map(drop)
    }
}
