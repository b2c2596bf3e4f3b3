//! Values: what Python puts in, and what it gets back.
//!
//! | what comes in | what it becomes | what comes back |
//! |---|---|---|
//! | `numpy.ndarray` of plain memory (also `memmap`, `recarray`), `__dlpack__` | an array | `numpy.ndarray`, read-only |
//! | `__arrow_c_stream__`, `__arrow_c_array__` | a table | `faretra.Table` |
//! | `bytes`, `bytearray`, a buffer of bytes (`memoryview`, `mmap`, `pyarrow.Buffer`) | bytes | `memoryview`, read-only |
//! | a buffer of numbers (`memoryview`, `array.array`, `ctypes` arrays) | an array | `numpy.ndarray`, read-only |
//! | what was read from an arena | that object; of the same arena, without a copy | what it was |
//! | `faretra.List`, `faretra.Dict` | see `packed` | `faretra.StoredList`, `faretra.StoredDict` |
//! | anything else | a pickle with its large buffers beside it | what it was, its arrays in the arena |
//!
//! A pickle is a bundle: member `__pickle__` is the table of buffers (count, then member, offset and length of each, as 64-bit
//! little-endian numbers) and the pickle; member `0` has the small buffers, each at a multiple of 64; each of the others has a
//! member of its own, so that it is copied in the fast way.

use faretra::{Bundle, DType, Drafted, DynArrayView, Error, Kind, Object, Order, Value, Writer};
use numpy::npyffi::NPY_TYPES;
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyBufferError, PyImportError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyList, PyMemoryView, PyString, PyType};
use rustc_hash::FxHashMap;
use std::ffi::c_int;
use std::sync::{Mutex, PoisonError};

use crate::arrow;
use crate::collection;
use crate::error::{Failure, run};
use crate::memory::{self, Exporter, Foreign, Pinned, exports_buffer};
use crate::packed::{Built, DICT, LIST};
use crate::table::{Bundled, Table};

/// From this size on a buffer of a pickle has a member of its own.
const LARGE: usize = 64 << 10;
/// Buffers start at multiples of this.
const ALIGN: usize = 64;
/// The member that tells a pickle from other bundles.
const PICKLE: &str = "__pickle__";

/// A value on its way in, which keeps what it is made of.
#[allow(missing_debug_implementations, reason = "lives for one call")]
pub enum Input {
    /// An array in Python's memory.
    Array {
        /// Its element type.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes from one element to the next, along each axis.
        strides: Vec<isize>,
        /// Which of the bytes is the first element's first.
        first: usize,
        /// From its lowest byte to its highest.
        memory: Foreign,
    },
    /// Bytes in Python's memory.
    Bytes(Foreign),
    /// A table; it can be read once.
    Stream(Option<arrow::Reader>),
    /// A table whose batches are there; it can be read again.
    Batches(arrow_schema::SchemaRef, Vec<arrow_array::RecordBatch>),
    /// A batch.
    Batch(arrow_array::RecordBatch),
    /// What was read from an arena.
    Object(Object),
    /// A table that was read from an arena.
    Table(faretra::Table),
    /// What lies in the arena already; it can be used once.
    Draft(Option<Drafted>),
    /// A pickle and its buffers.
    Pickle(Pickle),
    /// A collection, as the members of its bundle.
    Packed(Vec<(String, Vec<u8>)>),
    /// Several values under names.
    Bundle(Vec<(String, Input)>),
}

/// A pickle on its way in.
#[allow(missing_debug_implementations, reason = "lives for one call")]
pub struct Pickle {
    /// Table of buffers, and pickle.
    head: Vec<u8>,
    /// The small buffers.
    small: Vec<u8>,
    /// The large ones.
    large: Vec<Foreign>,
}

/// What people may ask for about a value that comes in.
#[derive(Clone, Copy, Debug)]
pub enum Pickling {
    /// What is no array, table or bytes is pickled.
    Allowed,
    /// It is refused.
    Refused,
}

