//! Bytes: slices of pinned objects, slices of drafts, and the one copy in.
//!
//! This is where offsets become Rust references, so this file states why they may.
//!
//! * M1: a `&[u8]` is lent only from the read-only mapping of an object that a [`Pin`] keeps. A published
//!   object's bytes never change, and it is not freed while it is pinned.
//! * M2: a `&mut [u8]` is lent only from the writers' mapping of an object that is a draft of ours, by its
//!   [`Sheet`], which exists once. Nobody reads a draft.
//! * M3: publishing consumes the sheet; so no `&mut` outlives the draft.
//! * M5: rows of a mutable array are lent as `&mut [u8]` to who has the write leases of their partitions, as
//!   `&[u8]` to who has leases, by a [`Stretch`] inside the guard that has them. A frozen array is as published.
//! * M6: a private map shows the pages of a pinned object, copy-on-write (`private.rs`).
//! * M7: bytes that a [`Sheet`] or [`Stretch`] would lend can be mapped once more instead (`shared_map.rs`).
//!
//! Other participants keep M1 and M2 as well: who can write the segment is trusted to run this code (see
//! "Trust" in ARCHITECTURE.md); hostile *lengths and offsets* are checked where they are read.
#![allow(unsafe_code, reason = "lends out slices of the mappings")]
#![allow(clippy::disallowed_methods, reason = "the one file that makes slices of shared bytes")]

use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use memmap2::MmapMut;

use crate::core::geometry::{self, Set, meta};
use crate::core::ring::Outcome;
use crate::core::seat::Core;
use crate::core::segment::{Posix, RawBytes};
use crate::core::tables::{Kind, PartEntry, Tables};
use crate::core::word::Id;
use crate::core::zone::Draft;
use crate::error::{Error, Result};
use crate::value::check::{Known, Values};
use crate::value::copying::{Copying, Filler, Sums, sum_of};
use crate::value::extent::{Addresses, Extent, Located};
use crate::value::found::Number;
use crate::value::info::ArrayInfo;
use crate::value::parts::list_bytes;
use crate::value::shared_map::SharedMap;
use crate::value::unchecked::{Ground, Keeper, Lent};

/// This process's attachment to an arena: left when the last handle, pin and draft are gone.
pub struct Attachment {
    /// Reached through [`Attachment::core`] only.
    core: Core<Posix>,
    /// The arena's name.
    pub name: String,
    /// Whose values the batches are.
    pub values: Values,
    /// The batches whose values were checked.
    pub known: Known,
    /// What threads know it by.
    pub number: Number,
}

/// Its name only: everything that is open has it, and the whole geometry would be 100 KB.
impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Attachment").field(&self.name).finish()
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if let Ok(core) = self.core() {
            core.depart();
        }
    }
}

impl Attachment {
    /// An attachment whose seat was taken already.
    pub fn new(core: Core<Posix>, name: &str, values: Values) -> Attachment {
        Attachment { core, name: name.into(), values, known: Known::default(), number: Number::new() }
    }

    /// The core, to the process that took the seat. A forked child does not have the control region and gets
    /// [`Error::Forked`]: this is the one place above the core that asks, and the only way to it.
    #[inline]
    pub fn core(&self) -> Result<&Core<Posix>> {
        self.core.env.check_fork()?;
        Ok(&self.core)
    }

    /// The core, after a look at the file's size: for whatever asks the system anyway.
    pub fn whole_core(&self) -> Result<&Core<Posix>> {
        let core = self.core()?;
        core.check_size()?;
        Ok(core)
    }

    /// The arena's words for one more participant: for a forked child too, which cannot use those that it inherited.
    pub fn tables_again(&self) -> Result<Tables<Posix>> {
        let geo = self.core.geo.clone();
        Ok(Tables::new(self.core.env.again(&geo)?, geo))
    }

