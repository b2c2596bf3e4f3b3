//! Mutable arrays: several processes write them at once, each its rows.
//!
//! The library knows the element type when it is compiled; here it is known when the array is opened. [`Grid`] is a mutable
//! array whatever its type is, and `of_type` the one place where types are told apart.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, Mutex as Cell, PoisonError};
use std::time::Duration;

use faretra::{DType, Element, ElementType, Error, Kind, MutableArray as Shared, Order, Rows as SharedRows, RowsMap};
use ndarray::IxDyn;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyRange, PyTuple};

use crate::arena::{Arena, text, timeout};
use crate::error::{Failure, run, wait};
use crate::lock::failed;
use crate::memory::{Pinned, Writable};
use crate::value::{Pickling, array_over, dtype_of, dtype_out, output};

/// How long a call may wait: `None` for as long as it takes.
type Limit = Option<Duration>;

/// A mutable array of some element type.
trait Grid: Send + Sync + std::fmt::Debug {
    fn element(&self) -> ElementType;
    fn shape(&self) -> &[usize];
    fn partitions(&self) -> usize;
    fn rows_of(&self, partition: usize) -> Range<usize>;
    fn is_frozen(&self) -> faretra::Result<bool>;
    fn freeze(&self, limit: Limit) -> faretra::Result<()>;
    /// The right to write one partition or all.
    fn write(&self, partition: Option<usize>, limit: Limit) -> faretra::Result<RowsMap>;
    /// The right to read one partition or all, and the memory that is read, which says this name.
    fn read(&self, partition: Option<usize>, limit: Limit, name: &str) -> faretra::Result<Reading>;
}

/// Rows that may be read: the lease, and the memory, which stays when the lease is given back.
struct Reading {
    lease: Box<dyn Any + Send>,
    memory: Pinned,
    rows: Range<usize>,
    recovered: bool,
}

impl<T: Element> Grid for Shared<T, IxDyn> {
    fn element(&self) -> ElementType {
        T::TYPE
    }

    fn shape(&self) -> &[usize] {
        Shared::shape(self)
    }

    fn partitions(&self) -> usize {
        Shared::partitions(self)
    }

    fn rows_of(&self, partition: usize) -> Range<usize> {
        Shared::rows_of(self, partition)
    }

    fn is_frozen(&self) -> faretra::Result<bool> {
        Shared::is_frozen(self)
    }

    fn freeze(&self, limit: Limit) -> faretra::Result<()> {
        match limit {
            None => Shared::freeze(self),
            Some(limit) => self.freeze_timeout(limit),
        }
        .map(drop)
    }

    fn write(&self, partition: Option<usize>, limit: Limit) -> faretra::Result<RowsMap> {
        match (partition, limit) {
            (None, None) => self.write_all(),
            (None, Some(limit)) => self.write_all_timeout(limit),
            (Some(partition), None) => Shared::write(self, partition),
            (Some(partition), Some(limit)) => self.write_timeout(partition, limit),
        }?
        .into_map()
    }

    fn read(&self, partition: Option<usize>, limit: Limit, name: &str) -> faretra::Result<Reading> {
        let lease: SharedRows<T, IxDyn> = match (partition, limit) {
            (None, None) => self.read_all(),
            (None, Some(limit)) => self.read_all_timeout(limit),
            (Some(partition), None) => Shared::read(self, partition),
            (Some(partition), Some(limit)) => self.read_timeout(partition, limit),
        }?;
        let memory = Pinned::rows(self, &lease, name)?;
        let (rows, recovered) = (lease.rows(), lease.recovered());
        Ok(Reading { lease: Box::new(lease), memory, rows, recovered })
    }
}

/// Runs code with `$type` standing for the element type: the one place where types are told apart.
macro_rules! of_type {
    ($element:expr, $type:ident => $run:expr, else $other:expr) => {
        of_type!(@arms $element, $type => $run, else $other;
            U8: u8, U16: u16, U32: u32, U64: u64, I8: i8, I16: i16, I32: i32, I64: i64, F16: half::f16, F32: f32,
            F64: f64, Bool: bool, Complex64: num_complex::Complex<f32>, Complex128: num_complex::Complex<f64>)
    };
    (@arms $element:expr, $type:ident => $run:expr, else $other:expr; $($variant:ident: $rust:ty),*) => {
        match $element {
            $(ElementType::$variant => {
                type $type = $rust;
                $run
            })*
            _ => $other,
        }
    };
}