/// A name, which is text that can be UTF-8.
pub fn text<'a>(name: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    let Ok(name) = name.cast::<PyString>() else {
        return Err(PyTypeError::new_err(format!("a name is a str, not {}", name.get_type().name()?)));
    };
    name.to_str().map_err(|_| PyValueError::new_err(format!("the name {} is no text that can be UTF-8", lossy(name))))
}

fn lossy(name: &Bound<'_, PyString>) -> String {
    name.repr().map_or_else(|_| "?".into(), |shown| shown.to_string_lossy().into_owned())
}

/// A number that comes from Python. One that cannot be is a `ValueError` that says which can.
#[derive(Clone, Copy, Debug)]
pub struct Number<T>(pub T);

impl<'py, T: TryFrom<u64>> FromPyObject<'_, 'py> for Number<T> {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Number<T>> {
        let number = match given.extract::<u64>() {
            Ok(number) => T::try_from(number).ok(),
            Err(error) if error.is_instance_of::<PyOverflowError>(given.py()) => None,
            Err(error) => return Err(error),
        };
        let most = if size_of::<T>() < 8 { (1_u64 << (8 * size_of::<T>())) - 1 } else { u64::MAX };
        let given = given.to_owned();
        number.map(Number).ok_or_else(|| PyValueError::new_err(format!("{given} is not a number from 0 to {most}")))
    }
}

