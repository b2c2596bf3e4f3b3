//! Arrays that several processes write at once: divided along the first axis, one writer for each partition.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ndarray::{ArrayView, ArrayViewMut, Dimension};

use crate::arena::Arena;
use crate::core::geometry::meta;
use crate::core::lease::{Lease, Leases};
use crate::core::lock::{Form, PARTITION};
use crate::core::tables::Kind;
use crate::core::wait::Until;
use crate::core::word::Id;
use crate::error::{Error, Result, in_time};
use crate::held::{Held, Keeper};
use crate::sync::Handle;
use crate::value::array::Array;
use crate::value::element::Element;
use crate::value::info::{ArrayInfo, Order};
use crate::value::shared_map::SharedMap;
use crate::value::view::{Attachment, Pin, Sheet, Stretch};
use crate::writer::Writer;

/// The most partitions that a [`MutableArray`] can have.
pub const MAX_PARTITIONS: usize = 4096;

/// An n-dimensional array that several processes write.
///
/// The array is divided along its first axis into partitions. One process at a time writes a partition, or up to
/// 7 readers read it. Processes that use different partitions do not wait for each other. When everything is written,
/// [`MutableArray::freeze`] makes the array an ordinary immutable one, without a copy.
///
/// A process that dies while it writes leaves its partition half written. Whoever gets the partition next is told by
/// [`RowsMut::recovered`] or [`Rows::recovered`], until somebody calls [`RowsMut::mark_consistent`].
///
/// Rows are lent for as long as their guard lives. A process that asks for rows that it has already waits for itself: use
/// the timed forms where that may happen. A wait notices within 100 ms that a holder died.
///
/// ```
/// use faretra::{Arena, MIB, MutableArray};
/// use ndarray::Ix2;
/// # let name = format!("doc-mutable-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let grid: MutableArray<f64, Ix2> = arena.writer()?.mutable_array("grid", (100, 8), 4)?;  // all zero
///
/// let grid = arena.mutable_array::<f64, Ix2>("grid")?;        // in any process
/// let mut rows = grid.write(3)?;                              // rows 75..100
/// rows.view_mut()?.fill(1.0);
/// drop(rows);
/// assert_eq!(grid.read(3)?.view()?.sum(), 200.0);
///
/// assert_eq!(grid.freeze()?.sum(), 200.0);                    // from here on nobody can write it
/// assert_eq!(arena.array::<f64, Ix2>("grid")?.sum(), 200.0);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug)]
pub struct MutableArray<T: Element, D: Dimension> {
    handle: Handle,
    name: String,
    /// The object that has the elements.
    part: Id,
    info: ArrayInfo,
    leases: Leases,
    partitions: usize,
    types: PhantomData<(T, D)>,
}

impl<T: Element, D: Dimension> Clone for MutableArray<T, D> {
    fn clone(&self) -> Self {
        MutableArray {
            handle: self.handle.clone(),
            name: self.name.clone(),
            info: self.info.clone(),
            types: PhantomData,
            ..*self
        }
    }
}

fn form(partitions: usize) -> Form {
    let partitions = partitions as u64;
    Form { kind: Kind::MutableArray, leases: partitions * PARTITION, size: partitions, slots: 0 }
}

impl Writer {
    /// Publishes a new mutable array of zeros under `name` and returns it. Its elements lie in C order, in `partitions`
    /// partitions of nearly equal numbers of rows.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if something is published under `name`; [`Error::Invalid`] for an array without axes, and for 0
    /// partitions, more than the array has rows, or more than [`MAX_PARTITIONS`]; [`Error::NoSpace`].
    pub fn mutable_array<T: Element, D: Dimension>(
        &self,
        name: &str,
        shape: impl ndarray::IntoDimension<Dim = D>,
        partitions: usize,
    ) -> Result<MutableArray<T, D>> {
        crate::core::name::check(name)?;
        let shape = shape.into_dimension();
        let rows = shape.slice().first().copied();
        let Some(rows) = rows else {
            return Err(Error::invalid("an array without axes has nothing to divide: use a shared value"));
        };
        if partitions == 0 || partitions > MAX_PARTITIONS || partitions > rows.max(1) {
            return Err(Error::invalid(format!(
                "an array of {rows} rows has 1 to {} partitions, not {partitions}",
                rows.clamp(1, MAX_PARTITIONS)
            )));
        }
        let info = ArrayInfo::new(T::TYPE, shape.slice(), Order::C);
        let at = self.attachment();
        draft_mutable(at, name, &info, partitions)?;
        Arena::of(at).mutable_array(name)
    }
}

