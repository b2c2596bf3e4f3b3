//! Errors.
//!
//! Every function that can fail returns a `faretra_code`, `FARETRA_OK` if it did what it was asked. What a code cannot say,
//! `faretra_last_error` does: one line of text, and the numbers. Like `errno`, it belongs to the thread: so a failure costs no
//! argument in calls that succeed, and there is nothing to be freed. A program whose calls change threads between a call and the
//! question (goroutines, fibers) keeps the two in one thread.
//!
//! Whatever a function was to give out through a pointer is null, or unchanged, if the function fails. No call ends the process:
//! what would be a panic of the library is `FARETRA_PANIC`.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};

use faretra::{AppendError, Counted, Error, ForwardError, Missing, RecvError, SendError, SubscriberError};

/// What became of a call, sorted by what can be done about it. The numbers stay what they are; later versions may add some.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum faretra_code {
    /// It was done.
    FARETRA_OK = 0,
    /// An argument cannot be: a null pointer, a handle of another kind, text that is not UTF-8, a size below zero, a name or an
    /// option that is not usable. Nothing was changed: correct the call.
    FARETRA_INVALID = 1,
    /// There is nothing of this name. Create it, publish it, or wait for it.
    FARETRA_NOT_FOUND = 2,
    /// An arena of this name exists already. Open it, or remove it first.
    FARETRA_ALREADY_EXISTS = 3,
    /// Another version is current than the one that was to be replaced. Read again, and retry.
    FARETRA_CONFLICT = 4,
    /// Memory ran out. Nothing was lost, and a smaller request still works.
    FARETRA_NO_SPACE = 5,
    /// One thing is larger than the arena can have it. Waiting does not help.
    FARETRA_TOO_LARGE = 6,
    /// All of a fixed number of things are in use. Wait until one is free, or end one.
    FARETRA_LIMIT = 7,
    /// What was waited for did not come in time, or is not there now if the timeout is 0.
    FARETRA_TIMED_OUT = 8,
    /// The interrupt hook ended the wait. Nothing was changed: make the call again, or give up.
    FARETRA_INTERRUPTED = 9,
    /// A channel or feed did not take a value.
    FARETRA_NOT_SENT = 10,
    /// The value is of another kind, element type, shape or schema than was asked for.
    FARETRA_MISMATCH = 11,
    /// The file is not an arena that this version can use: foreign, of another version, or cut.
    FARETRA_NOT_AN_ARENA = 12,
    /// Something in the arena contradicts itself. Other objects may still be fine.
    FARETRA_DAMAGED = 13,
    /// The arena belongs to somebody else, or others may write it.
    FARETRA_UNTRUSTED = 14,
    /// The handle came through `fork`. The child has to open the arena itself: `faretra_arena_reopen`.
    FARETRA_FORKED = 15,
    /// The operating system refused; `os_error` of the last error says why.
    FARETRA_OS = 16,
    /// Arrow could not make sense of a value.
    FARETRA_ARROW = 17,
    /// The channel or feed was closed, and everything in it was received.
    FARETRA_CLOSED = 18,
    /// Nobody is at the other end of the channel or feed: the last one left or died. It goes on when another one comes.
    FARETRA_DESERTED = 19,
    /// The feed dropped items before this subscriber read them. `found` of the last error says how many; the next call goes on
    /// behind them.
    FARETRA_LAGGED = 20,
    /// The library itself failed: please report the text of the last error. What the call was about may be half done.
    FARETRA_PANIC = 21,
}

use faretra_code::*;

/// The last failure of a call in this thread.
#[repr(C)]
#[derive(Debug)]
pub struct faretra_error {
    /// What the call returned.
    code: faretra_code,
    /// The system's number (`errno`), with `FARETRA_OS`; 0 otherwise.
    os_error: i32,
    /// What was asked for: bytes, with `FARETRA_NO_SPACE` and `FARETRA_TOO_LARGE`; the expected version, with
    /// `FARETRA_CONFLICT`; 0 otherwise.
    asked: u64,
    /// What there was: free bytes, with `FARETRA_NO_SPACE`; the most that can be, with `FARETRA_TOO_LARGE` and `FARETRA_LIMIT`;
    /// the current version, with `FARETRA_CONFLICT`; dropped items, with `FARETRA_LAGGED`; broken rules, with `FARETRA_DAMAGED`
    /// from `faretra_arena_verify`; 0 otherwise.
    found: u64,
    /// What was wrong, with the numbers, and what to do: text that ends in a null byte.
    message: *const c_char,
}

