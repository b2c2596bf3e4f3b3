//! Lists and dicts of an arena as Python holds them: items are decoded one by one, when they are asked for.
//!
//! `packed` says how they lie in the arena.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use faretra::{Bundled, Error, Object, Writer};
use pyo3::exceptions::{PyIndexError, PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyList, PySlice, PyString, PyTuple};

use crate::error::{Failure, run};
use crate::memory::Pinned;
use crate::packed::{Builder, Built, DICT, ENTRIES, FORMAT, LIST, LOW, LOW_MASK, SLOTS, Tag, hash, key_record};
use crate::value::{Pickling, refused};

/// What a collection is made of, and whether that was used up.
struct Recipe {
    items: Py<PyAny>,
    used: AtomicBool,
}

impl Recipe {
    fn of(items: &Bound<'_, PyAny>) -> PyResult<Recipe> {
        // What cannot be iterated is told now. An iterator can be read once.
        items.try_iter()?;
        Ok(Recipe { items: items.clone().unbind(), used: AtomicBool::new(false) })
    }

    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let items = self.items.bind(py).clone();
        let once = items.try_iter()?.as_any().is(&items);
        if once && self.used.swap(true, Ordering::Relaxed) {
            return Err(Failure::invalid("this collection is made of an iterator, which was used up").raise(py));
        }
        Ok(items)
    }
}

/// A list to be put into an arena: `arena[name] = faretra.List(items)`.
///
/// It is stored as one object, which never changes, and read item by item (`faretra.StoredList`): however many processes index
/// it, there is one copy. `items` is any iterable; it is read when the list is put, and does not have to fit into this process's
/// memory: what was read is in the arena, and takes 8 bytes for each item here until the list is complete. In a bundle or sent
/// through a channel, it is built in this process first. Items are what can be pickled: strings, numbers, dicts, arrays.
///
/// >>> arena = faretra.Arena.create("doc-list", keep=False)
/// >>> arena["records"] = faretra.List({"id": i, "square": i * i} for i in range(1000))
/// >>> arena["records"][20]
/// {'id': 20, 'square': 400}
/// >>> len(arena["records"]), list(arena["records"][-2:])
/// (1000, [{'id': 998, 'square': 996004}, {'id': 999, 'square': 998001}])
/// >>> arena.close()
#[pyclass(frozen, module = "faretra")]
pub struct List(Recipe);

#[pymethods]
impl List {
    #[new]
    fn new(items: &Bound<'_, PyAny>) -> PyResult<List> {
        Recipe::of(items).map(List)
    }

    fn __repr__(&self) -> &'static str {
        "<faretra.List, to be put>"
    }
}

/// A dict to be put into an arena: `arena[name] = faretra.Dict(items)`.
///
/// It is stored as one object, which never changes, and read item by item (`faretra.StoredDict`). `items` is a mapping or an
/// iterable of pairs; of equal keys, the last one's value counts. Keys are str, bytes, or int of up to 64 bits; values are what
/// can be pickled. While it is made, it takes about 40 bytes of this process's memory for each item, whatever the size of keys and
/// values.
///
/// >>> arena = faretra.Arena.create("doc-dict", keep=False)
/// >>> arena["words"] = faretra.Dict({"one": 1, "two": [2, 2]})
/// >>> words = arena["words"]
/// >>> words["two"], "three" in words, words.get("three", 3), list(words)
/// ([2, 2], False, 3, ['one', 'two'])
/// >>> arena.close()
#[pyclass(frozen, module = "faretra")]
pub struct Dict(Recipe);

#[pymethods]
impl Dict {
    #[new]
    fn new(items: &Bound<'_, PyAny>) -> PyResult<Dict> {
        Recipe::of(items).map(Dict)
    }

    fn __repr__(&self) -> &'static str {
        "<faretra.Dict, to be put>"
    }
}