/// The element types that numpy has, too.
const TYPES: [ElementType; 14] = {
    use ElementType::*;
    [U8, U16, U32, U64, I8, I16, I32, I64, F16, F32, F64, Bool, Complex64, Complex128]
};

fn open_as(arena: &faretra::Arena, name: &str, element: ElementType) -> faretra::Result<Arc<dyn Grid>> {
    of_type!(element, T => Ok(Arc::new(arena.mutable_array::<T, IxDyn>(name)?)), else {
        Err(Error::Invalid(format!("numpy has no elements of type {element}")))
    })
}

fn make(
    writer: &faretra::Writer,
    name: &str,
    element: ElementType,
    shape: &[usize],
    partitions: usize,
) -> faretra::Result<Arc<dyn Grid>> {
    of_type!(element, T => Ok(Arc::new(writer.mutable_array::<T, IxDyn>(name, shape, partitions)?)), else {
        Err(Error::Invalid(format!("numpy has no elements of type {element}")))
    })
}

/// Opens a mutable array, whatever its element type is.
fn open(arena: &faretra::Arena, name: &str) -> faretra::Result<Arc<dyn Grid>> {
    let kind = arena.get(name)?.kind();
    if kind != Kind::MutableArray {
        let (expected, found) = (Kind::MutableArray.to_string(), kind.to_string());
        return Err(Error::Mismatch { name: name.into(), expected, found });
    }
    let mut last = Error::Invalid(format!("`{name}` has elements of a type that numpy has not"));
    for element in TYPES {
        match open_as(arena, name, element) {
            Err(other @ Error::Mismatch { .. }) => last = other,
            opened => return opened,
        }
    }
    Err(last)
}

/// The type of elements that several processes may write at once.
fn element_of(dtype: &DType) -> PyResult<ElementType> {
    TYPES.into_iter().find(|element| *dtype == *element).ok_or_else(|| {
        PyTypeError::new_err(format!(
            "a mutable array has integers of up to 64 bits, floats, complex numbers or bools of the machine's byte order, not \
             {dtype}"
        ))
    })
}

/// An array that several processes write at once: divided along its first axis into partitions, each with one writer or up to 7
/// readers at a time. `faretra.Arena.mutable_array` makes one.
///
/// >>> arena = faretra.Arena.create("doc-grid-class", keep=False)
/// >>> grid = arena.mutable_array("grid", (100, 8), "float32", partitions=4)
/// >>> with grid.write(3) as rows:
/// ...     rows[:] = 1
/// >>> with grid.read_all() as rows:
/// ...     rows.shape, float(rows.sum())
/// ((100, 8), 200.0)
/// >>> arena.close()
#[pyclass(frozen, module = "faretra", weakref)]
#[derive(Debug)]
pub struct MutableArray {
    grid: Arc<dyn Grid>,
    name: String,
    arena: faretra::Arena,
}

impl MutableArray {
    /// The shape of some of the rows.
    fn shape_of(&self, rows: &Range<usize>) -> Vec<usize> {
        let mut shape = self.grid.shape().to_vec();
        if let Some(first) = shape.first_mut() {
            *first = rows.len();
        }
        shape
    }

    /// The number of a partition: a negative one counts from the end.
    fn partition(&self, given: isize) -> usize {
        if given < 0 { given.wrapping_add_unsigned(self.grid.partitions()) as usize } else { given as usize }
    }

    fn writing<'py>(
        &self,
        py: Python<'py>,
        partition: Option<usize>,
        limit: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Rows>> {
        let limit = timeout(limit)?;
        let map = wait(py, || self.grid.write(partition, limit))?;
        let (rows, recovered) = (map.rows(), map.recovered());
        let memory = Memory::Writing(Py::new(py, Writable::rows(map))?);
        Bound::new(py, Rows::of(self, rows, recovered, memory))
    }

    fn reading<'py>(
        &self,
        py: Python<'py>,
        partition: Option<usize>,
        limit: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Rows>> {
        let limit = timeout(limit)?;
        let Reading { lease, memory, rows, recovered } = wait(py, || self.grid.read(partition, limit, &self.name))?;
        let memory = Memory::Reading(Py::new(py, memory)?, Cell::new(Some(lease)));
        Bound::new(py, Rows::of(self, rows, recovered, memory))
    }
}

