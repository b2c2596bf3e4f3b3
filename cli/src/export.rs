//! export: a name's value to a file.

use std::io::Write;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use faretra::{Kind, Object};
use indicatif::ProgressBar;
use serde_json::json;

use crate::args::{Cli, Export};
use crate::failure::{Context, Failure, Result};
use crate::format::{Format, npy, write};
use crate::out::{self, Counted, Out, progress};
use crate::target::Target;
use crate::values::{batches, object, snapshot, unit};
use crate::{open, signal, size};

/// `faretra export`
pub fn export(cli: &Cli, args: &Export) -> Result<()> {
    let format = Format::choose(args.format, &args.file)?;
    Target::check(&args.file, args.force)?;
    let arena = open::open(cli, &args.arena)?;
    let object = object(&arena, &args.name, args.item.as_deref())?;
    let version = object.version();
    let unit = unit(object.kind());
    let (rows, content) = match object.kind() {
        Kind::Feed => {
            let (schema, batches) = snapshot(&arena, &args.name)?;
            let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
            (rows, Content::Batches(schema, batches))
        }
        _ => (object.rows(), Content::Object(object)),
    };
    let delimiter = write::delimiter(&args.file);
    let target = Target::open(&args.file, args.force)?;
    let bar = if target.is_stdout() { ProgressBar::hidden() } else { progress(&args.name, Counted::Rows) };
    let mut to = target.writer()?;
    content.write(format, delimiter, &mut to, &bar).doing("write", &args.file)?;
    to.flush().doing("write", &args.file)?;
    drop(to);
    bar.finish_and_clear();
    if target.is_stdout() {
        return Ok(());
    }
    let bytes = target.finish()?;
    let mut out = Out::new();
    if cli.json {
        let mut facts = json!({
            "arena": args.arena,
            "name": args.name,
            "version": version,
            "file": out::path_json(&args.file),
            "file_bytes": bytes,
        });
        if let Some(unit) = unit {
            facts[format!("{unit}s")] = rows.into();
        }
        out.json(&facts)?;
    } else {
        let count = unit.map_or_else(String::new, |unit| format!("{}, ", size::plural(rows, unit)));
        out.line(format!("{}: {count}{}", args.file.display(), size::bytes(bytes)))?;
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
    let mut schema = Arc::clone(schema);
    if format == Format::Arrow {
        (schema, batches) = write::with_one_dictionary(&schema, batches)?;
    }
    let mut sink = write::sink(to, format, &schema, delimiter)?;
    for batch in &batches {
        signal::check()?;
        sink.write(batch)?;
        bar.inc(batch.num_rows() as u64);
    }
    sink.finish()
}
