//! The columns of a CSV file: what is known of them, and rows that are added to them.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use super::infer::Seen;
use super::records::{Records, Row};
use super::types::{self, Column};
use crate::failure::{Failure, Result};
use crate::size;

/// What is known of a column.
#[derive(Clone, Debug)]
pub struct Known {
    /// What it is called.
    pub name: String,
    /// The type that somebody asked for.
    pub given: Option<DataType>,
    /// What its values are.
    pub seen: Seen,
}

/// What is done with values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// They are looked at, for the types that hold all of them. Those of a type that was asked for are tried.
    Types,
    /// They become values of types that were found before: from all rows, or from the first.
    Values {
        /// Whether all rows said the types.
        all: bool,
    },
    /// Both at once: they become values of types that are guessed, and may turn out to be of others.
    Guess,
}

/// What adding a row came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is there, and takes about so many bytes.
    Row(u64),
    /// One of its values is not of the type that was guessed.
    Misguessed,
}

/// Columns that grow row by row.
pub struct Columns {
    columns: Vec<Filled>,
    nulls: Arc<[String]>,
    purpose: Purpose,
}

struct Filled {
    known: Known,
    /// What was known before the first row.
    before: Seen,
    /// The type that the values become.
    kind: DataType,
    /// Nothing, where they are looked at only.
    values: Option<Box<dyn Column>>,
    /// Whether each value is looked at, also where it becomes one.
    looked_at: bool,
}

impl Columns {
    /// Columns of these types. `nulls` stand for no value.
    pub fn new(known: &[Known], kinds: &[DataType], purpose: Purpose, nulls: &Arc<[String]>) -> Columns {
        let filled = |(known, kind): (&Known, &DataType)| {
            let given = known.given.is_some();
            let (becomes, looked_at) = match purpose {
                Purpose::Types => (given, !given),
                Purpose::Values { all } => (true, !all && !given && *kind != DataType::Utf8),
                Purpose::Guess => (true, !given),
            };
            Filled {
                known: known.clone(),
                before: known.seen,
                kind: kind.clone(),
                values: becomes.then(|| types::column(kind)),
                looked_at,
            }
        };
        Columns { columns: known.iter().zip(kinds).map(filled).collect(), nulls: Arc::clone(nulls), purpose }
    }

    /// Adds the row that was found, or says what is wrong with it; it may be there in part then.
    pub fn add(&mut self, records: &Records) -> Result<Added> {
        let row = records.row()?;
        expect_len(&row, self.columns.len(), records)?;
        for (column, text) in self.columns.iter_mut().zip(row.fields()) {
            let is_null = is_null(&text, &self.nulls);
            match &mut column.values {
                Some(values) if is_null => values.add_null(),
                None if is_null => {}
                None => column.known.seen.add(&text),
                Some(values) => {
                    let mut kept = true;
                    if column.looked_at && self.purpose == Purpose::Guess {
                        column.known.seen.add(&text);
                    } else if column.looked_at {
                        let mut seen = column.known.seen;
                        seen.add(&text);
                        kept = seen.data_type() == column.known.seen.data_type();
                    }
                    if kept && values.add(&text) {
                        continue;
                    }
                    return match self.purpose {
                        Purpose::Guess if column.looked_at => Ok(Added::Misguessed),
                        purpose => Err(unlike(&row, &column.known, &text, purpose)),
                    };
                }
            }
        }
        Ok(Added::Row((row.bytes() + 8 * self.columns.len()) as u64))
    }

    /// Whether what was seen of each column still says the type that was guessed.
    pub fn guessed_right(&self) -> bool {
        let right = |column: &Filled| !column.looked_at || column.known.seen == column.before || column.is_as_guessed();
        self.purpose != Purpose::Guess || self.columns.iter().all(right)
    }

    /// What was seen of each column so far. It is forgotten then, but for what was known before.
    pub fn seen(&mut self) -> Vec<Seen> {
        self.columns.iter_mut().map(|column| std::mem::replace(&mut column.known.seen, column.before)).collect()
    }

    /// The values of the first `rows` rows; the columns are empty then.
    pub fn finish(&mut self, rows: usize) -> Vec<ArrayRef> {
        let values = self.columns.iter_mut().filter_map(|column| column.values.as_mut());
        // A row that failed may be there in part.
        let cut = |array: ArrayRef| if array.len() > rows { array.slice(0, rows) } else { array };
        values.map(|values| cut(values.finish())).collect()
    }
}

impl Filled {
    fn is_as_guessed(&self) -> bool {
        self.known.seen.data_type() == self.kind
    }
}

/// Whether a text stands for no value.
pub fn is_null(text: &str, nulls: &[String]) -> bool {
    text.is_empty() || nulls.iter().any(|null| null == text)
}

/// Refuses a row that has more fields than there are columns, or fewer.
pub fn expect_len(row: &Row<'_>, columns: usize, records: &Records) -> Result<()> {
    if row.len() == columns {
        return Ok(());
    }
    let remedy = match records.cut() {
        true => "and the input ends in it: is the rest of it missing?",
        false => "correct it, or give the right --delimiter",
    };
    Err(Failure::new(format!(
        "line {} has {} where the rows before have {columns}: {remedy}",
        row.line,
        size::plural(row.len() as u64, "field")
    )))
}

/// A value in words, for a message.
fn shown(row: &Row<'_>, known: &Known, text: &str) -> String {
    let mut short: Cow<'_, str> = text.into();
    if let Some((end, _)) = text.char_indices().nth(60) {
        short = format!("{}..", &text[..end]).into();
    }
    format!("line {}, column `{}`: `{short}`", row.line, known.name)
}

fn unlike(row: &Row<'_>, known: &Known, text: &str, purpose: Purpose) -> Failure {
    let (shown, name) = (shown(row, known, text), &known.name);
    if let Some(given) = &known.given {
        return Failure::new(format!(
            "{shown} is no {}, as was asked with --type: correct it, give the column another --type, or --null for a text \
             that stands for no value",
            types::name(given)
        ));
    }
    if purpose != (Purpose::Values { all: false }) {
        return Failure::new(format!("{shown} was not there when the types were read: the file changes meanwhile"));
    }
    let mut seen = known.seen;
    seen.add(text);
    let (was, now) = (types::name(&known.seen.data_type()), types::name(&seen.data_type()));
    let say = if now == "text" { format!("--text {name}") } else { format!("--type {name}={now}, or --text {name},") };
    Failure::new(format!(
        "{shown} is no {was}, as all were that the type comes from: say {say} beforehand, or let --infer-rows see \
         more rows"
    ))
}
