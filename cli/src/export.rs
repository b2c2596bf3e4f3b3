//! export: a name's value to a file, whole or not at all.

use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use faretra::{Arena, Batch, Bundled, Error, Kind, Object, Table};
use indicatif::ProgressBar;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::args::{Cli, Export};
use crate::failure::{Context, Failure, Result};
use crate::format::{Format, npy, write};
use crate::out::Out;
use crate::put::progress;
use crate::{arenas, signal, size};

/// The object of a name, or the item of the bundle there.
pub fn object(arena: &Arena, name: &str, item: Option<&str>) -> Result<Object> {
    let object = arena.get(name)?;
    match (object.kind(), item) {
        (Kind::Bundle, Some(item)) => Ok(Bundled::try_from(object)?.get(item)?),
        (Kind::Bundle, None) => {
            let bundle = Bundled::try_from(object)?;
            let names: Vec<&str> = bundle.names().collect();
            Err(Failure::new(format!("`{name}` is a bundle of {}: choose one with --item", names.join(", "))))
        }
        (_, None) => Ok(object),
        (kind, Some(_)) => Err(Failure::new(format!("`{name}` is a {kind}, not a bundle: leave out --item"))),
    }
}

/// The schema and batches of a table or batch; no bytes are copied.
pub fn batches(object: Object) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    if object.kind() == Kind::Batch {
        let batch = Batch::try_from(object)?;
        let batch = RecordBatch::clone(&batch);
        return Ok((batch.schema(), vec![batch]));
    }
    batches_of(&Table::try_from(object)?)
}

/// The schema and batches that a feed holds now; no bytes are copied.
pub fn snapshot(arena: &Arena, name: &str) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    match arena.snapshot(name) {
        Ok(table) => batches_of(&table),
        Err(Error::NotFound { what: "schema", .. }) => Err(Failure::new(format!(
            "nothing was appended to the feed `{name}` yet, its columns are unknown: `faretra cat {} {name} --follow` \
             waits for what comes",
            arena.name()
        ))),
        Err(Error::Mismatch { found, expected, .. }) => Err(Failure::new(format!(
            "the feed `{name}` holds an item that is {found}, not {expected}: its items are no one table; \
             `faretra cat {} {name} --follow --format jsonl` prints its batches one by one",
            arena.name()
        ))),
        Err(error) => Err(error.into()),
    }
}

fn batches_of(table: &Table) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let batches = (0..table.num_batches()).map(|i| {
        let batch = table.batch(i)?;
        Ok(RecordBatch::clone(&batch))
    });
    Ok((table.schema(), batches.collect::<Result<_>>()?))
}

/// `faretra export`
pub fn export(cli: &Cli, args: &Export) -> Result<()> {
    let format = Format::choose(args.format, &args.file)?;
    let stdout = args.file == Path::new("-");
    if !stdout {
        Whole::check(&args.file, args.force)?;
    }
    let arena = arenas::open(cli, &args.arena)?;
    let object = object(&arena, &args.name, args.item.as_deref())?;
    let version = object.version();
    let (rows, content) = match object.kind() {
        Kind::Feed => {
            let (schema, batches) = snapshot(&arena, &args.name)?;
            let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
            (rows, Content::Batches(schema, batches))
        }
        _ => (object.rows(), Content::Object(object)),
    };
    let delimiter = delimiter(&args.file);
    if stdout {
        let mut out = Out::new();
        content.write(format, delimiter, &mut out, &ProgressBar::hidden())?;
        return out.finish();
    }
    let whole = Whole::new(&args.file, args.force)?;
    let bar = progress(&args.name, true);
    let mut file = BufWriter::with_capacity(1 << 20, whole.writer()?);
    content.write(format, delimiter, &mut file, &bar).doing("write", &args.file)?;
    file.flush().doing("write", &args.file)?;
    drop(file);
    bar.finish_and_clear();
    let bytes = whole.persist()?;
    let mut out = Out::new();
    if cli.json {
        out.json(&json!({
            "arena": args.arena,
            "name": args.name,
            "version": version,
            "file": args.file,
            "rows": rows,
            "file_bytes": bytes,
        }))?;
    } else {
        out.line(format!("{}: {}, {}", args.file.display(), size::plural(rows, "row"), size::bytes(bytes)))?;
    }
    out.finish()
}

/// What is exported.
enum Content {
    Object(Object),
    /// What a feed held.
    Batches(SchemaRef, Vec<RecordBatch>),
}

