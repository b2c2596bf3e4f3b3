//! CSV files as record batches: their columns' types, and rows into batches.
//!
//! A file is read twice: first for its types, which hold all values, then for its values. What
//! comes through a pipe while it is written is read once: its first rows say the types, a batch
//! goes out when it is full or nothing comes for a moment, and a later value that its column's type
//! does not hold is an error.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, RecordBatchReader};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use flate2::bufread::MultiGzDecoder;
use indicatif::ProgressBar;

use super::infer::Seen;
use super::pipe::{Input, Patience};
use super::records::{Next, ROW_BYTES, Records, Row};
use super::tables::{BATCH_BYTES, BATCH_ROWS, Counted, Options, Tables};
use super::types::{self, Column};
use crate::failure::{Failure, Result};
use crate::{signal, size};

/// Rows of a pipe that say its types at most, and about how many bytes, unless somebody says.
const FIRST_ROWS: u64 = 1000;
const FIRST_BYTES: u64 = 16 << 20;

/// A producer that writes nothing for so long pauses: what is there goes out.
const PAUSE: Duration = Duration::from_millis(20);

/// No row waits longer than about this for others of its batch.
const LATEST: Duration = Duration::from_millis(200);

/// The first rows are waited for a little longer, because they say the types.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of rows in one batch at most, also where the number of rows is given.
const MOST_BYTES: u64 = ROW_BYTES as u64;

/// A CSV file whose header and types were read.
pub struct Csv {
    source: Source,
    options: Options,
    bar: ProgressBar,
    columns: Vec<Known>,
    counts: Counts,
    /// Whether the types come from all rows also of the other files that have them.
    all_of_all: bool,
}

/// What the types come from.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    rows: u64,
    /// Lines between them without anything.
    empty_lines: u64,
    /// Whether these were all rows.
    all: bool,
}

enum Source {
    File(File),
    /// Before its first row again.
    Pipe(Box<Records>, Patience),
}

/// What is known of a column.
struct Known {
    name: String,
    given: Option<DataType>,
    seen: Seen,
}

impl Csv {
    /// Reads the header, and the types from all rows, or from as many as the options say.
    pub fn open(input: Input, options: &Options, bar: &ProgressBar) -> Result<Csv> {
        bar.set_message("reading its column types");
        let (columns, counts, source) = match input {
            Input::File(file) => {
                bar.set_length(file.metadata()?.len());
                let mut records = records(Counted::new(file.try_clone()?, bar), options)?;
                let (columns, counts) = first_rows(&mut records, options, None)?;
                (columns, counts, Source::File(file))
            }
            Input::Pipe(pipe) => {
                let patience = pipe.patience();
                let mut records = records(pipe, options)?;
                records.keep();
                let (columns, counts) = first_rows(&mut records, options, Some(&patience))?;
                records.rewind();
                (columns, counts, Source::Pipe(Box::new(records), patience))
            }
        };
        bar.set_message("");
        Ok(Csv { source, options: options.clone(), bar: bar.clone(), columns, counts, all_of_all: counts.all })
    }

    /// Gives files of the same columns the same types, which hold the values of all.
    pub fn unite(files: &mut [&mut Csv]) {
        let names = |csv: &Csv| csv.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        let Some(first) = files.first().map(|csv| names(csv)) else {
            return;
        };
        let mut same: Vec<&mut &mut Csv> = files.iter_mut().filter(|csv| names(csv) == first).collect();
        let all = same.iter().all(|csv| csv.all_of_all);
        for i in 0..first.len() {
            let seen = same.iter().fold(Seen::default(), |seen, csv| seen.and(csv.columns[i].seen));
            same.iter_mut().for_each(|csv| csv.columns[i].seen = seen);
        }
        same.iter_mut().for_each(|csv| csv.all_of_all = all);
    }

