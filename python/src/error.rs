//! Errors as Python knows them, and the two ways into the library: `run` and `wait`.
//!
//! Every call of the library goes through one of the two, so that a panic becomes an exception that programs catch
//! (`faretra.InternalError`), and never PyO3's `PanicException`, which they do not.

use std::any::Any;
use std::cell::RefCell;
use std::fmt::Display;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use faretra::call::CallError;
use faretra::{AppendError, Bound as Ran, Counted, Error, Missing, RecvError, SendError, SubscriberError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// Why a call did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// The library said so.
    Library(Error),
    /// The channel, feed or service is closed (`clean`), or nobody is at its other end any more.
    Closed {
        /// Whether somebody closed it.
        clean: bool,
    },
    /// There is no item now.
    Empty,
    /// There is no room now.
    Full,
    /// So many items were dropped before they were read.
    Lagged(u64),
    /// A wait ended before what it waited for came.
    TimedOut,
    /// What one of the above was about: it comes first in the text.
    About(String, Box<Failure>),
    /// Python raised it.
    Python(PyErr),
    /// The library panicked: a fault of ours.
    Panic(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Library(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Failure {
        Failure::Python(error)
    }
}

impl From<RecvError> for Failure {
    fn from(error: RecvError) -> Failure {
        match error {
            RecvError::Closed { clean } => Failure::Closed { clean },
            RecvError::Empty => Failure::Empty,
            RecvError::TimedOut => Failure::TimedOut,
            RecvError::Interrupted => Error::Interrupted.into(),
            RecvError::Failed(error) => error.into(),
            other => Failure::unknown(other),
        }
    }
}

impl From<SendError<'_>> for Failure {
    fn from(error: SendError<'_>) -> Failure {
        match error {
            SendError::Closed { clean, .. } => Failure::Closed { clean },
            SendError::Full(_) => Failure::Full,
            SendError::TimedOut(_) => Failure::TimedOut,
            SendError::Interrupted(_) => Error::Interrupted.into(),
            SendError::NoSpace { error, .. } => (*error).into(),
            SendError::Failed(error) => error.into(),
            other => Failure::unknown(other),
        }
    }
}

impl From<AppendError<'_>> for Failure {
    fn from(error: AppendError<'_>) -> Failure {
        match error {
            AppendError::Closed(_) => Failure::Closed { clean: true },
            AppendError::Full(_) => Failure::Full,
            AppendError::TimedOut(_) => Failure::TimedOut,
            AppendError::Interrupted(_) => Error::Interrupted.into(),
            AppendError::NoSpace { error, .. } => (*error).into(),
            AppendError::Failed(error) => error.into(),
            other => Failure::unknown(other),
        }
    }
}

impl From<SubscriberError> for Failure {
    fn from(error: SubscriberError) -> Failure {
        match error {
            SubscriberError::Closed { clean } => Failure::Closed { clean },
            SubscriberError::Empty => Failure::Empty,
            SubscriberError::TimedOut => Failure::TimedOut,
            SubscriberError::Lagged(items) => Failure::Lagged(items),
            SubscriberError::Interrupted => Error::Interrupted.into(),
            SubscriberError::Failed(error) => error.into(),
            other => Failure::unknown(other),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        match error {
            CallError::Closed { clean } => Failure::Closed { clean },
            CallError::TimedOut => Failure::TimedOut,
            CallError::Failed(error) => error.into(),
            other => Failure::unknown(other),
        }
    }
}

impl Failure {
    /// This failure, with the name of what it was about.
    pub fn about(self, what: impl FnOnce() -> String) -> Failure {
        match self {
            Failure::Closed { .. } | Failure::Empty | Failure::Full | Failure::Lagged(_) | Failure::TimedOut => {
                Failure::About(what(), Box::new(self))
            }
            other => other,
        }
    }

    /// One that the library has, and this package does not know yet.
    pub fn unknown(error: impl Display) -> Failure {
        Failure::Panic(format!("an error that the Python package does not know: {error}"))
    }

    /// A call with an argument that cannot be.
    pub fn invalid(text: impl Into<String>) -> Failure {
        Error::Invalid(text.into()).into()
    }

    /// The exception, made by `faretra._errors.build`, which knows the classes and what to do in Python's terms.
    pub fn raise(self, py: Python<'_>) -> PyErr {
        let details = PyDict::new(py);
        let (kind, fact, advice) = match self {
            Failure::Python(error) => return error,
            Failure::Library(Error::Interrupted) if INTERRUPT.with_borrow(Option::is_some) => {
                return INTERRUPT.take().expect("it was there");
            }
            failure => failure.told(&details),
        };
        let made = errors(py).and_then(|errors| errors.call_method1("build", (kind, fact, advice, details)));
        made.map_or_else(|error| error, PyErr::from_value)
    }

