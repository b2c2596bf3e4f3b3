//! CSV files as record batches: their columns' types, and rows into batches.
//!
//! A file is read twice: first for its types, which hold all values, then for its values; or once, if the types that its
//! first rows say hold all of them ([`Csv::guess`]). Its rows are read on several threads (`parts`). What
//! comes through a pipe while it is written is read once: its first rows say the types, a batch
//! goes out when it is full or nothing comes for a moment, and a later value that its column's type
//! does not hold is an error.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, RecordBatchReader};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use flate2::bufread::MultiGzDecoder;
use indicatif::ProgressBar;

use super::columns::{Added, Columns, Known, Purpose};
use super::infer::Seen;
use super::parts::{Part, Parts, Plan};
use super::pipe::{Input, Patience};
use super::records::{Next, ROW_BYTES, Records};
use super::tables::{BATCH_BYTES, BATCH_ROWS, Counted, Options, Tables};
use crate::failure::{Failure, Result};
use crate::several::all;
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

/// About how many bytes of a file its types are guessed from.
const GUESS_BYTES: u64 = 1 << 20;

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

impl Csv {
    /// Reads the header, and the types from all rows, or from as many as the options say.
    pub fn open(input: Input, options: &Options, bar: &ProgressBar) -> Result<Csv> {
        bar.set_message("reading its column types");
        let (columns, counts, source) = match input {
            Input::File(mut file) => {
                bar.set_length(file.metadata()?.len());
                file.seek(SeekFrom::Start(0))?;
                let mut records = records(Counted::new(file.try_clone()?, bar), options)?;
                let mut columns = names(&mut records, options)?;
                let counts = match options.infer_rows {
                    Some(_) => first_rows(&mut records, &mut columns, options, None)?,
                    None => all_rows(&file, &mut columns, options, bar)?,
                };
                (columns, counts, Source::File(file))
            }
            Input::Pipe(pipe) => {
                let patience = pipe.patience();
                let mut records = records(pipe, options)?;
                records.keep();
                let mut columns = names(&mut records, options)?;
                let counts = first_rows(&mut records, &mut columns, options, Some(&patience))?;
                records.rewind();
                (columns, counts, Source::Pipe(Box::new(records), patience))
            }
        };
        bar.set_message("");
        Ok(Csv { source, options: options.clone(), bar: bar.clone(), columns, counts, all_of_all: counts.all })
    }

    /// Reads the header of a file, and guesses the types from its first rows. The types of all rows may be others: whoever
    /// has read all batches asks [`Guess::is_right`], and opens the file once more if they are.
    pub fn guess(mut file: File, options: &Options, bar: &ProgressBar) -> Result<(Tables, Guess)> {
        bar.set_length(file.metadata()?.len());
        file.seek(SeekFrom::Start(0))?;
        let mut records = records(Counted::new(file.try_clone()?, bar), options)?;
        let mut columns = names(&mut records, options)?;
        let counts = first_bytes(&mut records, &mut columns, options)?;
        let csv = Csv {
            source: Source::File(file),
            options: options.clone(),
            bar: bar.clone(),
            columns,
            counts,
            // What has no value so far is taken to have none.
            all_of_all: true,
        };
        let kinds = csv.kinds();
        let guess = Guess(Arc::new(Mutex::new(Guessed {
            columns: csv.columns.clone(),
            kinds: kinds.clone(),
            counts: Counts { all: true, ..Counts::default() },
            wrong: false,
        })));
        let tables = csv.of_file(kinds, Purpose::Guess, Some(guess.again()))?;
        Ok((tables, guess))
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
        let kinds = self.kinds();
        let purpose = Purpose::Values { all: self.counts.all };
        match self.source {
            Source::File(_) => self.of_file(kinds, purpose, None),
            Source::Pipe(..) => Ok(self.of_pipe(&kinds, purpose)),
        }
    }

    fn of_file(self, kinds: Vec<DataType>, purpose: Purpose, guess: Option<Guess>) -> Result<Tables> {
        let (schema, size) = (self.schema(&kinds), self.batch_size());
        let note = guess.is_none().then(|| note(&self.columns, self.counts));
        let Source::File(mut file) = self.source else {
            return Err(Failure::new("a pipe is no file"));
        };
        file.seek(SeekFrom::Start(0))?;
        let source = plain(Counted::new(file, &self.bar))?;
        let plan = plan(&self.columns, kinds, purpose, &self.options);
        let start = Some(Box::new(move || Parts::new(source, plan)) as Start);
        let reader = FileReader { start, parts: None, next: None, schema, size, guess, failed: None, done: false };
        Ok(Tables { reader: Box::new(reader), note })
    }

