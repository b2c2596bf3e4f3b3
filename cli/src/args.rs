//! The command line: verbs, options and their help.

#![allow(rustdoc::broken_intra_doc_links, reason = "these comments are what the shell prints as help")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow_schema::DataType;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::failure::Failure;
use crate::format::tables::Options;
use crate::format::{Format, types};
use crate::size;

/// Share Arrow tables and n-dimensional arrays between processes without copying.
///
/// An arena is one named file in shared memory. Programs publish values in it under names;
/// others read them in place. Nothing runs in the background, and a killed process loses
/// nothing that was published.
#[derive(Debug, Parser)]
#[command(name = "faretra", version, max_term_width = 100)]
#[command(after_help = "Sizes are written 4GiB, 64MB or in bytes, times 90s, 10m, 1h or 2d.\n\
    Exit codes: 0 done, 1 could not (why, and what to do, on standard error), 2 wrong usage.\n\
    Start with: faretra demo")]
pub struct Cli {
    /// Directory of the arenas: a tmpfs, /dev/shm unless said
    #[arg(long, global = true, env = "FARETRA_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print facts as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Take part in arenas of other users, or that others may write: all who can write them use Faretra
    #[arg(long, global = true)]
    pub trust_others: bool,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show the main job: real processes share a table, one is killed, nothing is lost
    Demo(Demo),
    /// Query arenas in SQL, and files with them: `faretra sql --help` has examples
    Sql(Sql),
    /// Serve arenas to Arrow Flight and Flight SQL clients: `faretra serve --help` has examples
    Serve(Serve),
    /// Query arenas of several hosts in SQL, each host scanning its own: `faretra cluster --help` has examples
    Cluster(Cluster),
    /// Create an arena
    Create(Create),
    /// List the arenas, or the names in one
    Ls(Ls),
    /// Show what an arena's memory is used for, and its channels and feeds
    Stat(Stat),
    /// Publish a file under a name (again: as its next version)
    Put(Put),
    /// Print what a name holds
    Cat(Cat),
    /// Write what a name holds to a file
    Export(Export),
    /// Send the batches of files into a channel; its receivers get each of them once
    Send(Send),
    /// Receive the batches of a channel, and print them or write them to a file
    Recv(Recv),
    /// Close a channel or feed: its readers end when they have all of it
    Close(Close),
    /// Remove a name, old names, or an arena
    Rm(Rm),
    /// Show which processes use an arena, and what they hold
    Who(Who),
    /// Take back what dead processes held, now
    Recover(OneArena),
    /// Change how much memory an arena may use now
    Limit(Limit),
    /// Give the memory of freed objects back to the system
    Trim(OneArena),
    /// Check every rule of an arena; exit 1 if one is broken
    Verify(Verify),
    /// Show what this machine offers to arenas, and what it costs; exit 1 if arenas do not work here
    Doctor(Doctor),
    /// Print the completions of a shell
    Completions(Completions),
    /// Write the manual pages, one for each verb
    Man(Man),
    /// A process of the demo
    #[command(name = "demo-part", hide = true)]
    DemoPart(DemoPart),
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Size of the table that is moved
    #[arg(long, default_value = "256MiB", value_parser = size::parse)]
    pub size: u64,
}

/// Options of a demo process.
#[derive(Debug, Args)]
pub struct DemoPart {
    /// What it does
    #[arg(value_enum)]
    pub role: Role,
    /// The arena
    pub arena: String,
    /// Rows of a batch
    pub rows: usize,
    /// Number of batches
    pub batches: usize,
    /// Process id of the demo
    pub parent: i32,
}

/// What a demo process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Publishes the table, then single batches
    Produce,
    /// Reads the table once and reports its checksum
    Read,
    /// Reads the table over and over until it is killed
    Victim,
    /// Receives single batches through the arena
    Consume,
    /// Sends single batches into a pipe
    PipeOut,
    /// Receives single batches from a pipe
    PipeIn,
}

/// What follows `sql`: a program of its own understands it.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Sql {
    /// Arenas, statements and options, as `faretra sql --help` tells if `faretra-sql` is installed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub arguments: Vec<OsString>,
}

/// What follows `serve`: a program of its own understands it.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Serve {
    /// Arenas and options, as `faretra serve --help` tells if `faretra-flight` is installed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub arguments: Vec<OsString>,
}

/// What follows `cluster`: a program of its own understands it.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Cluster {
    /// What to do, and options, as `faretra cluster --help` tells if `faretra-distributed` is installed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub arguments: Vec<OsString>,
}