    /// Its code and kind, what it says, and what is to be done.
    fn told(self, details: &Bound<'_, PyDict>) -> (String, String, Option<String>) {
        match self {
            Failure::Library(error) => {
                fill(&error, details);
                (kind(&error), error.fact(), error.advice().map(str::to_owned))
            }
            Failure::Closed { clean } => {
                let _ = details.set_item("clean", clean);
                let text =
                    if clean { "it was closed" } else { "nobody is at the other end: the last one left or died" };
                ("closed".into(), text.into(), None)
            }
            Failure::Empty => ("empty".into(), "there is no item now".into(), None),
            Failure::Full => ("full".into(), "there is no room now".into(), None),
            Failure::Lagged(items) => {
                let _ = details.set_item("items", items);
                ("lagged".into(), format!("{items} items were dropped before they were read"), None)
            }
            Failure::TimedOut => ("timed_out".into(), "what was waited for did not come in time".into(), None),
            Failure::About(what, failure) => {
                let (kind, fact, advice) = failure.told(details);
                (kind, format!("{what}: {fact}"), advice)
            }
            Failure::Python(error) => ("panic".into(), error.to_string(), None),
            Failure::Panic(text) => ("panic".into(), text, None),
        }
    }
}

fn errors(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    Ok(ERRORS.get_or_try_init(py, || py.import("faretra._errors").map(Bound::unbind))?.bind(py))
}

/// The error's code, and what kind of it.
fn kind(error: &Error) -> String {
    let which = match error {
        Error::NotFound { what, .. } => match what {
            Missing::Arena => "arena",
            Missing::Object => "object",
            Missing::Column => "column",
            Missing::Member => "member",
            Missing::Schema => "schema",
            _ => "",
        },
        Error::NoSpace { bound, .. } => match bound {
            Ran::Limit => "limit",
            Ran::FileSystem => "file_system",
            _ => "kernel",
        },
        Error::Limit { what, .. } => match what {
            Counted::Participants => "participants",
            Counted::Subscribers => "subscribers",
            _ => "objects",
        },
        Error::Os { source, .. } => match source.kind() {
            std::io::ErrorKind::PermissionDenied => "denied",
            std::io::ErrorKind::NotFound => "missing",
            std::io::ErrorKind::ReadOnlyFilesystem => "read_only",
            _ => "",
        },
        _ => "",
    };
    if which.is_empty() { error.code().into() } else { format!("{}.{which}", error.code()) }
}

/// The numbers and names that the exception has as attributes. Python's memory may run out here; the text says it all.
fn fill(error: &Error, details: &Bound<'_, PyDict>) {
    let set = |pairs: &[(&str, u64)]| pairs.iter().for_each(|(key, value)| drop(details.set_item(key, value)));
    match error {
        Error::NotFound { name, .. } | Error::AlreadyExists { name, .. } | Error::Mismatch { name, .. } => {
            let _ = details.set_item("name", name);
        }
        Error::Conflict { name, expected, found } => {
            let _ = details.set_item("name", name);
            set(&[("expected", *expected), ("found", *found)]);
        }
        Error::NoSpace { asked, free, of, .. } => set(&[("asked", *asked), ("free", *free), ("of", *of)]),
        Error::TooLarge { asked, most, .. } => set(&[("asked", *asked), ("most", *most)]),
        Error::Limit { limit, .. } => set(&[("limit", *limit)]),
        Error::Os { source, .. } => {
            let _ = details.set_item("errno", source.raw_os_error());
        }
        _ => {}
    }
}

thread_local! {
    /// What a signal handler raised while this thread waited.
    static INTERRUPT: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Lets every wait run Python's signal handlers, and end when one raises.
pub fn install_interrupts() {
    faretra::set_interrupt_hook(Some(Box::new(|| {
        // Without an interpreter, which is going down then, nobody has a handler.
        let checked = Python::try_attach(|py| py.check_signals()).unwrap_or(Ok(()));
        match checked {
            Ok(()) => ControlFlow::Continue(()),
            Err(raised) => {
                INTERRUPT.set(Some(raised));
                ControlFlow::Break(())
            }
        }
    })));
}

fn panicked(payload: Box<dyn Any + Send>) -> Failure {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    Failure::Panic(text.unwrap_or_else(|| "it panicked".into()))
}

/// Calls the library while this thread keeps the interpreter: for what takes microseconds.
#[inline]
pub fn run<T, E: Into<Failure>>(py: Python<'_>, call: impl FnOnce() -> Result<T, E>) -> PyResult<T> {
    let done = catch_unwind(AssertUnwindSafe(call));
    match done {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(failure)) => Err(failure.into().raise(py)),
        Err(payload) => Err(panicked(payload).raise(py)),
    }
}

/// Calls what does not fail, while this thread keeps the interpreter.
pub fn run_plain<T>(py: Python<'_>, call: impl FnOnce() -> T) -> PyResult<T> {
    run(py, || -> Result<T, Failure> { Ok(call()) })
}

/// Calls what does not fail, while other threads run Python.
pub fn wait_plain<T: Send>(py: Python<'_>, call: impl FnOnce() -> T + Send) -> PyResult<T> {
    wait(py, || -> Result<T, Failure> { Ok(call()) })
}

/// Calls the library while other threads run Python: for what waits, or copies much.
pub fn wait<T: Send, E: Into<Failure>>(py: Python<'_>, call: impl FnOnce() -> Result<T, E> + Send) -> PyResult<T> {
    let done = py.detach(|| match catch_unwind(AssertUnwindSafe(call)) {
        Ok(done) => done.map_err(Into::into),
        Err(payload) => Err(panicked(payload)),
    });
    done.map_err(|failure: Failure| failure.raise(py))
}

/// Panics, as a fault of the library would: for tests of what becomes of that. With `waiting`, while other threads run.
#[pyfunction]
pub fn _provoke_panic(py: Python<'_>, waiting: bool, text: String) -> PyResult<()> {
    let panics = move || -> Result<(), Failure> { std::panic::panic_any(text) };
    if waiting { wait(py, panics) } else { run(py, panics) }
}