impl Input {
    /// What `value` becomes. `name` is what a column without a name is called.
    pub fn of(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Input> {
        // What other libraries hand over is read here: a panic over it is an error too.
        run(value.py(), || Input::read(value, name))
    }

    fn read(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Input> {
        let py = value.py();
        if let Some(array) = array_class(py)
            && value.is_instance(array)?
        {
            return of_array(value);
        }
        if value.is_instance_of::<PyBytes>() || value.is_instance_of::<PyByteArray>() {
            return Ok(Input::Bytes(Foreign::of_buffer(value)?));
        }
        if let Ok(view) = value.cast::<PyMemoryView>() {
            return of_view(view);
        }
        if let Ok(pinned) = value.cast::<Pinned>() {
            return match pinned.get().whole_bytes() {
                Some(object) => Ok(Input::Object(object.clone())),
                None => Ok(Input::Bytes(Foreign::of_buffer(value)?)),
            };
        }
        if let Ok(table) = value.cast::<Table>() {
            return Ok(table.get().input());
        }
        if let Ok(bundle) = value.cast::<Bundled>() {
            return Ok(Input::Object(bundle.get().object().clone()));
        }
        if let Some(object) = collection::whole(value) {
            return Ok(Input::Object(object));
        }
        if let Some(built) = collection::build(value, None)? {
            return Ok(Input::built(built));
        }
        if is_pandas(value)? {
            // A frame goes through Arrow, which keeps its index, if pyarrow is there. A series would lose its index.
            if value.hasattr("columns")? && value.hasattr("__arrow_c_stream__")? {
                match arrow::stream(value, name) {
                    Ok(reader) => return Ok(Input::Stream(Some(reader))),
                    Err(e) if e.is_instance_of::<PyImportError>(py) => {}
                    // Columns of mixed objects are no Arrow, and complex numbers neither.
                    Err(e) if e.is_instance_of::<PyValueError>(py) || e.is_instance_of::<PyTypeError>(py) => {}
                    Err(e) if is_of_arrow(&e, py) => {}
                    Err(e) => return Err(e),
                }
            }
            return pickle(value);
        }
        if value.hasattr("__arrow_c_stream__")? {
            let name = column_name(value, name);
            return Ok(Input::Stream(Some(arrow::stream(value, &name)?)));
        }
        if value.hasattr("__arrow_c_array__")? {
            let name = column_name(value, name);
            return Ok(Input::Batch(arrow::batch(value, &name)?));
        }
        if value.hasattr("__dlpack__")? && !value.is_instance_of::<PyType>() {
            let array = numpy(py)?.call_method1("from_dlpack", (value,));
            return match array {
                Ok(array) => of_array(&array),
                // On a device, or of a type that numpy has not: its own pickle knows better.
                Err(refused) => pickle(value).inspect_err(|error| {
                    let _ = error.add_note(py, format!("and numpy.from_dlpack could not read it: {refused}"));
                }),
            };
        }
        if exports_buffer(value)
            && !py.import("faretra._pickle")?.call_method1("is_scalar", (value,))?.extract::<bool>()?
        {
            return of_view(&PyMemoryView::from(value)?);
        }
        pickle(value)
    }

    /// What `value` becomes, if it is put by this writer: a collection is copied into the arena while it is read.
    pub fn by(writer: &Writer, value: &Bound<'_, PyAny>, name: &str) -> PyResult<Input> {
        match collection::build(value, Some(writer))? {
            Some(built) => Ok(Input::built(built)),
            None => Input::of(value, name),
        }
    }

    fn built(built: Built) -> Input {
        match built {
            Built::Draft(draft) => Input::Draft(Some(draft)),
            Built::Members(members) => Input::Packed(members),
        }
    }

    /// Several values, to be one object.
    pub fn bundle(members: &Bound<'_, PyDict>) -> PyResult<Input> {
        let mut inputs = Vec::with_capacity(members.len());
        for (name, value) in members {
            let name = text(&name)?.to_owned();
            if [PICKLE, LIST, DICT].contains(&name.as_str()) {
                return Err(PyValueError::new_err(format!("a bundle cannot have a member named `{name}`")));
            }
            let input = Input::of(&value, &name)?;
            inputs.push((name, input));
        }
        Ok(Input::Bundle(inputs))
    }

    /// Makes a value of it that can be taken again: reads a stream of batches to its end.
    pub fn repeatable(self) -> Result<Input, Error> {
        Ok(match self {
            Input::Stream(Some(reader)) => {
                let schema = arrow_array::RecordBatchReader::schema(&reader);
                Input::Batches(schema, reader.collect::<Result<_, _>>()?)
            }
            other => other,
        })
    }

    /// About how many bytes are to be copied: whether that takes long.
    pub fn takes_long(&self) -> bool {
        match self {
            Input::Array { memory, .. } | Input::Bytes(memory) => memory.bytes().len() >= LARGE,
            // One of another arena is copied.
            Input::Object(object) => object.nbytes() >= LARGE as u64,
            Input::Draft(_) => false,
            // Reading a stream may call anything.
            Input::Stream(_) | Input::Batches(..) | Input::Batch(_) | Input::Table(_) => true,
            Input::Pickle(pickle) => !pickle.large.is_empty() || pickle.head.len() + pickle.small.len() >= LARGE,
            Input::Packed(_) => true,
            Input::Bundle(members) => members.len() > 4 || members.iter().any(|(_, input)| input.takes_long()),
        }
    }

    /// The value, as the library takes it. It can be taken once.
    pub fn value(&mut self) -> Result<Value<'_>, Error> {
        Ok(match self {
            Input::Array { dtype, shape, strides, first, memory } => {
                DynArrayView::from_strides(dtype.clone(), shape, strides, *first, memory.bytes())?.into()
            }
            Input::Bytes(memory) => memory.bytes().into(),
            Input::Stream(reader) => {
                let used = || Error::Invalid("this table was read already".into());
                let reader: Box<dyn arrow_array::RecordBatchReader + Send> = reader.take().ok_or_else(used)?;
                reader.into()
            }
            Input::Batches(schema, batches) => {
                let batches = batches.clone().into_iter().map(Ok);
                let reader: Box<dyn arrow_array::RecordBatchReader + Send> =
                    Box::new(arrow_array::RecordBatchIterator::new(batches, schema.clone()));
                reader.into()
            }
            Input::Batch(batch) => (&*batch).into(),
            Input::Object(object) => (&*object).into(),
            Input::Table(table) => (&*table).into(),
            Input::Draft(draft) => {
                draft.take().ok_or_else(|| Error::Invalid("this draft was published already".into()))?.into()
            }
            Input::Pickle(Pickle { head, small, large }) => {
                let bundle = Bundle::new().with(PICKLE, head.as_slice()).with("0", small.as_slice());
                large
                    .iter()
                    .enumerate()
                    .fold(bundle, |bundle, (i, part)| bundle.with(&(i + 1).to_string(), part.bytes()))
                    .into()
            }
            Input::Packed(members) => {
                members.iter().fold(Bundle::new(), |bundle, (name, bytes)| bundle.with(name, bytes.as_slice())).into()
            }
            Input::Bundle(members) => {
                let mut bundle = Bundle::new();
                for (name, input) in members {
                    bundle = bundle.with(name, input.value()?);
                }
                bundle.into()
            }
        })
    }
}

/// numpy, which is imported when the first array is met.
pub fn numpy(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static NUMPY: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    Ok(NUMPY.get_or_try_init(py, || py.import("numpy").map(Bound::unbind))?.bind(py))
}

/// `numpy.ndarray`, if anybody imported numpy yet: without it there is no array to be met.
fn array_class(py: Python<'_>) -> Option<&Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if let Some(class) = CLASS.get(py) {
        return Some(class.bind(py));
    }
    let modules = py.import("sys").and_then(|sys| sys.getattr("modules")).ok()?;
    if !modules.contains("numpy").unwrap_or(false) {
        return None;
    }
    let class = numpy(py).and_then(|numpy| numpy.getattr("ndarray")).ok()?;
    Some(CLASS.get_or_init(py, || class.unbind()).bind(py))
}

