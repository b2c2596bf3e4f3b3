//! What comes over the border and goes back: handles, text, memory, results.
//!
//! Pointers that C passed are followed here and in `arrow`. Each promise that C makes has a type or a function here.

use std::any::Any;
use std::ffi::{CStr, CString, c_char, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use crate::error::{Failure, faretra_code, keep, panicked};

/// What a call of this border ends in.
pub type Done<T = ()> = Result<T, Failure>;

/// Runs the body of a function that C calls: C1.
pub fn run(body: impl FnOnce() -> Done) -> faretra_code {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => faretra_code::FARETRA_OK,
        Ok(Err(failure)) => keep(&failure),
        Err(payload) => keep(&panicked(payload.as_ref())),
    }
}

/// Drops what C gives up. A panic on the way is kept for `faretra_last_error`, as nothing can be returned.
pub fn give_up<T>(owned: T) {
    run(|| {
        drop(owned);
        Ok(())
    });
}

/// What a handle can hold: C4.
pub trait Body: Any + Send + Sync {}
impl<T: Any + Send + Sync> Body for T {}

/// What every handle is, whatever its kind. All handles have one layout, so that one of another kind can be looked at.
pub struct Handle {
    /// [`LIVE`] or [`LENT`] from the handle's making to its end.
    mark: AtomicU64,
    body: Box<dyn Any + Send + Sync>,
}

/// The mark of a handle that C has.
const LIVE: u64 = u64::from_le_bytes(*b"faretra\x01");
/// The mark of a handle that is part of another one, and not to be freed.
const LENT: u64 = u64::from_le_bytes(*b"faretra\x02");

impl Handle {
    /// A handle that holds this.
    pub fn new(body: impl Body) -> Handle {
        Handle { mark: AtomicU64::new(LIVE), body: Box::new(body) }
    }

    /// A handle that lies in another one.
    pub fn lent(body: impl Body) -> Handle {
        Handle { mark: AtomicU64::new(LENT), body: Box::new(body) }
    }

    fn holds<T: Body>(&self, kind: &str) -> Done<&T> {
        let live = [LIVE, LENT].contains(&self.mark.load(Relaxed));
        match self.body_if(live).and_then(|body| body.downcast_ref()) {
            Some(body) => Ok(body),
            None if live => Err(Failure::invalid(format!("this is a handle of another kind, not a {kind}"))),
            None => Err(Failure::invalid(format!("this is no {kind}, or one that was freed"))),
        }
    }

    /// The body, which is not even looked at if this is no handle.
    fn body_if(&self, live: bool) -> Option<&(dyn Any + Send + Sync)> {
        live.then_some(&*self.body)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.mark.store(0, Relaxed);
    }
}

/// The type of a handle as C knows it, and what it holds.
pub trait Kind: 'static {
    /// What it holds.
    type Body: Body;
    /// What it is called.
    const NAME: &'static str;
    /// The handle within.
    fn handle(&self) -> &Handle;
    /// The type of C around a handle.
    fn around(handle: Handle) -> Self;
}

/// Says of types that they are handles, and what each holds.
macro_rules! handles {
    ($($kind:ident holds $body:ty, $name:literal;)*) => {$(
        impl crate::border::Kind for $kind {
            type Body = $body;
            const NAME: &'static str = $name;

            fn handle(&self) -> &crate::border::Handle {
                &self.0
            }

            fn around(handle: crate::border::Handle) -> $kind {
                $kind(handle)
            }
        }

        // C2 looks at a handle of one kind as if it were of another.
        const _: () = assert!(size_of::<$kind>() == size_of::<crate::border::Handle>());
    )*};
}
pub(crate) use handles;

/// What a handle holds: C2.
pub fn of<K: Kind>(handle: Option<&K>) -> Done<&K::Body> {
    match handle {
        Some(handle) => handle.handle().holds(K::NAME),
        None => Err(null(K::NAME)),
    }
}

/// Checks a handle that C gives up; `None` for a null pointer, which gives nothing up.
pub fn owned<K: Kind>(handle: Option<Box<K>>) -> Option<Box<K>> {
    let handle = handle?;
    let ours = handle.handle().holds::<K::Body>(K::NAME).map(|_| handle.handle().mark.load(Relaxed) == LIVE);
    let failure = match ours {
        Ok(true) => return Some(handle),
        Ok(false) => Failure::invalid(format!("this {} is part of another handle, and goes with that", K::NAME)),
        Err(failure) => failure,
    };
    keep(&failure);
    // Whatever it is, it is not ours to free.
    let _ = Box::leak(handle);
    None
}

/// Ends a handle that C gives up.
pub fn free<K: Kind>(handle: Option<Box<K>>) {
    give_up(owned(handle));
}