/// What is to be put, built: into the arena at once, if there is a writer. `None`: it is no collection.
pub fn build(value: &Bound<'_, PyAny>, writer: Option<&Writer>) -> PyResult<Option<Built>> {
    let py = value.py();
    if let Ok(list) = value.cast_exact::<List>() {
        return Builder::list(py, writer, &list.get().0.take(py)?).map(Some);
    }
    if let Ok(dict) = value.cast_exact::<Dict>() {
        return Builder::dict(py, writer, &dict.get().0.take(py)?).map(Some);
    }
    match value.cast_exact::<StoredList>() {
        // A slice, or the keys of a dict.
        Ok(list) if list.get().whole().is_none() => Builder::list(py, writer, value).map(Some),
        _ => Ok(None),
    }
}

/// The object that a value which was read is a view of, if it is all of it.
pub fn whole(value: &Bound<'_, PyAny>) -> Option<Object> {
    if let Ok(list) = value.cast_exact::<StoredList>() {
        return list.get().whole().cloned();
    }
    value.cast_exact::<StoredDict>().ok().map(|dict| dict.get().stored.bundle.object().clone())
}

/// What a bundle is, if it is a collection.
pub fn stored<'py>(
    py: Python<'py>,
    bundle: &Bundled,
    marker: &str,
    pickling: Pickling,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    if marker != LIST && marker != DICT {
        return Ok(None);
    }
    let stored = Arc::new(run(py, || Stored::open(bundle, marker, pickling))?);
    Ok(Some(if marker == DICT {
        Bound::new(py, StoredDict { stored })?.into_any()
    } else {
        Bound::new(py, StoredList::all(stored, Part::Value))?.into_any()
    }))
}

/// A collection of an arena.
struct Stored {
    bundle: Bundled,
    pickling: Pickling,
    count: usize,
    entries: Object,
    /// Of a dict: its slots, and the seed of their hash.
    slots: Option<(Object, u64)>,
    /// Found when they are asked for.
    chunks: Vec<OnceLock<Object>>,
}

fn words<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let (words, rest) = bytes.as_chunks::<8>();
    let words: &[[u8; 8]; N] = words.try_into().ok().filter(|_| rest.is_empty())?;
    Some(words.map(u64::from_le_bytes))
}

fn word(bytes: &[u8], i: usize) -> Option<u64> {
    let at = i.checked_mul(8)?;
    bytes.get(at..at.checked_add(8)?).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes)
}

/// A length, and what is behind it.
fn len(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut len = 0_u64;
    for (i, byte) in bytes.iter().take(9).enumerate() {
        len |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(len).ok()?, &bytes[i + 1..]));
        }
    }
    None
}

impl Stored {
    fn open(bundle: &Bundled, marker: &str, pickling: Pickling) -> faretra::Result<Stored> {
        let name = bundle.object().name();
        let damaged = |what: &str| Error::Damaged(format!("the collection `{name}` {what}"));
        let head = bundle.get(marker)?;
        let [format, count, chunks, seed, slots] =
            words::<5>(head.bytes()?).ok_or_else(|| damaged("has no head of five numbers"))?;
        if format != FORMAT {
            let text = format!("the collection `{name}` has format {format}, and this version reads {FORMAT} only");
            return Err(Error::Invalid(text));
        }
        let entries = bundle.get(ENTRIES)?;
        if entries.bytes()?.len() as u64 != count.saturating_mul(8) {
            return Err(damaged(&format!("has no place for {count} items")));
        }
        let slots = if marker == DICT {
            let object = bundle.get(SLOTS)?;
            let fits =
                slots.is_power_of_two() && slots > count && object.bytes()?.len() as u64 == slots.saturating_mul(8);
            if !fits {
                return Err(damaged(&format!("has {slots} slots for {count} items")));
            }
            Some((object, seed))
        } else {
            None
        };
        if chunks > bundle.names().count() as u64 {
            return Err(damaged(&format!("has no {chunks} chunks")));
        }
        let chunks = std::iter::repeat_with(OnceLock::new).take(chunks as usize).collect();
        Ok(Stored { bundle: bundle.clone(), pickling, count: count as usize, entries, slots, chunks })
    }

    fn damaged(&self, what: impl std::fmt::Display) -> Error {
        Error::Damaged(format!("the collection `{}` {what}", self.bundle.object().name()))
    }

