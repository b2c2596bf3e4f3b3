//! Memory that goes between Python and the arena: who keeps it, for how long.
//!
//! * P1: an exported pointer is good until the exporter is freed, and a consumer of the buffer protocol keeps the exporter.
//!   So what a [`Pinned`] exports stays where it is for as long as the `Pinned` lives: an object that it pins, a private map,
//!   or a draft's own map, which changes under its views and never moves (M7).
//! * P2: what is only read is exported as read-only: it lies in a map without write permission.
//! * P3: memory of Python's that is copied in is kept by an owned reference ([`Foreign`]) until the copy is done. Another
//!   thread that writes to it meanwhile makes the copy a mixture, as with every other consumer of buffers.
//! * P4: a forked child has no map that writes to what its parent writes: after `fork`, each is ended in the child.
#![allow(unsafe_code, reason = "the buffer protocol, and memory that Python's objects own")]
#![allow(clippy::disallowed_methods, reason = "slices of memory that Python's objects own, not of shared memory")]

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard, Weak};

use faretra::{
    Batch, DraftMap, DynArray, Element, Kind, MutableArray, Object, Options, Order, PrivateBytes, Rows, RowsMap,
};
use ndarray::IxDyn;
use numpy::npyffi::{self, NpyTypes, PY_ARRAY_API};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::PyClass;
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::PyMemoryView;

use crate::pages;

/// Bytes that an object of Python's owns.
#[derive(Debug)]
pub struct Foreign {
    start: NonNull<u8>,
    len: usize,
    /// Only kept.
    _owner: Py<PyAny>,
}

// SAFETY: a share of bytes that the owner keeps; P3 says what happens when somebody writes to them.
unsafe impl Send for Foreign {}
// SAFETY: as above.
unsafe impl Sync for Foreign {}

impl Foreign {
    /// `len` bytes at `address`, which `owner` keeps.
    ///
    /// # Safety
    ///
    /// * If `len` is not 0, the bytes are there for as long as `owner` lives.
    pub unsafe fn new(owner: &Bound<'_, PyAny>, address: usize, len: usize) -> Foreign {
        let start = NonNull::new(std::ptr::with_exposed_provenance_mut(address)).filter(|_| len != 0);
        Foreign { start: start.unwrap_or(NonNull::dangling()), len, _owner: owner.clone().unbind() }
    }

    /// The bytes of an object that exports one contiguous buffer: bytes, a memoryview, an mmap.
    pub fn of_buffer(exporter: &Bound<'_, PyAny>) -> PyResult<Foreign> {
        let py = exporter.py();
        // A memoryview of it keeps the buffer, so that a bytearray cannot be resized under the copy.
        let view = PyMemoryView::from(exporter)?;
        let mut buffer = ffi::Py_buffer::new();
        // SAFETY: `buffer` is there to be filled in; released below.
        let got = unsafe { ffi::PyObject_GetBuffer(view.as_ptr(), &mut buffer, ffi::PyBUF_SIMPLE) };
        if got != 0 {
            return Err(PyErr::fetch(py));
        }
        let (address, len) = (buffer.buf.expose_provenance(), buffer.len as usize);
        // SAFETY: filled in above; the memoryview has a buffer of its own, which keeps the bytes there.
        unsafe { ffi::PyBuffer_Release(&mut buffer) };
        // SAFETY: the memoryview keeps the exporter's buffer for as long as it lives.
        Ok(unsafe { Foreign::new(view.as_any(), address, len) })
    }