/// Publishes zeros that can be written, as an array of one part; without partitions they are [`crate::SharedBytes`].
pub(crate) fn draft_mutable(at: &Arc<Attachment>, name: &str, info: &ArrayInfo, partitions: usize) -> Result<()> {
    let bytes = info.object_bytes()?;
    let len = info.shape.iter().product::<usize>() as u64;
    let core = at.core()?;
    at.with_room(|| {
        let mut elements = Sheet::new(at, Kind::Array, bytes)?;
        elements.bytes()?.fill(0);
        info.write_header(elements.bytes()?)?;
        elements.set_rows(len);
        let root = core.draft_lock(form(partitions))?;
        let made = elements.give_to(root, 0).and_then(|()| {
            core.set_meta(root.id, meta::ROWS, len);
            core.publish(name, root, Some(0))
        });
        made.inspect_err(|_| core.drop_draft(root))
    })?;
    Ok(())
}

impl Arena {
    /// Returns the mutable array `name`, which somebody made with [`Writer::mutable_array`].
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is no object of that name; [`Error::Mismatch`] if the object is no mutable array (any
    /// more), or one of another element type or rank.
    pub fn mutable_array<T: Element, D: Dimension>(&self, name: &str) -> Result<MutableArray<T, D>> {
        let at = self.attachment();
        let pin = Pin::named(at, name)?.ok_or_else(|| self.missing(name))?;
        let core = at.core()?;
        let found = core.kind(pin.id())?;
        if found != Kind::MutableArray {
            let expected = Kind::MutableArray.to_string();
            return Err(Error::Mismatch { name: name.into(), expected, found: found.to_string() });
        }
        let leases = core.leases_of(pin.id())?;
        let leases = leases.ok_or_else(|| Error::damaged(format!("the mutable array `{name}` has no partitions")))?;
        let partitions = (leases.count / PARTITION) as usize;
        if partitions == 0 {
            let (expected, found) = (Kind::MutableArray.to_string(), "shared bytes".into());
            return Err(Error::Mismatch { name: name.into(), expected, found });
        }
        let says = |f: &Form| format!("a mutable array of {} partitions", f.size);
        core.check_form(pin.id(), name, &form(partitions), says)?;
        let part = pin.part(pin.id(), 0)?;
        let info = pin.array_info(part)?;
        info.dimension::<T, D>(name)?;
        if info.order != Order::C || info.shape.is_empty() {
            return Err(Error::damaged(format!("`{name}` cannot be divided: {info:?}, {partitions} partitions")));
        }
        let handle = Handle { pin: Arc::new(pin) };
        Ok(MutableArray { handle, name: name.into(), part, info, leases, partitions, types: PhantomData })
    }
}

impl<T: Element, D: Dimension> MutableArray<T, D> {
    /// Returns the length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.info.shape
    }

    /// Returns the number of partitions.
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// Returns the rows (indices of the first axis) that a partition has. The range is empty for a partition that does not
    /// exist.
    pub fn rows_of(&self, partition: usize) -> Range<usize> {
        let rows = self.info.shape.first().copied().unwrap_or(0) as u128;
        let edge = |i: usize| (rows * i.min(self.partitions) as u128 / self.partitions as u128) as usize;
        edge(partition)..edge(partition.saturating_add(1))
    }

    /// Returns whether the array is frozen: then it is an ordinary array, which nobody can write to.
    pub fn is_frozen(&self) -> Result<bool> {
        Ok(self.handle.core()?.is_frozen(self.handle.id()))
    }