    /// Runs `f`; when memory runs out, makes room and tries again, as [`Core::with_room`] does.
    pub fn with_room<T>(&self, f: impl FnMut() -> Result<T>) -> Result<T> {
        self.core()?.with_room(f)
    }

    /// The arena's file.
    pub fn path(&self) -> &Path {
        self.core.env.path()
    }

    /// Whether objects have checksums.
    pub fn has_sums(&self) -> bool {
        self.core.geo.params.sums == geometry::Sums::Kept
    }

    /// Where the data region is mapped for reading.
    #[inline]
    pub fn addresses(&self) -> Addresses {
        let (data, len) = self.core.env.data();
        Addresses { start: data.addr(), len: len as usize }
    }

    /// Where bytes lie, if that is inside one object of this arena that a batch may have its buffers in. Nobody
    /// has such bytes without the pin that they were lent from (M1), so the object is kept for as long as they
    /// are borrowed.
    pub fn find(&self, bytes: &[u8]) -> Option<Located> {
        let offset = self.addresses().offset_of(bytes)?;
        // Nothing at all may lie anywhere, also where no object ever was: whose record must not be read.
        if bytes.is_empty() {
            return None;
        }
        self.find_at(Extent { offset, len: bytes.len() as u64 })
    }

    fn find_at(&self, Extent { offset, len }: Extent) -> Option<Located> {
        let core = self.core().ok()?;
        let id = core.geo.locate(core.geo.data + offset)?;
        let (zone, slot) = core.slot(id);
        let end = zone.offset(slot) - core.geo.data + core.meta(id, meta::LEN).min(zone.size());
        // Roots have small columns only. To keep one is to keep all its parts.
        let apart = matches!(core.kind(id), Ok(Kind::Column | Kind::Array | Kind::Bytes));
        (apart && offset + len <= end).then_some(Located { object: id, offset })
    }

    /// Whether both are attachments to one arena, so that ids mean the same to both.
    pub fn is_same_arena(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        Arc::ptr_eq(self, other) || self.core.env.is_same(&other.core.env)
    }
}

/// Keeps an object, and the parts that live because of it, from being reclaimed.
///
/// * M8: while an object is leased to us, the lease keeps it, and its pin need not be counted. Who ends the lease calls
///   [`Pin::before_lease_ends`] first, which counts the pin if others have it by then.
#[derive(Debug)]
pub struct Pin {
    at: Arc<Attachment>,
    id: Id,
    /// Whether our row has it.
    counted: AtomicBool,
}

impl Drop for Pin {
    fn drop(&mut self) {
        if *self.counted.get_mut()
            && let Ok(core) = self.at.core()
        {
            core.unpin(self.id);
        }
    }
}

impl Pin {
    /// Pins the current object of a name. `None`: there is none.
    #[inline]
    pub fn named(at: &Arc<Attachment>, name: &str) -> Result<Option<Pin>> {
        let id = at.core()?.pin_named(name)?;
        Ok(id.map(|id| Pin::taken(at, id)))
    }

