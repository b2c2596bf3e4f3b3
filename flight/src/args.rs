//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use faretra_cli::serve::{address, size};

/// Where it listens unless told otherwise.
const LISTEN: &str = "127.0.0.1:50051";

/// Serve arenas to Arrow Flight and Flight SQL clients.
///
/// Clients of the same host that know Faretra are told where the arenas are, and read them in place; all others are streamed to.
/// Whoever can connect can read the arenas, and publish in them unless --read-only is given: on this machine every user can connect
/// to 127.0.0.1. A token keeps out who does not know it.
#[derive(Debug, Parser)]
#[command(name = "faretra-flight", bin_name = "faretra serve", version, max_term_width = 100)]
#[command(after_help = "Examples:\n  \
    faretra serve air                                     # at grpc://127.0.0.1:50051\n  \
    faretra serve air sea --read-only --token-file token\n  \
    faretra serve air --listen 0.0.0.0:50051 --token-file token --tls-cert cert.pem --tls-key key.pem\n\n\
    pyarrow:  client = flight.connect('grpc://127.0.0.1:50051')\n          \
    info = client.get_flight_info(flight.FlightDescriptor.for_path('flights'))\n          \
    table = client.do_get(info.endpoints[0].ticket).read_all()\n\
    ADBC:     adbc_driver_flightsql.dbapi.connect('grpc://127.0.0.1:50051')\n\n\
    Of several arenas, the first part of a path is the arena. Ctrl-C ends the server: what is being answered has 3 s.\n\n\
    Exit codes: 0 done, 1 could not (why, and what to do, on standard error), 2 wrong usage.")]
pub struct Args {
    /// Directory of the arenas: a tmpfs, /dev/shm unless said
    #[arg(long, env = "FARETRA_DIR", value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print where it listens as JSON
    #[arg(long)]
    pub json: bool,
    /// Take part in arenas of other users, or that others may write: all who can write them use Faretra
    #[arg(long)]
    pub trust_others: bool,
    /// Validate all values each time before they are sent: of arenas that may be damaged
    #[arg(long)]
    pub untrusted: bool,
    /// Arenas to serve
    #[arg(value_name = "ARENA", required = true)]
    pub arenas: Vec<String>,
    /// Address and port; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS", default_value = LISTEN, value_parser = |text: &str| address(text, LISTEN))]
    pub listen: SocketAddr,
    /// File with a token that clients have to send; without one, and without TLS, only loopback addresses are listened at
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificate for TLS, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Let clients ask for `stat` and `who`, and remove names with `rm`
    #[arg(long)]
    pub actions: bool,
    /// Let clients change nothing
    #[arg(long)]
    pub read_only: bool,
    /// Do not tell clients of this host where the arenas are
    #[arg(long)]
    pub no_shm: bool,
    /// Seconds that a version is kept after an info spoke of it
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub keep: u64,
    /// Size of messages that are streamed
    #[arg(long, value_name = "SIZE", default_value = "2MiB", value_parser = size)]
    pub message: u64,
    /// Size of messages that are taken
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    pub max_message: u64,
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