    fn of_pipe(self, kinds: &[DataType], purpose: Purpose) -> Tables {
        let (schema, size) = (self.schema(kinds), self.batch_size());
        let note = note(&self.columns, self.counts);
        let columns = Columns::new(&self.columns, kinds, purpose, &self.options.nulls.clone().into());
        let header = !self.options.no_header;
        let (records, patience) = match self.source {
            Source::Pipe(records, patience) => (*records, patience),
            Source::File(_) => unreachable!("a file has its own reader"),
        };
        let reader = PipeReader { columns, schema, records, patience, header, size, failed: None, done: false };
        Tables { reader: Box::new(reader), note: Some(note) }
    }

    fn kinds(&self) -> Vec<DataType> {
        self.columns.iter().map(|column| self.type_of(column)).collect()
    }

    fn schema(&self, kinds: &[DataType]) -> SchemaRef {
        let fields = self.columns.iter().zip(kinds);
        let fields: Vec<Field> = fields.map(|(known, kind)| Field::new(&known.name, kind.clone(), true)).collect();
        Arc::new(Schema::new(fields))
    }

    fn batch_size(&self) -> BatchSize {
        BatchSize {
            rows: self.options.batch_rows.unwrap_or(BATCH_ROWS),
            bytes: match (self.options.batch_bytes, self.options.batch_rows) {
                (Some(bytes), _) => bytes.min(MOST_BYTES),
                (None, Some(_)) => MOST_BYTES,
                (None, None) => BATCH_BYTES,
            },
        }
    }

    fn type_of(&self, column: &Known) -> DataType {
        match column.given.clone().unwrap_or_else(|| column.seen.data_type()) {
            // A value may come yet: text holds each.
            DataType::Null if !self.all_of_all => DataType::Utf8,
            data_type => data_type,
        }
    }
}

/// How many rows and bytes a batch has, at most.
#[derive(Clone, Copy, Debug)]
struct BatchSize {
    rows: u64,
    bytes: u64,
}

/// What was assumed of a file.
fn note(columns: &[Known], Counts { rows, empty_lines, all }: Counts) -> String {
    let mut note = format!(
        "CSV: the types of {} columns come from {} {} rows",
        size::count(columns.len() as u64),
        if all { "all" } else { "the first" },
        size::count(rows)
    );
    if columns.iter().all(|column| column.given.is_some()) {
        note = "CSV: the types of all columns are given".to_owned();
    }
    let mut names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        note += &format!("; more than one is called `{}`", twice[0]);
    }
    // Of one column, an empty line may have been meant as a value.
    if columns.len() == 1 && empty_lines > 0 {
        note += &format!("; {} left out", size::plural(empty_lines, "empty line"));
    }
    note
}

/// What came of a guess.
pub struct Guess(Arc<Mutex<Guessed>>);

struct Guessed {
    columns: Vec<Known>,
    kinds: Vec<DataType>,
    counts: Counts,
    wrong: bool,
}