    /// Pins the current object of a name, or publishes what `make` drafts if there is none.
    pub fn named_or_made(
        at: &Arc<Attachment>,
        name: &str,
        make: impl Fn(&Core<Posix>) -> Result<Draft>,
    ) -> Result<Pin> {
        let core = at.core()?;
        loop {
            if let Some(pin) = Pin::named(at, name)? {
                return Ok(pin);
            }
            let made = at.with_room(|| {
                let draft = make(core)?;
                core.publish(name, draft, Some(0)).inspect_err(|_| core.drop_draft(draft))
            });
            match made {
                // Somebody may have made it meanwhile, or removed ours by now.
                Ok(_) | Err(Error::Conflict { .. }) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Pins what the place of an object that is pinned names. `None`: nothing.
    pub fn in_place(at: &Arc<Attachment>, container: Id) -> Result<Option<Pin>> {
        let core = at.core()?;
        let pinned = core.pin(core.geo.meta(container, meta::PLACE))?;
        Ok(pinned.map(|(id, _)| Pin::taken(at, id)))
    }

    /// Pins an object that was met by its id. `None`: nobody keeps it.
    pub fn kept(at: &Arc<Attachment>, id: Id) -> Result<Option<Pin>> {
        let core = at.core()?;
        let pinned = at.with_room(|| core.pin_kept(id))?;
        Ok(pinned.then(|| Pin::taken(at, id)))
    }

    /// A pin that was raised already.
    #[inline]
    pub fn taken(at: &Arc<Attachment>, id: Id) -> Pin {
        Pin { at: at.clone(), id, counted: AtomicBool::new(true) }
    }

    /// M8: the pin of an object that is leased to us. After this, counting it cannot fail.
    pub fn leased(at: &Arc<Attachment>, id: Id) -> Result<Pin> {
        let core = at.core()?;
        let page = core.geo.row_page(id);
        if !core.has_own_row_page(page) {
            at.with_room(|| core.ensure_row_page(page))?;
        }
        Ok(Pin { at: at.clone(), id, counted: AtomicBool::new(false) })
    }

    /// M8: what was read of a leased object outlives the lease, which ends next; the caller has the only way to the lease.
    #[inline]
    pub fn before_lease_ends(self: &Arc<Pin>) {
        // Nobody else can make one of ours. Who had another, and dropped it, has read what it wanted before.
        let is_shared = Arc::strong_count(self) > 1;
        fence(Ordering::Acquire);
        if is_shared == self.counted.load(Ordering::Relaxed) {
            return;
        }
        self.counted.store(is_shared, Ordering::Relaxed);
        if let Ok(core) = self.at.core() {
            if is_shared { core.count_pin(self.id) } else { core.unpin(self.id) }
        }
    }

    pub fn attachment(&self) -> &Arc<Attachment> {
        &self.at
    }

    #[inline]
    pub fn id(&self) -> Id {
        self.id
    }

    /// A part of the pinned object, or of one of its parts, by its entry; owned or held.
    #[inline]
    pub fn part(&self, parent: Id, index: u64) -> Result<Id> {
        let core = self.at.core()?;
        let entries = core.part_count(parent);
        if index >= entries {
            return Err(Error::damaged(format!("{parent} has {entries} parts, not {}", index + 1)));
        }
        core.object(core.part_entry(parent, index).part())
    }

    /// Where the bytes of the pinned object or of a part of it lie in the data region.
    #[inline]
    pub fn extent(&self, id: Id) -> Result<Extent> {
        extent_of(self.at.core()?, id)
    }

    /// Where each part of the pinned object lies in the data region.
    pub fn part_extents(&self, parent: Id) -> Result<Vec<Extent>> {
        let core = self.at.core()?;
        let extent = |index| extent_of(core, core.object(core.part_entry(parent, index).part())?);
        (0..core.part_count(parent)).map(extent).collect()
    }

    /// The bytes of the pinned object or of a part of it.
    #[inline]
    pub fn bytes(&self, id: Id) -> Result<&[u8]> {
        let core = self.at.core()?;
        Ok(self.bytes_in(core, extent_of(core, id)?))
    }

    /// The payload behind the list of parts of the pinned object or of a part of it, and where that lies in the data region.
    #[inline]
    pub fn body(&self, id: Id) -> Result<(Extent, &[u8])> {
        let core = self.at.core()?;
        let whole = extent_of(core, id)?;
        let Some(body) = whole.behind(list_bytes(core.part_count(id))) else {
            return Err(Error::damaged(format!("{id} has more parts than bytes")));
        };
        Ok((body, self.bytes_in(core, body)))
    }

    /// The bytes of an extent that [`extent_of`] returned, or of a part of one.
    #[inline]
    fn bytes_in(&self, core: &Core<Posix>, Extent { offset, len }: Extent) -> &[u8] {
        let (data, _) = core.env.data();
        // SAFETY: the extent is inside its object's slot, so inside the data mapping, which lives as long as `self.at`;
        // M1: nobody writes these bytes while the slice is used.
        unsafe { std::slice::from_raw_parts(data.wrapping_add(offset as usize), len as usize) }
    }

    /// `len` bytes from `from` on of the pinned object or of a part of it: of a mutable array, some that
    /// nobody else writes.
    fn bytes_at(&self, core: &Core<Posix>, id: Id, from: u64, len: u64) -> Result<&[u8]> {
        let (zone, slot) = core.slot(id);
        let size = zone.size();
        if zone.set != Set::Payload || from.checked_add(len).is_none_or(|end| end > size) {
            return Err(Error::damaged(format!("{id} has {size} bytes, not {len} from {from} on")));
        }
        let (data, _) = core.env.data();
        let at = data.wrapping_add((zone.offset(slot) - core.geo.data + from) as usize);
        // SAFETY: `from .. from + len` is inside the slot, so inside the data mapping, which lives as long
        // as `self.at`; M1, M5: nobody writes these bytes while the slice is used.
        Ok(unsafe { std::slice::from_raw_parts(at, len as usize) })
    }

    /// What the header of a mutable array's elements says; the elements, which may change, are not looked at.
    pub fn array_info(&self, part: Id) -> Result<ArrayInfo> {
        let core = self.at.core()?;
        let head = ArrayInfo::head_bytes(self.bytes_at(core, part, 0, ArrayInfo::LEAST_HEAD)?);
        ArrayInfo::parse_head(self.bytes_at(core, part, 0, head)?, self.nbytes(part)?)
    }

    /// Bytes of the pinned object or of a part of it.
    pub fn nbytes(&self, id: Id) -> Result<u64> {
        let core = self.at.core()?;
        Ok(core.len(id))
    }

    /// The checksum that the pinned object or a part of it has, and the one that it should have. `None`: it has none.
    pub fn sums(&self, id: Id) -> Result<Option<[u64; 2]>> {
        let core = self.at.core()?;
        let Some(stored) = core.sum(id) else { return Ok(None) };
        let front = list_bytes(core.part_count(id)) as usize;
        Ok(Some([stored, sum_of(self.bytes(id)?, front)]))
    }

    /// The bytes of the pinned object or of a part of it, with the pin that keeps them.
    #[inline]
    pub fn lend(self: &Arc<Pin>, id: Id) -> Result<Lent> {
        let bytes = NonNull::from(self.bytes(id)?);
        // SAFETY: M1: they are as they are while the pin lives, which is the keeper.
        Ok(unsafe { Lent::new(bytes, self.clone()) })
    }

    /// The data region, with the pin that keeps what buffers and columns are made of. They are to be made of bytes inside the pinned
    /// object's extents only; [`crate::value::batch`] checks that for every buffer.
    #[inline]
    pub fn ground(self: &Arc<Pin>) -> Ground {
        let (data, len) = self.at.core.env.data();
        let data = NonNull::new(data.cast_mut()).expect("a mapping");
        let bytes = NonNull::slice_from_raw_parts(data, len as usize);
        // SAFETY: the mapping covers `len` bytes and lives as long as the pin; M1: nobody writes bytes inside the extents.
        unsafe { Ground::new(bytes, self.clone()) }
    }
}

impl Keeper for Pin {
    fn map_private(&self, bytes: &[u8]) -> Result<MmapMut> {
        let core = self.at.core()?;
        let Some(offset) = self.at.addresses().offset_of(bytes) else {
            return Err(Error::damaged(format!("{} bytes to be mapped lie outside of the arena", bytes.len())));
        };
        // SAFETY: M6: the bytes are a pinned object's, and whoever has the map keeps this pin.
        unsafe { core.env.map_private(core.geo.data + offset, bytes.len()) }
    }
}

/// Where an object's bytes lie in the data region, checked against its slot.
#[inline]
fn extent_of(core: &Core<Posix>, id: Id) -> Result<Extent> {
    let (zone, slot) = core.slot(id);
    let len = core.meta(id, meta::LEN);
    if zone.set != Set::Payload || len > zone.size() {
        return Err(too_long(id, len, zone.size()));
    }
    Ok(Extent { offset: zone.offset(slot) - core.geo.data, len })
}

fn too_long(id: Id, len: u64, size: u64) -> Error {
    Error::damaged(format!("{id} says it has {len} bytes, its slot {size}"))
}

/// A draft with its memory: ours alone until it is published or dropped.
#[derive(Debug)]
pub struct Sheet {
    at: Arc<Attachment>,
    draft: Option<Draft>,
    /// Offset of its slot in the data region, and how many bytes there are the draft's.
    from: u64,
    len: usize,
    parts: u64,
    /// Where objects have checksums: what is known of this one's.
    sums: Option<Arc<Sums>>,
    sealed: bool,
}

impl Drop for Sheet {
    fn drop(&mut self) {
        if let Some(draft) = self.draft.take()
            && let Ok(core) = self.at.core()
        {
            core.drop_draft(draft);
        }
    }
}

impl Sheet {
    /// A draft of `len` bytes, its pages in memory, its contents arbitrary.
    pub fn new(at: &Arc<Attachment>, kind: Kind, len: u64) -> Result<Sheet> {
        let core = at.core()?;
        core.env.map_for_writing()?;
        let draft = core.alloc(kind, len)?;
        let from = core.payload(draft.id) - core.geo.data;
        let len = len as usize;
        let sums = at.has_sums().then(|| {
            let base = core.env.data_for_writing().expect("mapped above");
            Arc::new(Sums::new(base.wrapping_add(from as usize), len))
        });
        Ok(Sheet { at: at.clone(), draft: Some(draft), from, len, parts: 0, sums, sealed: false })
    }

    pub fn attachment(&self) -> &Arc<Attachment> {
        &self.at
    }

    fn draft(&self) -> Draft {
        self.draft.expect("a sheet has its draft until it is consumed")
    }

    /// Offset of the first byte in the data region.
    pub fn offset(&self) -> u64 {
        self.from
    }

    /// The draft's bytes, to be written in any way.
    pub fn bytes(&mut self) -> Result<&mut [u8]> {
        self.unseal();
        self.own_bytes()
    }

    /// The draft's bytes, and how others are copied into them, which are `of` bytes together.
    pub fn filling(&mut self, of: u64) -> Result<(&mut [u8], Filler)> {
        self.sealed = false;
        let filler = Filler { how: Copying::of(of), sums: self.sums.clone() };
        Ok((self.own_bytes()?, filler))
    }

    fn own_bytes(&mut self) -> Result<&mut [u8]> {
        let env = &self.at.core()?.env;
        assert!(self.draft.is_some(), "a sheet that was published has no bytes");
        let base = env.data_for_writing().expect("mapped when the sheet was made");
        let at = base.wrapping_add(self.from as usize);
        // SAFETY: `from .. from + len` is inside the slot (`alloc` chose it for `len` bytes), so inside the writers'
        // mapping, which lives as long as `self.at`; its pages are in memory (`alloc`). M2: the draft is ours (above),
        // and `&mut self` is the only way here.
        Ok(unsafe { std::slice::from_raw_parts_mut(at, self.len) })
    }

    /// Maps `len` of the draft's bytes from `from` on once more. As long as the map is shared, the draft must be neither
    /// published nor dropped, and [`Sheet::bytes`] not be read: [`crate::drafted::DraftMap`] sees to that.
    pub fn map(&mut self, from: usize, len: usize) -> Result<SharedMap> {
        assert!(from.checked_add(len).is_some_and(|end| end <= self.len), "a draft's own bytes");
        self.unseal();
        map_shared(&self.at, self.from + from as u64, len)
    }

    /// Stores the checksum of the bytes, which are as they will stay.
    fn seal(&mut self) -> Result<()> {
        let Some(sums) = self.sums.clone().filter(|_| !self.sealed) else { return Ok(()) };
        let front = list_bytes(self.parts) as usize;
        let sum = sums.seal(self.own_bytes()?, front);
        self.at.core()?.set_sum(self.draft(), sum);
        self.sealed = true;
        Ok(())
    }

    /// S1: somebody may write again.
    fn unseal(&mut self) {
        self.sealed = false;
        if let Some(sums) = &self.sums {
            sums.forget();
        }
    }

    /// Makes another draft a part of this one. Parts come before everything else in the payload.
    pub fn adopt(&mut self, mut part: Sheet) -> Result<()> {
        part.seal()?;
        self.at.core()?.adopt_part(self.draft(), self.parts, part.draft())?;
        self.parts += 1;
        part.draft = None;
        Ok(())
    }

    /// Offers the draft to `take`. It is taken if that is [`Outcome::Done`], and otherwise still is a draft.
    pub fn offer(&mut self, take: impl FnOnce(&Core<Posix>, Draft) -> Result<Outcome<()>>) -> Result<Outcome<()>> {
        self.seal()?;
        let outcome = take(self.at.core()?, self.draft())?;
        if outcome == Outcome::Done(()) {
            self.draft = None;
        }
        Ok(outcome)
    }

    /// Makes it a part of another draft of ours, which is no sheet.
    pub fn give_to(mut self, parent: Draft, index: u64) -> Result<()> {
        self.at.core()?.adopt_part(parent, index, self.draft())?;
        self.draft = None;
        Ok(())
    }

    /// Makes an object that is kept meanwhile a part of this one too, without taking it from anybody.
    pub fn hold(&mut self, part: Id) -> Result<()> {
        self.at.core()?.hold(self.draft(), self.parts, part)?;
        self.parts += 1;
        Ok(())
    }

    /// A draft that stands for an object that is kept meanwhile, and has no payload of its own.
    pub fn alias(at: &Arc<Attachment>, target: Id, kind: Kind) -> Result<Sheet> {
        let mut sheet = Sheet::new(at, Kind::Alias, size_of::<PartEntry>() as u64)?;
        at.core()?.set_alias_kind(sheet.draft().id, kind);
        sheet.hold(target)?;
        Ok(sheet)
    }

    /// What kind of object the draft becomes.
    pub fn kind(&self) -> Result<Kind> {
        self.at.core()?.seen_kind(self.draft().id)
    }

    /// What [`Sheet::set_rows`] set.
    pub fn rows(&self) -> u64 {
        self.at.core().map_or(0, |core| core.meta(self.draft().id, meta::ROWS))
    }

    /// Bytes of the draft and of its parts.
    pub fn nbytes(&self) -> u64 {
        self.at.core().map_or(0, |core| bytes_below(core, self.draft().id, 4))
    }

    pub fn set_rows(&self, rows: u64) {
        if let Ok(core) = self.at.core() {
            core.set_meta(self.draft().id, meta::ROWS, rows);
        }
    }

    /// Pins it, so that it stays when it is published, whatever becomes of its name.
    pub fn pinned(&self) -> Result<Pin> {
        let (core, id) = (self.at.core()?, self.draft().id);
        self.at.with_room(|| core.raise_pin(id))?;
        Ok(Pin::taken(&self.at, id))
    }

    /// Publishes it under a name; on error it still is a draft. Afterwards it has no memory any more.
    pub fn publish(&mut self, name: &str, expected: Option<u64>) -> Result<u64> {
        self.seal()?;
        let version = self.at.core()?.publish(name, self.draft(), expected)?;
        self.draft = None;
        Ok(version)
    }
}

/// Bytes of a mutable array's elements, lent to who has leases of their partitions.
#[derive(Debug)]
pub struct Stretch {
    pin: Arc<Pin>,
    part: Id,
    from: u64,
    len: u64,
}

impl Stretch {
    /// `from..from + len` of a part of the pinned object. Whoever has it must have the leases (M5).
    pub fn new(pin: &Arc<Pin>, part: Id, from: u64, len: u64) -> Result<Stretch> {
        let have = pin.nbytes(part)?;
        match from.checked_add(len) {
            Some(end) if end <= have => Ok(Stretch { pin: pin.clone(), part, from, len }),
            _ => Err(Error::damaged(format!("{part} has {have} bytes, not {len} from {from} on"))),
        }
    }

    /// Makes [`Stretch::bytes_mut`] possible.
    pub fn map_for_writing(&self) -> Result<()> {
        self.pin.at.core()?.env.map_for_writing()
    }

    pub fn bytes(&self) -> Result<&[u8]> {
        self.pin.bytes_at(self.pin.at.core()?, self.part, self.from, self.len)
    }

    /// What keeps the bytes where they are.
    pub fn keeper(&self) -> Arc<dyn Keeper> {
        self.pin.clone()
    }

    /// The arena's file.
    pub fn path(&self) -> &Path {
        self.pin.at.path()
    }

    /// Maps the bytes once more, for who has the write leases. As long as the map is shared, they must not be given back.
    pub fn map(&mut self) -> Result<SharedMap> {
        let core = self.pin.at.core()?;
        let (zone, slot) = core.slot(self.part);
        map_shared(&self.pin.at, zone.offset(slot) - core.geo.data + self.from, self.len as usize)
    }

    /// Maps the bytes once more, for reads and writes through raw pointers. `None`: there are no bytes.
    pub fn map_raw(&self) -> Result<Option<RawBytes>> {
        if self.len == 0 {
            return Ok(None);
        }
        let core = self.pin.at.core()?;
        let (zone, slot) = core.slot(self.part);
        Ok(Some(core.env.map_raw(zone.offset(slot) + self.from, self.len as usize)?))
    }

    pub fn bytes_mut(&mut self) -> Result<&mut [u8]> {
        let core = self.pin.at.core()?;
        let (zone, slot) = core.slot(self.part);
        let base = core.env.data_for_writing().expect("mapped by `map_for_writing`");
        let at = base.wrapping_add((zone.offset(slot) - core.geo.data + self.from) as usize);
        // SAFETY: `from .. from + len` is inside the slot (`new`), so inside the writers' mapping, which lives as
        // long as the pin; its pages are in memory (`alloc`). M5: nobody else has these bytes, and `&mut self`
        // is the only way to them here.
        Ok(unsafe { std::slice::from_raw_parts_mut(at, self.len as usize) })
    }
}

/// Maps bytes of the data region once more, which their sheet or stretch alone may write and read.
fn map_shared(at: &Attachment, offset: u64, len: usize) -> Result<SharedMap> {
    let core = at.core()?;
    if len == 0 {
        return Ok(SharedMap::new(None));
    }
    // SAFETY: G2: the bytes lie in the file for ever; their pages are in memory (`alloc`). M2, M5: they are the caller's alone.
    let twin = unsafe { core.env.map_again(core.geo.data + offset, len) }?;
    Ok(SharedMap::new(Some(twin)))
}

/// Bytes of an object or draft and of its parts, so many levels down.
pub fn bytes_below(core: &Core<Posix>, id: Id, depth: u32) -> u64 {
    let own = core.len(id);
    if depth == 0 {
        return own;
    }
    let parts = (0..core.part_count(id)).filter_map(|i| core.object(core.part_entry(id, i).part()).ok());
    // Damage may count a part any number of times.
    parts.fold(own, |sum, part| sum.saturating_add(bytes_below(core, part, depth - 1)))
}
