//! Bytes that every process may read and write at any time.
//!
//! They are a mutable array of bytes without partitions: nobody can lock any of it, or freeze it (K5), and so nobody is
//! promised that the bytes stay as they are. That is why they are reached through raw pointers only, never through a slice.

use std::sync::Arc;

use crate::arena::Arena;
use crate::core::segment::RawBytes;
use crate::core::tables::Kind;
use crate::error::{Error, Result};
use crate::mutable::draft_mutable;
use crate::value::element::ElementType;
use crate::value::info::{ArrayInfo, Order};
use crate::value::view::{Pin, Stretch};
use crate::writer::Writer;

/// Bytes of an arena that every process may read and write at any time, mapped in this process.
///
/// Nothing is locked: reads and writes that meet give a mixture of both, and the callers synchronise, with a
/// [`Mutex`](crate::sync::Mutex) for example. The bytes stay where they are for as long as this object lives, and are reached
/// through raw pointers only: a reference would promise that nobody changes them.
///
/// In a forked child, the map that came through `fork` still shows the bytes, but only the parent keeps them. The child opens
/// them anew, and may use both maps then.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-shared-bytes-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let made = arena.writer()?.shared_bytes("scratch", 4096)?;       // zeros
/// let same = arena.shared_bytes("scratch")?;                        // in any process
/// // SAFETY: inside the bytes; nobody else uses them meanwhile.
/// unsafe { made.as_ptr().add(7).write(1) };
/// // SAFETY: as above.
/// assert_eq!(unsafe { same.as_ptr().add(7).read() }, 1);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug)]
pub struct SharedBytes {
    // Declared first: unmapped before the bytes are given up.
    map: Option<RawBytes>,
    len: usize,
    _pin: Arc<Pin>,
}

impl Writer {
    /// Publishes new bytes under `name` that every process may write, all zero, and maps them.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if something is published under `name`; [`Error::NoSpace`].
    pub fn shared_bytes(&self, name: &str, len: usize) -> Result<SharedBytes> {
        crate::core::name::check(name)?;
        draft_mutable(self.attachment(), name, &ArrayInfo::new(ElementType::U8, &[len], Order::C), 0)?;
        Arena::of(self.attachment()).shared_bytes(name)
    }
}

impl Arena {
    /// Maps the bytes `name`, which somebody made with [`Writer::shared_bytes`].
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is no object of that name; [`Error::Mismatch`] if it is of another kind, or an array that
    /// is written in partitions; [`Error::Os`] if the kernel refuses to map them.
    pub fn shared_bytes(&self, name: &str) -> Result<SharedBytes> {
        let at = self.attachment();
        let pin = Pin::named(at, name)?.ok_or_else(|| self.missing(name))?;
        let core = at.core()?;
        let mismatch = |found: String| Error::Mismatch { name: name.into(), expected: "shared bytes".into(), found };
        let found = core.kind(pin.id())?;
        if found != Kind::MutableArray {
            return Err(mismatch(found.to_string()));
        }
        if core.leases_of(pin.id())?.is_none_or(|leases| leases.count != 0) {
            return Err(mismatch("a mutable array with partitions".into()));
        }
        let part = pin.part(pin.id(), 0)?;
        let info = pin.array_info(part)?;
        let len = match *info.shape {
            [len] => len,
            ref other => return Err(Error::damaged(format!("the shared bytes `{name}` have the shape {other:?}"))),
        };
        let pin = Arc::new(pin);
        let map = Stretch::new(&pin, part, info.data_at() as u64, len as u64)?.map_raw()?;
        Ok(SharedBytes { map, len, _pin: pin })
    }
}

impl SharedBytes {
    /// Returns the address of the first byte. Null if there are none.
    pub fn as_ptr(&self) -> *mut u8 {
        self.map.as_ref().map_or(std::ptr::null_mut(), RawBytes::as_mut_ptr)
    }

    /// Returns the number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