/// Why a call did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// The library said so.
    Library(Error),
    /// One that only ends of channels and feeds, or this border, have: its number of `found`, and its text.
    Other(faretra_code, u64, String),
}

impl Failure {
    /// An argument that cannot be.
    pub fn invalid(text: impl Into<String>) -> Failure {
        Failure::Other(FARETRA_INVALID, 0, text.into())
    }

    fn ended(clean: bool) -> Failure {
        match clean {
            true => Failure::Other(FARETRA_CLOSED, 0, "it was closed".into()),
            false => {
                let text = "nobody is at the other end: the last one left or died";
                Failure::Other(FARETRA_DESERTED, 0, text.into())
            }
        }
    }

    fn in_time(what: &str) -> Failure {
        Failure::Other(FARETRA_TIMED_OUT, 0, what.into())
    }

    /// One that the library has, and this border does not know yet.
    fn unknown(error: impl std::fmt::Display) -> Failure {
        Failure::Other(FARETRA_PANIC, 0, format!("an error that the C library does not know: {error}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Library(error)
    }
}

impl From<RecvError> for Failure {
    fn from(error: RecvError) -> Failure {
        match error {
            RecvError::Closed { clean } => Failure::ended(clean),
            RecvError::Empty | RecvError::TimedOut => Failure::in_time("no item came in time"),
            RecvError::Interrupted => Error::Interrupted.into(),
            RecvError::Failed(error) => error.into(),
            other => Failure::unknown(other),
        }
    }
}

impl From<SubscriberError> for Failure {
    fn from(error: SubscriberError) -> Failure {
        match error {
            SubscriberError::Closed { clean } => Failure::ended(clean),
            SubscriberError::Empty | SubscriberError::TimedOut => Failure::in_time("no item came in time"),
            SubscriberError::Lagged(items) => {
                let text =
                    format!("{items} items were dropped before they were read; the next call goes on behind them");
                Failure::Other(FARETRA_LAGGED, items, text)
            }
            SubscriberError::Interrupted => Error::Interrupted.into(),
            SubscriberError::Failed(error) => error.into(),
            other => Failure::unknown(other),
        }
    }
}

impl From<&SendError<'_>> for Failure {
    fn from(error: &SendError<'_>) -> Failure {
        match error {
            SendError::Closed { clean, .. } => Failure::ended(*clean),
            SendError::Full(_) | SendError::TimedOut(_) => Failure::in_time("the channel stayed full"),
            SendError::Interrupted(_) => Error::Interrupted.into(),
            other => Failure::unknown(other),
        }
    }
}

impl From<&AppendError<'_>> for Failure {
    fn from(error: &AppendError<'_>) -> Failure {
        match error {
            AppendError::Closed(_) => Failure::ended(true),
            AppendError::Full(_) | AppendError::TimedOut(_) => Failure::in_time("the feed stayed full"),
            AppendError::Interrupted(_) => Error::Interrupted.into(),
            other => Failure::unknown(other),
        }
    }
}

impl From<&ForwardError> for Failure {
    fn from(error: &ForwardError) -> Failure {
        match error {
            ForwardError::Closed { clean, .. } => Failure::ended(*clean),
            ForwardError::TimedOut(_) => Failure::in_time("the other channel stayed full"),
            ForwardError::Interrupted(_) => Error::Interrupted.into(),
            other => Failure::unknown(other),
        }
    }
}

fn code(error: &Error) -> faretra_code {
    match error {
        Error::Invalid(_) => FARETRA_INVALID,
        Error::NotFound { .. } => FARETRA_NOT_FOUND,
        Error::AlreadyExists { .. } => FARETRA_ALREADY_EXISTS,
        Error::Conflict { .. } => FARETRA_CONFLICT,
        Error::NoSpace { .. } => FARETRA_NO_SPACE,
        Error::TooLarge { .. } => FARETRA_TOO_LARGE,
        Error::Limit { .. } => FARETRA_LIMIT,
        Error::TimedOut(_) => FARETRA_TIMED_OUT,
        Error::Interrupted => FARETRA_INTERRUPTED,
        Error::NotSent(_) => FARETRA_NOT_SENT,
        Error::Mismatch { .. } => FARETRA_MISMATCH,
        Error::NotAnArena { .. } => FARETRA_NOT_AN_ARENA,
        Error::Damaged(_) => FARETRA_DAMAGED,
        Error::Untrusted { .. } => FARETRA_UNTRUSTED,
        Error::Forked(_) => FARETRA_FORKED,
        Error::Os { .. } => FARETRA_OS,
        Error::Arrow(_) => FARETRA_ARROW,
        _ => FARETRA_PANIC,
    }
}

