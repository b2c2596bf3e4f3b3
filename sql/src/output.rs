//! Where rows go: printed in aligned columns, or written in a format, as they come.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use faretra_cli::sql::{
    self, Failure, Format, Grids, Out, Result, Shared, Sink, Target, has_dictionary, note_once, path_json, plural,
};
use serde_json::json;

use crate::args::{Args, RowFormat};

/// Rows that are laid out together at most.
const PIECE: usize = 1024;

/// How and where to.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// How.
    pub format: RowFormat,
    /// A file, or standard output.
    pub file: Option<&'a Path>,
    force: bool,
    json: bool,
}

impl Form<'_> {
    /// What the command line asks for.
    pub fn of(args: &Args) -> Result<Form<'_>> {
        let default = if args.json { RowFormat::Json } else { RowFormat::Table };
        let form = |format| Form { format, file: args.output.as_deref(), force: args.force, json: args.json };
        let Some(file) = &args.output else { return Ok(form(args.format.unwrap_or(default))) };
        let format = match args.format {
            Some(RowFormat::Table) => {
                return Err(Failure::usage(
                    "a table for people is printed and not written to a file: leave out --output, or use another format",
                ));
            }
            Some(format) => format,
            None => of_name(file)?,
        };
        Target::check(file, args.force)?;
        Ok(form(format))
    }

    /// Whether several results can follow each other.
    pub fn takes_many(&self) -> bool {
        let text = matches!(self.format, RowFormat::Table | RowFormat::Csv | RowFormat::Json | RowFormat::Jsonl);
        self.file.is_none() && text
    }
}

fn of_name(file: &Path) -> Result<RowFormat> {
    let extension = file.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    match (extension.as_deref(), Format::of_name(file)) {
        (Some("json"), _) => Ok(RowFormat::Json),
        (Some("jsonl" | "ndjson"), _) => Ok(RowFormat::Jsonl),
        (_, Some(Format::Parquet)) => Ok(RowFormat::Parquet),
        (_, Some(Format::Csv)) => Ok(RowFormat::Csv),
        (_, Some(Format::Arrow)) => Ok(RowFormat::Arrow),
        (_, Some(Format::ArrowStream)) => Ok(RowFormat::ArrowStream),
        _ => Err(Failure::usage(format!(
            "the name `{}` does not tell its format: name it .parquet, .csv, .tsv, .json, .jsonl, .arrow or .arrows, or \
             give --format",
            file.display()
        ))),
    }
}

enum To {
    Grids(Out, Grids),
    /// The lines of plans as they are, which no cell has room for.
    Plans(Out),
    Sink(Box<dyn Sink>, Shared<Box<dyn Write + Send>>, Target),
}

/// A result on its way.
pub struct Output<'a> {
    form: Form<'a>,
    /// The columns as they are written.
    schema: SchemaRef,
    to: To,
    rows: u64,
    hidden: usize,
}

