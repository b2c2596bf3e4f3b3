//! Collections as bytes: how lists and dicts of Python objects lie in an arena, and how they get there.
//!
//! A collection is a bundle. All numbers are 64 bits, little-endian, unless said otherwise.
//!
//! | member | what |
//! |---|---|
//! | `__list__` or `__dict__` | format (1), number of items, number of chunks, seed of the hash, number of slots (0 in a list) |
//! | `entries` | of each item, where its record begins: chunk << 40, and offset in the chunk |
//! | `slots` | of a dict: open addressing from hash to item; top 24 bits of the hash, and number of the item + 1; 0 is free |
//! | `0`, `1`, ... | chunks: records, one behind the other |
//!
//! A record is a byte that says its kind, and the item: 8 bytes of a number, or a length and so many bytes of text, bytes or a
//! pickle (protocol 5). A length is in groups of 7 bits, the lowest first (LEB128). A pickle with buffers has its length, the
//! number of buffers and their lengths, the pickle, and each buffer at the next multiple of 64. In a dict, the record of the key
//! is followed by that of the value. Equal keys have equal records, and no others.
//!
//! * L1: a record lies in one chunk. So a chunk is as long as it must be.
//! * L2: there is a free slot at least, so that a search ends.
//! * L3: whatever the bytes say, reading stays inside the chunk: an arena is written by others.

use std::hash::{BuildHasher, RandomState};

use faretra::{Bundle, BytesDraft, Drafted, Error, Writer};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString};

use crate::error::wait;
use crate::memory::Foreign;

/// The member that tells a list from other bundles.
pub const LIST: &str = "__list__";
/// The member that tells a dict from other bundles.
pub const DICT: &str = "__dict__";
/// Where the records are.
pub const ENTRIES: &str = "entries";
/// Where to find keys.
pub const SLOTS: &str = "slots";
/// The format that is written.
pub const FORMAT: u64 = 1;
/// Bits of an entry that are the offset; of a slot, the item.
pub const LOW: u32 = 40;
/// Those bits.
pub const LOW_MASK: u64 = (1 << LOW) - 1;
/// Buffers start at multiples of this.
const ALIGN: usize = 64;

const LEAST_CHUNK: usize = 1 << 20;
const MOST_CHUNK: usize = 64 << 20;
/// After so many items, other threads run and signals are handled.
const BREATH: u64 = 8192;

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// A pickle.
    Pickle = 0,
    /// A pickle with buffers.
    Buffers = 1,
    /// UTF-8.
    Text = 2,
    /// Bytes.
    Bytes = 3,
    /// A signed integer of 64 bits.
    Int = 4,
    /// A float of 64 bits.
    Float = 5,
    /// `None`.
    None = 6,
    /// `False`.
    False = 7,
    /// `True`.
    True = 8,
}

impl Tag {
    /// The tag that a byte stands for.
    pub fn of(byte: u8) -> Option<Tag> {
        use Tag::*;
        [Pickle, Buffers, Text, Bytes, Int, Float, None, False, True].get(usize::from(byte)).copied()
    }
}

fn push_len(to: &mut Vec<u8>, mut len: usize) {
    while len >= 0x80 {
        to.push(len as u8 | 0x80);
        len >>= 7;
    }
    to.push(len as u8);
}

fn push_bytes(to: &mut Vec<u8>, tag: Tag, bytes: &[u8]) {
    to.push(tag as u8);
    push_len(to, bytes.len());
    to.extend_from_slice(bytes);
}

/// A 64-bit hash of bytes, the same in every process: what a dict's slots are made of.
pub fn hash(seed: u64, bytes: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let wide = u128::from(state ^ word) * u128::from(ODD);
        (wide as u64) ^ (wide >> 64) as u64
    };
    let mut state = seed ^ (bytes.len() as u64).wrapping_mul(ODD);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        state = mix(state, u64::from_le_bytes(word.try_into().expect("8 bytes"))).rotate_left(23);
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    let state = mix(state, u64::from_le_bytes(last)).wrapping_add(seed);
    // The finish of splitmix64: every bit depends on every other.
    let state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}