    /// Waits until nobody else writes or reads a partition, and returns the right to write to it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no such partition, or the array is frozen.
    pub fn write(&self, partition: usize) -> Result<RowsMut<T, D>> {
        self.take_mut(self.one(partition)?, Until::Forever)
    }

    /// Returns the right to write to a partition, or `None` if somebody writes or reads that partition now.
    pub fn try_write(&self, partition: usize) -> Result<Option<RowsMut<T, D>>> {
        in_time(self.take_mut(self.one(partition)?, Until::Now))
    }

    /// Returns the right to write to a partition. Fails with [`Error::TimedOut`] if somebody still writes or reads that
    /// partition after `timeout`.
    pub fn write_timeout(&self, partition: usize, timeout: Duration) -> Result<RowsMut<T, D>> {
        self.take_mut(self.one(partition)?, Until::Within(timeout))
    }

    /// Returns the right to write to a partition. Fails with [`Error::TimedOut`] if somebody still writes or reads that
    /// partition at `deadline`.
    pub fn write_deadline(&self, partition: usize, deadline: Instant) -> Result<RowsMut<T, D>> {
        self.take_mut(self.one(partition)?, Until::deadline(deadline))
    }

    /// Waits until every partition is free, and returns the right to write to the whole array. Partitions are taken in their
    /// order, so that two processes which ask for all of them do not block each other.
    pub fn write_all(&self) -> Result<RowsMut<T, D>> {
        self.take_mut(0..self.partitions, Until::Forever)
    }

    /// Returns the right to write to the whole array, or `None` if somebody writes or reads any of it now.
    pub fn try_write_all(&self) -> Result<Option<RowsMut<T, D>>> {
        in_time(self.take_mut(0..self.partitions, Until::Now))
    }

    /// Returns the right to write to the whole array. Fails with [`Error::TimedOut`] if not every partition is free within
    /// `timeout`, which is for all of them together; then this call keeps none.
    pub fn write_all_timeout(&self, timeout: Duration) -> Result<RowsMut<T, D>> {
        self.take_mut(0..self.partitions, Until::Within(timeout))
    }

    /// Returns the right to write to the whole array. Fails with [`Error::TimedOut`] if not every partition was free before
    /// `deadline`; then this call keeps none.
    pub fn write_all_deadline(&self, deadline: Instant) -> Result<RowsMut<T, D>> {
        self.take_mut(0..self.partitions, Until::deadline(deadline))
    }

    /// Waits until nobody writes a partition and fewer than 7 read it, and returns the right to read it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no such partition.
    pub fn read(&self, partition: usize) -> Result<Rows<T, D>> {
        self.take(self.one(partition)?, Until::Forever)
    }

    /// Returns the right to read a partition, or `None` if somebody writes that partition now or 7 read it.
    pub fn try_read(&self, partition: usize) -> Result<Option<Rows<T, D>>> {
        in_time(self.take(self.one(partition)?, Until::Now))
    }

    /// Returns the right to read a partition. Fails with [`Error::TimedOut`] if somebody still writes that partition after
    /// `timeout`.
    pub fn read_timeout(&self, partition: usize, timeout: Duration) -> Result<Rows<T, D>> {
        self.take(self.one(partition)?, Until::Within(timeout))
    }

    /// Returns the right to read a partition. Fails with [`Error::TimedOut`] if somebody still writes that partition at
    /// `deadline`.
    pub fn read_deadline(&self, partition: usize, deadline: Instant) -> Result<Rows<T, D>> {
        self.take(self.one(partition)?, Until::deadline(deadline))
    }

    /// Waits until no partition is written, and returns the right to read the whole array: nobody writes any of it meanwhile.
    pub fn read_all(&self) -> Result<Rows<T, D>> {
        self.take(0..self.partitions, Until::Forever)
    }

    /// Returns the right to read the whole array, or `None` if somebody writes any of it now or 7 read some partition.
    pub fn try_read_all(&self) -> Result<Option<Rows<T, D>>> {
        in_time(self.take(0..self.partitions, Until::Now))
    }