impl Content {
    fn write(self, format: Format, delimiter: u8, to: &mut (impl Write + Send), bar: &ProgressBar) -> Result<()> {
        match self {
            Content::Object(object) => write_object(object, format, delimiter, to, bar),
            Content::Batches(schema, batches) => write_batches(&schema, batches, format, delimiter, to, bar),
        }
    }
}

fn write_object(
    object: Object,
    format: Format,
    delimiter: u8,
    to: &mut (impl Write + Send),
    bar: &ProgressBar,
) -> Result<()> {
    match (object.kind(), format) {
        (Kind::Bytes, Format::Bytes) => {
            for bytes in object.bytes()?.chunks(4 << 20) {
                to.write_all(bytes)?;
            }
            Ok(())
        }
        (Kind::Array, Format::Npy) => npy::write(object, to),
        (Kind::Batch | Kind::Table, _) => {
            let (schema, batches) = batches(object)?;
            write_batches(&schema, batches, format, delimiter, to, bar)
        }
        (kind, format) => Err(Failure::new(format!(
            "the {kind} cannot be written as {}: {}",
            format.noun(),
            match kind {
                Kind::Array => "export it to .npy",
                Kind::Bytes => "export it with --format bytes",
                Kind::MutableArray => "freeze it first",
                Kind::Channel => "`faretra recv ARENA CHANNEL --export FILE` receives its batches",
                _ => "this version cannot export it",
            }
        ))),
    }
}

fn write_batches(
    schema: &SchemaRef,
    mut batches: Vec<RecordBatch>,
    format: Format,
    delimiter: u8,
    to: &mut (impl Write + Send),
    bar: &ProgressBar,
) -> Result<()> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    bar.set_length(rows as u64);
    if format == Format::Arrow {
        batches = write::with_one_dictionary(schema, batches)?;
    }
    let mut sink = write::sink(to, format, schema, delimiter)?;
    for batch in &batches {
        signal::check()?;
        sink.write(batch)?;
        bar.inc(batch.num_rows() as u64);
    }
    sink.finish()
}

/// What is between the fields of a file of comma-separated values: of this name, a tab.
pub fn delimiter(path: &Path) -> u8 {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tsv")) { b'\t' } else { b',' }
}

/// A file that is there when it is whole. Until then, and when we fail or are interrupted, it is not.
pub struct Whole<'a> {
    path: &'a Path,
    force: bool,
    temporary: NamedTempFile,
}

impl<'a> Whole<'a> {
    /// Whether it could be there; said before the work, and made sure of after it.
    pub fn check(path: &Path, force: bool) -> Result<()> {
        if !force && path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
        if path.is_dir() {
            return Err(Failure::new(format!("{} is a directory: give the name of a file in it", path.display())));
        }
        Ok(())
    }

    /// Begins it under another name in its directory.
    pub fn new(path: &'a Path, force: bool) -> Result<Whole<'a>> {
        let dir = match path.parent() {
            Some(dir) if dir != Path::new("") => dir,
            _ => Path::new("."),
        };
        let temporary = tempfile::Builder::new()
            .prefix(".faretra-export-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(dir)
            .doing("write", path)?;
        Ok(Whole { path, force, temporary })
    }

    /// What writes to it, and stops at a signal.
    pub fn writer(&self) -> Result<Stopping> {
        Ok(Stopping(self.temporary.as_file().try_clone().doing("write", self.path)?))
    }

    /// Waits until the disk has what was written.
    pub fn sync(&self) -> Result<()> {
        self.temporary.as_file().sync_data().doing("write", self.path)
    }

    /// Gives it its name, and says how many bytes it has.
    pub fn persist(self) -> Result<u64> {
        signal::check()?;
        let bytes = self.temporary.as_file().metadata()?.len();
        let persisted = match self.force {
            true => self.temporary.persist(self.path),
            false => self.temporary.persist_noclobber(self.path),
        };
        persisted.map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(self.path),
            _ => Failure::new(format!("cannot write {}: {}", self.path.display(), error.error)),
        })?;
        Ok(bytes)
    }
}

fn exists(path: &Path) -> Failure {
    Failure::new(format!("{} exists already: give --force to replace it, or another name", path.display()))
}

/// A file whose writing stops at a signal.
pub struct Stopping(File);

impl Write for Stopping {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if signal::received().is_some() {
            return Err(std::io::Error::other("interrupted"));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}
