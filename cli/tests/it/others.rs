//! Arenas of other users: what the command does with them, and what it says.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::support::{Lab, Outcome, finish};

#[test]
fn arenas_of_another_user() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("SKIPPED arenas_of_another_user: needs root");
    }
    let lab = Lab::new();
    std::fs::set_permissions(lab.dir(), PermissionsExt::from_mode(0o1777)).unwrap();
    // Anybody may run a copy of it here; what it was built in may be closed to others.
    let program = lab.path("faretra-copy");
    std::fs::copy(env!("CARGO_BIN_EXE_faretra"), &program).unwrap();
    let run = |user: u32, args: &[&str]| {
        let mut command = Command::new(&program);
        command.args(args).env("FARETRA_DIR", lab.dir()).uid(user).gid(54_321);
        finish(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    };
    let [ann, bob] = [54_001, 54_002];
    let ok = |outcome: Outcome| {
        assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
        outcome.stdout
    };
    let fails = |outcome: Outcome, says: [&str; 2]| {
        assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
        assert!(says.iter().all(|says| outcome.stderr.contains(says)), "{outcome:?}");
    };
    let file = lab.write("t.csv", "a\n1\n");
    ok(run(ann, &["create", "closed", "--limit", "64MiB"]));
    ok(run(ann, &["create", "seen", "--limit", "64MiB", "--mode", "0644"]));
    ok(run(ann, &["create", "shared", "--limit", "64MiB", "--mode", "0660"]));
    ok(run(ann, &["put", "seen", "t", &file]));
    let listed = ok(run(bob, &["ls"]));
    assert!(["closed: cannot open", "seen ", "shared "].iter().all(|line| listed.contains(line)), "{listed}");
    // What may be read is looked at, and not taken part in.
    assert!(ok(run(bob, &["ls", "seen"])).contains("t "));
    assert!(ok(run(bob, &["verify", "seen"])).contains("is clean"));
    let advice = "`faretra ls`, `stat`, `who` and `verify`";
    fails(run(bob, &["cat", "seen", "t"]), ["Permission denied", advice]);
    fails(run(bob, &["verify", "closed"]), ["Permission denied", advice]);
    for arena in ["closed", "seen"] {
        fails(run(bob, &["rm", arena]), ["Permission denied", advice]);
        fails(run(bob, &["--trust-others", "rm", arena]), ["Permission denied", advice]);
    }
    fails(run(bob, &["rm", "shared"]), ["owner is user 54001", "--trust-others"]);
    // What may be written needs trust, from its owner too, and the sticky bit keeps the name.
    fails(run(bob, &["put", "shared", "t", &file]), ["owner is user 54001", "--trust-others"]);
    fails(run(ann, &["put", "shared", "t", &file]), ["mode 660 lets others write", "--trust-others"]);
    ok(run(bob, &["--trust-others", "put", "shared", "t", &file]));
    assert_eq!(ok(run(ann, &["cat", "shared", "t", "--trust-others", "--format", "csv"])), "a\n1\n");
    fails(run(bob, &["--trust-others", "rm", "shared"]), ["cannot remove", "Operation not permitted"]);
    assert!(ok(run(ann, &["verify", "shared", "--trust-others"])).contains("is clean"));
    assert_eq!(lab.files(), ["faretra-copy", "faretra.closed", "faretra.seen", "faretra.shared", "t.csv"]);
    // A directory that is not for everybody.
    std::fs::set_permissions(lab.dir(), PermissionsExt::from_mode(0o755)).unwrap();
    let outcome = run(bob, &["doctor", "--quick"]);
    assert!(outcome.stdout.contains("user 54002 may not make files"), "{outcome:?}");
    fails(outcome, ["arenas do not work in", "see directory"]);
    fails(run(bob, &["create", "own"]), ["cannot create a segment in", "Permission denied"]);
}