/// Options of `create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Name of the new arena
    pub arena: String,
    /// Memory it may use now; `faretra limit` changes it later
    #[arg(long, value_parser = size::parse, value_name = "SIZE")]
    pub limit: Option<u64>,
    /// Memory it may ever use: address space, costs nothing
    #[arg(long, value_parser = size::parse, value_name = "SIZE")]
    pub capacity: Option<u64>,
    /// How many may write at the same time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub writers: Option<u32>,
    /// How many processes may have it open at the same time, 1 to 4095 (default 255)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4095))]
    pub participants: Option<u32>,
    /// Who may open it: 0600 (you alone), 0660 (your group)
    #[arg(long, value_parser = size::parse_mode, value_name = "MODE")]
    pub mode: Option<u32>,
    /// Keep a checksum with each object: `faretra verify --deep` then tells which object and column has changed since
    #[arg(long)]
    pub checksums: bool,
    /// Let it go with the last process that has it open; this command is the first, until Ctrl-C
    #[arg(long)]
    pub ephemeral: bool,
}

/// Options of `ls`.
#[derive(Debug, Args)]
pub struct Ls {
    /// List the names in this arena
    pub arena: Option<String>,
}

/// Options of `stat`.
#[derive(Debug, Args)]
pub struct Stat {
    /// Name of the arena
    pub arena: String,
    /// Show it again every second until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

/// Options of `put`.
#[derive(Debug, Args)]
pub struct Put {
    /// Name of the arena
    pub arena: String,
    /// Name to publish under
    pub name: String,
    /// File to read; - is standard input
    pub file: PathBuf,
    /// Format of the file, if neither its name nor how it begins tells
    #[arg(long)]
    pub format: Option<Format>,
    /// How it is read
    #[command(flatten)]
    pub reading: Reading,
    /// Rows in a batch of the table [default: 1 Mi, or 128 MiB; Arrow files keep their batches]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 31))]
    pub batch_rows: Option<u64>,
}

/// How files are read.
#[derive(Debug, Args)]
pub struct Reading {
    /// CSV: the character between fields [default: comma, or tab for .tsv]
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    pub delimiter: Option<u8>,
    /// CSV: the first row is data, not names
    #[arg(long)]
    pub no_header: bool,
    /// CSV: find the column types in the first N rows instead of all; of a pipe into `send`, wait for so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub infer_rows: Option<u64>,
    /// CSV: keep this column as text (may be given several times)
    #[arg(long, value_name = "COLUMN")]
    pub text: Vec<String>,
    /// CSV: the type of a column, as price=decimal(12,2), at=timestamp[ms], id=int32 (may be given several times)
    #[arg(long = "type", value_name = "COLUMN=TYPE", value_parser = column_type)]
    pub types: Vec<(String, DataType)>,
    /// CSV: a text that stands for no value, as NA; an empty field always does (may be given several times)
    #[arg(long = "null", value_name = "TEXT")]
    pub nulls: Vec<String>,
}

impl Reading {
    /// Fails if something is said about CSV files, and there is none among these.
    pub fn expect_csv(&self, files: &[(&Path, Format)]) -> Result<(), Failure> {
        let given = [
            ("--delimiter", self.delimiter.is_some()),
            ("--no-header", self.no_header),
            ("--infer-rows", self.infer_rows.is_some()),
            ("--text", !self.text.is_empty()),
            ("--type", !self.types.is_empty()),
            ("--null", !self.nulls.is_empty()),
        ];
        let given = given.iter().find(|(_, given)| *given);
        match (given, files.first()) {
            (Some((option, _)), Some((file, format))) if files.iter().all(|(_, format)| *format != Format::Csv) => {
                Err(Failure::usage(format!(
                    "{option} says how a CSV file is read, and {} is read as {}: leave it out, or give --format csv if \
                     it is CSV",
                    file.display(),
                    format.noun()
                )))
            }
            _ => Ok(()),
        }
    }