/// Whether it is of pandas: a frame, a series or an index, also of a class of somebody else, or what else pandas has.
fn is_pandas(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let module: String = value.get_type().module()?.to_string();
    if module == "pandas" || module.starts_with("pandas.") {
        return Ok(true);
    }
    let Some(pandas) = imported(value.py(), "pandas") else { return Ok(false) };
    for class in ["DataFrame", "Series", "Index"] {
        // Which it has not while it is being imported.
        if let Ok(class) = pandas.getattr(class)
            && value.is_instance(&class)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether pyarrow says that Arrow cannot have something.
fn is_of_arrow(error: &PyErr, py: Python<'_>) -> bool {
    let class = imported(py, "pyarrow").and_then(|pyarrow| pyarrow.getattr("ArrowException").ok());
    class.is_some_and(|class| error.is_instance(py, &class))
}

/// A module, if anybody imported it yet.
fn imported<'py>(py: Python<'py>, name: &str) -> Option<Bound<'py, PyAny>> {
    let modules = py.import("sys").and_then(|sys| sys.getattr("modules")).ok()?;
    modules.get_item(name).ok()
}

/// What a series is called.
fn column_name(value: &Bound<'_, PyAny>, name: &str) -> String {
    let own = value.getattr("name").ok().and_then(|own| own.extract::<String>().ok());
    own.filter(|own| !own.is_empty()).unwrap_or_else(|| name.to_owned())
}

/// An array of numpy's. Subclasses other than `memmap` and `recarray` are pickled, which keeps their class.
fn of_array(array: &Bound<'_, PyAny>) -> PyResult<Input> {
    let py = array.py();
    let class = array.get_type();
    let exact = array_class(py).is_some_and(|plain| class.is(plain));
    if !exact {
        let name = class.name()?;
        let module = class.module()?;
        let plain = module.to_string().starts_with("numpy") && ["memmap", "recarray"].iter().any(|n| name == *n);
        if !plain {
            return pickle(array);
        }
    }
    let array: &Bound<'_, PyUntypedArray> = array.cast()?;
    let dtype = array.dtype();
    if dtype.has_object() {
        // With a warning.
        return pickle(array);
    }
    if let Some(shared) = same_array(array)? {
        return Ok(Input::Object(shared));
    }
    let Some(dtype) = dtype_in(&dtype)? else { return pickle(array) };
    let shape = array.shape().to_vec();
    let mut strides = array.strides().to_vec();
    if array.is_c_contiguous() {
        // What numpy has for an axis of one element may be anything.
        let mut step = dtype.itemsize() as isize;
        for (stride, len) in strides.iter_mut().zip(&shape).rev() {
            *stride = step;
            step = step.saturating_mul((*len).max(1) as isize);
        }
    }
    let (memory, first) = Foreign::of_array(array, &strides, dtype.itemsize());
    let strides = if shape.contains(&0) { vec![0; shape.len()] } else { strides };
    Ok(Input::Array { dtype, shape, strides, first, memory })
}

