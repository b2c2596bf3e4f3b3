//! Errors of arenas and of the engine, as gRPC says them.

use std::error::Error as _;

use arrow_flight::error::FlightError;
use arrow_schema::ArrowError;
use datafusion::error::DataFusionError;
use faretra::Error;
use tonic::{Code, Status};

/// A status travels in headers, for which clients have little room.
const MOST_TEXT: usize = 2048;

/// A status of this code, whose text is cut where headers end.
pub(crate) fn told(code: Code, text: impl std::fmt::Display) -> Status {
    let mut text = text.to_string();
    if text.len() > MOST_TEXT {
        let end = (0..=MOST_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(" ..");
    }
    Status::new(code, text)
}

/// An error of an arena.
pub(crate) fn of_arena(error: &Error) -> Status {
    let code = match error {
        Error::Invalid(_) | Error::TooLarge { .. } | Error::Mismatch { .. } => Code::InvalidArgument,
        Error::NotFound { .. } => Code::NotFound,
        Error::AlreadyExists { .. } => Code::AlreadyExists,
        Error::Conflict { .. } => Code::Aborted,
        Error::NoSpace { .. } | Error::Limit { .. } => Code::ResourceExhausted,
        Error::TimedOut(_) | Error::Interrupted => Code::Unavailable,
        Error::Damaged(_) | Error::NotAnArena { .. } => Code::DataLoss,
        Error::Untrusted { .. } => Code::PermissionDenied,
        _ => Code::Internal,
    };
    told(code, error)
}

/// An error of the engine.
pub(crate) fn of_engine(error: &DataFusionError) -> Status {
    let root = error.find_root();
    match root {
        DataFusionError::External(cause) => match cause.downcast_ref::<Error>() {
            Some(error) => of_arena(error),
            None => told(Code::Internal, cause),
        },
        DataFusionError::SQL(cause, _) => told(Code::InvalidArgument, format_args!("no SQL: {cause}")),
        DataFusionError::Plan(_) | DataFusionError::SchemaError(..) | DataFusionError::NotImplemented(_) => {
            told(Code::InvalidArgument, root.strip_backtrace())
        }
        DataFusionError::ResourcesExhausted(_) => told(Code::ResourceExhausted, root.strip_backtrace()),
        _ => told(Code::Internal, root.strip_backtrace()),
    }
}

/// An error of arrow's, of what is written.
pub(crate) fn of_arrow(error: &ArrowError) -> Status {
    match error.source().and_then(|cause| cause.downcast_ref::<Error>()) {
        Some(error) => of_arena(error),
        None => told(Code::Internal, error),
    }
}

/// An error of what a client sent.
pub(crate) fn of_sent(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => match status.code() {
            Code::OutOfRange => told(
                Code::OutOfRange,
                format_args!(
                    "{}: send smaller batches, or start the server with a larger --max-message",
                    status.message()
                ),
            ),
            _ => *status,
        },
        error => told(Code::InvalidArgument, format_args!("what was sent is no stream of Arrow batches: {error}")),
    }
}

/// An error for what Flight SQL has and arenas have not.
pub(crate) fn never(what: &str) -> Status {
    told(
        Code::Unimplemented,
        format_args!("`{what}` is nothing that arenas have: there are statements, prepared ones, and rows to ingest"),
    )
}