    /// Where the record of an item begins: its chunk, and the offset there.
    fn place(&self, item: usize) -> faretra::Result<(&Object, usize)> {
        let entry =
            word(self.entries.bytes()?, item).ok_or_else(|| self.damaged(format_args!("has no item {item}")))?;
        let which = (entry >> LOW) as usize;
        let slot = self.chunks.get(which);
        let slot = slot.ok_or_else(|| self.damaged(format_args!("has no chunk {which}, where item {item} lies")))?;
        let chunk = match slot.get() {
            Some(chunk) => chunk,
            None => {
                let chunk = self.bundle.get(&which.to_string())?;
                slot.get_or_init(|| chunk)
            }
        };
        Ok((chunk, (entry & LOW_MASK) as usize))
    }

    /// Which item has a key.
    fn find(&self, key: &[u8]) -> faretra::Result<Option<usize>> {
        let Some((slots, seed)) = &self.slots else { return Ok(None) };
        let slots = slots.bytes()?;
        let (hash, count) = (hash(*seed, key), slots.len() / 8);
        for step in 0..count {
            let slot = word(slots, (hash as usize).wrapping_add(step) & (count - 1)).unwrap_or(0);
            if slot == 0 {
                return Ok(None);
            }
            if slot & !LOW_MASK == hash & !LOW_MASK {
                let item = (slot & LOW_MASK).wrapping_sub(1) as usize;
                let (chunk, at) = self.place(item)?;
                let found = at.checked_add(key.len()).and_then(|end| chunk.bytes().ok()?.get(at..end));
                if found == Some(key) {
                    return Ok(Some(item));
                }
            }
        }
        Ok(None)
    }

    /// An item as Python has it.
    fn item<'py>(&self, py: Python<'py>, item: usize, part: Part) -> PyResult<Bound<'py, PyAny>> {
        let (chunk, at) = run(py, || self.place(item))?;
        let bytes = run(py, || chunk.bytes())?;
        let cut = || Failure::from(self.damaged(format_args!("has a record of item {item} that is cut off"))).raise(py);
        let record = Record { stored: self, chunk, bytes };
        if self.slots.is_none() {
            return Ok(record.decode(py, at)?.ok_or_else(cut)?.0);
        }
        if part == Part::Value {
            let value_at = record.skip_key(at).ok_or_else(cut)?;
            return Ok(record.decode(py, value_at)?.ok_or_else(cut)?.0);
        }
        let (key, value_at) = record.decode(py, at)?.ok_or_else(cut)?;
        if part == Part::Key {
            return Ok(key);
        }
        let (value, _) = record.decode(py, value_at)?.ok_or_else(cut)?;
        Ok(PyTuple::new(py, [key, value])?.into_any())
    }
}

/// Records of a chunk.
struct Record<'a> {
    stored: &'a Stored,
    chunk: &'a Object,
    bytes: &'a [u8],
}