/// The array of an arena that this is, if it is a whole one.
fn same_array(array: &Bound<'_, PyUntypedArray>) -> PyResult<Option<Object>> {
    let base = array.getattr(pyo3::intern!(array.py(), "base"))?;
    let Ok(pinned) = base.cast::<Pinned>() else { return Ok(None) };
    let pinned = pinned.get();
    let Some((shared, object)) = pinned.pinned_array() else { return Ok(None) };
    let same = memory::address(array) == pinned.place().0;
    let same = same && array.shape() == shared.shape() && array.strides() == shared.strides();
    let same = same && dtype_in(&array.dtype())?.as_ref() == Some(shared.dtype());
    Ok(same.then(|| object.clone()))
}

/// A memoryview: of bytes, or of numbers, which numpy reads.
fn of_view(view: &Bound<'_, PyMemoryView>) -> PyResult<Input> {
    let format: String = view.getattr("format")?.extract()?;
    if format == "B" {
        let contiguous: bool = view.getattr("c_contiguous")?.extract()?;
        let one: bool = view.getattr("ndim")?.extract::<usize>()? == 1;
        if contiguous && one {
            let whole =
                view.getattr("obj")?.cast::<Pinned>().ok().and_then(|pinned| pinned.get().whole_bytes().cloned());
            if let Some(object) = whole.filter(|object| view.len().is_ok_and(|len| len as u64 == object.nbytes())) {
                return Ok(Input::Object(object));
            }
            return Ok(Input::Bytes(Foreign::of_buffer(view)?));
        }
    }
    of_array(&numpy(view.py())?.call_method1("asarray", (view,))?)
}

fn pickle(value: &Bound<'_, PyAny>) -> PyResult<Input> {
    let py = value.py();
    let made = py.import("faretra._pickle")?.call_method1("dumps", (value,))?;
    let (pickle, buffers): (Bound<'_, PyBytes>, Bound<'_, PyList>) = made.extract()?;
    let pickle = pickle.as_bytes();
    let mut table = Vec::with_capacity(8 + buffers.len() * 24);
    table.extend_from_slice(&(buffers.len() as u64).to_le_bytes());
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for buffer in &buffers {
        let memory = Foreign::of_buffer(&buffer)?;
        let len = memory.bytes().len();
        let (member, offset) = if len >= LARGE {
            large.push(memory);
            (large.len() as u64, 0)
        } else {
            let offset = small.len().next_multiple_of(ALIGN);
            small.resize(offset, 0);
            small.extend_from_slice(memory.bytes());
            (0, offset as u64)
        };
        for number in [member, offset, len as u64] {
            table.extend_from_slice(&number.to_le_bytes());
        }
    }
    table.extend_from_slice(pickle);
    Ok(Input::Pickle(Pickle { head: table, small, large }))
}