    /// Its rows as batches.
    pub fn tables(self) -> Result<Tables> {
        let types: Vec<DataType> = self.columns.iter().map(|column| self.type_of(column)).collect();
        let fields = self.columns.iter().zip(&types);
        let fields: Vec<Field> = fields.map(|(known, kind)| Field::new(&known.name, kind.clone(), true)).collect();
        let note = self.note();
        let (records, patience) = match self.source {
            Source::File(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                (records(Counted::new(file, &self.bar), &self.options)?, None)
            }
            Source::Pipe(records, patience) => (*records, Some(patience)),
        };
        let columns = self.columns.into_iter().zip(&types).map(|(known, kind)| Filled {
            values: types::column(kind),
            guessed: !self.counts.all && known.given.is_none() && *kind != DataType::Utf8,
            known,
        });
        let reader = Reader {
            columns: columns.collect(),
            schema: Arc::new(Schema::new(fields)),
            nulls: self.options.nulls,
            records,
            patience,
            header: !self.options.no_header,
            all: self.counts.all,
            most_rows: self.options.batch_rows.unwrap_or(BATCH_ROWS),
            most_bytes: match (self.options.batch_bytes, self.options.batch_rows) {
                (Some(bytes), _) => bytes.min(MOST_BYTES),
                (None, Some(_)) => MOST_BYTES,
                (None, None) => BATCH_BYTES,
            },
            failed: None,
            done: false,
        };
        Ok(Tables { reader: Box::new(reader), note: Some(note) })
    }

    fn type_of(&self, column: &Known) -> DataType {
        match column.given.clone().unwrap_or_else(|| column.seen.data_type()) {
            // A value may come yet: text holds each.
            DataType::Null if !self.all_of_all => DataType::Utf8,
            data_type => data_type,
        }
    }

    fn note(&self) -> String {
        let Counts { rows, empty_lines, all } = self.counts;
        let mut note = format!(
            "CSV: the types of {} columns come from {} {} rows",
            size::count(self.columns.len() as u64),
            if all { "all" } else { "the first" },
            size::count(rows)
        );
        if self.columns.iter().all(|column| column.given.is_some()) {
            note = "CSV: the types of all columns are given".to_owned();
        }
        let mut names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            note += &format!("; more than one is called `{}`", twice[0]);
        }
        // Of one column, an empty line may have been meant as a value.
        if self.columns.len() == 1 && empty_lines > 0 {
            note += &format!("; {} left out", size::plural(empty_lines, "empty line"));
        }
        note
    }
}

/// Rows of a source, which is decompressed where it is gzip, and refused in words where it is
/// something else that people call CSV.
fn records(mut source: impl Read + Send + 'static, options: &Options) -> Result<Records> {
    let mut head = Vec::new();
    loop {
        // A producer that wrote little is not waited for without need.
        let more = MAGIC.iter().any(|(magic, _)| magic.len() > head.len() && magic.starts_with(&head));
        if !more || (&mut source).take(1).read_to_end(&mut head)? == 0 {
            break;
        }
    }
    let delimiter = options.delimiter.unwrap_or(b',');
    let Some((magic, what)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) else {
        return Ok(Records::new(Box::new(Cursor::new(head).chain(source)), delimiter));
    };
    match what {
        Magic::Utf8 => {
            head.drain(..magic.len());
            Ok(Records::new(Box::new(Cursor::new(head).chain(source)), delimiter))
        }
        Magic::Gzip => {
            let source = BufReader::with_capacity(64 * 1024, Cursor::new(head).chain(source));
            Ok(Records::new(Box::new(MultiGzDecoder::new(source)), delimiter))
        }
        Magic::Utf16(encoding) => {
            Err(Failure::new(format!("its text is {encoding}: convert it first, as with `iconv -f UTF-16 -t UTF-8`")))
        }
        Magic::Packed(name, tool) => Err(Failure::new(format!(
            "it is compressed with {name}: read it through a pipe, as in `{tool} FILE | faretra ... - --format csv`"
        ))),
        Magic::Other(name, format) => {
            Err(Failure::new(format!("it is no CSV file but {name}, by how it begins: give --format {format}")))
        }
    }
}