    /// What this says about reading that file.
    pub fn options(&self, file: &Path, batch_rows: Option<u64>) -> Options {
        let named = Options::of_name(file);
        Options {
            batch_rows,
            delimiter: self.delimiter.or(named.delimiter),
            no_header: self.no_header,
            infer_rows: self.infer_rows,
            text: self.text.clone(),
            types: self.types.clone(),
            nulls: self.nulls.clone(),
            ..named
        }
    }
}

/// Options of `send`.
#[derive(Debug, Args)]
#[command(after_help = "Waits while the channel is full, or the arena. The files end: the channel is closed, and its \
    receivers end when they have everything. Interrupted or failed, it stays open with what was sent; a message \
    says how to send the rest. Arrow IPC streams and CSV rows from a pipe or FIFO are sent as they come; the first rows say the \
    types of such a CSV, or --type does. After a kill -9, SENT of `faretra stat ARENA` is what --skip needs, if nobody else \
    sent to it.")]
pub struct Send {
    /// Name of the arena
    pub arena: String,
    /// Name of the channel; it is made if there is none
    pub channel: String,
    /// Files to send, one after the other, all with the columns of the first; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Format of the files, if neither their names nor how they begin tell
    #[arg(long, value_parser = batch_format())]
    pub format: Option<Format>,
    /// How they are read
    #[command(flatten)]
    pub reading: Reading,
    /// Rows in a batch, which is what one receiver gets at a time
    #[arg(long, value_name = "N", default_value = "65536", value_parser = clap::value_parser!(u64).range(1..=1 << 31))]
    pub batch_rows: u64,
    /// Batches that a channel made by this command has room for; one that exists keeps its own [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=faretra::channel::MAX_CAPACITY as u64))]
    pub capacity: Option<u64>,
    /// Make a channel that takes as many batches as the arena has memory for
    #[arg(long, conflicts_with = "capacity")]
    pub unbounded: bool,
    /// Leave out the first N batches, which were sent before
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    pub skip: u64,
    /// Leave the channel open when the files end: more will be sent
    #[arg(long)]
    pub keep_open: bool,
}

/// Options of `recv`.
#[derive(Debug, Args)]
#[command(after_help = "Waits for the channel, and ends when it is closed and empty. A batch is acknowledged when \
    standard output has taken all of it, or when the file of --export is finished; killed or interrupted before \
    that, the batch goes to the next receiver. Nothing is lost, but a batch may be written twice: a message says \
    when that can be. All that is exported to one file is in the arena until that file is finished.")]
pub struct Recv {
    /// Name of the arena
    pub arena: String,
    /// Name of the channel
    pub channel: String,
    /// How to print [default: table, or json with --json], or the format of the file, if its name does not tell
    #[arg(long, value_enum)]
    pub format: Option<RecvFormat>,
    /// Write one file instead: .parquet, .csv, .tsv, .arrow or .arrows
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,
    /// Replace that file if it exists; a device, FIFO or pipe is written to with and without
    #[arg(long, requires = "export")]
    pub force: bool,
    /// End after N rows; a batch of which rows are left goes to the next receiver whole
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub head: Option<u64>,
}

/// How `recv` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RecvFormat {
    /// Aligned columns, each batch under its own captions
    Table,
    /// Comma-separated values
    Csv,
    /// A JSON array with a row on each line
    Json,
    /// A JSON object on each line
    Jsonl,
    /// Apache Parquet, with --export
    Parquet,
    /// Arrow IPC file, with --export
    Arrow,
    /// Arrow IPC stream, with --export
    ArrowStream,
}

/// How `cat` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CatFormat {
    /// Aligned columns, the first 20 rows unless --head says otherwise
    Table,
    /// Comma-separated values, all rows
    Csv,
    /// A JSON array with a row on each line, all rows
    Json,
    /// A JSON object on each line, all rows
    Jsonl,
}

/// Options of `cat`.
#[derive(Debug, Args)]
#[command(after_help = "With --follow, waits for the feed, prints its batches as they come, and ends when it is \
    closed. When the last producer left without closing it, waits for another. What a slow reader missed is said on \
    standard error; producers that wait for subscribers wait for this one too. Without --follow, a feed's batches are \
    printed as they are now.\n\n\
    JSON has every value: numbers with all their digits; NaN, Infinity and -Infinity as text; binary as hexadecimal; \
    maps whose keys are no text as lists of {\"key\":..,\"value\":..}. Times are printed in their zone. A date or time \
    beyond the calendar is printed as its number, and a message says so.")]
pub struct Cat {
    /// Name of the arena
    pub arena: String,
    /// Name in it
    pub name: String,
    /// Print the first N rows
    #[arg(long, value_name = "N")]
    pub head: Option<usize>,
    /// How to print
    #[arg(long)]
    pub format: Option<CatFormat>,
    /// Print only these columns
    #[arg(long, value_name = "A,B,..", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Print this item of a bundle
    #[arg(long, value_name = "NAME", conflicts_with = "follow")]
    pub item: Option<String>,
    /// Print the batches of a feed as they come, each under its own captions
    #[arg(long)]
    pub follow: bool,
    /// Where to begin: oldest, newest (with the next one that comes), or a position [default: oldest]
    #[arg(long, value_name = "FROM", requires = "follow", value_parser = from)]
    pub from: Option<From>,
}

