//! Rows printed as they come: those of a channel, and of a feed.

use std::io::Write;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};

use crate::args::CatFormat;
use crate::cat::{Grids, pieces};
use crate::failure::{Failure, Result};
use crate::format::write::{self, Sink};
use crate::out::{Out, Shared};
use crate::{signal, size};

/// Where printed rows go.
enum To {
    Grids,
    /// With the schema of its first rows, where the format has one.
    Sink(Option<SchemaRef>, Box<dyn Sink>),
}

/// Prints items on standard output, each whole before the next one.
pub struct Printer {
    out: Shared<Out>,
    /// Not known before the first schema, in a format that begins with one.
    to: Option<To>,
    stays: &'static str,
    hidden: bool,
    items: u64,
    rows: u64,
}

impl Printer {
    /// In this format; `stays` is where an item is that could not be printed, in words.
    pub fn new(format: CatFormat, stays: &'static str) -> Printer {
        let out = Shared::new(Out::new());
        let to = match format {
            CatFormat::Json => Some(To::Sink(None, write::json(out.again(), false))),
            CatFormat::Jsonl => Some(To::Sink(None, write::json(out.again(), true))),
            CatFormat::Table => Some(To::Grids),
            CatFormat::Csv => None,
        };
        Printer { out, to, stays, hidden: false, items: 0, rows: 0 }
    }

    fn open(&self, schema: &SchemaRef) -> Result<To> {
        Ok(To::Sink(Some(Arc::clone(schema)), write::csv(self.out.again(), schema, b',')?))
    }

    /// Prints an item. Standard output has taken all of it after that.
    pub fn print(&mut self, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<()> {
        if self.to.is_none() {
            self.to = Some(self.open(schema)?);
        }
        match &mut self.to {
            Some(To::Sink(known, sink)) => {
                check_schema(known.as_ref(), schema, self.stays)?;
                for piece in pieces(batches, usize::MAX, 4096) {
                    signal::check()?;
                    sink.write(&piece)?;
                }
            }
            Some(To::Grids) | None => self.hidden |= print_grid(schema, batches, &mut self.out.inner())?,
        }
        self.out.inner().flush()?;
        self.items += 1;
        self.rows += batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        Ok(())
    }

    /// Prints what comes after the last item; of no items at all, the columns, if they are known.
    pub fn finish(mut self, schema: impl FnOnce() -> Option<SchemaRef>) -> Result<()> {
        if self.items == 0
            && let Some(schema) = schema()
        {
            match &self.to {
                Some(To::Grids) => self.hidden |= print_grid(&schema, &[], &mut self.out.inner())?,
                Some(To::Sink(..)) => {}
                None => self.to = Some(self.open(&schema)?),
            }
        }
        match self.to {
            Some(To::Grids) => {
                let columns = if self.hidden { "; not all columns fit, --format csv has them" } else { "" };
                let (rows, items) = (size::plural(self.rows, "row"), size::plural(self.items, "batch"));
                self.out.inner().line(format!("({rows} in {items}{columns})"))?;
            }
            Some(To::Sink(_, sink)) => sink.finish()?,
            None => {}
        }
        Ok(self.out.inner().flush()?)
    }
}

/// Prints an item under its own captions; whether columns did not fit.
fn print_grid(schema: &Schema, batches: &[RecordBatch], out: &mut Out) -> Result<bool> {
    if schema.fields().is_empty() {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        out.line(format!("{} without columns", size::plural(rows as u64, "row")))?;
        return Ok(false);
    }
    let mut grids = Grids::default();
    for piece in pieces(batches, usize::MAX, 1024) {
        grids.write(&piece, out)?;
    }
    grids.lay_out(schema, out)?;
    Ok(grids.hidden > 0)
}

/// Fails if these are other columns than those that were written before.
pub fn check_schema(known: Option<&SchemaRef>, schema: &SchemaRef, stays: &str) -> Result<()> {
    match known {
        Some(known) if known.fields() != schema.fields() => Err(Failure::new(format!(
            "the next batch has other columns than the first{stays}; --format table and jsonl print batches of any \
             columns"
        ))),
        _ => Ok(()),
    }
}