    /// Returns the right to read the whole array. Fails with [`Error::TimedOut`] if some partition is still written after
    /// `timeout`, which is for all of them together.
    pub fn read_all_timeout(&self, timeout: Duration) -> Result<Rows<T, D>> {
        self.take(0..self.partitions, Until::Within(timeout))
    }

    /// Returns the right to read the whole array. Fails with [`Error::TimedOut`] if some partition is still written at
    /// `deadline`.
    pub fn read_all_deadline(&self, deadline: Instant) -> Result<Rows<T, D>> {
        self.take(0..self.partitions, Until::deadline(deadline))
    }

    /// Waits until nobody writes or reads the array, and makes it an ordinary immutable array, without a copy. From here on
    /// its name stands for that array, which [`Arena::array`] returns too. If the array is frozen already, returns it at
    /// once.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if a writer died in a partition and nobody has called [`RowsMut::mark_consistent`] since.
    pub fn freeze(&self) -> Result<Array<T, D>> {
        self.freeze_by(Until::Forever)
    }

    /// Freezes the array, as [`MutableArray::freeze`] does, and returns `None` if somebody writes or reads any of it now.
    pub fn try_freeze(&self) -> Result<Option<Array<T, D>>> {
        in_time(self.freeze_by(Until::Now))
    }

    /// Freezes the array, as [`MutableArray::freeze`] does. Fails with [`Error::TimedOut`] if not every partition is free
    /// within `timeout`; then the array can still be written.
    pub fn freeze_timeout(&self, timeout: Duration) -> Result<Array<T, D>> {
        self.freeze_by(Until::Within(timeout))
    }

    /// Freezes the array, as [`MutableArray::freeze`] does. Fails with [`Error::TimedOut`] if not every partition was free
    /// before `deadline`; then the array can still be written.
    pub fn freeze_deadline(&self, deadline: Instant) -> Result<Array<T, D>> {
        self.freeze_by(Until::deadline(deadline))
    }

    fn freeze_by(&self, until: Until) -> Result<Array<T, D>> {
        if !self.is_frozen()? {
            match self.take_mut(0..self.partitions, until) {
                Ok(all) => {
                    if let Some(broken) = all.held.iter().position(|held| !held.is_consistent()) {
                        return Err(Error::invalid(format!(
                            "partition {broken} of `{}` was left half written: write it, and mark it consistent",
                            self.name
                        )));
                    }
                    self.handle.core()?.set_frozen(self.handle.id());
                }
                // Somebody else froze it meanwhile.
                Err(_) if self.is_frozen()? => {}
                Err(e) => return Err(e),
            }
        }
        let pin = &self.handle.pin;
        Array::from_lent(&self.name, pin.lend(self.part)?)
    }

    fn one(&self, partition: usize) -> Result<Range<usize>> {
        if partition < self.partitions {
            return Ok(partition..partition + 1);
        }
        Err(Error::invalid(format!("`{}` has {} partitions: there is no {partition}", self.name, self.partitions)))
    }

    fn take_mut(&self, partitions: Range<usize>, until: Until) -> Result<RowsMut<T, D>> {
        let (rows, stretch) = self.stretch(&partitions)?;
        stretch.map_for_writing()?;
        let core = self.handle.core()?;
        let held = self.leases(partitions, until, |leases, until| core.write_partition(leases, until))?;
        // K5.
        if core.is_frozen(self.handle.id()) {
            return Err(Error::invalid(format!("`{}` is frozen: nobody can write it any more", self.name)));
        }
        Ok(RowsMut { stretch, dim: self.dim(&rows)?, rows, held, types: PhantomData })
    }

    fn take(&self, partitions: Range<usize>, until: Until) -> Result<Rows<T, D>> {
        let (rows, stretch) = self.stretch(&partitions)?;
        let core = self.handle.core()?;
        let held = self.leases(partitions, until, |leases, until| core.read_partition(leases, until))?;
        let recovered = held.iter().any(Held::recovered);
        Ok(Rows { stretch, dim: self.dim(&rows)?, rows, recovered, _held: held, types: PhantomData })
    }