/// What a file begins with that is more than its text.
enum Magic {
    Utf8,
    Utf16(&'static str),
    Gzip,
    Packed(&'static str, &'static str),
    Other(&'static str, &'static str),
}

const MAGIC: [(&[u8], Magic); 11] = [
    (b"PAR1", Magic::Other("a Parquet file", "parquet")),
    (b"ARROW1", Magic::Other("an Arrow IPC file", "arrow")),
    (b"\x93NUMPY", Magic::Other("a numpy array", "npy")),
    (b"\xef\xbb\xbf", Magic::Utf8),
    (b"\xff\xfe", Magic::Utf16("UTF-16 (little-endian)")),
    (b"\xfe\xff", Magic::Utf16("UTF-16 (big-endian)")),
    (b"\x1f\x8b", Magic::Gzip),
    (b"\x28\xb5\x2f\xfd", Magic::Packed("zstd", "zstd -dc")),
    (b"\xfd7zXZ\0", Magic::Packed("xz", "xz -dc")),
    (b"BZh91AY&SY", Magic::Packed("bzip2", "bzip2 -dc")),
    (b"PK\x03\x04", Magic::Packed("zip (as .xlsx is)", "unzip -p")),
];

/// Reads the names, and from the first rows what is known of the columns.
fn first_rows(records: &mut Records, options: &Options, patience: Option<&Patience>) -> Result<(Vec<Known>, Counts)> {
    if records.next()? == Next::End {
        return Err(Failure::new("the file is empty: there is no row to tell its columns"));
    }
    let row = records.row()?;
    if row.fields().map(|name| name.matches('\0').count()).sum::<usize>() * 3 > row.bytes() {
        return Err(Failure::new(
            "its first row is full of zero bytes: it seems to be UTF-16, convert it first, as with \
             `iconv -f UTF-16LE -t UTF-8`",
        ));
    }
    let names: Vec<String> = match options.no_header {
        false => row.fields().map(String::from).collect(),
        true => (1..=row.len()).map(|i| format!("column_{i}")).collect(),
    };
    let given = given(&names, options)?;
    let mut columns: Vec<Known> =
        names.into_iter().zip(given).map(|(name, given)| Known { name, given, seen: Seen::default() }).collect();
    // What is given is tried, so that nothing of a file is used if a value does not fit.
    let mut tried: Vec<Option<Box<dyn Column>>> =
        columns.iter().map(|known| known.given.as_ref().map(types::column)).collect();
    let most = match (options.infer_rows, patience) {
        (Some(rows), _) => rows,
        (None, None) => u64::MAX,
        (None, Some(_)) if columns.iter().all(|known| known.given.is_some()) => 0,
        (None, Some(_)) => FIRST_ROWS,
    };
    let mut counts = Counts::default();
    // Without a header this row is one of values.
    let mut next = if options.no_header { Next::Row } else { Next::Pause };
    while counts.rows < most {
        if next == Next::Row {
            let row = records.row()?;
            expect_len(&row, columns.len(), records)?;
            for ((known, tried), text) in columns.iter_mut().zip(&mut tried).zip(row.fields()) {
                if is_null(&text, &options.nulls) {
                } else if let (Some(tried), Some(given)) = (tried, &known.given) {
                    if !tried.add(&text) {
                        return Err(unlike_given(&row, known, &text, given));
                    }
                } else {
                    known.seen.add(&text);
                }
            }
            counts.rows += 1;
            if counts.rows.is_multiple_of(4096) {
                signal::check()?;
                tried.iter_mut().flatten().for_each(|column| drop(column.finish()));
            }
            if let Some(patience) = patience {
                // Of a pipe, no more than is needed is waited for.
                if counts.rows == most || options.infer_rows.is_none() && records.position() > FIRST_BYTES {
                    break;
                }
                if counts.rows == 1 && options.infer_rows.is_none() {
                    patience.wait(FIRST_PAUSE, 10 * FIRST_PAUSE);
                }
            }
        }
        next = records.next()?;
        match next {
            Next::Row => {}
            Next::End => {
                counts.all = true;
                break;
            }
            Next::Pause => break,
        }
    }
    if let Some(patience) = patience {
        patience.wait_for_ever();
    }
    counts.empty_lines = records.empty_lines();
    Ok((columns, counts))
}

/// The type that the options give each column, if any.
fn given(names: &[String], options: &Options) -> Result<Vec<Option<DataType>>> {
    let texts = options.text.iter().map(|name| (name, &DataType::Utf8, "--text"));
    let types = options.types.iter().map(|(name, data_type)| (name, data_type, "--type"));
    let mut given = vec![None; names.len()];
    for (column, data_type, option) in texts.chain(types) {
        let mut found = false;
        for (given, _) in given.iter_mut().zip(names).filter(|(_, name)| *name == column) {
            found = true;
            if given.replace(data_type.clone()).is_some_and(|other| other != *data_type) {
                return Err(Failure::usage(format!("column `{column}` is given two types: one is enough")));
            }
        }
        if !found {
            let mut known = names.iter().take(20).cloned().collect::<Vec<_>>().join(", ");
            if names.len() > 20 {
                known += &format!(" and {} more", names.len() - 20);
            }
            return Err(Failure::new(format!("there is no column `{column}` for {option}; the columns are {known}")));
        }
    }
    Ok(given)
}

fn is_null(text: &str, nulls: &[String]) -> bool {
    text.is_empty() || nulls.iter().any(|null| null == text)
}

fn expect_len(row: &Row<'_>, columns: usize, records: &Records) -> Result<()> {
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
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short += "..";
    }
    format!("line {}, column `{}`: `{short}`", row.line, known.name)
}

