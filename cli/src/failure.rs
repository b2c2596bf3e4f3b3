//! Why a verb does not succeed, in words, and what else is said on standard error: one line each.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use arrow_schema::ArrowError;
use faretra::{Bound, Counted, Error, Missing};
use parquet::errors::ParquetError;

/// The result of everything the command does.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a verb could not be done.
#[derive(Debug)]
pub enum Failure {
    /// The command line makes no sense: exit code 2.
    Usage(String),
    /// It could not be done: exit code 1. The text says why and what to do.
    Failed(String),
    /// A signal ended it, and there is something to say about that.
    Interrupted(String),
}

impl Failure {
    /// Exit code 1, with this text.
    pub fn new(text: impl Display) -> Failure {
        Failure::Failed(text.to_string())
    }

    /// Exit code 2, with this text.
    pub fn usage(text: impl Display) -> Failure {
        Failure::Usage(text.to_string())
    }

    /// What it says.
    pub fn into_text(self) -> String {
        match self {
            Failure::Usage(text) | Failure::Failed(text) | Failure::Interrupted(text) => text,
        }
    }
}

/// The text on one line: messages of other crates may have several. What a terminal would obey, and what some
/// readers take for a line end, is escaped: it may come from a file.
pub fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.split(['\n', '\r']).map(str::trim).collect();
    let lines: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    let mut line = String::with_capacity(text.len());
    for character in lines.join("; ").chars() {
        match character {
            // Line and paragraph separators, and what changes the direction of text.
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => line.extend(character.escape_unicode()),
            character if character.is_control() => line.extend(character.escape_default()),
            character => line.push(character),
        }
    }
    line
}

/// Says something on standard error that does not end the command.
pub fn note(text: impl Display) {
    eprintln!("faretra: {}", one_line(&text.to_string()));
}

/// Says something as [`note`] does, once for each text however often it comes up.
pub fn note_once(text: impl Display) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let text = text.to_string();
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(text.clone()) {
        note(text);
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Arrow(error) => error.into(),
            error => Failure::new(library_text(&error)),
        }
    }
}

/// What an error of the library says, with the command's own verbs instead of the library's calls.
pub fn library_text(error: &Error) -> String {
    let advice: Option<Cow<'_, str>> = match error {
        Error::NotFound { what: Missing::Arena, name, detail, .. } if detail.is_empty() => {
            Some(format!("`faretra create {name}` makes it, `faretra ls` lists those that are there").into())
        }
        Error::NotFound { what: Missing::Object, within, .. } => {
            Some(format!("`faretra ls {within}` lists what is there").into())
        }
        Error::AlreadyExists { name, .. } => {
            Some(format!("use it as it is, or remove it first with `faretra rm {name}`").into())
        }
        Error::NoSpace { bound: Bound::Limit, .. } => {
            Some("raise the limit (`faretra limit`), remove objects, or see `faretra who` for what keeps them".into())
        }
        Error::NoSpace { bound: Bound::FileSystem, .. } => {
            Some("remove objects or files there, or use a larger tmpfs (--dir)".into())
        }
        Error::Limit { what: Counted::Participants | Counted::Subscribers, .. } => {
            Some("end some; `faretra who` lists them".into())
        }
        Error::Untrusted { .. } => {
            Some("`--trust-others` takes part all the same; `faretra ls`, `stat`, `who` and `verify` look at it without trust".into())
        }
        Error::Os { action: "open", source, .. }
            if matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) =>
        {
            Some("to take part in an arena is to write to its file; `faretra ls`, `stat`, `who` and `verify` only read it".into())
        }
        Error::NoSpace { bound: Bound::Kernel, .. } => {
            Some("the kernel refused all the same; `faretra doctor` shows the memory cgroup and filters of calls".into())
        }
        Error::Damaged(_) => Some("`faretra verify` tells what else is wrong".into()),
        error => error.advice().map(Cow::from),
    };
    match advice {
        Some(advice) => format!("{}; {advice}", error.fact()),
        None => error.fact(),
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Failure {
        Failure::new(arrow_text(&error))
    }
}

impl From<ParquetError> for Failure {
    fn from(error: ParquetError) -> Failure {
        Failure::new(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::new(error)
    }
}

/// What an arrow error says, without the prefix of its variant where the text stands alone.
pub fn arrow_text(error: &ArrowError) -> String {
    match error {
        ArrowError::ExternalError(cause) => match cause.downcast_ref() {
            Some(error) => library_text(error),
            None => cause.to_string(),
        },
        ArrowError::IoError(_, cause) => cause.to_string(),
        ArrowError::ParseError(text)
        | ArrowError::CsvError(text)
        | ArrowError::IpcError(text)
        | ArrowError::ParquetError(text)
        | ArrowError::InvalidArgumentError(text)
        | ArrowError::SchemaError(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Says what was being done when something failed.
pub trait Context<T> {
    /// `cannot ACTION PATH: cause`.
    fn doing(self, action: &str, path: &Path) -> Result<T>;
}

impl<T, E: Into<Failure>> Context<T> for std::result::Result<T, E> {
    fn doing(self, action: &str, path: &Path) -> Result<T> {
        self.map_err(|error| match error.into() {
            Failure::Failed(text) => Failure::Failed(format!("cannot {action} {}: {text}", path.display())),
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_message_is_one_line_without_control_characters() {
        assert_eq!(one_line(" a\r\n\n b\n"), "a; b");
        let text = one_line("\x1b[2J \x1c \u{85} \u{2028} \u{202e} \t \0 é");
        assert_eq!(text, r"\u{1b}[2J \u{1c} \u{85} \u{2028} \u{202e} \t \u{0} é");
    }
}