#[pymethods]
impl MutableArray {
    #[new]
    #[pyo3(signature = (arena, name, shape=None, dtype=None, partitions=None))]
    fn new(
        py: Python<'_>,
        arena: &Bound<'_, Arena>,
        name: &Bound<'_, PyAny>,
        shape: Option<Vec<usize>>,
        dtype: Option<&Bound<'_, PyAny>>,
        partitions: Option<i64>,
    ) -> PyResult<MutableArray> {
        let name = text(name)?;
        // A negative number is none that can be, as 0 is.
        let partitions = partitions.map(|given| usize::try_from(given).unwrap_or(0));
        let element = match dtype {
            Some(dtype) => Some(element_of(&dtype_of(dtype)?)?),
            None => None,
        };
        let handle = arena.get().get(py)?;
        let grid = match &shape {
            None => wait(py, || open(&handle, name))?,
            Some(shape) => {
                let writer = arena.get().writer(py)?;
                let element = element.unwrap_or(ElementType::F64);
                wait(py, || {
                    loop {
                        match make(&writer, name, element, shape, partitions.unwrap_or(1)) {
                            // Somebody made it before, and may remove it now.
                            Err(Error::Conflict { .. }) => match open(&handle, name) {
                                Err(Error::NotFound { .. }) => {}
                                opened => return opened,
                            },
                            made => return made,
                        }
                    }
                })?
            }
        };
        let differs = |what: &str, asked: String, found: String| {
            let (expected, found) = (format!("a mutable array of {what} {asked}"), format!("one of {what} {found}"));
            Failure::from(Error::Mismatch { name: name.into(), expected, found }).raise(py)
        };
        if let Some(shape) = shape
            && shape != grid.shape()
        {
            return Err(differs("shape", format!("{shape:?}"), format!("{:?}", grid.shape())));
        }
        if let Some(element) = element
            && element != grid.element()
        {
            return Err(differs("dtype", element.to_string(), grid.element().to_string()));
        }
        if let Some(partitions) = partitions
            && partitions != grid.partitions()
        {
            return Err(differs("partitions", partitions.to_string(), grid.partitions().to_string()));
        }
        Ok(MutableArray { grid, name: name.to_owned(), arena: handle })
    }