/// The record of a key, or `None` for what is no key.
pub fn key_record(key: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u8>>> {
    let mut record = Vec::with_capacity(32);
    if let Ok(text) = key.cast::<PyString>() {
        push_bytes(&mut record, Tag::Text, text.to_str()?.as_bytes());
    } else if let Ok(bytes) = key.cast::<PyBytes>() {
        push_bytes(&mut record, Tag::Bytes, bytes.as_bytes());
    } else if key.is_instance_of::<PyInt>() || (key.hasattr("__index__")? && key.hasattr("__hash__")?) {
        let Ok(number) = key.extract::<i64>() else {
            return Err(PyOverflowError::new_err(format!("a key of a faretra.Dict has 64 bits at most: {key}")));
        };
        record.push(Tag::Int as u8);
        record.extend_from_slice(&number.to_le_bytes());
    } else {
        return Ok(None);
    }
    Ok(Some(record))
}

/// A chunk that is complete.
enum Chunk {
    /// In the arena.
    Draft(BytesDraft),
    /// In this process, because nobody knows the arena yet.
    Own(Vec<u8>),
}

impl Chunk {
    fn bytes(&mut self) -> Result<&[u8], Error> {
        match self {
            Chunk::Draft(draft) => draft.bytes_mut().map(|bytes| &*bytes),
            Chunk::Own(bytes) => Ok(bytes),
        }
    }
}

/// Which item a key is.
struct Index {
    seed: u64,
    /// Of each item.
    hashes: Vec<u64>,
    /// As in the arena; twice as many as items at least (L2).
    slots: Vec<u64>,
}

impl Index {
    fn new() -> Index {
        // So that nobody can choose keys that collide.
        Index { seed: RandomState::new().hash_one(0), hashes: vec![], slots: vec![0; 8] }
    }

    fn slot(hash: u64, item: u64) -> u64 {
        hash & !LOW_MASK | (item + 1)
    }

    /// Adds an item, whose key is in no slot.
    fn add(&mut self, hash: u64) {
        let item = self.hashes.len() as u64;
        self.hashes.push(hash);
        if (self.hashes.len() + 1) * 2 > self.slots.len() {
            self.slots = vec![0; self.slots.len() * 2];
            for (item, hash) in self.hashes.iter().enumerate() {
                place(&mut self.slots, *hash, Index::slot(*hash, item as u64));
            }
        } else {
            place(&mut self.slots, hash, Index::slot(hash, item));
        }
    }
}

fn place(slots: &mut [u64], hash: u64, slot: u64) {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    while slots[at] != 0 {
        at = (at + 1) & mask;
    }
    slots[at] = slot;
}

/// Items on their way into an arena.
pub struct Builder {
    writer: Option<Writer>,
    chunk: Vec<u8>,
    chunks: Vec<Chunk>,
    /// Bytes in the chunks that are complete.
    total: usize,
    entries: Vec<u64>,
    index: Option<Index>,
    items: u64,
}

/// A collection that is complete.
#[allow(missing_debug_implementations, reason = "lives for one call")]
pub enum Built {
    /// In the arena.
    Draft(Drafted),
    /// In this process: the members of the bundle.
    Members(Vec<(String, Vec<u8>)>),
}

impl Builder {
    fn new(writer: Option<&Writer>, index: Option<Index>) -> Builder {
        Builder { writer: writer.cloned(), chunk: vec![], chunks: vec![], total: 0, entries: vec![], index, items: 0 }
    }

    /// A list of what `items` iterates over.
    pub fn list(py: Python<'_>, writer: Option<&Writer>, items: &Bound<'_, PyAny>) -> PyResult<Built> {
        let mut builder = Builder::new(writer, None);
        for item in items.try_iter()? {
            builder.breathe(py)?;
            let at = builder.here();
            builder.push(&item?)?;
            builder.entries.push(at);
            builder.seal_if_full(py)?;
        }
        builder.finish(py)
    }

    /// A dict of a mapping, or of pairs. Of equal keys, the last one's value counts.
    pub fn dict(py: Python<'_>, writer: Option<&Writer>, items: &Bound<'_, PyAny>) -> PyResult<Built> {
        let mut builder = Builder::new(writer, Some(Index::new()));
        if let Ok(dict) = items.cast_exact::<PyDict>() {
            // Its own iterator, without a view in between.
            for pair in dict.call_method0("items")?.try_iter()? {
                builder.push_pair(py, &pair?)?;
            }
        } else if items.hasattr("items")? {
            for pair in items.call_method0("items")?.try_iter()? {
                builder.push_pair(py, &pair?)?;
            }
        } else {
            for pair in items.try_iter()? {
                builder.push_pair(py, &pair?)?;
            }
        }
        builder.finish(py)
    }

    fn push_pair(&mut self, py: Python<'_>, pair: &Bound<'_, PyAny>) -> PyResult<()> {
        self.breathe(py)?;
        let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair.extract().map_err(|_| {
            PyTypeError::new_err("a faretra.Dict is made of a mapping, or of pairs: tuples of a key and a value")
        })?;
        let surrogates = |error: PyErr| match error.is_instance_of::<PyValueError>(py) {
            true => PyValueError::new_err(format!("the key {} is no text that can be UTF-8", shown(&key))),
            false => error,
        };
        let record = key_record(&key).map_err(surrogates)?.ok_or_else(|| {
            let class = key.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
            PyTypeError::new_err(format!("a key of a faretra.Dict is a str, bytes or int, not {class}"))
        })?;
        let at = self.here();
        self.chunk.extend_from_slice(&record);
        self.push(&value)?;
        match self.find(&record).map_err(|error| crate::error::Failure::from(error).raise(py))? {
            (_, Some(item)) => self.entries[item] = at,
            (hash, None) => {
                self.entries.push(at);
                self.index.as_mut().expect("a dict has one").add(hash);
            }
        }
        self.seal_if_full(py)
    }

    /// The hash of a key, and which item has that key already.
    fn find(&mut self, key: &[u8]) -> Result<(u64, Option<usize>), Error> {
        let Builder { index: Some(index), entries, chunk, chunks, .. } = self else { return Ok((0, None)) };
        let hash = hash(index.seed, key);
        let mask = index.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = index.slots[at];
            if slot == 0 {
                return Ok((hash, None));
            }
            let item = (slot & LOW_MASK) as usize - 1;
            if index.hashes[item] == hash {
                let (which, offset) = ((entries[item] >> LOW) as usize, (entries[item] & LOW_MASK) as usize);
                let bytes = match chunks.get_mut(which) {
                    Some(chunk) => chunk.bytes()?,
                    None => chunk,
                };
                if bytes.get(offset..offset + key.len()) == Some(key) {
                    return Ok((hash, Some(item)));
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// Where the next record begins.
    fn here(&self) -> u64 {
        (self.chunks.len() as u64) << LOW | self.chunk.len() as u64
    }

    fn breathe(&mut self, py: Python<'_>) -> PyResult<()> {
        self.items += 1;
        if self.items.is_multiple_of(BREATH) {
            static STEP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
            // As between any two steps of Python code. Who only lets go of the interpreter takes it back before a
            // thread that waits for it has woken, and each such wake begins its patience anew.
            STEP.get_or_try_init(py, || py.eval(c"lambda: None", None, None).map(Bound::unbind))?.call0(py)?;
        }
        Ok(())
    }

    /// Writes the record of an item.
    fn push(&mut self, item: &Bound<'_, PyAny>) -> PyResult<()> {
        let to = &mut self.chunk;
        if let Ok(text) = item.cast_exact::<PyString>()
            && let Ok(text) = text.to_str()
        {
            push_bytes(to, Tag::Text, text.as_bytes());
        } else if let Ok(bytes) = item.cast_exact::<PyBytes>() {
            push_bytes(to, Tag::Bytes, bytes.as_bytes());
        } else if let Ok(truth) = item.cast_exact::<PyBool>() {
            to.push(if truth.is_true() { Tag::True } else { Tag::False } as u8);
        } else if let Ok(number) = item.cast_exact::<PyInt>()
            && let Ok(number) = number.extract::<i64>()
        {
            to.push(Tag::Int as u8);
            to.extend_from_slice(&number.to_le_bytes());
        } else if let Ok(number) = item.cast_exact::<PyFloat>() {
            to.push(Tag::Float as u8);
            to.extend_from_slice(&number.value().to_le_bytes());
        } else if item.is_none() {
            to.push(Tag::None as u8);
        } else {
            return self.push_pickle(item);
        }
        Ok(())
    }

    fn push_pickle(&mut self, item: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = item.py();
        let buffers = PyList::empty(py);
        let options = PyDict::new(py);
        options.set_item("buffer_callback", buffers.getattr("append")?)?;
        if let Ok(pickled) = dumps(py)?.call((item, 5), Some(&options)) {
            let pickle = pickled.cast::<PyBytes>()?.as_bytes();
            if buffers.is_empty() && !pickle.windows(5).any(|word| word == b"numpy") {
                push_bytes(&mut self.chunk, Tag::Pickle, pickle);
                return Ok(());
            }
        }
        // Slower: keeps arrays of every kind out of the pickle, and says in words what cannot be pickled.
        let made = py.import("faretra._pickle")?.call_method1("dumps", (item,))?;
        let (pickle, buffers): (Bound<'_, PyBytes>, Bound<'_, PyList>) = made.extract()?;
        let pickle = pickle.as_bytes();
        if buffers.is_empty() {
            push_bytes(&mut self.chunk, Tag::Pickle, pickle);
            return Ok(());
        }
        let memories: Vec<Foreign> =
            buffers.iter().map(|buffer| Foreign::of_buffer(&buffer)).collect::<PyResult<_>>()?;
        let to = &mut self.chunk;
        to.push(Tag::Buffers as u8);
        push_len(to, pickle.len());
        push_len(to, memories.len());
        for memory in &memories {
            push_len(to, memory.bytes().len());
        }
        to.extend_from_slice(pickle);
        for memory in &memories {
            to.resize(to.len().next_multiple_of(ALIGN), 0);
            to.extend_from_slice(memory.bytes());
        }
        Ok(())
    }

    fn seal_if_full(&mut self, py: Python<'_>) -> PyResult<()> {
        // Few chunks of a large collection, and no large chunk of a small one.
        let target = (self.total / 8).clamp(LEAST_CHUNK, MOST_CHUNK);
        if self.chunk.len() >= target { self.seal(py) } else { Ok(()) }
    }

    /// Copies the chunk into the arena, if it is known.
    fn seal(&mut self, py: Python<'_>) -> PyResult<()> {
        let chunk = &mut self.chunk;
        self.total += chunk.len();
        self.chunks.push(match &self.writer {
            None => Chunk::Own(std::mem::take(chunk)),
            Some(writer) => {
                let draft = wait(py, || {
                    let mut draft = writer.draft_bytes(chunk.len())?;
                    draft.bytes_mut()?.copy_from_slice(chunk);
                    Ok::<_, Error>(draft)
                })?;
                // Memory of one large item is not kept for the small ones behind it.
                chunk.clear();
                chunk.shrink_to(2 * MOST_CHUNK);
                Chunk::Draft(draft)
            }
        });
        Ok(())
    }

    fn finish(mut self, py: Python<'_>) -> PyResult<Built> {
        if !self.chunk.is_empty() {
            self.seal(py)?;
        }
        let count = self.entries.len() as u64;
        let (marker, seed, slots) = match self.index {
            None => (LIST, 0, None),
            Some(index) => (DICT, index.seed, Some(index.slots)),
        };
        let head = [FORMAT, count, self.chunks.len() as u64, seed, slots.as_ref().map_or(0, Vec::len) as u64];
        let head: Vec<u8> = head.iter().flat_map(|number| number.to_le_bytes()).collect();
        let words = [(ENTRIES, Some(self.entries)), (SLOTS, slots)];
        let words = words.into_iter().filter_map(|(name, words)| Some((name, words?)));
        let chunks = self.chunks;
        let Some(writer) = self.writer else {
            let mut members = vec![(marker.to_owned(), head)];
            for (name, words) in words {
                members.push((name.into(), words.iter().flat_map(|word| word.to_le_bytes()).collect()));
            }
            for (i, chunk) in chunks.into_iter().enumerate() {
                if let Chunk::Own(bytes) = chunk {
                    members.push((i.to_string(), bytes));
                }
            }
            return Ok(Built::Members(members));
        };
        let drafted = wait(py, || {
            let mut bundle = Bundle::new().with(marker, head.as_slice());
            for (name, words) in words {
                let mut draft = writer.draft_bytes(words.len() * 8)?;
                for (to, word) in draft.bytes_mut()?.chunks_exact_mut(8).zip(&words) {
                    to.copy_from_slice(&word.to_le_bytes());
                }
                bundle = bundle.with(name, Drafted::from(draft));
            }
            for (i, chunk) in chunks.into_iter().enumerate() {
                if let Chunk::Draft(draft) = chunk {
                    bundle = bundle.with(&i.to_string(), Drafted::from(draft));
                }
            }
            writer.prepare(bundle)
        })?;
        Ok(Built::Draft(drafted))
    }
}

fn dumps(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static DUMPS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let dumps = DUMPS.get_or_try_init(py, || py.import("pickle")?.getattr("dumps").map(Bound::unbind))?;
    Ok(dumps.bind(py))
}

fn shown(value: &Bound<'_, PyAny>) -> String {
    value.repr().map_or_else(|_| "?".into(), |shown| shown.to_string_lossy().into_owned())
}
