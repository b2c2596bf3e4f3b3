//! Shows that a verb which is a program of its own is found beside the command or in PATH, and told how to get where it is in neither.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::finish;

/// A program that prints who it is and what it is given.
fn program(path: &Path, who: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, format!("#!/bin/sh\necho {who} \"$@\"\nexit 7\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Shows the three places, and that arguments and the exit code pass through.
#[test]
fn sql_is_found_or_told_of() {
    // On the file system of the command, which is linked into it: what else is beside the command is not.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let command = dir.path().join("bin/faretra");
    std::fs::create_dir(dir.path().join("bin")).unwrap();
    std::fs::hard_link(env!("CARGO_BIN_EXE_faretra"), &command).unwrap();
    let path = dir.path().join("path");
    let run = || {
        let mut command = Command::new(&command);
        command
            .args(["--json", "sql", "air", "SELECT 'a  b'", "--help", "-o", "x"])
            .env_remove("FARETRA_DIR")
            .env("PATH", &path);
        finish(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    };
    let outcome = run();
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("cargo install faretra-sql"), "{outcome:?}");
    program(&path.join("faretra-sql"), "in PATH");
    let outcome = run();
    let given = "--json air SELECT 'a  b' --help -o x\n";
    assert_eq!((outcome.status.code(), outcome.stdout), (Some(7), format!("in PATH {given}")));
    program(&dir.path().join("bin/faretra-sql"), "beside");
    assert_eq!(run().stdout, format!("beside {given}"));
}

/// Shows that `help sql`, `help serve` and `help cluster` are what the programs say of themselves where they are, and else what the command knows.
#[test]
fn help_is_theirs() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let command = dir.path().join("faretra");
    std::fs::hard_link(env!("CARGO_BIN_EXE_faretra"), &command).unwrap();
    let help = |verb: &str| {
        let mut command = Command::new(&command);
        command.args(["help", verb]).env("PATH", dir.path().join("path"));
        finish(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    };
    for (verb, name) in [("sql", "faretra-sql"), ("serve", "faretra-flight"), ("cluster", "faretra-distributed")] {
        let outcome = help(verb);
        assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
        // However the lines are broken.
        let words: Vec<&str> = outcome.stdout.split_whitespace().collect();
        assert!(words.join(" ").contains(&format!("if `{name}` is installed")), "{outcome:?}");
        program(&dir.path().join(name), name);
        assert_eq!(help(verb).stdout, format!("{name} --help\n"));
    }
    assert!(help("put").stdout.contains("Publish a file under a name"));
}