    /// The array's name.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// The length of each axis.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.grid.shape())
    }

    /// The type of the elements, as `numpy.dtype`.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        dtype_out(py, &self.grid.element().into())
    }

    /// How many partitions there are.
    #[getter]
    fn partitions(&self) -> usize {
        self.grid.partitions()
    }

    /// Whether the array is frozen: an ordinary array, which nobody can write to.
    #[getter]
    fn frozen(&self, py: Python<'_>) -> PyResult<bool> {
        run(py, || self.grid.is_frozen())
    }

    /// Returns which rows (indices of the first axis) a partition has, as a range: empty, if there is no such partition.
    ///
    /// >>> arena = faretra.Arena.create("doc-grid-rows", keep=False)
    /// >>> arena.mutable_array("grid", (10, 2), "int64", partitions=3).rows_of(1)
    /// range(3, 6)
    /// >>> arena.close()
    fn rows_of<'py>(&self, py: Python<'py>, partition: isize) -> PyResult<Bound<'py, PyRange>> {
        range(py, &self.grid.rows_of(self.partition(partition)))
    }

    /// Waits until nobody else writes or reads a partition, and returns the right to write it. The block's array is writable, and
    /// is given back when the block ends, when `release` is called, and when the right is collected. Arrays that outlive the block
    /// are private copies: writing to them changes nothing for anybody.
    ///
    /// A negative number counts partitions from the end. `timeout` is in seconds, or a timedelta; 0 does not wait.
    ///
    /// Raises:
    ///     TimeoutError: Somebody still has the partition after `timeout`.
    ///     InvalidError: There is no such partition, or the array is frozen.
    ///
    /// >>> arena = faretra.Arena.create("doc-grid-write", keep=False)
    /// >>> grid = arena.mutable_array("grid", 6, "int64", partitions=2)
    /// >>> with grid.write(1, timeout=5) as rows:
    /// ...     rows += 7
    /// >>> with grid.read_all() as rows:
    /// ...     rows.tolist()
    /// [0, 0, 0, 7, 7, 7]
    /// >>> arena.close()
    #[pyo3(signature = (partition, timeout=None))]
    fn write<'py>(
        &self,
        py: Python<'py>,
        partition: isize,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Rows>> {
        self.writing(py, Some(self.partition(partition)), timeout)
    }

    /// Waits until every partition is free, and returns the right to write the whole array, as `write` does for one partition.
    ///
    /// >>> arena = faretra.Arena.create("doc-grid-write-all", keep=False)
    /// >>> with arena.mutable_array("grid", (4, 2), partitions=2).write_all() as rows:
    /// ...     rows.shape
    /// (4, 2)
    /// >>> arena.close()
    #[pyo3(signature = (timeout=None))]
    fn write_all<'py>(&self, py: Python<'py>, timeout: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, Rows>> {
        self.writing(py, None, timeout)
    }

    /// Waits until nobody writes a partition and fewer than 7 read it, and returns the right to read it. The block's array is
    /// read-only and not copied. Arrays that outlive the block show what is written later.
    ///
    /// Raises:
    ///     TimeoutError: Somebody still writes the partition after `timeout`.
    ///     InvalidError: There is no such partition.
    ///
    /// >>> arena = faretra.Arena.create("doc-grid-read", keep=False)
    /// >>> with arena.mutable_array("grid", (4, 2), partitions=2).read(-1) as rows:
    /// ...     rows.shape, rows.flags.writeable
    /// ((2, 2), False)
    /// >>> arena.close()
    #[pyo3(signature = (partition, timeout=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        partition: isize,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Rows>> {
        self.reading(py, Some(self.partition(partition)), timeout)
    }

    /// Waits until no partition is written, and returns the right to read the whole array, as `read` does for one partition.
    ///
    /// >>> arena = faretra.Arena.create("doc-grid-read-all", keep=False)
    /// >>> with arena.mutable_array("grid", (4, 2), partitions=2).read_all() as rows:
    /// ...     float(rows.sum())
    /// 0.0
    /// >>> arena.close()
    #[pyo3(signature = (timeout=None))]
    fn read_all<'py>(&self, py: Python<'py>, timeout: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, Rows>> {
        self.reading(py, None, timeout)
    }

    /// Waits until nobody writes or reads the array, makes it an ordinary array, which never changes again, and returns
    /// `arena[name]`. Nothing is copied.
    ///
    /// Raises:
    ///     TimeoutError: Somebody still writes or reads it after `timeout`.
    ///     InvalidError: A writer died or failed in some rows, and nobody called `mark_consistent` since.
    ///
    /// >>> arena = faretra.Arena.create("doc-grid-freeze", keep=False)
    /// >>> grid = arena.mutable_array("grid", 3, "int64")
    /// >>> grid.freeze(), grid.frozen
    /// (array([0, 0, 0]), True)
    /// >>> arena.close()
    #[pyo3(signature = (timeout=None))]
    fn freeze<'py>(&self, py: Python<'py>, timeout: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        let limit = crate::arena::timeout(timeout)?;
        wait(py, || self.grid.freeze(limit))?;
        let object = run(py, || self.arena.get(&self.name))?;
        output(py, object, Pickling::Refused)
    }

    fn __repr__(&self) -> String {
        let (shape, element, partitions) = (self.grid.shape(), self.grid.element(), self.grid.partitions());
        format!("<faretra.MutableArray '{}', {shape:?} of {element}, {partitions} partitions>", self.name)
    }
}

fn range<'py>(py: Python<'py>, rows: &Range<usize>) -> PyResult<Bound<'py, PyRange>> {
    PyRange::new(py, rows.start as isize, rows.end as isize)
}

/// What the array of a block looks at.
#[derive(Debug)]
enum Memory {
    Writing(Py<Writable>),
    Reading(Py<Pinned>, Cell<Option<Box<dyn Any + Send>>>),
}

/// The right to write or read rows of a mutable array: `with grid.write(0) as rows:` gives the rows as a numpy array.
///
/// A block that ends by an exception leaves rows that it wrote half written: whoever gets them next is told so, as after a death.
///
/// >>> arena = faretra.Arena.create("doc-rows-class", keep=False)
/// >>> right = arena.mutable_array("grid", 6, "int64", partitions=2).write(1)
/// >>> right.rows, right.recovered
/// (range(3, 6), False)
/// >>> with right as rows:
/// ...     rows[:] = 1
/// >>> right.released
/// True
/// >>> arena.close()
#[pyclass(frozen, module = "faretra", weakref)]
#[derive(Debug)]
pub struct Rows {
    grid: Arc<dyn Grid>,
    shape: Vec<usize>,
    rows: Range<usize>,
    recovered: bool,
    memory: Memory,
    released: Cell<bool>,
}

impl Rows {
    fn of(array: &MutableArray, rows: Range<usize>, recovered: bool, memory: Memory) -> Rows {
        let (grid, shape, released) = (array.grid.clone(), array.shape_of(&rows), Cell::new(false));
        Rows { grid, shape, rows, recovered, memory, released }
    }

