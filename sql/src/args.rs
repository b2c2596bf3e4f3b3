//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use faretra_cli::sql::parse_size;

/// Query arenas in SQL, in place, and files with them.
///
/// Names in the first arena are tables as they are; those of the others are written ARENA.NAME. Names with capitals, spaces or
/// other signs need double quotes. Statements without an end, over feeds and channels, print rows as they come.
#[derive(Debug, Parser)]
#[command(name = "faretra-sql", bin_name = "faretra sql", version, max_term_width = 100)]
#[command(after_help = "Examples:\n  \
    faretra sql air \"SELECT dest, avg(delay) FROM flights GROUP BY dest\"\n  \
    faretra sql air,sea 'SELECT * FROM \"my flights\" JOIN sea.ports USING (port)'\n  \
    faretra sql air \"SELECT * FROM flights JOIN 'planes.parquet' USING (tail)\"   # .csv, .csv.gz, .tsv, .arrow, .json too\n  \
    faretra sql air \"SELECT * FROM flights WHERE delay > 60\" --into late        # for every process\n  \
    faretra sql air \"SELECT * FROM flights\" -o flights.parquet                  # or --format arrow-stream | ..\n  \
    faretra sql air \"EXPLAIN SELECT max(delay) FROM flights\"\n  \
    faretra sql air < statements.sql\n  \
    faretra sql air                                                            # a prompt\n\n\
    Names: \"flights@7\" is a version, \"days/*\" all names like that, \"ticks@snapshot\" and \"ticks@new\" a feed as it is now and \
    from now on. INSERT INTO, INSERT OVERWRITE, CREATE TABLE .. AS, DROP TABLE and COPY .. TO publish and remove.\n\n\
    At the prompt: statements end with `;`. \\d or SHOW TABLES lists the tables, \\d NAME its columns, \\q or Ctrl-D leaves; Ctrl-C \
    drops what is typed, or cancels what runs.\n\n\
    Exit codes: 0 done, 1 could not (why, and what to do, on standard error), 2 wrong usage.")]
pub struct Args {
    /// Directory of the arenas: a tmpfs, /dev/shm unless said
    #[arg(long, env = "FARETRA_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print facts as JSON, and rows too unless --format says otherwise
    #[arg(long)]
    pub json: bool,
    /// Take part in arenas of other users, or that others may write: all who can write them use Faretra
    #[arg(long)]
    pub trust_others: bool,
    /// Arenas, with commas between them: the schemas of the statements, the first being what names without one are in
    #[arg(value_name = "ARENA[,ARENA..]", value_parser = arenas)]
    pub arenas: Arenas,
    /// Statements, with `;` between them [default: from standard input, or at a prompt if that is a terminal]
    #[arg(value_name = "STATEMENTS")]
    pub statements: Option<String>,
    /// How to write rows [default: table, or json with --json, or what the name of the file tells]
    #[arg(long, value_enum)]
    pub format: Option<RowFormat>,
    /// Write the rows to this file: .parquet, .csv, .tsv, .json, .jsonl, .arrow or .arrows
    #[arg(long, short, value_name = "FILE", conflicts_with = "into")]
    pub output: Option<PathBuf>,
    /// Replace that file if it exists; a device, FIFO or pipe is written to with and without
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Bytes of rows that a statement may keep at a time, as 4GiB, also where they lie in an arena: a sort, an aggregate or a join
    /// that needs more writes to temporary files (in TMPDIR) if it can, and fails if not [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub memory_limit: Option<u64>,
    /// Publish the rows in the first arena under this name: as a table, or into the channel or feed that is there
    #[arg(long, value_name = "NAME", conflicts_with = "format")]
    pub into: Option<String>,
}

/// Names of arenas, at least one and none twice.
#[derive(Clone, Debug)]
pub struct Arenas(pub Vec<String>);

fn arenas(text: &str) -> Result<Arenas, String> {
    let names: Vec<String> = text.split(',').map(str::to_owned).collect();
    for (at, name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err("a name between the commas is empty: write them as air,sea".to_owned());
        }
        if names[..at].contains(name) {
            return Err(format!("arena `{name}` is named twice: each is one schema"));
        }
    }
    Ok(Arenas(names))
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RowFormat {
    /// Aligned columns
    Table,
    /// Comma-separated values
    Csv,
    /// A JSON array with a row on each line
    Json,
    /// A JSON object on each line
    Jsonl,
    /// Arrow IPC file
    Arrow,
    /// Arrow IPC stream
    ArrowStream,
    /// Apache Parquet
    Parquet,
}

#[cfg(test)]
mod tests {
    use super::Args;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Args::command().debug_assert();
    }
}
