//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use faretra_cli::serve::{address, size};

/// Where it listens unless told otherwise.
const LISTEN: &str = "127.0.0.1:50061";

/// Query the arenas of several hosts in SQL: each host scans its own in place.
#[derive(Debug, Parser)]
#[command(name = "faretra-distributed", bin_name = "faretra cluster", version, max_term_width = 100)]
#[command(after_help = "Examples:\n  \
    faretra cluster worker air --listen 10.0.0.2:50061 --token-file token    # on each host\n  \
    faretra cluster sql 10.0.0.2:50061,10.0.0.3:50061 --token-file token \\\n      \
    \"SELECT dest, avg(delay) FROM flights GROUP BY dest\"\n\n\
    Exit codes: 0 done, 1 could not (why, and what to do, on standard error), 2 wrong usage.")]
pub struct Args {
    /// Directory of the arenas: a tmpfs, /dev/shm unless said
    #[arg(long, global = true, env = "FARETRA_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print where a worker listens, and rows, as JSON
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
    /// Scan the arenas of this host for statements of others
    ///
    /// Whoever can connect can read the arenas: on this machine every user can connect to 127.0.0.1. A token keeps out who does not
    /// know it. One worker per host is enough: it computes on all processors. Ctrl-C ends it: what runs has 3 s.
    Worker(Worker),
    /// Run a statement over the arenas of all workers
    ///
    /// Names are looked up in the first arena of the first worker; those of other arenas are written ARENA.NAME. A table that several
    /// hosts have is one, with the rows of all. EXPLAIN shows what runs where.
    Sql(Sql),
}

/// How workers know each other.
#[derive(Debug, Group)]
pub struct Trust {
    /// File with the token that all workers ask for
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificate, in PEM, of the authority that workers with TLS have theirs from
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
}

/// `worker`.
#[derive(Debug, Group)]
pub struct Worker {
    /// Arenas to scan
    #[arg(value_name = "ARENA", required = true)]
    pub arenas: Vec<String>,
    /// Address and port that coordinators and other workers reach it at; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS", default_value = LISTEN, value_parser = |text: &str| address(text, LISTEN))]
    pub listen: SocketAddr,
    /// Token, and authority of the other workers
    #[command(flatten)]
    pub trust: Trust,
    /// Certificate for TLS, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Validate all values each time before they are read: of arenas that may be damaged
    #[arg(long)]
    pub untrusted: bool,
    /// Seconds that a version is kept after a statement over it was planned
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub keep: u64,
    /// Memory for joins, sorts and aggregates; what is more goes to temporary files or fails [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
}

/// `sql`.
#[derive(Debug, Group)]
pub struct Sql {
    /// Addresses of the workers, with commas between them: HOST:PORT, or https://HOST:PORT with TLS
    #[arg(value_name = "WORKER[,WORKER..]", value_delimiter = ',', required = true, num_args = 1)]
    pub workers: Vec<String>,
    /// The statement
    #[arg(value_name = "STATEMENT")]
    pub statement: String,
    /// Token and authority of the workers
    #[command(flatten)]
    pub trust: Trust,
    /// How to write rows [default: table, or json with --json]
    #[arg(long, value_enum)]
    pub format: Option<RowFormat>,
    /// How what goes between hosts is compressed
    #[arg(long, value_enum, default_value = "lz4")]
    pub compression: Packing,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RowFormat {
    /// Aligned columns
    Table,
    /// Comma-separated values
    Csv,
    /// A JSON array
    Json,
    /// A JSON object on each line
    Jsonl,
    /// Arrow IPC stream
    ArrowStream,
}

/// How what goes between hosts is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Packing {
    /// Not at all: for fast networks
    None,
    /// Little work
    Lz4,
    /// More work, fewer bytes
    Zstd,
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