fn unlike_given(row: &Row<'_>, known: &Known, text: &str, given: &DataType) -> Failure {
    Failure::new(format!(
        "{} is no {}, as was asked with --type: correct it, give the column another --type, or --null for a text \
         that stands for no value",
        shown(row, known, text),
        types::name(given)
    ))
}

/// Rows that become batches.
struct Reader {
    records: Records,
    patience: Option<Patience>,
    columns: Vec<Filled>,
    schema: SchemaRef,
    nulls: Vec<String>,
    /// Whether the next row is that of the names.
    header: bool,
    /// Whether all rows said the types.
    all: bool,
    most_rows: u64,
    most_bytes: u64,
    /// What is to be said when the rows before it went out.
    failed: Option<Failure>,
    done: bool,
}

struct Filled {
    known: Known,
    values: Box<dyn Column>,
    /// Whether the type comes from rows before, and has to be looked at.
    guessed: bool,
}

impl Reader {
    /// The next batch; `None` behind the last.
    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        let (mut rows, mut bytes) = (0, 0);
        while rows < self.most_rows && bytes < self.most_bytes {
            match self.records.next() {
                Ok(Next::Row) if std::mem::take(&mut self.header) => {}
                Ok(Next::Row) => match self.add() {
                    Ok(count) => {
                        rows += 1;
                        bytes += count;
                        if rows == 1
                            && let Some(patience) = &self.patience
                        {
                            patience.wait(PAUSE, LATEST);
                        }
                    }
                    Err(failure) => self.failed = Some(failure),
                },
                Ok(Next::Pause) if rows > 0 => break,
                Ok(Next::Pause) => {}
                Ok(Next::End) => self.done = true,
                Err(failure) => self.failed = Some(failure),
            }
            if self.done || self.failed.is_some() {
                break;
            }
        }
        if let Some(patience) = &self.patience {
            patience.wait_for_ever();
        }
        if rows == 0 {
            self.done = true;
            return self.failed.take().map_or(Ok(None), Err);
        }
        let count = usize::try_from(rows).unwrap_or(usize::MAX);
        // A row that failed may be there in part.
        let columns = self.columns.iter_mut().map(|column| column.values.finish().slice(0, count));
        let columns: Vec<ArrayRef> = columns.collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?))
    }

    /// Appends the row, and says about how many bytes it takes.
    fn add(&mut self) -> Result<u64> {
        let row = self.records.row()?;
        expect_len(&row, self.columns.len(), &self.records)?;
        for (column, text) in self.columns.iter_mut().zip(row.fields()) {
            if is_null(&text, &self.nulls) {
                column.values.add_null();
                continue;
            }
            let kept = !column.guessed || {
                let mut seen = column.known.seen;
                seen.add(&text);
                seen.data_type() == column.known.seen.data_type()
            };
            if !kept || !column.values.add(&text) {
                return Err(unlike(&row, &column.known, &text, self.all));
            }
        }
        Ok((row.bytes() + 8 * self.columns.len()) as u64)
    }
}

fn unlike(row: &Row<'_>, known: &Known, text: &str, all: bool) -> Failure {
    if let Some(given) = &known.given {
        return unlike_given(row, known, text, given);
    }
    let (shown, name) = (shown(row, known, text), &known.name);
    if all {
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

impl Iterator for Reader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let batch = match self.failed.take() {
            None => self.batch(),
            Some(failure) => Err(failure),
        };
        if batch.is_err() {
            self.done = true;
        }
        let failed = |failure| match failure {
            Failure::Failed(text) | Failure::Usage(text) | Failure::Interrupted(text) => {
                ArrowError::ExternalError(text.into())
            }
        };
        batch.map_err(failed).transpose()
    }
}

impl RecordBatchReader for Reader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