    /// Takes something of each partition in order; all of it, or nothing.
    fn leases(
        &self,
        partitions: Range<usize>,
        until: Until,
        take: impl Fn(Leases, Until) -> Result<Lease>,
    ) -> Result<Vec<Held<Handle>>> {
        let until = until.started();
        let mut held = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let lease = take(self.leases.part(partition as u64 * PARTITION, PARTITION), until)?;
            held.push(Held::guard(self.handle.clone(), lease));
        }
        Ok(held)
    }

    /// The rows of some partitions, and where their elements lie.
    fn stretch(&self, partitions: &Range<usize>) -> Result<(Range<usize>, Stretch)> {
        let rows = self.rows_of(partitions.start).start..self.rows_of(partitions.end.saturating_sub(1)).end;
        let each = self.info.data_bytes()? / (self.info.shape.first().copied().unwrap_or(0).max(1) as u64);
        let from = self.info.data_at() as u64 + rows.start as u64 * each;
        let stretch = Stretch::new(&self.handle.pin, self.part, from, rows.len() as u64 * each)?;
        Ok((rows, stretch))
    }

    fn dim(&self, rows: &Range<usize>) -> Result<D> {
        let mut dim: D = self.info.dimension::<T, D>(&self.name)?;
        if let Some(first) = dim.slice_mut().first_mut() {
            *first = rows.len();
        }
        Ok(dim)
    }
}

/// Rows of a [`MutableArray`] that only this process may write and read, until the guard is dropped.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-rows-mut-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// # let grid = arena.writer()?.mutable_array::<f64, ndarray::Ix2>("grid", (100, 8), 4)?;
/// let mut rows = grid.write(1)?;
/// assert_eq!(rows.rows(), 25..50);
/// if rows.recovered() {
///     // A writer died here: write all of the rows again.
///     rows.view_mut()?.fill(0.0);
///     rows.mark_consistent();
/// }
/// rows.view_mut()?[[0, 7]] = 1.5;                  // row 25 of the whole array
/// assert_eq!(rows.view()?.sum(), 1.5);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it gives the rows back at once"]
pub struct RowsMut<T: Element, D: Dimension> {
    stretch: Stretch,
    dim: D,
    rows: Range<usize>,
    // After the stretch: the rows are given back when nobody can look at them any more.
    held: Vec<Held<Handle>>,
    types: PhantomData<T>,
}

impl<T: Element, D: Dimension> RowsMut<T, D> {
    /// Returns which rows of the whole array these are.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Returns whether a writer died or panicked in these rows, and nobody has called [`RowsMut::mark_consistent`] since.
    pub fn recovered(&self) -> bool {
        self.held.iter().any(Held::recovered)
    }

    /// Says that the rows are consistent again: whoever gets them later is not told of the death any more.
    pub fn mark_consistent(&mut self) {
        self.held.iter_mut().for_each(Held::mark_consistent);
    }

    /// Says that the rows were left half written: whoever gets them later is told as after a death, until somebody calls
    /// [`RowsMut::mark_consistent`]. A panic says so by itself; this is for errors that are no panics.
    pub fn mark_inconsistent(&mut self) {
        self.held.iter_mut().for_each(Held::mark_inconsistent);
    }

    /// Returns the elements, to be written.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a forked child; [`Error::Damaged`].
    pub fn view_mut(&mut self) -> Result<ArrayViewMut<'_, T, D>> {
        let values: &mut [T] =
            bytemuck::checked::try_cast_slice_mut(self.stretch.bytes_mut()?).map_err(|e| no_elements::<T>(&e))?;
        ArrayViewMut::from_shape(self.dim.clone(), values).map_err(|e| no_elements::<T>(&e))
    }

    /// Returns the elements.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a forked child; [`Error::Damaged`].
    pub fn view(&self) -> Result<ArrayView<'_, T, D>> {
        view(&self.stretch, &self.dim)
    }

    /// Maps the rows once more, for views that outlive a borrow, as [`DraftMap`](crate::DraftMap) does for drafts.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the kernel refuses to map them; [`Error::Forked`].
    pub fn into_map(mut self) -> Result<RowsMap> {
        Ok(RowsMap { map: self.stretch.map()?, stretch: self.stretch, rows: self.rows, held: self.held })
    }
}