fn null(what: &str) -> Failure {
    Failure::invalid(format!("the pointer to a {what} is null"))
}

/// Where a result goes.
pub type Out<'a, T> = Option<&'a mut MaybeUninit<T>>;

/// The place of a handle to be made. It is null until there is one.
pub type New<'a, K> = Out<'a, Option<Box<K>>>;

/// A place that C must give.
pub fn out<'a, T>(place: Out<'a, T>, what: &str) -> Done<&'a mut MaybeUninit<T>> {
    place.ok_or_else(|| null(&format!("place for {what}")))
}

/// Makes a handle of what `make` returns, and writes it to its place; null if it fails.
pub fn make<K: Kind>(place: New<'_, K>, make: impl FnOnce() -> Done<K::Body>) -> faretra_code {
    run(|| {
        let place = out(place, K::NAME)?;
        place.write(None);
        place.write(Some(Box::new(K::around(Handle::new(make()?)))));
        Ok(())
    })
}

/// Writes a result to a place that C may leave out.
pub fn fill<T>(place: Out<'_, T>, value: T) {
    if let Some(place) = place {
        place.write(value);
    }
}

/// Text of C's: UTF-8 that ends in a null byte.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Text(*const c_char);

impl Text {
    /// The text, for as long as the call lasts; `what` says of what.
    pub fn read<'a>(self, what: &str) -> Done<&'a str> {
        if self.0.is_null() {
            return Err(null(what));
        }
        // SAFETY: only C makes a `Text`, and promises that it ends in a null byte and stays as it is during the call.
        let text = unsafe { CStr::from_ptr(self.0) };
        text.to_str().map_err(|error| Failure::invalid(format!("the {what} is not UTF-8: {error}")))
    }

    /// The pointer itself.
    pub fn pointer(self) -> *const c_char {
        self.0
    }

    /// The text of a pointer that is part of a structure of C's.
    pub fn at(text: *const c_char) -> Text {
        Text(text)
    }
}

/// A size that C gives as a signed number.
pub fn size(number: i64, what: &str) -> Done<usize> {
    usize::try_from(number).map_err(|_| Failure::invalid(format!("{number} {what} cannot be")))
}

/// Memory of C's, for as long as the call lasts: `len` values from `start` on. A null pointer has none.
///
/// # Safety
///
/// * `start` is null, or C promises that so many values are there, and stay as they are during the call. Any bits are a `T`.
pub unsafe fn memory<'a, T>(start: *const T, len: usize, what: &str) -> Done<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    if start.is_null() {
        return Err(Failure::invalid(format!("the pointer to {len} {what} is null")));
    }
    if !start.is_aligned() || len.checked_mul(size_of::<T>()).is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(Failure::invalid(format!("{len} {what} at {start:p} cannot be: too many, or not aligned")));
    }
    // SAFETY: the caller's promise; aligned, not null, and no longer than memory can be.
    #[allow(clippy::disallowed_methods, reason = "memory of C's, not of an arena")]
    Ok(unsafe { std::slice::from_raw_parts(start, len) })
}

/// The bytes at an address.
///
/// # Safety
///
/// * As for [`memory`].
pub unsafe fn bytes<'a>(start: *const c_void, len: usize, what: &str) -> Done<&'a [u8]> {
    // SAFETY: the caller's promise; any bits are bytes.
    unsafe { memory(start.cast(), len, what) }
}

/// Text that goes to C. One that has a null byte in it, as damage may have, ends there.
pub fn c_text(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).unwrap_or_default()
}

/// A timeout that never comes.
pub const FARETRA_FOREVER: i64 = -1;

/// How long a call may wait: `None` for ever. C gives milliseconds.
pub fn timeout(milliseconds: i64) -> Done<Option<Duration>> {
    match u64::try_from(milliseconds) {
        Ok(milliseconds) => Ok(Some(Duration::from_millis(milliseconds))),
        Err(_) if milliseconds == FARETRA_FOREVER => Ok(None),
        Err(_) => Err(Failure::invalid(format!(
            "a timeout of {milliseconds} ms cannot be: give 0 or more, or FARETRA_FOREVER"
        ))),
    }
}

/// What one thread at a time may use: no other waits for it.
pub fn alone<'a, T>(lock: &'a Mutex<T>, what: &str) -> Done<MutexGuard<'a, T>> {
    match lock.try_lock() {
        Ok(guard) => Ok(guard),
        // A call panicked with it: what it left is whole, as it is everywhere in the library.
        Err(TryLockError::Poisoned(guard)) => Ok(guard.into_inner()),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::invalid(format!("another call is using this {what}: one thread at a time can")))
        }
    }
}
