//! Where an export goes: regular files are replaced whole, and everything else is written to.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::mkfifo;

use crate::support::{Lab, finish, signal, until, wait};

const CSV: &str = "a,b\n1,x\n2,y\n";

/// An arena with the table `t`, and the channel `c` that has its rows and is closed.
fn with_table() -> Lab {
    let lab = Lab::with_arena();
    let file = lab.write("t.csv", CSV);
    lab.ok(["put", "a", "t", &file]);
    lab.ok(["send", "a", "c", &file]);
    lab
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A FIFO is what somebody reads: it gets the rows, and stays.
#[test]
fn a_fifo_is_written_to_and_stays() {
    let lab = with_table();
    let fifo = lab.path("fifo.csv");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let name = lab.file("fifo.csv");
    for args in [
        &["export", "a", "t", &name][..],
        &["export", "a", "t", &name, "--force"],
        &["recv", "a", "c", "--export", &name],
    ] {
        let reader = thread::spawn({
            let fifo = fifo.clone();
            move || fs::read_to_string(fifo).unwrap()
        });
        let outcome = lab.run(args);
        assert_eq!(outcome.status.code(), Some(0), "{args:?}: {outcome:?}");
        assert_eq!(reader.join().unwrap(), CSV, "{args:?}");
        assert!(outcome.stdout.contains("2 rows") && outcome.stdout.contains("12 B"), "{args:?}: {outcome:?}");
        assert!(fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo(), "{args:?}");
    }
    assert_eq!(lab.files(), ["faretra.a", "fifo.csv", "t.csv"]);
    assert_eq!(lab.json(["stat", "a"])["channels"][0]["depth"], 0, "what was written is acknowledged");
}

/// A reader of a FIFO that had enough is no error, as for standard output.
#[test]
fn a_reader_of_a_fifo_that_had_enough_is_no_error() {
    let lab = Lab::with_arena();
    let mut text = "x\n".to_owned();
    text.extend((0..300_000).map(|i| format!("{i}\n")));
    lab.ok(["put", "a", "t", &lab.write("t.csv", text)]);
    let fifo = lab.path("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let child = lab.command(["export", "a", "t", &lab.file("fifo"), "--format", "csv"]).spawn().unwrap();
    let mut some = [0; 16];
    File::open(&fifo).unwrap().read_exact(&mut some).unwrap();
    let outcome = finish(child);
    assert_eq!((outcome.status.code(), outcome.stderr.contains("error")), (Some(0), false), "{outcome:?}");
}

/// A device is written to, whoever we are.
#[test]
fn a_device_is_written_to_and_stays() {
    let lab = with_table();
    // Not in the lab: a device on a tmpfs is often not to be opened.
    let dir = tempfile::tempdir().unwrap();
    let null = dir.path().join("null");
    let made = mknod(&null, SFlag::S_IFCHR, Mode::S_IRWXU, nix::sys::stat::makedev(1, 3));
    if made.is_err() || File::options().write(true).open(&null).is_err() {
        eprintln!("skipped: no device can be made here");
        return;
    }
    let null = null.to_str().unwrap();
    lab.ok(["export", "a", "t", null, "--format", "csv"]);
    lab.ok(["export", "a", "t", null, "--format", "parquet", "--force"]);
    lab.ok(["recv", "a", "c", "--export", null, "--force", "--format", "csv"]);
    assert!(fs::symlink_metadata(null).unwrap().file_type().is_char_device());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// Standard output has many names; what comes out of each is the data and nothing else.
#[test]
fn names_of_standard_output_are_standard_output() {
    let lab = with_table();
    for name in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        for force in [None, Some("--force")] {
            let args = ["export", "a", "t", name, "--format", "csv"].into_iter().chain(force);
            assert_eq!(lab.ok(args), CSV, "{name}");
        }
        // Behind what a file has already.
        lab.write("out", "before\n");
        let out = File::options().append(true).open(lab.path("out")).unwrap();
        let mut command = lab.command(["export", "a", "t", name, "--format", "csv"]);
        let status = wait(&mut command.stdout(out).spawn().unwrap());
        assert_eq!(status.code(), Some(0), "{name}");
        assert_eq!(fs::read_to_string(lab.path("out")).unwrap(), format!("before\n{CSV}"), "{name}");
    }
    symlink("/dev/stdout", lab.path("link.csv")).unwrap();
    assert_eq!(lab.ok(["export", "a", "t", &lab.file("link.csv")]), CSV);
    assert_eq!(lab.ok(["recv", "a", "c", "--export", "/dev/stdout", "--format", "csv"]), CSV);
}

/// What a shell makes of `>(...)` is a pipe behind `/dev/fd`.
#[test]
fn process_substitution_works() {
    let lab = with_table();
    if Command::new("bash").arg("-c").arg("true").status().is_err() {
        eprintln!("skipped: there is no bash");
        return;
    }
    for (i, force) in ["", "--force"].into_iter().enumerate() {
        let script = format!(
            "\"$0\" export a t >(cat > {out}.part; mv {out}.part {out}) --format csv {force}",
            out = lab.file(&format!("out{i}"))
        );
        let program = lab.command([] as [&str; 0]).get_program().to_owned();
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(script).arg(program).env("FARETRA_DIR", lab.dir());
        let outcome = finish(bash.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
        let out = lab.path(&format!("out{i}"));
        let text = until("the other end wrote it", || fs::read_to_string(&out).ok());
        assert_eq!(text, CSV);
    }
}

/// A link stays, and what it leads to is replaced, or made; a file keeps its mode.
#[test]
fn links_are_followed_and_modes_are_kept() {
    let lab = with_table();
    fs::create_dir(lab.path("dir")).unwrap();
    let target = lab.path("dir/target.csv");
    fs::write(&target, "old").unwrap();
    symlink("dir/target.csv", lab.path("inner.csv")).unwrap();
    symlink(lab.path("inner.csv"), lab.path("link.csv")).unwrap();
    let link = lab.file("link.csv");
    assert!(lab.fails(1, ["export", "a", "t", &link]).contains("--force to replace it"));
    assert_eq!(fs::read_to_string(&target).unwrap(), "old");
    for bits in [0o600, 0o640, 0o444, 0o777] {
        fs::set_permissions(&target, Permissions::from_mode(bits)).unwrap();
        lab.ok(["export", "a", "t", &link, "--force"]);
        assert_eq!(fs::read_to_string(&target).unwrap(), CSV);
        assert_eq!(mode(&target), bits, "{bits:o}");
    }
    for name in ["link.csv", "inner.csv"] {
        assert!(fs::symlink_metadata(lab.path(name)).unwrap().is_symlink(), "{name}");
    }
    assert_eq!(fs::read_dir(lab.path("dir")).unwrap().count(), 1, "nothing else is left beside it");
    // Nothing is there: it is made where the link leads.
    fs::remove_file(&target).unwrap();
    lab.ok(["recv", "a", "c", "--export", &link]);
    assert_eq!(fs::read_to_string(&target).unwrap(), CSV);
    assert!(fs::symlink_metadata(lab.path("link.csv")).unwrap().is_symlink());
    // A link to itself ends in words.
    symlink("loop.csv", lab.path("loop.csv")).unwrap();
    assert!(lab.fails(1, ["export", "a", "t", &lab.file("loop.csv"), "--force"]).contains("loop.csv"));
}

/// A new file has the mode that the user's umask leaves.
#[test]
fn new_files_have_the_mode_of_the_umask() {
    let lab = with_table();
    let program = lab.command([] as [&str; 0]).get_program().to_owned();
    let expect = |umask: &str, bits: u32, args: &[&str], file: &str| {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("umask {umask}; exec \"$0\" \"$@\"")).arg(&program).args(args);
        shell.env("FARETRA_DIR", lab.dir()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let outcome = finish(shell.spawn().unwrap());
        assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
        assert_eq!(mode(Path::new(file)), bits, "umask {umask}: {args:?}");
    };
    for (i, (umask, bits)) in [("022", 0o644), ("027", 0o640), ("077", 0o600), ("000", 0o666)].iter().enumerate() {
        let file = lab.file(&format!("{i}.csv"));
        expect(umask, *bits, &["export", "a", "t", &file], &file);
        // The mode of what is there wins.
        expect("077", *bits, &["export", "a", "t", &file, "--force"], &file);
    }
    let file = lab.file("received.csv");
    expect("027", 0o640, &["recv", "a", "c", "--export", &file], &file);
}

/// Where nothing can be written, that is said, and nobody is told to replace what is no file.
#[test]
fn what_cannot_be_written_is_told() {
    let lab = with_table();
    let _socket = UnixListener::bind(lab.path("socket")).unwrap();
    fs::create_dir(lab.path("dir")).unwrap();
    for force in [None, Some("--force")] {
        for (name, why) in
            [("socket", "socket"), ("dir", "directory"), ("none/out", "No such file"), ("t.csv/out", "Not a directory")]
        {
            let file = lab.file(name);
            let args = ["export", "a", "t", &file, "--format", "csv"].into_iter().chain(force);
            let line = lab.fails(1, args);
            assert!(line.contains(why) && !line.contains("--force"), "{line}");
        }
    }
    // Nor is anything there that a failed or killed command left.
    assert_eq!(lab.files(), ["dir", "faretra.a", "socket", "t.csv"]);
}

/// Killed at any moment, an export leaves the old file or the new one, and nothing beside it.
#[test]
fn a_killed_export_leaves_nothing_beside_the_file() {
    let lab = Lab::with_arena();
    let mut text = "x\n".to_owned();
    text.extend((0..200_000).map(|i| format!("{i}\n")));
    lab.ok(["put", "a", "t", &lab.write("t.csv", &text)]);
    let out = lab.write("out.csv", "old");
    for delay in [0, 1, 2, 5, 10, 20, 40, 80] {
        let mut child = lab.command(["export", "a", "t", &out, "--force"]).spawn().unwrap();
        thread::sleep(std::time::Duration::from_millis(delay));
        signal(&child, Signal::SIGKILL);
        wait(&mut child);
        let found = fs::read_to_string(&out).unwrap();
        assert!(found == "old" || found == text, "{} bytes after {delay} ms", found.len());
        lab.write("out.csv", "old");
    }
    // What was killed between its last two system calls is cleared by the next one.
    lab.ok(["export", "a", "t", &out, "--force"]);
    assert_eq!(lab.files(), ["faretra.a", "out.csv", "t.csv"]);
}

/// A path is any bytes; JSON gets all of them.
#[test]
fn json_has_paths_that_are_no_text() {
    let lab = with_table();
    let file = lab.dir().join(OsStr::from_bytes(b"a \xff%.csv"));
    let outcome = lab.run([OsStr::new("export"), "a".as_ref(), "t".as_ref(), file.as_os_str(), "--json".as_ref()]);
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    let facts: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(facts["file"], format!("file://{}/a%20%FF%25.csv", lab.dir().display()));
    let file = lab.dir().join(OsStr::from_bytes(b"\xfe.csv"));
    let args = ["recv", "a", "c", "--json", "--export"].map(OsStr::new);
    let outcome = lab.run(args.into_iter().chain([file.as_os_str()]));
    let facts: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(facts["file"], format!("file://{}/%FE.csv", lab.dir().display()));
    // An ordinary one is as it was given.
    let facts = lab.json(["export", "a", "t", &lab.file("ä.csv")]);
    assert_eq!(facts["file"], lab.file("ä.csv"));
}

/// A FIFO that nobody reads is waited for, in words; a signal ends the wait.
#[test]
fn a_fifo_without_a_reader_is_waited_for() {
    let lab = with_table();
    let fifo = lab.path("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let mut child = lab.command(["export", "a", "t", &lab.file("fifo"), "--format", "csv"]).spawn().unwrap();
    let mut stderr = crate::support::ears(&mut child);
    crate::support::hear(&mut stderr, "nobody reads the FIFO");
    signal(&child, Signal::SIGTERM);
    assert_eq!(finish(child).signal(), Some(15));
    let mut left = String::new();
    stderr.read_to_string(&mut left).unwrap();
    assert!(left.contains("interrupted"), "{left}");
}
