//! put: a file into an arena.

use std::fs::File;
use std::io::Read;

use arrow_array::RecordBatchReader;
use faretra::{Arena, Drafted, Writer};
use indicatif::ProgressBar;
use serde_json::json;

use crate::args::{Cli, Put};
use crate::failure::{Context, Failure, Result, note};
use crate::format::csv::Csv;
use crate::format::recut::{Cut, Recut};
use crate::format::tables::Options;
use crate::format::{self, Format, npy, read};
use crate::out::{Counted, Out, progress};
use crate::values::unit;
use crate::{open, signal, size};

/// A draft with the permit that it was made with, or why there is none, and what was assumed of the file.
type Made = (Result<(Writer, Drafted)>, Option<String>);

/// Drafts what a file of record batches holds.
fn table(arena: &Arena, file: File, format: Format, args: &Put, options: &Options, bar: &ProgressBar) -> Result<Made> {
    let draft = |reader: Box<dyn RecordBatchReader + Send>| -> Result<Result<(Writer, Drafted)>> {
        let writer = open::writer(arena)?;
        Ok(match writer.prepare(reader) {
            Ok(draft) => Ok((writer, draft)),
            // What the file's reader said, with the file.
            Err(error @ faretra::Error::Arrow(_)) => Err(error).doing("read", &args.file),
            Err(error) => Err(Failure::from(error)),
        })
    };
    if format == Format::Csv && options.infer_rows.is_none() {
        let (tables, guess) = Csv::guess(file.try_clone()?, options, bar).doing("read", &args.file)?;
        let drafted = draft(tables.reader)?;
        if !guess.is_wrong() && (drafted.is_err() || guess.is_right()) {
            return Ok((drafted, Some(guess.note())));
        }
    }
    let tables = read::tables(file, format, options, bar).doing("read", &args.file)?;
    let reader: Box<dyn RecordBatchReader + Send> = match format {
        Format::Arrow | Format::ArrowStream => {
            let schema = tables.reader.schema();
            Box::new(Recut::new(tables.reader, schema, Cut::of_batches(args.batch_rows)))
        }
        _ => tables.reader,
    };
    Ok((draft(reader)?, tables.note))
}

/// `faretra put`
pub fn put(cli: &Cli, args: &Put) -> Result<()> {
    let format = Format::of_input(args.format, &args.file)?;
    args.reading.expect_csv(&[(&args.file, format)])?;
    // First the arena: its absence should not cost the reading of a pipe.
    let arena = open::open(cli, &args.arena)?;
    let mut file = format::open(&args.file)?;
    let counted = if format == Format::Parquet { Counted::Rows } else { Counted::Bytes };
    let bar = progress(&args.name, counted);
    let mut assumed = None;
    let draft = match format {
        Format::Npy => {
            let array = npy::open(file).doing("read", &args.file)?;
            let writer = open::writer(&arena)?;
            array.draft(&writer, &bar).map(|draft| (writer, draft))
        }
        Format::Bytes => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).doing("read", &args.file)?;
            let writer = open::writer(&arena)?;
            writer.prepare(bytes.as_slice()).map(|draft| (writer, draft)).map_err(Failure::from)
        }
        Format::Parquet | Format::Csv | Format::Arrow | Format::ArrowStream => {
            let options = args.reading.options(&args.file, args.batch_rows);
            let (drafted, note) = table(&arena, file, format, args, &options, &bar)?;
            assumed = note;
            drafted
        }
    };
    bar.finish_and_clear();
    let (writer, draft) = draft?;
    // What is told is what this command published, whatever the name means a moment later.
    let (kind, rows, bytes) = (draft.kind()?, draft.rows(), draft.nbytes());
    signal::check()?;
    let version = writer.publish(&args.name, draft)?;
    if let Some(assumed) = assumed
        && !cli.json
    {
        note(assumed);
    }
    let mut out = Out::new();
    if cli.json {
        let mut facts = json!({
            "arena": args.arena,
            "name": args.name,
            "version": version,
            "kind": kind.to_string(),
            "bytes": bytes,
        });
        if let Some(unit) = unit(kind) {
            facts[format!("{unit}s")] = rows.into();
        }
        out.json(&facts)?;
    } else {
        let counted = unit(kind).map_or_else(String::new, |unit| format!(" of {}", size::plural(rows, unit)));
        out.line(format!("{}: version {version}, {kind}{counted}, {}", args.name, size::bytes(bytes)))?;
    }
    out.finish()
}