    /// Gives the rows back.
    fn end(&self, half_written: bool) -> faretra::Result<()> {
        let mut released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        if *released {
            return Ok(());
        }
        match &self.memory {
            Memory::Writing(memory) => memory.get().with_rows(|map| {
                if half_written {
                    map.mark_inconsistent();
                }
                map.finish()
            })?,
            Memory::Reading(_, lease) => drop(lease.lock().unwrap_or_else(PoisonError::into_inner).take()),
        }
        *released = true;
        Ok(())
    }

    fn mark(&self, py: Python<'_>, mark: impl FnOnce(&mut RowsMap)) -> PyResult<()> {
        match &self.memory {
            Memory::Writing(memory) => run(py, || {
                memory.get().with_rows(|map| {
                    mark(map);
                    Ok(())
                })
            }),
            Memory::Reading(..) => {
                Err(Failure::invalid("rows that are read cannot be marked: take the right to write them").raise(py))
            }
        }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        // Views may keep the memory for longer, but not the right. Refused by the kernel: it goes with the memory.
        let _ = self.end(false);
    }
}

#[pymethods]
impl Rows {
    /// Which rows of the whole array these are.
    #[getter]
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyRange>> {
        range(py, &self.rows)
    }

    /// Whether a writer died in these rows, or left its block by an exception, and nobody called `mark_consistent` since.
    #[getter]
    fn recovered(&self) -> bool {
        self.recovered
    }

    /// Whether the rows were given back.
    #[getter]
    fn released(&self) -> bool {
        *self.released.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows as a numpy array: writable, if this is the right to write them.
    ///
    /// Raises:
    ///     InvalidError: The rows were given back.
    #[getter]
    fn array<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.released() {
            return Err(Failure::invalid("the rows were given back: take them again").raise(py));
        }
        let dtype = self.grid.element().into();
        match &self.memory {
            Memory::Writing(memory) => array_over(memory.bind(py).clone(), &self.shape, &dtype, Order::C),
            Memory::Reading(memory, _) => array_over(memory.bind(py).clone(), &self.shape, &dtype, Order::C),
        }
    }

    /// Gives the rows back. The second time nothing happens.
    ///
    /// Raises:
    ///     ForkedError: This process was forked from the one that took them.
    ///
    /// >>> arena = faretra.Arena.create("doc-rows-release", keep=False)
    /// >>> right = arena.mutable_array("grid", 4).write(0)
    /// >>> right.array[:] = 1
    /// >>> right.release()
    /// >>> right.released
    /// True
    /// >>> arena.close()
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.finish(py, false)
    }

    /// Says that the rows are consistent again: whoever gets them later is not told of a death any more.
    ///
    /// >>> arena = faretra.Arena.create("doc-rows-consistent", keep=False)
    /// >>> right = arena.mutable_array("grid", 4).write(0)
    /// >>> with right as rows:
    /// ...     if right.recovered:
    /// ...         rows[:] = 0
    /// ...         right.mark_consistent()
    /// >>> arena.close()
    fn mark_consistent(&self, py: Python<'_>) -> PyResult<()> {
        self.mark(py, RowsMap::mark_consistent)
    }

    /// Says that the rows were left half written: whoever gets them later is told, until somebody calls `mark_consistent`.
    ///
    /// >>> arena = faretra.Arena.create("doc-rows-inconsistent", keep=False)
    /// >>> grid = arena.mutable_array("grid", 4)
    /// >>> right = grid.write(0)
    /// >>> right.mark_inconsistent()
    /// >>> right.release()
    /// >>> grid.read(0).recovered
    /// True
    /// >>> arena.close()
    fn mark_inconsistent(&self, py: Python<'_>) -> PyResult<()> {
        self.mark(py, RowsMap::mark_inconsistent)
    }

    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.array(py)
    }

    #[pyo3(signature = (*exc))]
    fn __exit__(&self, py: Python<'_>, exc: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.finish(py, failed(exc)?)
    }

    fn __repr__(&self) -> String {
        let how = if matches!(self.memory, Memory::Writing(_)) { "to write" } else { "to read" };
        let state = if self.released() { "released" } else { how };
        format!("<faretra.Rows {}..{}, {state}>", self.rows.start, self.rows.end)
    }
}

impl Rows {
    fn finish(&self, py: Python<'_>, half_written: bool) -> PyResult<()> {
        run(py, || {
            // A forked child does not have them.
            self.grid.is_frozen()?;
            self.end(half_written)
        })
    }
}