impl Guess {
    fn again(&self) -> Guess {
        Guess(Arc::clone(&self.0))
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Guessed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a value was read that is not of the type that was guessed, which ended the reading.
    pub fn is_wrong(&self) -> bool {
        self.inner().wrong
    }

    /// Whether all rows that were read say the types that were guessed.
    pub fn is_right(&self) -> bool {
        let guessed = self.inner();
        let mut columns = guessed.columns.iter().zip(&guessed.kinds);
        !guessed.wrong && columns.all(|(known, kind)| known.given.is_some() || known.seen.data_type() == *kind)
    }

    /// What was assumed, when all rows were read.
    pub fn note(&self) -> String {
        let guessed = self.inner();
        note(&guessed.columns, guessed.counts)
    }

    /// Takes what a part says.
    fn take(&self, part: &Part) {
        let mut guessed = self.inner();
        for (known, seen) in guessed.columns.iter_mut().zip(&part.seen) {
            known.seen = known.seen.and(*seen);
        }
        guessed.counts.rows += part.rows() as u64;
        guessed.counts.empty_lines += part.empty_lines;
        guessed.wrong |= part.misguessed;
    }
}

fn plan(columns: &[Known], kinds: Vec<DataType>, purpose: Purpose, options: &Options) -> Plan {
    Plan {
        known: columns.to_vec(),
        kinds,
        purpose,
        nulls: options.nulls.clone().into(),
        delimiter: options.delimiter.unwrap_or(b','),
        header: !options.no_header,
    }
}
/// Rows of a source.
fn records(source: impl Read + Send + 'static, options: &Options) -> Result<Records> {
    Ok(Records::new(plain(source)?, options.delimiter.unwrap_or(b',')))
}

/// The text of a source, which is decompressed where it is gzip, and refused in words where it is
/// something else that people call CSV.
fn plain(mut source: impl Read + Send + 'static) -> Result<Box<dyn Read + Send>> {
    let mut head = Vec::new();
    loop {
        // A producer that wrote little is not waited for without need.
        let more = MAGIC.iter().any(|(magic, _)| magic.len() > head.len() && magic.starts_with(&head));
        if !more || (&mut source).take(1).read_to_end(&mut head)? == 0 {
            break;
        }
    }
    let Some((magic, what)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) else {
        return Ok(Box::new(Cursor::new(head).chain(source)));
    };
    match what {
        Magic::Utf8 => {
            head.drain(..magic.len());
            Ok(Box::new(Cursor::new(head).chain(source)))
        }
        Magic::Gzip => {
            let source = BufReader::with_capacity(64 * 1024, Cursor::new(head).chain(source));
            Ok(Box::new(MultiGzDecoder::new(source)))
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

/// Reads the names, and looks up the types that are given. Without names, the row is one of values, and comes again.
fn names(records: &mut Records, options: &Options) -> Result<Vec<Known>> {
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
    Ok(names.into_iter().zip(given).map(|(name, given)| Known { name, given, seen: Seen::default() }).collect())
}

/// Types of columns that are looked at only, or tried.
fn tried(columns: &[Known]) -> Vec<DataType> {
    columns.iter().map(|known| known.given.clone().unwrap_or(DataType::Utf8)).collect()
}

/// Reads from the first rows behind the names what is known of the columns.
fn first_rows(
    records: &mut Records,
    columns: &mut [Known],
    options: &Options,
    patience: Option<&Patience>,
) -> Result<Counts> {
    let most = match (options.infer_rows, patience) {
        (Some(rows), _) => rows,
        (None, None) => u64::MAX,
        (None, Some(_)) if columns.iter().all(|known| known.given.is_some()) => 0,
        (None, Some(_)) => FIRST_ROWS,
    };
    let counts = look(records, columns, options, |counts, records| {
        let Some(patience) = patience else { return counts.rows < most };
        // Of a pipe, no more than is needed is waited for.
        if counts.rows >= most || options.infer_rows.is_none() && records.position() > FIRST_BYTES {
            return false;
        }
        if counts.rows == 1 && options.infer_rows.is_none() {
            patience.wait(FIRST_PAUSE, 10 * FIRST_PAUSE);
        }
        true
    });
    if let Some(patience) = patience {
        patience.wait_for_ever();
    }
    counts
}

/// Looks at the first rows of a file, for a guess.
fn first_bytes(records: &mut Records, columns: &mut [Known], options: &Options) -> Result<Counts> {
    look(records, columns, options, |_, records| records.position() < GUESS_BYTES)
}

/// Looks at rows for as long as `more` says.
fn look(
    records: &mut Records,
    columns: &mut [Known],
    options: &Options,
    mut more: impl FnMut(Counts, &Records) -> bool,
) -> Result<Counts> {
    // What is given is tried, so that nothing of a file is used if a value does not fit.
    let mut looked = Columns::new(columns, &tried(columns), Purpose::Types, &options.nulls.clone().into());
    let mut counts = Counts::default();
    // Without a header this row is one of values.
    let mut next = if options.no_header { Next::Row } else { Next::Pause };
    while more(counts, records) {
        if next == Next::Row {
            looked.add(records)?;
            counts.rows += 1;
            if counts.rows.is_multiple_of(4096) {
                signal::check()?;
                drop(looked.finish(0));
            }
            if !more(counts, records) {
                break;
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
    for (known, seen) in columns.iter_mut().zip(looked.seen()) {
        known.seen = seen;
    }
    counts.empty_lines = records.empty_lines();
    Ok(counts)
}

/// Looks at all rows of a file.
fn all_rows(file: &File, columns: &mut [Known], options: &Options, bar: &ProgressBar) -> Result<Counts> {
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(0))?;
    let plan = plan(columns, tried(columns), Purpose::Types, options);
    let mut parts = Parts::new(plain(Counted::new(file, bar))?, plan);
    let mut counts = Counts { all: true, ..Counts::default() };
    while let Some(part) = parts.next()? {
        if let Some(failure) = part.failed {
            return Err(failure);
        }
        counts.rows += part.rows() as u64;
        counts.empty_lines += part.empty_lines;
        for (known, seen) in columns.iter_mut().zip(part.seen) {
            known.seen = known.seen.and(seen);
        }
    }
    Ok(counts)
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

/// Rows of a pipe that become batches.
struct PipeReader {
    records: Records,
    patience: Patience,
    columns: Columns,
    schema: SchemaRef,
    /// Whether the next row is that of the names.
    header: bool,
    size: BatchSize,
    /// What is to be said when the rows before it went out.
    failed: Option<Failure>,
    done: bool,
}

impl PipeReader {
    /// The next batch; `None` behind the last.
    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        let (mut rows, mut bytes) = (0, 0);
        while rows < self.size.rows && bytes < self.size.bytes {
            match self.records.next() {
                Ok(Next::Row) if std::mem::take(&mut self.header) => {}
                Ok(Next::Row) => match self.columns.add(&self.records) {
                    Ok(Added::Row(count)) => {
                        rows += 1;
                        bytes += count;
                        if rows == 1 {
                            self.patience.wait(PAUSE, LATEST);
                        }
                    }
                    // Nothing is guessed here.
                    Ok(Added::Misguessed) => {}
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
        self.patience.wait_for_ever();
        if rows == 0 {
            self.done = true;
            return self.failed.take().map_or(Ok(None), Err);
        }
        let count = usize::try_from(rows).unwrap_or(usize::MAX);
        batch(&self.schema, self.columns.finish(count), count).map(Some)
    }
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Begins to read a file.
type Start = Box<dyn FnOnce() -> Parts + Send>;

/// Rows of a file that become batches.
struct FileReader {
    /// Nothing is read before the first batch is asked for.
    start: Option<Start>,
    parts: Option<Parts>,
    /// A part of which so many rows went out.
    next: Option<(Part, usize)>,
    schema: SchemaRef,
    size: BatchSize,
    guess: Option<Guess>,
    /// What is to be said when the rows before it went out.
    failed: Option<Failure>,
    done: bool,
}

impl FileReader {
    fn part(&mut self) -> Result<Option<(Part, usize)>> {
        if let Some(next) = self.next.take() {
            return Ok(Some(next));
        }
        if let Some(start) = self.start.take() {
            self.parts = Some(start());
        }
        let Some(parts) = &mut self.parts else { return Ok(None) };
        let Some(part) = parts.next()? else { return Ok(None) };
        if let Some(guess) = &self.guess {
            guess.take(&part);
            if part.misguessed {
                return Err(Failure::new("its types are not those of its first rows"));
            }
        }
        Ok(Some((part, 0)))
    }

    /// The next batch; `None` behind the last.
    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        let (mut rows, mut bytes) = (0, 0);
        let mut pieces: Vec<Vec<ArrayRef>> = Vec::new();
        while (rows as u64) < self.size.rows && bytes < self.size.bytes && self.failed.is_none() {
            let (mut part, from) = match self.part() {
                Ok(Some(part)) => part,
                Ok(None) => {
                    self.done = true;
                    break;
                }
                Err(failure) => {
                    self.failed = Some(failure);
                    break;
                }
            };
            let before = from.checked_sub(1).map_or(0, |row| part.weights[row]);
            let fit = part.weights[from..].partition_point(|weight| bytes + (weight - before) < self.size.bytes);
            let most = usize::try_from(self.size.rows).unwrap_or(usize::MAX) - rows;
            let count = (fit + 1).min(most).min(part.rows() - from);
            if count > 0 {
                rows += count;
                bytes += part.weights[from + count - 1] - before;
                pieces.push(part.columns.iter().map(|column| column.slice(from, count)).collect());
            }
            match from + count < part.rows() {
                true => self.next = Some((part, from + count)),
                false => self.failed = part.failed.take(),
            }
        }
        if rows == 0 {
            self.done = true;
            return self.failed.take().map_or(Ok(None), Err);
        }
        batch(&self.schema, joined(pieces)?, rows).map(Some)
    }
}

/// The columns of several pieces, one behind the other.
fn joined(mut pieces: Vec<Vec<ArrayRef>>) -> Result<Vec<ArrayRef>> {
    if pieces.len() == 1 {
        return Ok(pieces.swap_remove(0));
    }
    let columns: Vec<usize> = (0..pieces.first().map_or(0, Vec::len)).collect();
    let join = |column: usize| {
        let arrays: Vec<&dyn Array> = pieces.iter().map(|piece| piece[column].as_ref()).collect();
        arrow_select::concat::concat(&arrays)
    };
    Ok(all(columns, join).into_iter().collect::<Result<Vec<ArrayRef>, _>>()?)
}

/// The next batch, or the failure that is told behind the rows before it.
fn next_batch(
    failed: Option<Failure>,
    batch: impl FnOnce() -> Result<Option<RecordBatch>>,
) -> Option<Result<RecordBatch, ArrowError>> {
    failed.map_or_else(batch, Err).map_err(|failure| ArrowError::ExternalError(failure.into_text().into())).transpose()
}

impl Iterator for PipeReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = next_batch(self.failed.take(), || self.batch());
        self.done |= matches!(next, Some(Err(_)));
        next
    }
}

impl Iterator for FileReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = next_batch(self.failed.take(), || self.batch());
        self.done |= matches!(next, Some(Err(_)));
        next
    }
}

impl RecordBatchReader for PipeReader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl RecordBatchReader for FileReader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