impl<'a> Output<'a> {
    /// Opens what these columns go to.
    pub fn open(form: Form<'a>, schema: &SchemaRef) -> Result<Output<'a>> {
        let mut schema = Arc::clone(schema);
        if form.format == RowFormat::Table {
            return Ok(Output { form, schema, to: To::Grids(Out::new(), Grids::default()), rows: 0, hidden: 0 });
        }
        // One dictionary for all batches is what the file format wants, and none is known before the last row.
        if form.format == RowFormat::Arrow {
            schema = Arc::new(Schema::new_with_metadata(
                schema.fields().iter().map(plain_field).collect::<Vec<_>>(),
                schema.metadata().clone(),
            ));
        }
        let file = form.file.unwrap_or(Path::new("-"));
        let target = Target::open(file, form.force)?;
        let writer = Shared::new(target.writer()?);
        let write = |format| sql::sink(writer.again(), format, &schema, sql::delimiter(file));
        let sink = match form.format {
            RowFormat::Json => sql::json(writer.again(), false),
            RowFormat::Jsonl => sql::json(writer.again(), true),
            RowFormat::Csv | RowFormat::Table => write(Format::Csv)?,
            RowFormat::Arrow => write(Format::Arrow)?,
            RowFormat::ArrowStream => write(Format::ArrowStream)?,
            RowFormat::Parquet => write(Format::Parquet)?,
        };
        Ok(Output { form, schema, to: To::Sink(sink, writer, target), rows: 0, hidden: 0 })
    }

    /// Opens what plans go to: for people, each on lines of its own.
    pub fn of_plans(form: Form<'a>, schema: &SchemaRef) -> Result<Output<'a>> {
        let mut output = Output::open(form, schema)?;
        if form.format == RowFormat::Table {
            output.to = To::Plans(Out::new());
        }
        Ok(output)
    }

    /// More rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        match &mut self.to {
            To::Grids(..) if batch.num_columns() == 0 => {}
            To::Grids(out, grids) => {
                for at in (0..batch.num_rows()).step_by(PIECE) {
                    grids.write(&batch.slice(at, PIECE.min(batch.num_rows() - at)), out)?;
                }
            }
            To::Plans(out) => {
                let columns = (batch.columns().first(), batch.columns().last());
                let (Some(Some(kinds)), Some(Some(plans))) = (
                    columns.0.map(|column| column.as_string_opt::<i32>()),
                    columns.1.map(|column| column.as_string_opt::<i32>()),
                ) else {
                    return Err(Failure::new("the engine gives this plan in another form: use --format csv"));
                };
                for (kind, plan) in kinds.iter().zip(plans) {
                    out.line(format!("{}:", kind.unwrap_or_default()))?;
                    plan.unwrap_or_default().lines().try_for_each(|line| out.line(format!("  {line}")))?;
                }
            }
            To::Sink(sink, ..) if self.form.format == RowFormat::Arrow => sink.write(&plain(batch, &self.schema)?)?,
            To::Sink(sink, ..) => sink.write(batch)?,
        }
        Ok(())
    }

    /// Sends on its way what came: nobody knows when more does.
    pub fn flush(&mut self) -> Result<()> {
        match &mut self.to {
            To::Grids(out, grids) => {
                if grids.rows > 0 {
                    grids.lay_out(&self.schema, out)?;
                    self.hidden = self.hidden.max(grids.hidden);
                }
                Ok(out.flush()?)
            }
            To::Plans(out) => Ok(out.flush()?),
            To::Sink(_, writer, _) => Ok(writer.inner().flush()?),
        }
    }

    /// What comes after the last row.
    pub fn finish(self) -> Result<()> {
        let rows = plural(self.rows, "row");
        match self.to {
            To::Grids(mut out, mut grids) => {
                if self.schema.fields().is_empty() {
                    out.line(format!("({rows} without columns)"))?;
                    return out.finish();
                }
                grids.lay_out(&self.schema, &mut out)?;
                let hidden = match self.hidden.max(grids.hidden) {
                    0 => String::new(),
                    _ => "; not all columns fit, --format csv has them".to_owned(),
                };
                out.line(format!("({rows}{hidden})"))?;
                out.finish()
            }
            To::Plans(out) => out.finish(),
            To::Sink(sink, writer, target) => {
                sink.finish()?;
                writer.inner().flush()?;
                drop(writer);
                if target.is_stdout() {
                    return Ok(());
                }
                let bytes = target.finish()?;
                let file = self.form.file.unwrap_or(Path::new("-"));
                let mut out = Out::new();
                match self.form.json {
                    true => out.json(&json!({"file": path_json(file), "rows": self.rows, "file_bytes": bytes}))?,
                    false => out.line(format!("{}: {rows}", file.display()))?,
                }
                out.finish()
            }
        }
    }
}

fn plain_field(field: &FieldRef) -> FieldRef {
    match has_dictionary(field.data_type()) {
        true => Arc::new(field.as_ref().clone().with_data_type(plain_type(field.data_type()))),
        false => Arc::clone(field),
    }
}

/// The type without dictionaries, where they are in columns, lists and structs.
fn plain_type(data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef| -> Arc<Field> { plain_field(field) };
    match data_type {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(inner(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        other => other.clone(),
    }
}

/// The batch with columns of these types.
fn plain(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() {
            return Ok(Arc::clone(column));
        }
        note_once(format_args!(
            "column `{}`: its dictionary is left out of the Arrow file, which would need one for all rows; --format \
             arrow-stream keeps it",
            field.name()
        ));
        Ok(cast(column, field.data_type())?)
    });
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns.collect::<Result<_>>()?, &rows)?)
}
