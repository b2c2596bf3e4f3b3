//! export: a name's value to a file, whole or not at all.

use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use faretra::{Batch, Bundled, Kind, Object, Table};
use indicatif::ProgressBar;
use serde_json::json;

use crate::args::{Cli, Export};
use crate::failure::{Context, Failure, Result};
use crate::format::{Format, npy, write};
use crate::out::Out;
use crate::put::progress;
use crate::{arenas, signal, size};

/// The object of a name, or the item of the bundle there.
pub fn object(cli: &Cli, arena: &str, name: &str, item: Option<&str>) -> Result<Object> {
    let object = arenas::open(cli, arena)?.get(name)?;
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
    let table = Table::try_from(object)?;
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
    let exists =
        || Failure::new(format!("{} exists already: give --force to replace it, or another name", args.file.display()));
    // Said before the work; made sure of after it.
    if !stdout && !args.force && args.file.symlink_metadata().is_ok() {
        return Err(exists());
    }
    if !stdout && args.file.is_dir() {
        return Err(Failure::new(format!("{} is a directory: give the name of a file in it", args.file.display())));
    }
    let object = object(cli, &args.arena, &args.name, args.item.as_deref())?;
    let (rows, version) = (object.rows(), object.version());
    let tsv = args.file.extension().is_some_and(|e| e.eq_ignore_ascii_case("tsv"));
    let delimiter = if tsv { b'\t' } else { b',' };
    if stdout {
        let mut out = Out::new();
        write_object(object, format, delimiter, &mut out, &ProgressBar::hidden())?;
        return out.finish();
    }
    let dir = match args.file.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    // Removed again when we fail or are interrupted.
    let temporary = tempfile::Builder::new()
        .prefix(".faretra-export-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(dir)
        .doing("write", &args.file)?;
    let bar = progress(&args.name, true);
    let mut file = BufWriter::with_capacity(1 << 20, Stopping(temporary.as_file()));
    write_object(object, format, delimiter, &mut file, &bar).doing("write", &args.file)?;
    file.flush().doing("write", &args.file)?;
    drop(file);
    bar.finish_and_clear();
    signal::check()?;
    let bytes = temporary.as_file().metadata()?.len();
    let persisted = match args.force {
        true => temporary.persist(&args.file),
        false => temporary.persist_noclobber(&args.file),
    };
    persisted.map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(),
        _ => Failure::new(format!("cannot write {}: {}", args.file.display(), error.error)),
    })?;
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
            let (schema, mut batches) = batches(object)?;
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            bar.set_length(rows as u64);
            if format == Format::Arrow {
                batches = write::with_one_dictionary(&schema, batches)?;
            }
            let mut sink = write::sink(to, format, &schema, delimiter)?;
            for batch in &batches {
                signal::check()?;
                sink.write(batch)?;
                bar.inc(batch.num_rows() as u64);
            }
            sink.finish()
        }
        (kind, format) => Err(Failure::new(format!(
            "the {kind} cannot be written as {}: {}",
            format.noun(),
            match kind {
                Kind::Array => "export it to .npy",
                Kind::Bytes => "export it with --format bytes",
                Kind::MutableArray => "freeze it first",
                _ => "this version cannot export it",
            }
        ))),
    }
}

/// A file whose writing stops at a signal.
struct Stopping<'a>(&'a File);

impl Write for Stopping<'_> {
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