/// What to do, in the words of this library; the crate's own advice speaks of its methods.
fn advice(error: &Error) -> Option<&str> {
    Some(match error {
        Error::NotFound { detail, .. } if !detail.is_empty() && !detail.contains('`') => detail,
        Error::NotFound { what: Missing::Arena, .. } => "make it with faretra_arena_create",
        Error::NotFound { what: Missing::Object, .. } => "faretra_names tells which there are",
        Error::AlreadyExists { .. } => "open it with faretra_arena_open, or remove it first with faretra_arena_remove",
        Error::Conflict { .. } => "read it again and retry",
        Error::NoSpace { .. } => "remove objects, raise the limit with faretra_arena_set_limit, or use a larger tmpfs",
        Error::TooLarge { hint, .. } if !hint.contains('`') => hint,
        Error::Limit { what: Counted::Objects, .. } => "remove some, or put several values in one",
        Error::Limit { .. } => "end some; the command `faretra who` tells which processes they are",
        Error::Damaged(_) => "faretra_arena_verify tells what else is wrong",
        Error::Forked(_) => "faretra_arena_reopen in the child takes part in the arena anew",
        _ => return None,
    })
}

/// A failure as C sees it, and the memory of its text.
struct Last {
    error: faretra_error,
    _text: CString,
}

impl Last {
    fn new(failure: &Failure) -> Last {
        let (code, asked, found, text) = match failure {
            Failure::Other(code, found, text) => (*code, 0, *found, text.clone()),
            Failure::Library(error) => {
                let (asked, found) = match error {
                    Error::NoSpace { asked, free, .. } => (*asked, *free),
                    Error::TooLarge { asked, most, .. } => (*asked, *most),
                    Error::Limit { limit, .. } => (0, *limit),
                    Error::Conflict { expected, found, .. } => (*expected, *found),
                    _ => (0, 0),
                };
                let advice = advice(error).map(|advice| format!("; {advice}")).unwrap_or_default();
                (code(error), asked, found, error.fact() + &advice)
            }
        };
        let os_error = match failure {
            Failure::Library(Error::Os { source, .. }) => source.raw_os_error().unwrap_or(0),
            _ => 0,
        };
        // A name that came from C has no null byte; one that came from a damaged arena may.
        let text = CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default();
        Last { error: faretra_error { code, os_error, asked, found, message: text.as_ptr() }, _text: text }
    }
}

thread_local! {
    static LAST: RefCell<Option<Box<Last>>> = const { RefCell::new(None) };
}

/// Keeps a failure for [`faretra_last_error`], and returns its code.
pub fn keep(failure: &Failure) -> faretra_code {
    let last = Box::new(Last::new(failure));
    let code = last.error.code;
    // A thread that is ending has no place for it any more.
    let _ = LAST.try_with(|kept| kept.replace(Some(last)));
    code
}

/// The failure that a panic is.
pub fn panicked(payload: &(dyn Any + Send)) -> Failure {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    Failure::Other(FARETRA_PANIC, 0, format!("the library panicked: {}", text.as_deref().unwrap_or("no text")))
}

/// Returns the last failure of a call in this thread; one whose code is `FARETRA_OK` if none failed. A call that succeeds
/// leaves it as it is. It is good until another call fails in this thread, or the thread ends; never null.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_last_error() -> *const faretra_error {
    struct Shared(faretra_error);
    // SAFETY: it never changes, and its text is part of the program.
    unsafe impl Sync for Shared {}
    static NONE: Shared = Shared(faretra_error {
        code: FARETRA_OK,
        os_error: 0,
        asked: 0,
        found: 0,
        message: c"no call failed".as_ptr(),
    });
    let kept = LAST.try_with(|last| last.borrow().as_ref().map(|last| &raw const last.error)).ok().flatten();
    kept.unwrap_or(&raw const NONE.0)
}

