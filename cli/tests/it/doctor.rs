//! The doctor says what a machine offers: on this one, on small and odd file systems, under limits and filters of calls.
#![allow(unsafe_code, reason = "a filter of system calls is set between fork and exec")]

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::libc;
use serde_json::Value;

use crate::support::{Lab, Outcome, finish};

/// The finding of this name.
fn found<'a>(facts: &'a Value, check: &str) -> &'a Value {
    let all = facts["findings"].as_array().unwrap();
    all.iter().find(|found| found["check"] == check).unwrap_or_else(|| panic!("no finding {check}: {facts}"))
}

fn facts(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

/// Runs `faretra doctor --quick --json` by a wrapping command.
fn wrapped(lab: &Lab, wrapper: &[&str]) -> Outcome {
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(env!("CARGO_BIN_EXE_faretra")).args(["doctor", "--quick", "--json"]);
    command.env("FARETRA_DIR", lab.dir()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().unwrap())
}

/// Runs it in a mount namespace of its own, after `prepare`, a line for the shell in which `$DIR` is the lab's directory.
/// `None`: that is not permitted here.
fn prepared(lab: &Lab, test: &str, prepare: &str) -> Option<Outcome> {
    let permitted = Command::new("unshare").args(["--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]).output();
    if !permitted.is_ok_and(|done| done.status.success()) {
        eprintln!("SKIPPED {test}: file systems may not be mounted here");
        return None;
    }
    let script = format!("DIR={} && {prepare} && exec \"$@\"", lab.dir().display());
    Some(wrapped(lab, &["unshare", "--mount", "sh", "-c", &script, "sh"]))
}

#[test]
fn a_machine_where_arenas_work() {
    let lab = Lab::new();
    let text = lab.ok(["doctor"]);
    for what in ["CHECK", "arenas", "tmpfs", "memory cgroup", "system calls", "MEASURED", "µs a page"] {
        assert!(text.contains(what), "{what}: {text}");
    }
    assert!(!lab.ok(["doctor", "--quick"]).contains("MEASURED"));
    let all = lab.ok(["doctor", "--quick", "--all"]);
    for what in ["futex_waitv", "OFD locks", "processors: "] {
        assert!(all.contains(what), "{what}: {all}");
    }
    let facts = lab.json(["doctor"]);
    assert_eq!(facts["works"], true);
    for finding in facts["findings"].as_array().unwrap() {
        let verdict = finding["verdict"].as_str().unwrap();
        assert!(["ok", "note"].contains(&verdict), "{finding}");
        assert!(!finding["why"].as_str().unwrap().is_empty(), "{finding}");
        // What is not fine says what to do about it.
        assert!(verdict == "ok" || !finding["change"].as_array().unwrap().is_empty(), "{finding}");
    }
    assert!(found(&facts, "tmpfs")["facts"]["free"].as_u64().unwrap() > 0);
    assert_eq!(found(&facts, "OFD locks")["facts"]["works"], true);
    let measured = facts["measured"].as_array().unwrap();
    let keys: Vec<&str> = measured.iter().map(|figure| figure["figure"].as_str().unwrap()).collect();
    assert_eq!(keys, ["memcpy", "fresh_pages", "publish_fresh", "publish_warm", "get", "futex", "event"]);
    assert!(measured.iter().all(|figure| figure["nanoseconds"].as_u64().unwrap() > 0), "{facts}");
    assert_eq!(lab.files(), [""; 0], "its arena is gone");
}

#[test]
fn directories_that_cannot_hold_arenas() {
    let lab = Lab::new();
    let fails = |dir: &str, check: &str| {
        let outcome = lab.run(["doctor", "--quick", "--json", "--dir", dir]);
        assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
        let told = outcome.stderr.trim_end();
        assert!(told.starts_with("faretra: arenas do not work in ") && told.contains(check), "{outcome:?}");
        let facts = facts(&outcome);
        assert_eq!((&facts["works"], &facts["measured"]), (&false.into(), &serde_json::json!([])));
        assert_eq!(found(&facts, check)["verdict"], "fails");
        assert_eq!(found(&facts, "arenas")["verdict"], "fails");
        facts
    };
    let facts = fails(lab.file("nowhere").as_str(), "tmpfs");
    assert!(found(&facts, "tmpfs")["here"].as_str().unwrap().contains("No such file"), "{facts}");
    let disk = env!("CARGO_TARGET_TMPDIR");
    let facts = fails(disk, "tmpfs");
    assert!(found(&facts, "tmpfs")["here"].as_str().unwrap().contains("not on a tmpfs"), "{facts}");
    assert_eq!(found(&facts, "tmpfs")["change"][0], "export FARETRA_DIR=/dev/shm");
}

#[test]
fn small_and_odd_file_systems() {
    const TEST: &str = "small_and_odd_file_systems";
    let lab = Lab::new();
    let look = |options: &str| {
        let outcome = prepared(&lab, TEST, &format!("mount -t tmpfs -o {options} tmpfs \"$DIR\""))?;
        Some((outcome.status.code().unwrap(), facts(&outcome)))
    };
    // Docker's default.
    let Some((code, seen)) = look("size=64m") else { return };
    let tmpfs = found(&seen, "tmpfs");
    assert_eq!((code, &tmpfs["verdict"], &tmpfs["facts"]["size"]), (0, &"note".into(), &(64 << 20).into()));
    let lines = tmpfs["change"].to_string();
    assert!(["--shm-size", "remount,size=", "medium: Memory"].iter().all(|line| lines.contains(line)), "{lines}");
    let (code, seen) = look("size=16m,noexec").unwrap();
    assert_eq!((code, &found(&seen, "mount")["here"]), (0, &"read-write, noexec".into()));
    let (code, seen) = look("ro").unwrap();
    assert_eq!((code, &found(&seen, "mount")["facts"]["read_only"]), (1, &true.into()));
    // The calls are not to blame.
    assert_eq!(found(&seen, "O_TMPFILE")["verdict"], "ok");
    let (code, seen) = look("nr_inodes=1").unwrap();
    assert_eq!((code, &found(&seen, "inodes")["facts"]["free"]), (1, &0.into()));
    let (code, seen) = look("size=32k").unwrap();
    assert_eq!(code, 1);
    assert!(found(&seen, "arenas")["here"].as_str().unwrap().contains("no room for"), "{seen}");
    let huge = Path::new("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    if !std::fs::read_to_string(huge).is_ok_and(|text| text.contains("[never]")) {
        return eprintln!("SKIPPED the huge pages of {TEST}: the system decides for all file systems");
    }
    let (code, seen) = look("size=512m,huge=always").unwrap();
    let pages = found(&seen, "huge pages");
    assert_eq!((code, &pages["verdict"], &pages["facts"]["huge"]), (0, &"note".into(), &"always".into()), "{seen}");
}

#[test]
fn without_proc() {
    let lab = Lab::new();
    let Some(outcome) = prepared(&lab, "without_proc", "umount -l /proc") else { return };
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    let seen = facts(&outcome);
    let proc = found(&seen, "/proc");
    assert_eq!((&proc["verdict"], &proc["change"][0]), (&"fails".into(), &"mount -t proc proc /proc".into()));
    let told = found(&seen, "arenas")["here"].as_str().unwrap();
    assert!(told.contains("cannot open /proc/self/fd/"), "{told}");
    // Files that are there and say nothing.
    let odd = "mount -t tmpfs tmpfs /proc && mkdir -p /proc/self/fd && for f in self/mountinfo self/status self/cgroup \
               meminfo; do printf 'x - \\n:\\377\\n' > /proc/$f; done";
    let outcome = prepared(&lab, "without_proc", odd).unwrap();
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert_eq!(found(&facts(&outcome), "huge pages")["facts"]["huge"], Value::Null);
}

#[test]
fn limits_of_the_process() {
    let lab = Lab::new();
    let under = |limit: &str| {
        let script = format!("ulimit {limit} && exec \"$@\"");
        let outcome = wrapped(&lab, &["sh", "-c", &script, "sh"]);
        (outcome.status.code().unwrap(), facts(&outcome))
    };
    let (code, seen) = under("-v 10000000");
    let space = found(&seen, "address space");
    assert_eq!((code, &space["verdict"], &space["facts"]["bytes"]), (1, &"fails".into(), &10_240_000_000_u64.into()));
    assert_eq!(space["change"][0], "ulimit -v unlimited");
    let (code, seen) = under("-f 1000000");
    assert_eq!((code, &found(&seen, "file size")["verdict"]), (1, &"fails".into()));
    let (code, seen) = under("-n 32");
    let files = found(&seen, "descriptors");
    assert_eq!((code, &files["verdict"], &files["facts"]["descriptors"]), (0, &"note".into(), &32.into()));
    let (code, seen) = under("-l 0");
    assert_eq!((code, &found(&seen, "locked memory")["verdict"]), (0, &"ok".into()));
}

/// Lets calls of a number fail, if an argument has a value, in the command that is run.
fn forbid(command: &mut Command, calls: &[(i64, Option<(usize, u32)>)], error: i32) {
    let step = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let (load, equal) = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
    let give = libc::BPF_RET | libc::BPF_K;
    let mut program = vec![];
    for (call, argument) in calls {
        let fail = step(give, libc::SECCOMP_RET_ERRNO | error as u32, 0, 0);
        // The number is the first field, and the arguments are 8 bytes each from the 16th on.
        program.push(step(load, 0, 0, 0));
        match argument {
            None => program.push(step(equal, *call as u32, 0, 1)),
            Some((which, value)) => program.extend([
                step(equal, *call as u32, 0, 3),
                step(load, 16 + 8 * *which as u32, 0, 0),
                step(equal, *value, 0, 1),
            ]),
        }
        program.push(fail);
    }
    program.push(step(give, libc::SECCOMP_RET_ALLOW, 0, 0));
    let set = move || {
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
        nix::sys::prctl::set_no_new_privs()?;
        // SAFETY: the kernel reads the program, which lives until it returns.
        match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: two system calls, and memory that was made before.
    unsafe { command.pre_exec(set) };
}

#[test]
fn calls_that_a_filter_forbids() {
    let lab = Lab::new();
    let under = |calls: &[(i64, Option<(usize, u32)>)], error| {
        // Measured once is enough.
        let mut command = lab.command(["doctor", "--json"]);
        command.args((error != libc::EPERM).then_some("--quick"));
        forbid(&mut command, calls, error);
        let outcome = finish(command.spawn().unwrap());
        (outcome.status.code().unwrap(), facts(&outcome))
    };
    let populate = (libc::SYS_madvise, Some((2, libc::MADV_POPULATE_WRITE as u32)));
    let lock = (libc::SYS_fcntl, Some((1, libc::F_OFD_SETLK as u32)));
    for (call, check, code, verdict) in [
        ((libc::SYS_fallocate, None), "fallocate", 0, "note"),
        ((libc::SYS_fallocate, None), "punch hole", 0, "note"),
        (populate, "MADV_POPULATE_WRITE", 0, "note"),
        ((libc::SYS_futex_waitv, None), "futex_waitv", 0, "note"),
        ((libc::SYS_eventfd2, None), "eventfd", 0, "note"),
        ((libc::SYS_pidfd_open, None), "pidfd_open", 0, "note"),
        ((libc::SYS_memfd_create, None), "memfd_create", 0, "ok"),
        ((libc::SYS_linkat, None), "linkat", 1, "fails"),
        (lock, "OFD locks", 1, "fails"),
    ] {
        for error in [libc::EPERM, libc::ENOSYS] {
            let (done, seen) = under(&[call], error);
            let finding = found(&seen, check);
            assert_eq!((done, &finding["verdict"]), (code, &verdict.into()), "{finding}: {seen}");
            assert_eq!((&finding["facts"]["errno"], &finding["facts"]["seccomp"]), (&error.into(), &2.into()));
            assert!(finding["change"][0].as_str().unwrap().contains("SCMP_ACT_ALLOW"), "{finding}");
            // What can be had without is measured all the same.
            let measured = code == 0 && error == libc::EPERM;
            assert_eq!(!seen["measured"].as_array().unwrap().is_empty(), measured, "{seen}");
        }
    }
    // Either of the two gives memory; without both there is none.
    let (code, seen) = under(&[(libc::SYS_fallocate, None), populate], libc::EPERM);
    assert_eq!((code, &found(&seen, "fallocate")["verdict"]), (1, &"fails".into()));
    let told = found(&seen, "arenas")["here"].as_str().unwrap();
    assert!(told.contains("neither fallocate nor MADV_POPULATE_WRITE"), "{told}");
    // As on a kernel before 5.14.
    let (code, seen) = under(&[populate], libc::EINVAL);
    assert_eq!((code, &found(&seen, "MADV_POPULATE_WRITE")["verdict"]), (0, &"note".into()));
}