impl Record<'_> {
    /// So many bytes, and where what is behind them begins.
    fn bytes_of(&self, at: usize) -> Option<(&[u8], usize)> {
        let (len, rest) = len(self.bytes.get(at..)?)?;
        Some((rest.get(..len)?, self.bytes.len() - rest.len() + len))
    }

    fn eight(&self, at: usize) -> Option<([u8; 8], usize)> {
        let end = at.checked_add(8)?;
        Some((self.bytes.get(at..end)?.try_into().ok()?, end))
    }

    /// Where the value behind a key begins.
    fn skip_key(&self, at: usize) -> Option<usize> {
        match Tag::of(*self.bytes.get(at)?)? {
            Tag::Text | Tag::Bytes => Some(self.bytes_of(at + 1)?.1),
            Tag::Int => Some(self.eight(at + 1)?.1),
            _ => None,
        }
    }

    /// An item, and where the record behind it begins. `None`: it is cut off, or of no kind that is known.
    fn decode<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Option<(Bound<'py, PyAny>, usize)>> {
        let tag = self.bytes.get(at).copied().and_then(Tag::of);
        let Some(tag) = tag else { return Ok(None) };
        let at = at + 1;
        Ok(match tag {
            Tag::Text => match self.bytes_of(at) {
                // Copied before it is looked at: whoever writes the arena cannot change it meanwhile.
                Some((text, end)) => Some((PyString::from_bytes(py, text)?.into_any(), end)),
                None => None,
            },
            Tag::Bytes => self.bytes_of(at).map(|(bytes, end)| (PyBytes::new(py, bytes).into_any(), end)),
            Tag::Int => {
                self.eight(at).map(|(number, end)| (PyInt::new(py, i64::from_le_bytes(number)).into_any(), end))
            }
            Tag::Float => {
                self.eight(at).map(|(number, end)| (PyFloat::new(py, f64::from_le_bytes(number)).into_any(), end))
            }
            Tag::None => Some((py.None().into_bound(py), at)),
            Tag::False => Some((false.into_pyobject(py)?.to_owned().into_any(), at)),
            Tag::True => Some((true.into_pyobject(py)?.to_owned().into_any(), at)),
            Tag::Pickle => match self.bytes_of(at) {
                Some((pickle, end)) => Some((self.unpickle(py, pickle, None)?, end)),
                None => None,
            },
            Tag::Buffers => match self.buffers(at) {
                Some((pickle, places, end)) => {
                    let buffers = PyList::empty(py);
                    for place in places {
                        let pinned = run(py, || Pinned::bytes(self.chunk.clone(), place))?;
                        buffers.append(Bound::new(py, pinned)?)?;
                    }
                    Some((self.unpickle(py, pickle, Some(&buffers))?, end))
                }
                None => None,
            },
        })
    }

    /// A pickle, where its buffers are, and where they end.
    #[allow(clippy::type_complexity, reason = "three things, for one caller")]
    fn buffers(&self, at: usize) -> Option<(&[u8], Vec<std::ops::Range<usize>>, usize)> {
        let (pickle_len, rest) = len(self.bytes.get(at..)?)?;
        let (count, mut rest) = len(rest)?;
        if count > rest.len() {
            return None;
        }
        let mut lens = Vec::with_capacity(count);
        for _ in 0..count {
            let (one, after) = len(rest)?;
            lens.push(one);
            rest = after;
        }
        let mut end = (self.bytes.len() - rest.len()).checked_add(pickle_len)?;
        let pickle = rest.get(..pickle_len)?;
        let mut places = Vec::with_capacity(count);
        for len in lens {
            let start = end.checked_next_multiple_of(64)?;
            end = start.checked_add(len)?;
            places.push(start..end);
        }
        (end <= self.bytes.len()).then_some((pickle, places, end))
    }

    fn unpickle<'py>(
        &self,
        py: Python<'py>,
        pickle: &[u8],
        buffers: Option<&Bound<'py, PyList>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        if matches!(self.stored.pickling, Pickling::Refused) {
            return Err(refused(&format!("an item of `{}`", self.stored.bundle.object().name())));
        }
        let loads = LOADS.get_or_try_init(py, || py.import("faretra._pickle")?.getattr("loads").map(Bound::unbind))?;
        let pickle = PyBytes::new(py, pickle);
        match buffers {
            Some(buffers) => loads.bind(py).call1((pickle, buffers)),
            None => loads.bind(py).call1((pickle, PyTuple::empty(py))),
        }
    }
}

/// Which part of a dict's items is looked at. In a list, each is its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Key,
    Value,
    Pair,
}

/// A list of an arena, or a slice of one: a read-only sequence, whose items are decoded when they are asked for.
///
/// Indexing takes one item, in the same time wherever it is; arrays of at least some hundred bytes in an item are not copied. A slice
/// is a list again, and reads nothing. The arena keeps the list for as long as this object.
///
/// >>> arena = faretra.Arena.create("doc-stored-list", keep=False)
/// >>> arena["words"] = faretra.List(["a", "b", "c", "d"])
/// >>> words = arena["words"]
/// >>> words[-1], list(words[::2]), "c" in words, words.index("b")
/// ('d', ['a', 'c'], True, 1)
/// >>> arena.close()
#[pyclass(frozen, sequence, module = "faretra", weakref)]
#[derive(Clone)]
pub struct StoredList {
    stored: Arc<Stored>,
    part: Part,
    start: isize,
    step: isize,
    len: usize,
}

impl StoredList {
    fn all(stored: Arc<Stored>, part: Part) -> StoredList {
        let len = stored.count;
        StoredList { stored, part, start: 0, step: 1, len }
    }

