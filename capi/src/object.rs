//! Reading.
//!
//! `faretra_get` pins what a name stands for. Nothing is copied and no system call is made: what the functions below give out is
//! the arena's own memory, mapped read-only, and never changes. `faretra_object_free` ends the pin. Whatever somebody reads stays,
//! whether its name is published again or removed meanwhile. A process that dies holds nothing any more.
//!
//! Batches and tables come as structures of the Arrow C data interface <https://arrow.apache.org/docs/format/CDataInterface.html>,
//! which have pins of their own: release them whenever and in whatever thread, also after the object and the arena were freed.

use std::ffi::{CString, c_char, c_void};
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use faretra::{DynArray, Entry, Kind, Object};

use crate::arena::faretra_arena;
use crate::arrow::{export, export_stream};
use crate::border::{Done, Handle, New, Out, Text, c_text, free, handles, make, of, out, run, timeout};
use crate::error::{Failure, faretra_code};

/// An object of an arena, pinned.
pub struct faretra_object(Handle);

/// The names of an arena at one moment.
pub struct faretra_entries(Handle);

handles! {
    faretra_entries holds Vec<Listed>, "faretra_entries";
    faretra_object holds Read, "faretra_object";
}

/// An object, and what C was shown of it.
pub struct Read {
    /// The object.
    pub object: Object,
    name: OnceLock<CString>,
    array: OnceLock<Shown>,
}

/// An array whose shape, strides and type C can look at.
struct Shown {
    array: DynArray,
    dtype: CString,
    shape: Vec<i64>,
    strides: Vec<i64>,
}

impl Read {
    /// An object of which nothing was shown yet.
    pub fn new(object: Object) -> Read {
        Read { object, name: OnceLock::new(), array: OnceLock::new() }
    }

    /// A handle of this object that is part of another handle.
    pub fn lent(object: Object) -> faretra_object {
        faretra_object(Handle::lent(Read::new(object)))
    }

    fn shown(&self) -> Done<&Shown> {
        if let Some(shown) = self.array.get() {
            return Ok(shown);
        }
        let array = self.object.dyn_array()?;
        let dtype = c_text(&array.dtype().to_string());
        let shape = array.shape().iter().map(|&len| len as i64).collect();
        let strides = array.strides().iter().map(|&stride| stride as i64).collect();
        Ok(self.array.get_or_init(|| Shown { array, dtype, shape, strides }))
    }
}

/// What an object is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum faretra_kind {
    /// A kind that this version of the library does not know, or a damaged record.
    FARETRA_KIND_OTHER = 0,
    /// An Arrow record batch.
    FARETRA_KIND_BATCH = 1,
    /// Arrow record batches of one schema.
    FARETRA_KIND_TABLE = 2,
    /// An n-dimensional array.
    FARETRA_KIND_ARRAY = 3,
    /// Plain bytes.
    FARETRA_KIND_BYTES = 4,
    /// Several named values that were published at once.
    FARETRA_KIND_BUNDLE = 5,
    /// A lock that one holder has at a time.
    FARETRA_KIND_MUTEX = 6,
    /// A counting semaphore.
    FARETRA_KIND_SEMAPHORE = 7,
    /// A flag that is waited for.
    FARETRA_KIND_EVENT = 8,
    /// A small value that changes in place.
    FARETRA_KIND_VALUE = 9,
    /// An array that is written in partitions.
    FARETRA_KIND_MUTABLE_ARRAY = 10,
    /// A condition.
    FARETRA_KIND_CONDITION = 11,
    /// A queue of objects.
    FARETRA_KIND_CHANNEL = 12,
    /// A ring of objects that every subscriber sees whole.
    FARETRA_KIND_FEED = 13,
}

impl From<Kind> for faretra_kind {
    fn from(kind: Kind) -> faretra_kind {
        use faretra_kind::*;
        match kind {
            Kind::Batch => FARETRA_KIND_BATCH,
            Kind::Table => FARETRA_KIND_TABLE,
            Kind::Array => FARETRA_KIND_ARRAY,
            Kind::Bytes => FARETRA_KIND_BYTES,
            Kind::Bundle => FARETRA_KIND_BUNDLE,
            Kind::Mutex => FARETRA_KIND_MUTEX,
            Kind::Semaphore => FARETRA_KIND_SEMAPHORE,
            Kind::Event => FARETRA_KIND_EVENT,
            Kind::Value => FARETRA_KIND_VALUE,
            Kind::MutableArray => FARETRA_KIND_MUTABLE_ARRAY,
            Kind::Condition => FARETRA_KIND_CONDITION,
            Kind::Channel => FARETRA_KIND_CHANNEL,
            Kind::Feed => FARETRA_KIND_FEED,
            _ => FARETRA_KIND_OTHER,
        }
    }
}

