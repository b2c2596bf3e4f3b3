//! Where a process that may die has its arenas and files.

use std::path::PathBuf;
use std::sync::OnceLock;

/// Where targets find a directory for their arenas and files. Who starts a process that may die sets it, and removes the directory.
pub const DIR: &str = "FARETRA_FUZZ_DIR";

/// The directory for arenas and files of this process.
pub fn dir() -> &'static PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let named = std::env::var_os(DIR).map(PathBuf::from);
        let dir = named.unwrap_or_else(|| format!("/dev/shm/faretra-fuzz-{}", std::process::id()).into());
        std::fs::create_dir_all(&dir).expect("a directory on a tmpfs");
        dir
    })
}
