//! What the commands that serve (`faretra-flight` and `faretra-distributed`, crates of their own) share with this one: how arenas are
//! opened, how sizes, addresses and files of secrets are read, how failures end a process. No promise is made for it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use faretra::{Arena, Options};

pub use crate::failure::{Failure, Result, note};
use crate::open;
pub use crate::out::Out;
pub use crate::program::run;
pub use crate::size::parse as size;

/// Opens an arena in this directory, if one is named, to take part in it; values are validated each time if they are not trusted.
pub fn open(dir: Option<&Path>, trust_others: bool, untrusted: bool, name: &str) -> Result<Arena> {
    Ok(options(dir, trust_others, untrusted).open(name)?)
}

/// Options with this directory, if one is named; values are validated each time if they are not trusted.
pub fn options(dir: Option<&Path>, trust_others: bool, untrusted: bool) -> Options {
    open::options_of(dir, trust_others).untrusted(untrusted)
}

/// Reads a file of keys or certificates.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| Failure::new(format!("cannot read {}: {error}", file.display())))
}

/// Reads a file with a token, without the line's end behind it.
pub fn token(file: &Path) -> Result<String> {
    let token = String::from_utf8(read(file)?);
    let token =
        token.map_err(|_| Failure::new(format!("{} is no text: a token is one line of ASCII", file.display())))?;
    Ok(token.trim().to_owned())
}

/// Parses an address with a port, as `example` is written.
pub fn address(text: &str, example: &str) -> std::result::Result<SocketAddr, String> {
    let all = text.to_socket_addrs().map_err(|e| format!("{e}: write it as {example}"))?;
    all.into_iter().next().ok_or_else(|| "it stands for no address".to_owned())
}