/// Rows that are written through a map of their own: what [`RowsMut::into_map`] returns.
///
/// The bytes are those of the rows, in C order. They never move while the map lives. After [`RowsMap::finish`] the map is a
/// private view of the rows: what is written there, nobody else sees; pages that were not written to show what other
/// processes make of the rows meanwhile.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-rows-map-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// # let grid = arena.writer()?.mutable_array::<u8, ndarray::Ix1>("grid", 8, 2)?;
/// let mut rows = grid.write(1)?.into_map()?;
/// rows.bytes_mut().fill(7);
/// rows.finish()?;
/// rows.bytes_mut().fill(9);
/// assert_eq!(grid.read(1)?.view()?.to_vec(), [7; 4]);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it gives the rows back at once"]
pub struct RowsMap {
    // Declared first: unmapped before the rows are given back.
    map: SharedMap,
    stretch: Stretch,
    rows: Range<usize>,
    held: Vec<Held<Handle>>,
}

impl RowsMap {
    /// Returns which rows of the whole array these are.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Returns whether a writer died or panicked in these rows, and nobody has called [`RowsMap::mark_consistent`] since.
    pub fn recovered(&self) -> bool {
        self.held.iter().any(Held::recovered)
    }

    /// Says that the rows are consistent again: whoever gets them later is not told of the death any more.
    pub fn mark_consistent(&mut self) {
        self.held.iter_mut().for_each(Held::mark_consistent);
    }

    /// Says that the rows were left half written: whoever gets them later is told as after a death, until somebody calls
    /// [`RowsMap::mark_consistent`]. A panic says so by itself; this is for errors that are no panics.
    pub fn mark_inconsistent(&mut self) {
        self.held.iter_mut().for_each(Held::mark_inconsistent);
    }

    /// Returns the elements' bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.map.bytes_mut()
    }

    /// Gives the rows back. The map is a private view of them from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the kernel refuses to map them anew. The rows are not given back then.
    pub fn finish(&mut self) -> Result<()> {
        let detached = self.map.detach(Some(self.stretch.keeper()));
        detached.map_err(|source| {
            let path = self.stretch.path().to_owned();
            Error::Os { action: "map rows anew of", path, source }
        })?;
        self.held.clear();
        Ok(())
    }
}

/// Rows of a [`MutableArray`] that nobody writes until the guard is dropped.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-rows-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// # let grid = arena.writer()?.mutable_array::<f64, ndarray::Ix2>("grid", (100, 8), 4)?;
/// let rows = grid.read(3)?;
/// assert_eq!(rows.rows(), 75..100);
/// assert!(!rows.recovered());
/// assert_eq!(rows.view()?.dim(), (25, 8));
/// assert!(grid.try_write(3)?.is_none());
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it gives the rows back at once"]
pub struct Rows<T: Element, D: Dimension> {
    stretch: Stretch,
    dim: D,
    rows: Range<usize>,
    recovered: bool,
    _held: Vec<Held<Handle>>,
    types: PhantomData<T>,
}

impl<T: Element, D: Dimension> Rows<T, D> {
    /// Returns which rows of the whole array these are.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Returns whether a writer died or panicked in these rows and left them half written.
    pub fn recovered(&self) -> bool {
        self.recovered
    }

    /// Returns the elements.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a forked child; [`Error::Damaged`].
    pub fn view(&self) -> Result<ArrayView<'_, T, D>> {
        view(&self.stretch, &self.dim)
    }
}

fn view<'a, T: Element, D: Dimension>(stretch: &'a Stretch, dim: &D) -> Result<ArrayView<'a, T, D>> {
    let values: &[T] = bytemuck::checked::try_cast_slice(stretch.bytes()?).map_err(|e| no_elements::<T>(&e))?;
    ArrayView::from_shape(dim.clone(), values).map_err(|e| no_elements::<T>(&e))
}

fn no_elements<T: Element>(why: &dyn std::fmt::Display) -> Error {
    Error::damaged(format!("the rows of a mutable array are no {}: {why}", T::TYPE))
}