/// Pins what a name stands for now. Fails with `FARETRA_NOT_FOUND` if there is no such name. Does not wait.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_get(
    arena: Option<&faretra_arena>,
    name: Text,
    object: New<'_, faretra_object>,
) -> faretra_code {
    make(object, || Ok(Read::new(of(arena)?.get(name.read("name")?)?)))
}

/// Waits until a name stands for a version above `newer_than` (0: until there is any), and pins that.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_wait_for(
    arena: Option<&faretra_arena>,
    name: Text,
    newer_than: u64,
    timeout_ms: i64,
    object: New<'_, faretra_object>,
) -> faretra_code {
    make(object, || {
        let (arena, name) = (of(arena)?, name.read("name")?);
        Ok(Read::new(match timeout(timeout_ms)? {
            None => arena.wait_for(name, newer_than)?,
            Some(timeout) => arena.wait_for_timeout(name, newer_than, timeout)?,
        }))
    })
}

/// Reads the batch that a name stands for, without a handle to be freed. As `faretra_get` and `faretra_object_batch` do.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_get_batch(
    arena: Option<&faretra_arena>,
    name: Text,
    array: Out<'_, FFI_ArrowArray>,
    schema: Out<'_, FFI_ArrowSchema>,
) -> faretra_code {
    run(|| export(of(arena)?.batch(name.read("name")?)?.record_batch(), array, schema))
}

/// Reads the table or batch that a name stands for, without a handle to be freed. As `faretra_get` and `faretra_object_stream` do.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_get_stream(
    arena: Option<&faretra_arena>,
    name: Text,
    stream: Out<'_, FFI_ArrowArrayStream>,
) -> faretra_code {
    run(|| {
        let place = out(stream, "an ArrowArrayStream")?;
        place.write(export_stream(of(arena)?.table(name.read("name")?)?.reader()));
        Ok(())
    })
}

/// What is known of an object.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct faretra_info {
    /// What it is.
    kind: faretra_kind,
    /// Which version of its name it is; 0 for what has no name.
    version: u64,
    /// Bytes of the arena that it has.
    nbytes: u64,
    /// Rows of a batch or table, elements of an array, members of a bundle, bytes of bytes.
    rows: u64,
    /// When it was published: nanoseconds since 1970, by the clock of the process that did.
    published_ns: u64,
}

/// Tells what an object is.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_object_info(object: Option<&faretra_object>, info: Out<'_, faretra_info>) -> faretra_code {
    run(|| {
        let (Read { object, .. }, place) = (of(object)?, out(info, "faretra_info")?);
        let published = object.published().duration_since(UNIX_EPOCH).unwrap_or_default();
        place.write(faretra_info {
            kind: object.kind().into(),
            version: object.version(),
            nbytes: object.nbytes(),
            rows: object.rows(),
            published_ns: u64::try_from(published.as_nanos()).unwrap_or(u64::MAX),
        });
        Ok(())
    })
}

/// Returns the name that an object was read by, good until the object is freed; null for what is no object.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_object_name(object: Option<&faretra_object>) -> *const c_char {
    match of(object) {
        Ok(read) => read.name.get_or_init(|| c_text(read.object.name())).as_ptr(),
        Err(_) => std::ptr::null(),
    }
}

/// Reads a batch: a struct array whose children are the columns. Their buffers are the arena's memory: do not write there.
/// `schema` may be null. Fails with `FARETRA_MISMATCH` for another kind of object.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_object_batch(
    object: Option<&faretra_object>,
    array: Out<'_, FFI_ArrowArray>,
    schema: Out<'_, FFI_ArrowSchema>,
) -> faretra_code {
    run(|| export(of(object)?.object.batch()?.record_batch(), array, schema))
}

/// Reads a table: its batches, one after another. A batch is a table of one.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_object_stream(
    object: Option<&faretra_object>,
    stream: Out<'_, FFI_ArrowArrayStream>,
) -> faretra_code {
    run(|| {
        let place = out(stream, "an ArrowArrayStream")?;
        place.write(export_stream(of(object)?.object.table()?.reader()));
        Ok(())
    })
}

