//! What a draft lends of its columns: bits, and text that is written row after row.
//!
//! A draft keeps the promises that readers rely on without looking, by lending nothing that could break them: text
//! comes in as `&str`, and offsets are written here alone.

use std::fmt;

use crate::error::{Error, Result};
use crate::value::shape;

/// How far a column of text is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    pub rows: usize,
    pub bytes: usize,
}

pub(crate) fn not_nullable(name: &str) -> Error {
    Error::invalid(format!("column `{name}` cannot have nulls: make its field nullable in the schema"))
}

/// One bit for each row of a column that is being drafted: the values of a boolean column
/// ([`Draft::bits_mut`](crate::Draft::bits_mut)), or which rows of a column are not null
/// ([`Draft::validity_mut`](crate::Draft::validity_mut)).
///
/// ```
/// use std::sync::Arc;
/// use faretra::arrow::arrow_schema::{DataType, Field, Schema};
/// use faretra::{Arena, MIB};
///
/// # let arena = Arena::options().limit(64 * MIB).keep(false).create(&format!("doc-bits-{}", std::process::id()))?;
/// let schema = Arc::new(Schema::new(vec![Field::new("late", DataType::Boolean, true)]));
/// let writer = arena.writer()?;
/// let mut draft = writer.draft(&schema, 3)?;
/// draft.bits_mut("late")?.set(1, true)?;
/// draft.validity_mut("late")?.set_null(2)?;
/// writer.publish("flights", draft)?;
/// assert_eq!(arena.batch("flights")?.num_rows(), 3);
/// # Ok::<(), faretra::Error>(())
/// ```
pub struct Bits<'a> {
    pub(crate) bits: &'a mut [u8],
    pub(crate) rows: usize,
}

/// Without the bits, which may be millions.
impl fmt::Debug for Bits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bits({} rows)", self.rows)
    }
}

impl Bits<'_> {
    /// Sets the bit of a row to `value`. Fails with [`Error::Invalid`] if the draft has no such row; rows count from 0.
    pub fn set(&mut self, row: usize, value: bool) -> Result<()> {
        if row >= self.rows {
            return Err(Error::invalid(format!("there is no row {row}: the draft has {}", self.rows)));
        }
        let bit = 1 << (row % 8);
        match value {
            true => self.bits[row / 8] |= bit,
            false => self.bits[row / 8] &= !bit,
        }
        Ok(())
    }

    /// Makes a row null, where these bits are the validity of a column: clears the row's bit. Fails with
    /// [`Error::Invalid`] if the draft has no such row.
    pub fn set_null(&mut self, row: usize) -> Result<()> {
        self.set(row, false)
    }
}

/// Writes the values of a column of strings or binary values that is being drafted, row after row from the first on.
///
/// [`Draft::text_mut`](crate::Draft::text_mut) makes a writer that goes on behind the last row that was written. Every
/// row has to be written before the draft is published. The room for text was chosen with the draft
/// ([`Writer::draft_with`](crate::Writer::draft_with)); a value that does not fit any more is an error that changes
/// nothing.
///
/// ```
/// use std::sync::Arc;
/// use faretra::arrow::arrow_schema::{DataType, Field, Schema};
/// use faretra::{Arena, MIB};
///
/// # let arena = Arena::options().limit(64 * MIB).keep(false).create(&format!("doc-text-{}", std::process::id()))?;
/// let schema = Arc::new(Schema::new(vec![Field::new("airport", DataType::Utf8, true)]));
/// let writer = arena.writer()?;
/// let mut draft = writer.draft(&schema, 3)?;
/// let mut airports = draft.text_mut("airport")?;
/// airports.push("TXL")?;
/// airports.push_null()?;
/// airports.push("Zürich")?;
/// writer.publish("airports", draft)?;
/// assert_eq!(arena.batch("airports")?.column_by_name("airport").unwrap().null_count(), 1);
/// # Ok::<(), faretra::Error>(())
/// ```
pub struct Text<'a> {
    pub(crate) name: &'a str,
    pub(crate) nullable: bool,
    pub(crate) kind: shape::Text,
    /// Bytes of one offset.
    pub(crate) width: usize,
    pub(crate) rows: usize,
    pub(crate) validity: &'a mut [u8],
    pub(crate) offsets: &'a mut [u8],
    pub(crate) text: &'a mut [u8],
    pub(crate) written: &'a mut Written,
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Written { rows, bytes } = *self.written;
        write!(f, "Text(`{}`, {rows} of {} rows, {bytes} of {} bytes)", self.name, self.rows, self.text.len())
    }
}

impl Text<'_> {
    /// Writes the value of the next row. Fails with [`Error::Invalid`] if all rows are written, or if the text does not
    /// fit the room that the draft has for this column.
    pub fn push(&mut self, text: &str) -> Result<()> {
        self.append(text.as_bytes())
    }

    /// Writes the value of the next row of a binary column. Fails with [`Error::Mismatch`] if the column is one of
    /// strings, and otherwise as [`Text::push`] does.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        if self.kind == shape::Text::Utf8 {
            return Err(Error::Mismatch {
                name: self.name.to_owned(),
                expected: "a column of binary values".into(),
                found: "a column of strings".into(),
            });
        }
        self.append(bytes)
    }

    /// Makes the next row null. Fails with [`Error::Invalid`] if the column's field is not nullable, or if all rows are
    /// written.
    pub fn push_null(&mut self) -> Result<()> {
        if !self.nullable {
            return Err(not_nullable(self.name));
        }
        let row = self.written.rows;
        self.append(&[])?;
        self.validity[row / 8] &= !(1 << (row % 8));
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let (row, at) = (self.written.rows, self.written.bytes);
        if row == self.rows {
            return Err(Error::invalid(format!("column `{}` has all its {} rows already", self.name, self.rows)));
        }
        let end = at.saturating_add(bytes.len());
        let have = self.text.len();
        let Some(to) = self.text.get_mut(at..end) else {
            return Err(Error::invalid(format!(
                "column `{}` has room for {have} bytes of text, {} more do not fit behind {at}: draft it with more text bytes",
                self.name,
                bytes.len()
            )));
        };
        to.copy_from_slice(bytes);
        let offset = (row + 1) * self.width;
        self.offsets[offset..offset + self.width].copy_from_slice(&(end as u64).to_le_bytes()[..self.width]);
        *self.written = Written { rows: row + 1, bytes: end };
        Ok(())
    }
}