    /// The object that it is all of.
    fn whole(&self) -> Option<&Object> {
        let all = self.start == 0 && self.step == 1 && self.len == self.stored.count && self.stored.slots.is_none();
        all.then(|| self.stored.bundle.object())
    }

    fn at<'py>(&self, py: Python<'py>, i: usize) -> PyResult<Bound<'py, PyAny>> {
        let item = self.start.wrapping_add(self.step.wrapping_mul(i as isize));
        self.stored.item(py, item as usize, self.part)
    }

    /// The numbers of items that are equal to `value`.
    fn equal<'py>(&self, value: &Bound<'py, PyAny>, from: usize, to: usize) -> impl Iterator<Item = PyResult<usize>> {
        let py = value.py();
        (from..to.min(self.len)).filter_map(move |i| {
            if i % 8192 == 8191 {
                py.detach(|| ());
                if let Err(raised) = py.check_signals() {
                    return Some(Err(raised));
                }
            }
            match self.at(py, i).and_then(|item| Ok(item.is(value) || item.eq(value)?)) {
                Ok(true) => Some(Ok(i)),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            }
        })
    }
}

#[pymethods]
impl StoredList {
    /// The name that the list was read by.
    #[getter]
    fn name(&self) -> &str {
        self.stored.bundle.object().name()
    }

    /// The version of the name that it is.
    #[getter]
    fn version(&self) -> u64 {
        self.stored.bundle.object().version()
    }

    /// How many bytes the whole collection takes in the arena.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.stored.bundle.object().nbytes()
    }

    fn __len__(&self) -> usize {
        self.len
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(slice) = index.cast::<PySlice>() {
            let cut = slice.indices(self.len as isize)?;
            let start = self.start.wrapping_add(self.step.wrapping_mul(cut.start));
            let step = self.step.wrapping_mul(cut.step);
            let list = StoredList { start, step, len: cut.slicelength, ..self.clone() };
            return Ok(Bound::new(py, list)?.into_any());
        }
        let given: isize = index.extract()?;
        let at = if given < 0 { given.wrapping_add_unsigned(self.len) } else { given };
        if at < 0 || at as usize >= self.len {
            return Err(PyIndexError::new_err(format!("no item {given}: there are {}", self.len)));
        }
        self.at(py, at as usize)
    }

    fn __iter__(&self) -> Items {
        Items { list: self.clone(), next: 0 }
    }

    fn __reversed__(&self) -> Items {
        let last = self.start.wrapping_add(self.step.wrapping_mul(self.len as isize - 1));
        Items { list: StoredList { start: last, step: -self.step, ..self.clone() }, next: 0 }
    }

    fn __contains__(&self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.equal(value, 0, self.len).next().transpose()?.is_some())
    }

    /// Returns the number of the first item that is equal to `value`. Each item is decoded until then.
    ///
    /// Raises:
    ///     ValueError: There is none.
    ///
    /// >>> arena = faretra.Arena.create("doc-stored-index", keep=False)
    /// >>> arena["words"] = faretra.List(["a", "b"])
    /// >>> arena["words"].index("b")
    /// 1
    /// >>> arena.close()
    #[pyo3(signature = (value, start=0, stop=isize::MAX))]
    fn index(&self, value: &Bound<'_, PyAny>, start: isize, stop: isize) -> PyResult<usize> {
        let edge = |at: isize| {
            let at = if at < 0 { at.saturating_add_unsigned(self.len) } else { at };
            at.max(0) as usize
        };
        let found = self.equal(value, edge(start), edge(stop)).next().transpose()?;
        found.ok_or_else(|| PyValueError::new_err("no item is equal to that"))
    }

    /// Returns how many items are equal to `value`. Each item is decoded.
    ///
    /// >>> arena = faretra.Arena.create("doc-stored-count", keep=False)
    /// >>> arena["words"] = faretra.List("abba")
    /// >>> arena["words"].count("b")
    /// 2
    /// >>> arena.close()
    fn count(&self, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.equal(value, 0, self.len).try_fold(0, |count, found| found.map(|_| count + 1))
    }

    fn __repr__(&self) -> String {
        format!("<faretra.StoredList '{}' version {}, {} items>", self.name(), self.version(), self.len)
    }
}

/// Goes through a list.
#[pyclass(module = "faretra")]
pub struct Items {
    list: StoredList,
    next: usize,
}