/// Where a feed is followed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The oldest item that is there.
    Oldest,
    /// The next item that comes.
    Newest,
    /// The item of this position.
    Position(u64),
}

/// Options of `export`.
#[derive(Debug, Args)]
#[command(
    after_help = "A regular file is there when it is whole, and not before; replaced, it keeps its mode. Links are \
    followed. Devices, FIFOs, /dev/stdout and >(..) are written to as they are.\n\n\
    What a format cannot say is converted without loss or refused: in Parquet, seconds become milliseconds and date64 \
    becomes date; unions, and intervals that are negative or finer than milliseconds, need .arrow."
)]
pub struct Export {
    /// Name of the arena
    pub arena: String,
    /// Name in it
    pub name: String,
    /// File to write; - is standard output
    pub file: PathBuf,
    /// Format of the file, if its name does not tell
    #[arg(long)]
    pub format: Option<Format>,
    /// Replace the file if it exists; a device, FIFO or pipe is written to with and without
    #[arg(long)]
    pub force: bool,
    /// Export this item of a bundle
    #[arg(long, value_name = "NAME")]
    pub item: Option<String>,
}

/// Options of `close`.
#[derive(Debug, Args)]
pub struct Close {
    /// Name of the arena
    pub arena: String,
    /// Name of the channel or feed
    pub name: String,
}

/// Options of `rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// Name of the arena; without NAME or --older it is removed itself
    pub arena: String,
    /// Name in it
    pub name: Option<String>,
    /// Remove only what was published longer ago than this, as 1h
    #[arg(long, value_parser = size::parse_duration, value_name = "TIME")]
    pub older: Option<Duration>,
}

/// Options of `who`.
#[derive(Debug, Args)]
pub struct Who {
    /// Name of the arena
    pub arena: String,
    /// Those who hold most first
    #[arg(long)]
    pub by_bytes: bool,
}

/// Options of `limit`.
#[derive(Debug, Args)]
pub struct Limit {
    /// Name of the arena
    pub arena: String,
    /// Memory it may use from now on, up to its capacity; less than it uses only stops its growth
    #[arg(value_parser = size::parse)]
    pub limit: u64,
}

/// Options of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Name of the arena
    pub arena: String,
    /// Read every object too, with all its values, and compare its checksum if it has one
    #[arg(long)]
    pub deep: bool,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Looks at the directory of the arenas, at limits and memory, and at the system calls that arenas \
    are made of, and says which line changes what is in the way. Makes an arena of its own, which goes again. Measuring \
    takes about a second and 400 MiB at most, or an eighth of what is free for each copy."
)]
pub struct Doctor {
    /// Measure nothing
    #[arg(long)]
    pub quick: bool,
    /// Explain what is fine, too
    #[arg(long)]
    pub all: bool,
}

/// Options of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "For bash: faretra completions bash > ~/.local/share/bash-completion/completions/faretra")]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Options of `man`.
#[derive(Debug, Args)]
#[command(after_help = "To read one: man DIR/faretra-put.1")]
pub struct Man {
    /// Directory for them, as ~/.local/share/man/man1
    #[arg(value_name = "DIR")]
    pub into: PathBuf,
}

/// An arena and nothing else.
#[derive(Debug, Args)]
pub struct OneArena {
    /// Name of the arena
    pub arena: String,
}

/// The formats that hold record batches.
fn batch_format() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(
        Format::value_variants()
            .iter()
            .filter(|format| !matches!(format, Format::Npy | Format::Bytes))
            .filter_map(ValueEnum::to_possible_value),
    )
    .try_map(|name| Format::from_str(&name, false))
}

fn from(text: &str) -> Result<From, String> {
    match text {
        "oldest" => Ok(From::Oldest),
        "newest" => Ok(From::Newest),
        _ => text.parse().map(From::Position).map_err(|_| {
            "give oldest, newest, or a position: how many items were appended before the one to begin with".to_owned()
        }),
    }
}

fn column_type(text: &str) -> Result<(String, DataType), String> {
    // A name may contain the sign, a type does not.
    let (column, name) = text.rsplit_once('=').ok_or("write it as COLUMN=TYPE, as price=decimal(12,2)")?;
    Ok((column.to_owned(), types::named(name)?))
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err("give one ASCII character, or \\t".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }
}
