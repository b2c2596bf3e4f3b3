//! Where the files of the C library go when it is installed.
//!
//! The tests of `capi` use this file, too: their programs are built against what it installs.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The number in the library's soname: it rises when programs that were linked with an older one would not run any more.
const ABI: u32 = 0;

/// Copies what was built in `built`, and the header in `include`, below `prefix`, and writes the pkg-config file. With `destdir`,
/// the files go there, as if it were the root. Returns the files.
pub fn install(built: &Path, include: &Path, prefix: &Path, destdir: Option<&Path>) -> io::Result<Vec<PathBuf>> {
    let version = env!("CARGO_PKG_VERSION");
    let prefix = std::path::absolute(prefix)?;
    let root = match destdir {
        Some(destdir) => destdir.join(prefix.strip_prefix("/").unwrap_or(&prefix)),
        None => prefix.clone(),
    };
    let (lib, headers) = (root.join("lib"), root.join("include"));
    let config = lib.join("pkgconfig");
    for folder in [&lib, &headers, &config] {
        fs::create_dir_all(folder)?;
    }
    let shared = lib.join(format!("libfaretra.so.{version}"));
    // Not written over: a program may have it mapped.
    let copy = |from: PathBuf, to: &Path| {
        let _ = fs::remove_file(to);
        fs::copy(&from, to).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", from.display())))
    };
    copy(built.join("libfaretra_c.so"), &shared)?;
    let mut files = vec![shared];
    for (link, to) in [
        (format!("libfaretra.so.{ABI}"), format!("libfaretra.so.{version}")),
        ("libfaretra.so".into(), format!("libfaretra.so.{ABI}")),
    ] {
        let link = lib.join(link);
        let _ = fs::remove_file(&link);
        symlink(to, &link)?;
        files.push(link);
    }
    let (archive, header, pc) = (lib.join("libfaretra.a"), headers.join("faretra.h"), config.join("faretra.pc"));
    copy(built.join("libfaretra_c.a"), &archive)?;
    copy(include.join("faretra.h"), &header)?;
    fs::write(&pc, pkg_config(&prefix, version))?;
    files.extend([archive, header, pc]);
    Ok(files)
}

fn pkg_config(prefix: &Path, version: &str) -> String {
    format!(
        "prefix={}\nlibdir=${{prefix}}/lib\nincludedir=${{prefix}}/include\n\nName: faretra\n\
         Description: Arrow batches and n-dimensional arrays in memory that processes share\n\
         Version: {version}\nCflags: -I${{includedir}}\nLibs: -L${{libdir}} -lfaretra\n\
         Libs.private: -lgcc_s -lpthread -lm -ldl\n",
        prefix.display()
    )
}
