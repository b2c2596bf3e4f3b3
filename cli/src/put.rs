//! put: a file into an arena.

use std::io::{IsTerminal, Read};
use std::path::Path;

use arrow_array::RecordBatchReader;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::args::{Cli, Put, Reading};
use crate::failure::{Context, Failure, Result, note};
use crate::format::recut::{Cut, Recut};
use crate::format::{self, Format, npy, read};
use crate::out::Out;
use crate::{arenas, signal, size};

/// A progress bar on standard error, if that is a terminal. `unit` is `bytes` or `rows`.
pub fn progress(name: &str, rows: bool) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let figures = match rows {
        true => "{human_pos} of {human_len} rows",
        false => "{binary_bytes} of {binary_total_bytes}",
    };
    let template = format!("{{prefix}} {{wide_bar}} {{percent:>3}} %  {figures}  {{msg}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("━╸ "));
    }
    bar.set_prefix(name.to_owned());
    bar
}

/// What the command line says about reading this file.
pub fn options(reading: &Reading, file: &Path, batch_rows: Option<u64>) -> read::Options {
    let name = file.to_string_lossy().to_ascii_lowercase();
    let tsv = name.ends_with(".tsv") || name.ends_with(".tsv.gz");
    read::Options {
        batch_rows,
        batch_bytes: None,
        delimiter: reading.delimiter.or(tsv.then_some(b'\t')),
        no_header: reading.no_header,
        infer_rows: reading.infer_rows,
        text: reading.text.clone(),
        types: reading.types.clone(),
        nulls: reading.nulls.clone(),
    }
}

/// `faretra put`
pub fn put(cli: &Cli, args: &Put) -> Result<()> {
    let format = Format::of_input(args.format, &args.file)?;
    args.reading.expect_csv(&[(&args.file, format)])?;
    // First the arena: its absence should not cost the reading of a pipe.
    let arena = arenas::open(cli, &args.arena)?;
    let mut file = format::open(&args.file)?;
    let bar = progress(&args.name, format == Format::Parquet);
    let mut assumed = None;
    let draft = match format {
        Format::Npy => {
            let array = npy::open(file).doing("read", &args.file)?;
            let writer = arenas::writer(&arena)?;
            array.draft(&writer, &bar).map(|draft| (writer, draft))
        }
        Format::Bytes => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).doing("read", &args.file)?;
            let writer = arenas::writer(&arena)?;
            writer.prepare(bytes.as_slice()).map(|draft| (writer, draft)).map_err(Failure::from)
        }
        Format::Parquet | Format::Csv | Format::Arrow | Format::ArrowStream => {
            let options = options(&args.reading, &args.file, args.batch_rows);
            let tables = read::tables(file, format, &options, &bar).doing("read", &args.file)?;
            assumed = tables.note;
            let reader: Box<dyn RecordBatchReader + Send> = match format {
                Format::Arrow | Format::ArrowStream => {
                    let schema = tables.reader.schema();
                    Box::new(Recut::new(tables.reader, schema, Cut::of_batches(args.batch_rows)))
                }
                _ => tables.reader,
            };
            let writer = arenas::writer(&arena)?;
            match writer.prepare(reader) {
                Ok(draft) => Ok((writer, draft)),
                // What the file's reader said, with the file.
                Err(error @ faretra::Error::Arrow(_)) => Err(error).doing("read", &args.file),
                Err(error) => Err(Failure::from(error)),
            }
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
        if let Some(unit) = arenas::unit(kind) {
            facts[format!("{unit}s")] = rows.into();
        }
        out.json(&facts)?;
    } else {
        let counted = arenas::unit(kind).map_or_else(String::new, |unit| format!(" of {}", size::plural(rows, unit)));
        out.line(format!("{}: version {version}, {kind}{counted}, {}", args.name, size::bytes(bytes)))?;
    }
    out.finish()
}
