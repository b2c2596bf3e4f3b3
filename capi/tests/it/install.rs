//! Shows that what `cargo xtask install-c` puts down is what a program finds with pkg-config, shared and static.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::support::{Lab, built, done, exists, package};

#[path = "../../../xtask/src/install.rs"]
mod layout;

/// The words that pkg-config gives for the library below a prefix.
fn pkg_config(prefix: &std::path::Path, words: &[&str]) -> Option<Vec<String>> {
    if !exists("pkg-config") {
        println!("skipped: there is no pkg-config");
        return None;
    }
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")).args(words).arg("faretra");
    Some(done(&mut command).split_whitespace().map(str::to_owned).collect())
}

/// A program is built against the installed files, linked with either library, and runs. The library can be replaced by its soname.
#[test]
fn what_is_installed_is_found() {
    let lab = Lab::new();
    // Not on a tmpfs: the archive is large.
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let prefix = disk.path().join("opt");
    let files = layout::install(&built(), &package().join("include"), &prefix, None).unwrap();
    assert_eq!(files.len(), 6);
    assert!(files.iter().all(|file| file.exists()), "{files:?}");
    // Again, over what is there.
    layout::install(&built(), &package().join("include"), &prefix, None).unwrap();
    let same = |a: &str, b: &str| {
        let inode = |name: &str| std::fs::metadata(prefix.join("lib").join(name)).unwrap().ino();
        inode(a) == inode(b)
    };
    assert!(
        same("libfaretra.so", concat!("libfaretra.so.", env!("CARGO_PKG_VERSION")))
            && same("libfaretra.so", "libfaretra.so.0")
    );

    let Some(version) = pkg_config(&prefix, &["--modversion"]) else { return };
    assert_eq!(version, [env!("CARGO_PKG_VERSION")]);
    if !exists("gcc") {
        println!("skipped: there is no gcc");
        return;
    }
    let (shared, linked) = (lab.path("shared"), lab.path("static"));
    let source = package().join("examples/hello.c");
    let words = pkg_config(&prefix, &["--cflags", "--libs"]).unwrap();
    done(Command::new("gcc").arg("-Werror").arg(&source).args(words).arg("-o").arg(&shared));
    let mut hello = lab.command(&shared);
    assert_eq!(done(hello.env("LD_LIBRARY_PATH", prefix.join("lib"))), "hello\n");

    let words = pkg_config(&prefix, &["--cflags", "--libs", "--static"]).unwrap();
    let archive = format!("{}", prefix.join("lib/libfaretra.a").display());
    let words = words.into_iter().map(|word| if word == "-lfaretra" { archive.clone() } else { word });
    done(Command::new("gcc").arg("-Werror").arg(&source).args(words).arg("-o").arg(&linked));
    let mut hello = lab.command(&linked);
    assert_eq!(done(hello.env_remove("LD_LIBRARY_PATH")), "hello\n");

    if !exists("readelf") || !exists("nm") {
        println!("skipped: there is no readelf or nm");
        return;
    }
    let library = prefix.join("lib/libfaretra.so");
    assert!(done(Command::new("readelf").arg("-d").arg(&library)).contains("soname: [libfaretra.so.0]"));
    let symbols = done(Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(&library));
    let names: Vec<&str> = symbols.lines().filter_map(|line| line.split(' ').next()).collect();
    let header = std::fs::read_to_string(package().join("include/faretra.h")).unwrap();
    assert!(names.len() > 80, "{names:?}");
    for name in names {
        assert!(name.starts_with("faretra_") && header.contains(&format!("{name}(")), "{name} is not in the header");
    }
}

/// A package is built in a directory that is not the root, and says where it will be.
#[test]
fn a_package_is_laid_out_elsewhere() {
    let lab = Lab::new();
    let built = lab.path("built");
    std::fs::create_dir(&built).unwrap();
    for file in ["libfaretra_c.so", "libfaretra_c.a"] {
        std::fs::write(built.join(file), file).unwrap();
    }
    let root = lab.path("root");
    layout::install(&built, &package().join("include"), std::path::Path::new("/usr"), Some(&root)).unwrap();
    let config = std::fs::read_to_string(root.join("usr/lib/pkgconfig/faretra.pc")).unwrap();
    assert!(config.starts_with("prefix=/usr\n"), "{config}");
    assert_eq!(std::fs::read_to_string(root.join("usr/lib/libfaretra.so")).unwrap(), "libfaretra_c.so");
    assert!(layout::install(&lab.path("nothing"), &package().join("include"), &root, None).is_err());
}