#[pymethods]
impl Items {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.next >= self.list.len {
            return Ok(None);
        }
        self.next += 1;
        self.list.at(py, self.next - 1).map(Some)
    }

    fn __length_hint__(&self) -> usize {
        self.list.len - self.next
    }
}

/// A dict of an arena: a read-only mapping, whose values are decoded when they are asked for.
///
/// A look-up takes the same time whatever the size. Keys come in the order in which they were put first. The arena keeps the dict
/// for as long as this object.
///
/// >>> arena = faretra.Arena.create("doc-stored-dict", keep=False)
/// >>> arena["ages"] = faretra.Dict([("ann", 31), ("bob", 42)])
/// >>> ages = arena["ages"]
/// >>> ages["bob"], len(ages), list(ages.items())
/// (42, 2, [('ann', 31), ('bob', 42)])
/// >>> arena.close()
#[pyclass(frozen, mapping, module = "faretra", weakref)]
pub struct StoredDict {
    stored: Arc<Stored>,
}

impl StoredDict {
    fn find(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
        // What cannot be a key is none.
        match key_record(key) {
            Ok(Some(record)) => run(key.py(), || self.stored.find(&record)),
            Ok(None) => {
                key.hash()?;
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }
}

#[pymethods]
impl StoredDict {
    /// The name that the dict was read by.
    #[getter]
    fn name(&self) -> &str {
        self.stored.bundle.object().name()
    }

    /// The version of the name that it is.
    #[getter]
    fn version(&self) -> u64 {
        self.stored.bundle.object().version()
    }

    /// How many bytes the dict takes in the arena.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.stored.bundle.object().nbytes()
    }

    fn __len__(&self) -> usize {
        self.stored.count
    }

    fn __getitem__<'py>(&self, py: Python<'py>, key: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        match self.find(&key)? {
            Some(item) => self.stored.item(py, item, Part::Value),
            None => Err(PyKeyError::new_err((key.unbind(),))),
        }
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.find(key)?.is_some())
    }

    fn __iter__(&self) -> Items {
        Items { list: self.keys(), next: 0 }
    }

    /// Returns the value of a key, or `default` if there is none.
    ///
    /// >>> arena = faretra.Arena.create("doc-stored-get", keep=False)
    /// >>> arena["ages"] = faretra.Dict({"ann": 31})
    /// >>> arena["ages"].get("ann"), arena["ages"].get("bob", 0)
    /// (31, 0)
    /// >>> arena.close()
    #[pyo3(signature = (key, default=None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.find(key)? {
            Some(item) => self.stored.item(py, item, Part::Value).map(Some),
            None => Ok(default),
        }
    }

    /// Returns the keys, as a list that decodes them one by one.
    ///
    /// >>> arena = faretra.Arena.create("doc-stored-keys", keep=False)
    /// >>> arena["ages"] = faretra.Dict({"ann": 31, "bob": 42})
    /// >>> arena["ages"].keys()[-1]
    /// 'bob'
    /// >>> arena.close()
    fn keys(&self) -> StoredList {
        StoredList::all(self.stored.clone(), Part::Key)
    }

    /// Returns the values, as a list that decodes them one by one.
    ///
    /// >>> arena = faretra.Arena.create("doc-stored-values", keep=False)
    /// >>> arena["ages"] = faretra.Dict({"ann": 31, "bob": 42})
    /// >>> sum(arena["ages"].values())
    /// 73
    /// >>> arena.close()
    fn values(&self) -> StoredList {
        StoredList::all(self.stored.clone(), Part::Value)
    }

    /// Returns pairs of key and value, as a list that decodes them one by one.
    ///
    /// >>> arena = faretra.Arena.create("doc-stored-items", keep=False)
    /// >>> arena["ages"] = faretra.Dict({"ann": 31, "bob": 42})
    /// >>> arena["ages"].items()[1]
    /// ('bob', 42)
    /// >>> arena.close()
    fn items(&self) -> StoredList {
        StoredList::all(self.stored.clone(), Part::Pair)
    }

    fn __repr__(&self) -> String {
        format!("<faretra.StoredDict '{}' version {}, {} items>", self.name(), self.version(), self.stored.count)
    }
}
