//! Shows pyarrow's client, and ADBC's driver, where they are installed: `PYTHON` names an interpreter that has them.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Lab, file, table};

/// An interpreter, if it has these modules.
fn python(modules: &str) -> Option<String> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let there = Command::new(&python).args(["-c", &format!("import {modules}")]).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        eprintln!("skipped: {python} has no {modules} (PYTHON names another one)");
        return None;
    }
    Some(python)
}

/// Runs a program of Python, and returns what it prints.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn program(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Shows that pyarrow lists, reads and puts tables.
#[test]
fn pyarrow() {
    let Some(python) = python("pyarrow.flight") else { return };
    let lab = Lab::new();
    let arena = lab.arena("air");
    arena.writer().unwrap().publish("a \"table\"", table(3, 100_000)).unwrap();
    let server = lab.serve(&["air"]);
    run(Command::new(python).arg(program("tests/python/pyarrow_client.py")).arg(&server.address));
    assert_eq!(arena.table("put").unwrap().num_rows(), 300_000);
}

/// Shows that ADBC's driver runs statements, also with parameters, tells of tables and ingests rows, with a token and TLS too.
#[test]
fn adbc() {
    let Some(python) = python("pyarrow, adbc_driver_flightsql.dbapi") else { return };
    let lab = Lab::new();
    let arena = lab.arena("air");
    arena.writer().unwrap().publish("a \"table\"", table(3, 100_000)).unwrap();
    std::fs::write(lab.path().join("token"), "sesame").unwrap();
    let (cert, key) = (file("server.pem"), file("server.key"));
    let plain = lab.serve(&["air"]);
    let guarded = lab.serve(&["air", "--token-file", "token"]);
    let secure = lab.serve(&["air", "--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()]);
    let mut client = Command::new(python);
    client.arg(program("tests/python/adbc_client.py"));
    run(client.args([&plain.address, &guarded.address, &secure.address]).arg(cert));
    assert!(arena.verify().unwrap().is_empty());
}

/// Shows that the example in Python prints what its head says, and leaves nothing.
#[test]
fn the_example() {
    let Some(python) = python("pyarrow.flight") else { return };
    let programs = Path::new(env!("CARGO_BIN_EXE_faretra-flight")).parent().unwrap();
    if !programs.join("faretra").exists() {
        eprintln!("skipped: `faretra` is not built: cargo build --package faretra-cli");
        return;
    }
    let path = std::env::join_paths([programs, Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let example = program("examples/flight_client.py");
    let source = std::fs::read_to_string(&example).unwrap();
    let promised = source.split("It prints:\n").nth(1).unwrap().split("\"\"\"").next().unwrap();
    let promised: Vec<&str> = promised.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let printed = run(Command::new(python).arg(example).env("PATH", path));
    let printed: Vec<&str> = printed.lines().collect();
    assert!(printed.len() >= 3 && promised[..printed.len()] == printed, "{printed:#?}");
    let left = std::fs::read_dir("/dev/shm").unwrap().flatten().map(|entry| entry.file_name());
    assert_eq!(left.filter(|name| name.to_string_lossy().starts_with("flight-client-")).count(), 0);
}
