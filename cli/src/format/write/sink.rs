//! Somewhere that record batches go, and the care with writers of other crates.

use arrow_array::RecordBatch;
use arrow_schema::DataType;

use crate::failure::{Failure, Result};
use crate::{panics, signal};

/// Somewhere that record batches go.
pub trait Sink {
    /// One more batch.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;
    /// What the format has at its end.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Whether the type, or one in it, is such a type.
pub fn contains(data_type: &DataType, such: &dyn Fn(&DataType) -> bool) -> bool {
    such(data_type) || children(data_type).into_iter().any(|child| contains(child, such))
}

fn children(data_type: &DataType) -> Vec<&DataType> {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _)
        | DataType::RunEndEncoded(_, field) => vec![field.data_type()],
        DataType::Dictionary(_, values) => vec![values],
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| field.data_type()).collect(),
        _ => vec![],
    }
}

/// Rows that are written at once where a format does not keep batches: between them, signals are
/// heard.
const ROWS: usize = 1 << 16;

/// A sink whose panics are errors in words.
pub struct Guarded<'a> {
    noun: &'static str,
    /// Rows that are written at once.
    rows: usize,
    sink: Option<Box<dyn Sink + 'a>>,
}

impl<'a> Guarded<'a> {
    /// A sink that gets pieces of batches.
    pub fn boxed(noun: &'static str, sink: impl Sink + 'a) -> Box<dyn Sink + 'a> {
        Box::new(Guarded { noun, rows: ROWS, sink: Some(Box::new(sink)) })
    }

    /// A sink that gets each batch whole.
    pub fn whole(noun: &'static str, sink: impl Sink + 'a) -> Box<dyn Sink + 'a> {
        Box::new(Guarded { noun, rows: usize::MAX, sink: Some(Box::new(sink)) })
    }

    fn piece(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some(sink) = &mut self.sink else {
            return Err(gave_up(self.noun, "it did before"));
        };
        match panics::caught(|| sink.write(batch)) {
            Ok(result) => result,
            Err(text) => {
                self.sink = None;
                Err(gave_up(self.noun, &text))
            }
        }
    }
}

impl Sink for Guarded<'_> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() <= self.rows {
            return self.piece(batch);
        }
        for at in (0..batch.num_rows()).step_by(self.rows) {
            signal::check()?;
            self.piece(&batch.slice(at, self.rows.min(batch.num_rows() - at)))?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        match self.sink.take() {
            Some(sink) => panics::caught(|| sink.finish()).unwrap_or_else(|text| Err(gave_up(self.noun, &text))),
            None => Err(gave_up(self.noun, "it did before")),
        }
    }
}

/// The failure of a writer of another crate that panicked with `text`.
pub fn gave_up(noun: &str, text: &str) -> Failure {
    Failure::new(format!("the writer of {noun} gave up ({text}): use another format"))
}

#[cfg(test)]
mod tests {
    use super::{Guarded, Sink};
    use crate::failure::{Failure, Result};
    use arrow_array::RecordBatch;
    use arrow_schema::Schema;

    struct Panics;

    impl Sink for Panics {
        fn write(&mut self, _: &RecordBatch) -> Result<()> {
            panic!("no such type")
        }

        fn finish(self: Box<Self>) -> Result<()> {
            panic!("nothing was written")
        }
    }

    /// Other crates' writers panic on types that they do not know; that is one line, and no file.
    #[test]
    fn a_writer_that_panics_is_an_error_in_words() {
        let batch = RecordBatch::new_empty(Schema::empty().into());
        let text = |result: Result<()>| match result {
            Err(Failure::Failed(text)) => text,
            other => panic!("{other:?}"),
        };
        let mut sink = Guarded::boxed("Parquet", Panics);
        assert!(text(sink.write(&batch)).contains("no such type"));
        assert!(text(sink.write(&batch)).contains("gave up"));
        assert!(text(sink.finish()).contains("gave up"));
        assert!(text(Guarded::boxed("Parquet", Panics).finish()).contains("nothing was written"));
    }
}