/// Reads bytes. They are good until the object is freed.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_object_bytes(
    object: Option<&faretra_object>,
    data: Out<'_, *const c_void>,
    len: Out<'_, usize>,
) -> faretra_code {
    run(|| {
        let (read, data, len) = (of(object)?, out(data, "bytes")?, out(len, "a length")?);
        let bytes = read.object.bytes()?;
        data.write(bytes.as_ptr().cast());
        len.write(bytes.len());
        Ok(())
    })
}

/// An n-dimensional array. Every pointer is good until the object is freed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct faretra_ndarray {
    /// The element of which all indices are 0.
    data: *const c_void,
    /// Bytes of all elements, which lie one behind the other from `data` on.
    nbytes: usize,
    /// The element type as numpy writes it: `<f8`, `|u1`, `[('x', '<f4'), ('y', '<f4')]`.
    dtype: *const c_char,
    /// How many axes there are, 32 at most.
    rank: usize,
    /// How many elements each axis has.
    shape: *const i64,
    /// How many bytes a step along each axis is.
    strides: *const i64,
}

/// Reads an array. Fails with `FARETRA_MISMATCH` for another kind of object.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_object_array(
    object: Option<&faretra_object>,
    array: Out<'_, faretra_ndarray>,
) -> faretra_code {
    run(|| {
        let (read, place) = (of(object)?, out(array, "faretra_ndarray")?);
        let Shown { array, dtype, shape, strides } = read.shown()?;
        let bytes = array.bytes();
        place.write(faretra_ndarray {
            data: bytes.as_ptr().cast(),
            nbytes: bytes.len(),
            dtype: dtype.as_ptr(),
            rank: shape.len(),
            shape: shape.as_ptr(),
            strides: strides.as_ptr(),
        });
        Ok(())
    })
}

/// Reads a member of a bundle. It keeps the whole bundle.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_object_member(
    object: Option<&faretra_object>,
    name: Text,
    member: New<'_, faretra_object>,
) -> faretra_code {
    make(member, || Ok(Read::new(of(object)?.object.bundle()?.get(name.read("name")?)?)))
}

/// Ends the pin of an object, and with it what the functions above showed of it. Not for the object of a lease.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_object_free(object: Option<Box<faretra_object>>) {
    free(object);
}

/// A name, and what it stands for.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct faretra_entry {
    /// The name, good until the list is freed.
    name: *const c_char,
    /// What it stands for.
    kind: faretra_kind,
    /// How often something was published under it.
    version: u64,
    /// Bytes of the arena that the object has.
    nbytes: u64,
    /// Rows of a batch or table, elements of an array, members of a bundle, bytes of bytes.
    rows: u64,
}

/// An entry, and the memory of its name.
pub struct Listed {
    name: CString,
    entry: Entry,
}

/// Lists the names of the arena: objects, channels, feeds and locks.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_names(arena: Option<&faretra_arena>, entries: New<'_, faretra_entries>) -> faretra_code {
    make(entries, || {
        let names = of(arena)?.names()?;
        Ok(names.into_iter().map(|entry| Listed { name: c_text(&entry.name), entry }).collect())
    })
}

/// Returns how many names the list has; 0 for what is no list.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_entries_count(entries: Option<&faretra_entries>) -> usize {
    of(entries).map_or(0, Vec::len)
}

/// Tells of the name of this number, the first one's being 0.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_entries_get(
    entries: Option<&faretra_entries>,
    index: usize,
    entry: Out<'_, faretra_entry>,
) -> faretra_code {
    run(|| {
        let (entries, place) = (of(entries)?, out(entry, "faretra_entry")?);
        let Some(Listed { name, entry }) = entries.get(index) else {
            return Err(Failure::invalid(format!("the list has {} names: there is no {index}", entries.len())));
        };
        let Entry { kind, version, bytes, rows, .. } = entry;
        place.write(faretra_entry {
            name: name.as_ptr(),
            kind: (*kind).into(),
            version: *version,
            nbytes: *bytes,
            rows: *rows,
        });
        Ok(())
    })
}

/// Frees a list of names.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_entries_free(entries: Option<Box<faretra_entries>>) {
    free(entries);
}