/// The element type that numpy's `dtype` says, or `None` if it is of a kind that is not plain memory.
fn dtype_in(dtype: &Bound<'_, PyArrayDescr>) -> PyResult<Option<DType>> {
    // Of numbers that numpy has itself three letters say all. What other libraries register may say the same and be something else.
    let is_numpys = (0..NPY_TYPES::NPY_USERDEF as c_int).contains(&dtype.num());
    if is_numpys && matches!(dtype.kind(), b'b' | b'i' | b'u' | b'f' | b'c') {
        let order = if dtype.is_native_byteorder() == Some(true) { '<' } else { char::from(dtype.byteorder()) };
        return Ok(format!("{order}{}{}", char::from(dtype.kind()), dtype.itemsize()).parse().ok());
    }
    let text: String = dtype.getattr("str")?.extract()?;
    if text.as_bytes().get(1) != Some(&b'V') {
        return Ok(text.parse().ok());
    }
    let is_plain = dtype.getattr("names")?.is_none() && dtype.getattr("subdtype")?.is_none();
    if is_plain {
        // What other libraries register (bfloat16, say) says that it is void, too, and is of another class.
        let void = numpy(dtype.py())?.getattr("void")?;
        return Ok(if dtype.getattr("type")?.is(&void) { text.parse().ok() } else { None });
    }
    let described = numpy(dtype.py())?.getattr("lib")?.getattr("format")?.call_method1("dtype_to_descr", (dtype,));
    let Ok(described) = described else { return Ok(None) };
    let text: String = described.repr()?.extract()?;
    Ok(text.parse().ok())
}

/// What the user gave as an element type: anything that `numpy.dtype` takes.
pub fn dtype_of(given: &Bound<'_, PyAny>) -> PyResult<DType> {
    let dtype = numpy(given.py())?.call_method1("dtype", (given,))?.cast_into::<PyArrayDescr>()?;
    if dtype.has_object() {
        return Err(PyTypeError::new_err(format!(
            "an array of {dtype} holds pointers to Python objects, which mean nothing in another process; put the array with \
             `arena[name] = ...`, which pickles it, or choose a plain element type"
        )));
    }
    dtype_in(&dtype)?.ok_or_else(|| PyTypeError::new_err(format!("{dtype} is not plain memory")))
}

/// numpy's `dtype` of an element type.
pub fn dtype_out<'py>(py: Python<'py>, dtype: &DType) -> PyResult<Bound<'py, PyAny>> {
    // A quick hash: a thousand types that somebody made to collide cost little.
    static KNOWN: Mutex<Option<FxHashMap<DType, Py<PyAny>>>> = Mutex::new(None);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known().get_or_insert_default().get(dtype) {
        return Ok(known.bind(py).clone());
    }
    // Not under the lock: this is Python code, which lets other threads run, and processes fork.
    let literal = py.import("ast")?.call_method1("literal_eval", (dtype.descr(),))?;
    let made = numpy(py)?.getattr("lib")?.getattr("format")?.call_method1("descr_to_dtype", (literal,))?;
    // Types come from whoever writes the arena: they are remembered, but not without end.
    let mut known = known();
    let known = known.get_or_insert_default();
    if known.len() < 1000 {
        known.entry(dtype.clone()).or_insert_with(|| made.clone().unbind());
    }
    Ok(made)
}

/// A numpy array over memory that is exported.
pub fn array_over<'py, M: Exporter>(
    memory: Bound<'py, M>,
    shape: &[usize],
    dtype: &DType,
    order: Order,
) -> PyResult<Bound<'py, PyAny>> {
    let dtype = dtype_out(memory.py(), dtype)?;
    memory::array(memory, shape, dtype.cast_into()?, order)
}

/// What Python gets for an object.
pub fn output<'py>(py: Python<'py>, object: Object, pickling: Pickling) -> PyResult<Bound<'py, PyAny>> {
    match object.kind() {
        Kind::Array => {
            let array = run(py, || object.dyn_array())?;
            let pinned = Bound::new(py, Pinned::array(array, object))?;
            let (array, _) = pinned.get().pinned_array().expect("made of one");
            array_over(pinned.clone(), array.shape(), array.dtype(), array.order())
        }
        Kind::Bytes => {
            let len = run(py, || object.bytes().map(<[u8]>::len))?;
            let pinned = run(py, || Pinned::bytes(object, 0..len))?;
            Ok(PyMemoryView::from(Bound::new(py, pinned)?.as_any())?.into_any())
        }
        Kind::Batch | Kind::Table => Ok(Bound::new(py, run(py, || Table::of(object))?)?.into_any()),
        Kind::Bundle => {
            let bundle = run(py, || object.bundle())?;
            if is_pickle(&bundle) {
                return unpickle(py, &bundle, pickling);
            }
            let first = bundle.names().next().unwrap_or_default();
            match collection::stored(py, &bundle, first, pickling)? {
                Some(stored) => Ok(stored),
                None => Ok(Bound::new(py, Bundled::new(bundle, pickling))?.into_any()),
            }
        }
        other => Err(not_a_value(py, object.name(), &other.to_string())),
    }
}