/// Returns the name of a code, for logs: `"not_found"` for `FARETRA_NOT_FOUND`. Never null, and good for ever.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_code_name(code: i32) -> *const c_char {
    const NAMES: [&CStr; 22] = [
        c"ok",
        c"invalid",
        c"not_found",
        c"already_exists",
        c"conflict",
        c"no_space",
        c"too_large",
        c"limit",
        c"timed_out",
        c"interrupted",
        c"not_sent",
        c"mismatch",
        c"not_an_arena",
        c"damaged",
        c"untrusted",
        c"forked",
        c"os",
        c"arrow",
        c"closed",
        c"deserted",
        c"lagged",
        c"panic",
    ];
    usize::try_from(code).ok().and_then(|code| NAMES.get(code)).unwrap_or(&c"unknown").as_ptr()
}

/// Returns the version of the library, such as `"0.1.0"`. Never null, and good for ever.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each variant of the crate's error has a code of the same name here.
    #[test]
    fn codes_mirror_the_errors_of_the_crate() {
        let os = || std::io::Error::from_raw_os_error(1);
        let all = [
            Error::Invalid(String::new()),
            Error::NotFound { what: Missing::Arena, name: String::new(), within: String::new(), detail: String::new() },
            Error::AlreadyExists { name: String::new(), path: "/".into() },
            Error::Conflict { name: String::new(), expected: 0, found: 0 },
            Error::NoSpace { asked: 0, free: 0, bound: faretra::Bound::Limit, of: 0, largest_holders: vec![] },
            Error::TooLarge { what: "bytes", asked: 0, most: 0, hint: "" },
            Error::Limit { what: Counted::Objects, limit: 0 },
            Error::TimedOut(std::time::Duration::ZERO),
            Error::Interrupted,
            Error::NotSent(""),
            Error::Mismatch { name: String::new(), expected: String::new(), found: String::new() },
            Error::NotAnArena { path: "/".into(), reason: String::new() },
            Error::Damaged(String::new()),
            Error::Untrusted { path: "/".into(), reason: String::new() },
            Error::Forked(1),
            Error::Os { action: "open", path: "/".into(), source: os() },
            Error::Arrow(arrow_schema::ArrowError::DivideByZero),
        ];
        let api = include_str!("../../api.txt");
        let variants = api
            .lines()
            .filter_map(|line| line.strip_prefix("faretra::Error::"))
            .filter(|item| {
                let name = item.split(':').next().unwrap_or_default();
                name.starts_with(char::is_uppercase) && !item[name.len()..].starts_with("::")
            })
            .count();
        assert_eq!(all.len(), variants, "a variant of `Error` has no code of C yet");
        for (at, error) in all.iter().enumerate() {
            let code = code(error);
            assert_eq!(code as usize, at + 1);
            // SAFETY: text that is part of the program.
            let name = unsafe { CStr::from_ptr(faretra_code_name(code as i32)) };
            assert_eq!(name.to_str(), Ok(error.code()));
        }
        for code in [-1, 22, i32::MAX] {
            // SAFETY: text that is part of the program.
            assert_eq!(unsafe { CStr::from_ptr(faretra_code_name(code)) }, c"unknown");
        }
    }

    /// A panic becomes a code with its text, and the thread goes on.
    #[test]
    fn a_panic_does_not_cross_the_border() {
        let code = crate::border::run(|| panic!("on {}", "purpose"));
        assert_eq!(code, FARETRA_PANIC);
        // SAFETY: this thread's last error, which nothing has replaced.
        let last = unsafe { &*faretra_last_error() };
        // SAFETY: text of the last error.
        let text = unsafe { CStr::from_ptr(last.message) };
        assert_eq!((last.code, text), (FARETRA_PANIC, c"the library panicked: on purpose"));
        assert_eq!(crate::border::run(|| Ok(())), FARETRA_OK);
    }

    /// No text of an error that C meets speaks of methods of the crate, where this library has a word for it.
    #[test]
    fn advice_speaks_of_this_library() {
        let error = faretra::Arena::open("capi-no-such-arena").unwrap_err();
        let last = Last::new(&error.into());
        let text = last._text.to_str().unwrap();
        assert!(text.ends_with("; make it with faretra_arena_create") && !text.contains("Options::"), "{text}");
        assert_eq!(last.error.code, FARETRA_NOT_FOUND);
    }
}