    /// The bytes of an array, from its lowest to its highest, and which of them is the first element's first. `strides` are those
    /// of the array, but for axes of one element, where they may be anything.
    pub fn of_array(array: &Bound<'_, PyUntypedArray>, strides: &[isize], itemsize: usize) -> (Foreign, usize) {
        let (address, shape) = (address(array), array.shape());
        if shape.contains(&0) {
            // SAFETY: no bytes.
            return (unsafe { Foreign::new(array, address, 0) }, 0);
        }
        let (mut low, mut high) = (0_isize, 0_isize);
        for (len, stride) in shape.iter().zip(strides) {
            let reach = stride * (*len as isize - 1);
            if reach < 0 { low += reach } else { high += reach }
        }
        let len = (high - low) as usize + itemsize;
        // SAFETY: numpy says that its elements lie so far apart, from there on, for as long as the array lives.
        let memory = unsafe { Foreign::new(array, address.wrapping_add_signed(low), len) };
        (memory, low.unsigned_abs())
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `new`'s caller says that they are there while the owner lives, which `self` keeps.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

/// Options that open arenas of other users, and arenas that others may write.
pub fn trusting_others(options: Options) -> Options {
    // SAFETY: `trust_others=True` is Python's word for this promise: its documentation says what is promised, to whoever writes
    // it. Nothing of Python can be safer than that.
    unsafe { options.trust_others() }
}

/// Bytes that an object of Python's exports: they are there for as long as it lives (P1).
#[derive(Clone, Copy, Debug)]
pub struct Exported {
    start: usize,
    len: usize,
    readonly: bool,
}

/// What exports bytes that arrays are made over.
pub trait Exporter: PyClass<Frozen = True> + Sync {
    /// The bytes.
    fn exported(&self) -> Exported;
}

/// What keeps memory where it is, and what the memory is of.
#[derive(Debug)]
enum Keeper {
    Object(Object),
    Array(DynArray, Object),
    /// A batch of an object, and its name.
    Batch(#[allow(dead_code, reason = "only kept")] Batch, String),
    /// A map, and what it is of.
    Private(#[allow(dead_code, reason = "only kept")] PrivateBytes, Object),
    /// A handle to a mutable array, of whatever type, and its name.
    Grid(#[allow(dead_code, reason = "only kept")] Box<dyn Any + Send + Sync>, String),
}

impl Keeper {
    /// The name that the object was read by.
    fn name(&self) -> &str {
        match self {
            Keeper::Object(object) | Keeper::Array(_, object) | Keeper::Private(_, object) => object.name(),
            Keeper::Batch(_, name) | Keeper::Grid(_, name) => name,
        }
    }
}

/// Memory of an arena that Python sees: the base of every array and memoryview.
///
/// It supports the buffer protocol (`memoryview(pinned)`), and pins its object: the memory stays for as long as any view of it.
///
/// >>> with faretra.Arena.create("doc-pinned", keep=False) as arena:
/// ...     arena["x"] = np.arange(3)
/// ...     arena["x"].base
/// <faretra.Pinned 'x' version 1, 24 bytes>
#[pyclass(frozen, module = "faretra")]
#[derive(Debug)]
pub struct Pinned {
    start: usize,
    len: usize,
    readonly: bool,
    /// A forked child cannot ask for it any more; 0 of what changes.
    version: u64,
    keeper: Keeper,
}

impl Pinned {
    /// The bytes of an array, which is this object.
    pub fn array(array: DynArray, object: Object) -> Pinned {
        let bytes = array.bytes();
        let (start, len) = (bytes.as_ptr().expose_provenance(), bytes.len());
        Pinned { start, len, readonly: true, version: object.version(), keeper: Keeper::Array(array, object) }
    }

    /// Some bytes of an object.
    pub fn bytes(object: Object, range: std::ops::Range<usize>) -> faretra::Result<Pinned> {
        let Some(bytes) = object.bytes()?.get(range.clone()) else {
            return Err(faretra::Error::Damaged(format!("`{}` has no bytes {range:?}", object.name())));
        };
        let (start, len) = (bytes.as_ptr().expose_provenance(), bytes.len());
        Ok(Pinned { start, len, readonly: true, version: object.version(), keeper: Keeper::Object(object) })
    }

    /// The bytes of a column of a batch: those at `start`, which the batch keeps.
    pub fn column(batch: Batch, start: *const u8, len: usize, name: &str, version: u64) -> Pinned {
        let start = start.expose_provenance();
        Pinned { start, len, readonly: true, version, keeper: Keeper::Batch(batch, name.to_owned()) }
    }

    /// A private view, which may be written.
    pub fn private(mut bytes: PrivateBytes, object: &Object) -> Pinned {
        let (start, len) = (bytes.as_mut_ptr().expose_provenance(), bytes.len());
        let version = object.version();
        Pinned { start, len, readonly: false, version, keeper: Keeper::Private(bytes, object.clone()) }
    }

    /// Rows of a mutable array. They stay where they are when they are given back, and show what is written then.
    pub fn rows<T: Element>(
        array: &MutableArray<T, IxDyn>,
        rows: &Rows<T, IxDyn>,
        name: &str,
    ) -> faretra::Result<Pinned> {
        let view = rows.view()?;
        let len = view.len() * size_of::<T>();
        let start = if len == 0 { 0 } else { view.as_ptr().expose_provenance() };
        let keeper = Keeper::Grid(Box::new(array.clone()), name.to_owned());
        Ok(Pinned { start, len, readonly: true, version: 0, keeper })
    }

    /// Address of the first byte, and how many there are.
    pub fn place(&self) -> (usize, usize) {
        (self.start, self.len)
    }

    /// The object of bytes that it shows whole and unchanged: nothing was written to it.
    pub fn unchanged(&self) -> Option<&Object> {
        match &self.keeper {
            Keeper::Object(object) if object.bytes().is_ok_and(|bytes| bytes.len() == self.len) => Some(object),
            Keeper::Private(_, object) if object.kind() == Kind::Bytes && pages::are_shared(self.start, self.len) => {
                Some(object)
            }
            _ => None,
        }
    }

    /// The bytes that it pins, if it has all of the object.
    pub fn whole_bytes(&self) -> Option<&Object> {
        match &self.keeper {
            Keeper::Object(object) if object.kind() == Kind::Bytes && object.nbytes() == self.len as u64 => {
                Some(object)
            }
            _ => None,
        }
    }

    /// The array that it pins, and the object that this is.
    pub fn pinned_array(&self) -> Option<(&DynArray, &Object)> {
        match &self.keeper {
            Keeper::Array(array, object) => Some((array, object)),
            _ => None,
        }
    }
}

#[pymethods]
impl Pinned {
    /// The name that the object was read by.
    #[getter]
    fn name(&self) -> &str {
        self.keeper.name()
    }

    /// The version of the name that it is.
    #[getter]
    fn version(&self) -> u64 {
        self.version
    }

    /// How many bytes there are.
    #[getter]
    fn nbytes(&self) -> usize {
        self.len
    }

    /// Whether the bytes cannot be written.
    #[getter]
    fn readonly(&self) -> bool {
        self.readonly
    }

    /// The address of the first byte in this process.
    #[getter]
    fn address(&self) -> usize {
        self.start
    }

    fn __repr__(&self) -> String {
        let how = if self.readonly { "" } else { ", private" };
        format!("<faretra.Pinned '{}' version {}, {} bytes{how}>", self.keeper.name(), self.version, self.len)
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        // SAFETY: P1, P2: the exporter keeps these bytes, and says whether they may be written.
        unsafe { export(slf.as_any(), view, flags, slf.get().exported()) }
    }
}

impl Exporter for Pinned {
    fn exported(&self) -> Exported {
        Exported { start: self.start, len: self.len, readonly: self.readonly }
    }
}

/// A map of one's own that may be written: of a draft until it is published, of rows until they are given back.
#[derive(Debug)]
#[allow(dead_code, reason = "kept for what its drop does")]
enum Map {
    Draft(DraftMap),
    Rows(RowsMap),
}

/// What is written in place, and where it stands with `fork`.
#[derive(Debug)]
struct Written {
    map: Mutex<Map>,
    /// The process that forked this one, if the map came from there.
    forked: AtomicU32,
}

/// Maps that may be shared. Touched by who has the interpreter only, so that `fork` finds it unlocked.
static WRITTEN: Mutex<Vec<Weak<Written>>> = Mutex::new(Vec::new());

/// Read by who ends a map, written by who forks: no map is half ended in a child. Who reads needs no interpreter to go on.
static FORKING: RwLock<()> = RwLock::new(());

thread_local! {
    static FORKS: RefCell<Option<RwLockWriteGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// Before `fork`.
pub fn before_fork() {
    FORKS.set(Some(FORKING.write().unwrap_or_else(PoisonError::into_inner)));
}

/// After `fork`, in the parent.
pub fn after_fork_in_parent() {
    FORKS.set(None);
}

/// After `fork`, in the child: takes its maps from the parent's drafts and rows, so that it cannot write there.
pub fn after_fork_in_child() {
    FORKS.set(None);
    let written = std::mem::take(&mut *WRITTEN.lock().unwrap_or_else(PoisonError::into_inner));
    for written in written.iter().filter_map(Weak::upgrade) {
        written.forked.store(std::os::unix::process::parent_id(), Ordering::Relaxed);
        let Ok(mut map) = written.map.try_lock() else { continue };
        // The kernel refuses this only when the address space is full, and it has the same length as before.
        let _ = match &mut *map {
            Map::Draft(map) => map.discard(),
            Map::Rows(map) => map.finish(),
        };
    }
}

/// Memory of an arena that is written in place. The map stays, as a private one, after it was ended (M7).
///
/// >>> with faretra.Arena.create("doc-writable", keep=False) as arena:
/// ...     with arena.draft_bytes("x", 2) as view:
/// ...         view.obj
/// <faretra.Writable, 2 bytes>
#[pyclass(frozen, module = "faretra")]
#[derive(Debug)]
pub struct Writable {
    start: usize,
    len: usize,
    written: Arc<Written>,
}

impl Writable {
    /// A draft's bytes.
    pub fn draft(mut map: DraftMap) -> Writable {
        let bytes = map.bytes_mut();
        let (start, len) = (bytes.as_mut_ptr().expose_provenance(), bytes.len());
        Writable::new(start, len, Map::Draft(map))
    }

    /// The bytes of rows of a mutable array.
    pub fn rows(mut map: RowsMap) -> Writable {
        let bytes = map.bytes_mut();
        let (start, len) = (bytes.as_mut_ptr().expose_provenance(), bytes.len());
        Writable::new(start, len, Map::Rows(map))
    }

    fn new(start: usize, len: usize, map: Map) -> Writable {
        let written = Arc::new(Written { map: Mutex::new(map), forked: AtomicU32::new(0) });
        let mut all = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.strong_count() != 0);
        all.push(Arc::downgrade(&written));
        drop(all);
        Writable { start, len, written }
    }

    /// Calls `f` with the draft. `f` must not wait, nor need the interpreter.
    pub fn with_draft<T>(&self, f: impl FnOnce(&mut DraftMap) -> faretra::Result<T>) -> faretra::Result<T> {
        self.with(|map| match map {
            Map::Draft(map) => f(map),
            Map::Rows(_) => Err(faretra::Error::Invalid("these are rows, not a draft".into())),
        })
    }

    /// Calls `f` with the rows. `f` must not wait, nor need the interpreter.
    pub fn with_rows<T>(&self, f: impl FnOnce(&mut RowsMap) -> faretra::Result<T>) -> faretra::Result<T> {
        self.with(|map| match map {
            Map::Rows(map) => f(map),
            Map::Draft(_) => Err(faretra::Error::Invalid("this is a draft, not rows".into())),
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Map) -> faretra::Result<T>) -> faretra::Result<T> {
        let _no_fork = FORKING.read().unwrap_or_else(PoisonError::into_inner);
        match self.written.forked.load(Ordering::Relaxed) {
            0 => f(&mut self.written.map.lock().unwrap_or_else(PoisonError::into_inner)),
            parent => Err(faretra::Error::Forked(parent)),
        }
    }
}

#[pymethods]
impl Writable {
    /// How many bytes there are.
    #[getter]
    fn nbytes(&self) -> usize {
        self.len
    }

    /// The address of the first byte in this process.
    #[getter]
    fn address(&self) -> usize {
        self.start
    }

    fn __repr__(&self) -> String {
        format!("<faretra.Writable, {} bytes>", self.len)
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        // SAFETY: P1: the exporter keeps the map, which never moves.
        unsafe { export(slf.as_any(), view, flags, slf.get().exported()) }
    }
}

impl Exporter for Writable {
    fn exported(&self) -> Exported {
        Exported { start: self.start, len: self.len, readonly: false }
    }
}

/// Bytes of an arena that every process may read and write at any time: what shared ctypes lie in.
#[pyclass(frozen, module = "faretra._native", weakref)]
#[derive(Debug)]
pub struct SharedBytes {
    bytes: faretra::SharedBytes,
}

impl SharedBytes {
    /// The memory of these bytes.
    pub fn new(bytes: faretra::SharedBytes) -> SharedBytes {
        SharedBytes { bytes }
    }
}

#[pymethods]
impl SharedBytes {
    /// How many bytes there are.
    #[getter]
    fn nbytes(&self) -> usize {
        self.bytes.len()
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let bytes = &slf.get().bytes;
        let bytes = Exported { start: bytes.as_ptr().expose_provenance(), len: bytes.len(), readonly: false };
        // SAFETY: P1: the exporter keeps the map, which never moves. Consumers reach the bytes through raw pointers, as they
        // do those of every other writable buffer.
        unsafe { export(slf.as_any(), view, flags, bytes) }
    }
}

/// Whether an object supports the buffer protocol.
pub fn exports_buffer(value: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a live object; only its type is looked at.
    unsafe { ffi::PyObject_CheckBuffer(value.as_ptr()) != 0 }
}

/// The address of an array's first element.
pub fn address(array: &Bound<'_, PyUntypedArray>) -> usize {
    // SAFETY: an array that lives; this word of it is read only.
    unsafe { (*array.as_array_ptr()).fields.data }.expose_provenance()
}

/// A numpy array over what `memory` exports, which is its base. Read-only, if `memory` is.
///
/// `numpy.ndarray(shape, dtype, memory)` makes the same array by way of the buffer protocol, which it asks for a writable
/// buffer first, and takes four times as long.
pub fn array<'py, M: Exporter>(
    memory: Bound<'py, M>,
    shape: &[usize],
    dtype: Bound<'py, PyArrayDescr>,
    order: Order,
) -> PyResult<Bound<'py, PyAny>> {
    let py = memory.py();
    let Exported { start, len, readonly } = memory.get().exported();
    let itemsize = dtype.itemsize();
    let need = shape.iter().try_fold(itemsize, |bytes, len| bytes.checked_mul(*len));
    let dims = shape.iter().map(|&len| npyffi::npy_intp::try_from(len)).collect::<Result<Vec<_>, _>>();
    let fits = need.is_some_and(|need| need <= len) && itemsize > 0 && !dtype.has_object();
    let Some(mut dims) = dims.ok().filter(|_| fits) else {
        return Err(PyValueError::new_err(format!(
            "{len} bytes of memory are no array of shape {shape:?} and type {dtype}"
        )));
    };
    // No memory at all would mean that numpy is to allocate some.
    let start = if len == 0 { NonNull::<u128>::dangling().as_ptr().expose_provenance() } else { start };
    let data = std::ptr::with_exposed_provenance_mut(start);
    let order = if matches!(order, Order::Fortran) { npyffi::NPY_ARRAY_F_CONTIGUOUS } else { 0 };
    let written = if readonly { 0 } else { npyffi::NPY_ARRAY_WRITEABLE };
    let flags = npyffi::NPY_ARRAY_ALIGNED | order | written;
    // SAFETY: one of numpy's own classes.
    let class = unsafe { npyffi::get_type_object(py, NpyTypes::PyArray_Type) };
    let (nd, dims, none) = (dims.len() as c_int, dims.as_mut_ptr(), std::ptr::null_mut::<c_void>());
    let dtype = dtype.into_dtype_ptr();
    // SAFETY: P1, P2: `memory` keeps `len` bytes at `data`, which may be written unless `readonly`, and the elements need no more
    // than that, and are no pointers. `dims` has `nd` numbers, and numpy reads them only. The reference to `dtype` is numpy's from
    // here on. Until `memory` is the array's base nobody else has it.
    let made =
        unsafe { PY_ARRAY_API.PyArray_NewFromDescr(py, class, dtype, nd, dims, none.cast(), data, flags, none.cast()) };
    // SAFETY: a new reference, or null and an exception.
    let array = unsafe { Bound::from_owned_ptr_or_err(py, made) }?;
    // SAFETY: an array that was made just now, without a base. The reference to `memory` is its own from here on, or dropped.
    let based = unsafe { PY_ARRAY_API.PyArray_SetBaseObject(py, array.as_ptr().cast(), memory.into_ptr()) };
    if based == 0 { Ok(array) } else { Err(PyErr::fetch(py)) }
}

/// Fills a buffer in.
///
/// # Safety
///
/// * `view` is null or a buffer to be filled in; the bytes are there for as long as `exporter` lives, and may be written
///   unless they are read-only.
unsafe fn export(
    exporter: &Bound<'_, PyAny>,
    view: *mut ffi::Py_buffer,
    flags: c_int,
    Exported { start, len, readonly }: Exported,
) -> PyResult<()> {
    if view.is_null() {
        return Err(PyBufferError::new_err("there is no buffer to be filled in"));
    }
    let bytes = std::ptr::with_exposed_provenance_mut::<u8>(start).cast();
    // SAFETY: the caller's promises; the buffer gets a reference to the exporter.
    let filled =
        unsafe { ffi::PyBuffer_FillInfo(view, exporter.as_ptr(), bytes, len as isize, readonly.into(), flags) };
    if filled == 0 { Ok(()) } else { Err(PyErr::fetch(exporter.py())) }
}