/// Whether a bundle is one pickled object.
pub fn is_pickle(bundle: &faretra::Bundled) -> bool {
    bundle.names().next() == Some(PICKLE)
}

/// What has no value of its own.
fn not_a_value(py: Python<'_>, name: &str, kind: &str) -> PyErr {
    let error = Error::Mismatch { name: name.to_owned(), expected: "a value".into(), found: format!("a {kind}") };
    Failure::from(error).raise(py)
}

/// The error of a pickle in an arena that was opened without leave to unpickle.
pub fn refused(what: &str) -> PyErr {
    PyValueError::new_err(format!(
        "{what} is a pickle, which can run any code when it is loaded, and the arena was opened with untrusted=True or \
         allow_pickle=False; if you trust whoever wrote it, open the arena with allow_pickle=True"
    ))
}

fn unpickle<'py>(py: Python<'py>, bundle: &faretra::Bundled, pickling: Pickling) -> PyResult<Bound<'py, PyAny>> {
    let name = bundle.object().name();
    if matches!(pickling, Pickling::Refused) {
        return Err(refused(&format!("`{name}`")));
    }
    let damaged = |what: &str| Failure::from(Error::Damaged(format!("the pickle `{name}` {what}"))).raise(py);
    let head = run(py, || bundle.get(PICKLE))?;
    let bytes = run(py, || head.bytes())?;
    let (count, mut rest) = bytes.split_first_chunk::<8>().ok_or_else(|| damaged("is too short"))?;
    let count = u64::from_le_bytes(*count);
    if count > (rest.len() / 24) as u64 {
        return Err(damaged(&format!("has no room for its {count} buffers")));
    }
    let buffers = PyList::empty(py);
    let mut member: Option<(u64, Object)> = None;
    for _ in 0..count {
        let mut number = || {
            let (number, after) = rest.split_first_chunk::<8>().expect("counted");
            rest = after;
            u64::from_le_bytes(*number)
        };
        let (of, offset, len) = (number(), number(), number());
        let object = match &member {
            Some((known, object)) if *known == of => object.clone(),
            _ => run(py, || bundle.get(&of.to_string()))?,
        };
        let end = offset.checked_add(len).ok_or_else(|| damaged("has a buffer that ends nowhere"))?;
        let pinned = run(py, || Pinned::bytes(object.clone(), offset as usize..end as usize))?;
        member = Some((of, object));
        buffers.append(Bound::new(py, pinned)?)?;
    }
    let head_end = bytes.len();
    let pickled = run(py, || Pinned::bytes(head.clone(), head_end - rest.len()..head_end))?;
    py.import("faretra._pickle")?.call_method1("loads", (Bound::new(py, pickled)?, buffers))
}

/// A private writable view of an array or of bytes.
pub fn private<'py>(py: Python<'py>, object: &Object) -> PyResult<Bound<'py, PyAny>> {
    match object.kind() {
        Kind::Array => {
            let array = run(py, || object.dyn_array())?;
            let bytes = run(py, || array.private())?;
            let pinned = Bound::new(py, Pinned::private(bytes, object))?;
            array_over(pinned, array.shape(), array.dtype(), array.order())
        }
        Kind::Bytes => {
            let bytes = run(py, || object.private())?;
            Ok(PyMemoryView::from(Bound::new(py, Pinned::private(bytes, object))?.as_any())?.into_any())
        }
        other => Err(PyBufferError::new_err(format!(
            "`{}` is a {other}: only arrays and bytes have a private writable view",
            object.name()
        ))),
    }
}
