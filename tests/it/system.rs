//! Shows that full file systems, namespaces, users, fork, zombies and signals end in errors or in nothing.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use faretra::{Arena, Error, KIB, MIB};

use crate::support::{Child, DEADLINE, Dir, TestArena, skip, until};
use crate::values::{self, KINDS};

/// A tmpfs of its own, a few MiB small. `None`: not permitted here.
pub struct SmallFs {
    dir: Dir,
}

impl SmallFs {
    pub fn new(test: &str, size: u64) -> Option<SmallFs> {
        SmallFs::with(test, &format!("size={size}"))
    }

    pub fn with(test: &str, options: &str) -> Option<SmallFs> {
        let dir = Dir::new();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&dir.0).output();
        match mount {
            Ok(done) if done.status.success() => Some(SmallFs { dir }),
            Ok(done) => {
                skip(test, &format!("a tmpfs may not be mounted: {}", String::from_utf8_lossy(&done.stderr).trim()));
                None
            }
            Err(e) => {
                skip(test, &format!("no `mount`: {e}"));
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.dir.0
    }
}

impl Drop for SmallFs {
    fn drop(&mut self) {
        // Lazily: a child may still be on its way out.
        let _ = Command::new("umount").arg("-l").arg(&self.dir.0).status();
    }
}

fn root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip(test, "needs root");
    }
    root
}

/// On a full tmpfs: errors that name what was asked and what is free, never a signal; nothing is lost, and
/// something smaller fits.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "memory is not committed before it is touched")]
fn a_full_file_system_is_a_typed_error() {
    let Some(fs) = SmallFs::new("a_full_file_system_is_a_typed_error", 8 * MIB) else { return };
    // The writer is another process: a SIGBUS would be its end.
    let mut child = Child::puppet(fs.path());
    child.ask("create t limit=67108864");
    child.ask("publish table kept 1 60000");
    // A pin needs a page of its own: it is had before there is none.
    child.ask("get kept");
    for kind in KINDS {
        let full = child.refuse(&format!("publish {kind} big 2 3000000"));
        assert!(full.starts_with("NoSpace: no room for "), "{kind}: {full}");
        assert!(full.contains("bytes free of the file system of 8388608 bytes"), "{kind}: {full}");
        // What cannot be had in one piece takes nothing, also for a moment.
        if matches!(kind, "array" | "bytes") {
            let free = full.split_once("bytes: ").and_then(|(_, rest)| rest.split_once(' ')).map(|(free, _)| free);
            let free: u64 = free.and_then(|free| free.parse().ok()).expect("a number");
            assert!(free > 4 * MIB, "{kind}: {full}");
        }
    }
    // Until nothing fits, in ever smaller pieces; then by one small value after the other.
    for words in [200_000, 20_000, 2_000, 200] {
        let refused = (0..100_000).find(|i| {
            child.tell(&format!("publish bytes fill-{words}-{i} 3 {words}"));
            child.answer().is_err_and(|e| {
                assert!(e.starts_with("NoSpace"), "{e}");
                true
            })
        });
        assert!(refused.is_some());
    }
    child.ask("check");
    assert_eq!(child.ask("verify"), "");
    child.ask("remove fill-200000-0");
    child.ask("publish batch smaller 4 20000");
    assert!(child.ask("get smaller").starts_with("batch 4 "));
    // Somebody else fills the file system: still only errors.
    let filler = fs.path().join("filler");
    let n = std::fs::write(&filler, vec![1; 8 << 20]);
    assert!(n.is_err());
    child.tell("publish array after 5 100000");
    let full = child.answer().expect_err("there is nothing left");
    assert!(full.starts_with("NoSpace"), "{full}");
    child.ask("check");
    std::fs::remove_file(&filler).expect("removed");
    let arena = Arena::options().dir(fs.path()).open("t").expect("the arena");
    for entry in arena.names().expect("names") {
        values::check(&arena.get(&entry.name).expect("listed")).expect("whole");
        child.ask(&format!("remove {}", entry.name));
    }
    child.ask("close");
    crate::support::assert_sound(&arena, 0);
}

/// Where there is no room for an arena, none is made, and none is left half made.
#[test]
fn no_room_for_an_arena() {
    let Some(fs) = SmallFs::new("no_room_for_an_arena", MIB) else { return };
    let filler = fs.path().join("filler");
    let _ = std::fs::write(&filler, vec![1; 2 << 20]);
    let mut child = Child::puppet(fs.path());
    for keep in [(1 << 20) - 4096, 1 << 19, 200 << 10, 100 << 10, 50 << 10] {
        std::fs::File::options().write(true).open(&filler).expect("it").set_len(keep).expect("shorter");
        child.tell("create t limit=65536");
        match child.answer() {
            Err(full) => {
                assert!(full.starts_with("NoSpace"), "{full}");
                assert_eq!(std::fs::read_dir(fs.path()).expect("the directory").count(), 1, "only the filler");
            }
            Ok(_) => {
                child.ask("close");
                Arena::options().dir(fs.path()).remove("t").expect("remove");
            }
        }
    }
    std::fs::remove_file(&filler).expect("removed");
    child.ask("create t limit=500000");
    child.ask("publish bytes n 1 1000");
    // Joining needs memory too. It is had or not, but never half.
    let _ = std::fs::write(&filler, vec![1; 2 << 20]);
    let mut other = Child::puppet(fs.path());
    other.tell("open t");
    if let Err(full) = other.answer() {
        assert!(full.starts_with("NoSpace"), "{full}");
    }
    std::fs::remove_file(&filler).expect("removed");
    other.ask("open t");
    other.ask("get n");
    other.ask("close");
    assert_eq!(child.ask("verify"), "");
}

/// A tmpfs that takes huge pages: the kernel counts more than an arena's words tell of, which is no damage. `faretra doctor`
/// found that: `verify` called every arena there damaged.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "the memory is not in the directory")]
fn huge_pages_are_no_damage() {
    const TEST: &str = "huge_pages_are_no_damage";
    let Some(fs) = SmallFs::with(TEST, "size=512m,huge=always") else { return };
    let arena = Arena::options().dir(fs.path()).limit(400 * MIB).create("t").expect("an arena");
    if std::fs::metadata(arena.path()).expect("its file").blksize() <= 4096 {
        return skip(TEST, "this kernel takes none for files");
    }
    let w = arena.writer().expect("a permit");
    for (i, kind) in KINDS.iter().enumerate() {
        values::publish(&w, kind, kind, i as u64, 200_000).expect("room");
        assert_eq!(arena.verify().expect("verify"), []);
    }
    let stats = arena.stats().expect("stats");
    assert!(stats.used > stats.live + 2 * MIB, "pages are huge: {stats:?}");
    for (i, kind) in KINDS.iter().enumerate() {
        assert_eq!(values::check(&arena.get(kind).expect("published")), Ok(i as u64));
        w.remove(kind).expect("removed");
    }
    drop(w);
    crate::support::assert_sound(&arena, 0);
}

/// Two arenas whose files have one inode number, on two file systems: what is read from one is copied to the other, and
/// never taken for an object of that.
#[test]
fn arenas_of_one_inode_number_are_two() {
    const TEST: &str = "arenas_of_one_inode_number_are_two";
    let Some(a) = SmallFs::new(TEST, 32 * MIB) else { return };
    let Some(b) = SmallFs::new(TEST, 32 * MIB) else { return };
    let create = |fs: &SmallFs| Arena::options().dir(fs.path()).limit(16 * MIB).create("t").expect("an arena");
    let (here, there) = (create(&a), create(&b));
    let inode = |arena: &Arena| std::fs::metadata(arena.path()).expect("its file").ino();
    if inode(&here) != inode(&there) {
        return skip(TEST, "the file systems number their files otherwise");
    }
    let (w, v) = (here.writer().expect("a permit"), there.writer().expect("a permit"));
    // The same ids mean something else in the other.
    for (i, kind) in KINDS.iter().enumerate() {
        values::publish(&w, &format!("n{i}"), kind, 1, 20_000).expect("room");
        values::publish(&v, &format!("n{i}"), kind, 2, 20_000).expect("room");
    }
    let names: Vec<String> = (0..KINDS.len()).map(|i| format!("n{i}")).collect();
    for name in &names {
        let object = here.get(name).expect("published");
        v.publish(&format!("copy of {name}"), &object).expect("room");
        let bundle = faretra::Bundle::new().with("a", &object).with("b", &object).with("c", &object);
        v.publish(&format!("bundle of {name}"), bundle).expect("room");
    }
    let draft = w.draft_array::<u64, ndarray::Ix1>(10).expect("room");
    let refused = v.publish("draft", draft);
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    // What is sent on, too.
    let from = w.sender_with("c", 8, faretra::channel::Contents::Mixed).expect("made");
    let to = v.sender_with("c", 8, faretra::channel::Contents::Mixed).expect("made");
    let (leases, arrived) = (here.receiver("c").expect("there"), there.receiver("c").expect("there"));
    for name in &names {
        from.send(here.get(name).expect("published")).expect("room");
        leases.recv().expect("sent").send(&to).expect("room");
    }
    drop((leases, from));
    for name in &names {
        w.remove(name).expect("removed");
    }
    w.remove("c").expect("removed");
    drop(w);
    crate::support::assert_sound(&here, 0);
    for name in &names {
        assert_eq!(values::check(&there.get(&format!("copy of {name}")).expect("published")), Ok(1), "{name}");
        assert_eq!(values::check(&there.get(&format!("bundle of {name}")).expect("published")), Ok(1), "{name}");
        assert_eq!(values::check(&there.get(name).expect("published")), Ok(2), "{name}");
        let lease = arrived.recv().expect("sent on");
        assert_eq!(values::check(&lease), Ok(1), "{name}");
        lease.ack();
    }
    assert_eq!(there.verify().expect("verify"), []);
}

/// Liveness reaches across PID namespaces, both ways: the living are not taken for dead, the dead are found.
#[test]
fn pid_namespaces_do_not_matter() {
    const INSIDE: [&str; 5] = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let permitted = Command::new(INSIDE[0]).args(&INSIDE[1..]).arg("true").output();
    if !permitted.is_ok_and(|done| done.status.success()) {
        return skip("pid_namespaces_do_not_matter", "a PID namespace may not be made here");
    }
    let t = TestArena::with(|o| o.limit(64 * MIB).writers(2));
    let mut inside = Child::start("puppet", t.dir(), &INSIDE);
    assert!(inside.pid < 10, "it counts from 1, and is {}", inside.pid);
    inside.ask("open t");
    let mut outside = t.puppet();
    inside.ask("writer");
    outside.ask("writer");
    outside.ask("draft 50000");
    inside.ask("draft 50000");
    for _ in 0..3 {
        assert_eq!(inside.ask("recover"), "0 0 0", "who is outside is alive");
        assert_eq!(outside.ask("recover"), "0 0 0", "who is inside is alive");
        assert_eq!(inside.ask("participants"), "3");
    }
    // A dead one outside, seen from inside, by its lock alone.
    outside.kill();
    until("the inside to notice", || (inside.ask("recover") == "1 1 1").then_some(()));
    assert_eq!(inside.ask("participants"), "2");
    // A dead one inside, seen from outside.
    inside.kill();
    until("the outside to notice", || (t.arena.recover().expect("recover").participants == 1).then_some(()));
    let a = t.arena.writer_timeout(DEADLINE).expect("a permit");
    let b = t.arena.writer_timeout(DEADLINE).expect("a permit");
    assert!(a.recovered() && b.recovered());
    drop((a, b));
    t.assert_sound(0);
}

/// A process that was killed and not reaped is dead.
#[test]
fn zombies_are_dead() {
    let t = TestArena::with(|o| o.limit(64 * MIB).writers(1));
    let mut zombie = t.puppet();
    zombie.ask("writer");
    zombie.ask("draft 100000");
    zombie.kill_unreaped();
    let w = t.arena.writer_timeout(DEADLINE).expect("given back");
    assert!(w.recovered());
    assert_eq!(zombie.state(), Some('Z'), "nobody reaped it meanwhile");
    drop(w);
    t.assert_sound(0);
    zombie.kill();
}

/// A forked child's handles are errors, its drops do nothing, the parent goes on; the child may open anew.
#[test]
fn forked_children_must_open_anew() {
    let t = TestArena::with(|o| o.limit(64 * MIB).writers(4));
    let w = t.arena.writer().expect("a permit");
    for (i, kind) in KINDS.iter().enumerate() {
        values::publish(&w, &format!("n{i}"), kind, i as u64, 20_000).expect("room");
    }
    let live = t.arena.stats().expect("stats").live;
    let mut parent = t.puppet();
    parent.ask("writer");
    parent.ask("draft 30000");
    for i in 0..KINDS.len() {
        parent.ask(&format!("get n{i}"));
    }
    for _ in 0..3 {
        t.fork(&mut parent, "fork n1");
        assert_eq!(parent.ask("check"), KINDS.len().to_string());
        assert_eq!(t.arena.stats().expect("stats").participants, 2);
        assert!(w.remove("from-the-child").expect("remove"));
    }
    // Its permit and draft are its own still.
    let who = t.arena.who().expect("who");
    let p = who.iter().find(|h| h.pid == parent.pid as u32).expect("it takes part");
    assert_eq!((p.pins, p.drafts, p.permits), (KINDS.len() as u64, 1, 1), "{p:?}");
    parent.ask("publish bundle m 5 20000");
    assert_eq!(values::check(&t.arena.get("m").expect("published")), Ok(5));
    parent.ask("remove m");
    parent.ask("close");
    t.assert_sound(live);
}

/// A program that closes all descriptors stays alive for others, and goes on working.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "a lock goes with its descriptor")]
fn closing_all_descriptors_changes_nothing() {
    let t = TestArena::with(|o| o.limit(64 * MIB).writers(2));
    let mut daemon = t.puppet();
    daemon.ask("writer");
    daemon.ask("publish table n 1 30000");
    daemon.ask("get n");
    daemon.ask("closefrom 3");
    for round in 0..2 {
        assert_eq!(t.arena.recover().expect("recover").participants, 0, "it is alive");
        daemon.ask("check");
        daemon.ask("publish batch m 2 300000");
        daemon.ask("get m");
        daemon.ask("publish array big 3 1000000");
        daemon.ask("draft 10000");
        daemon.ask("recover");
        daemon.ask("trim");
        assert_eq!(daemon.ask("verify"), "");
        assert_eq!(values::check(&t.arena.get("big").expect("published")), Ok(3));
        if round == 0 {
            // Again, with the numbers taken by other files.
            daemon.ask("closefrom 3");
            daemon.ask("open_files 20");
        }
    }
    daemon.kill();
    let a = t.arena.writer_timeout(DEADLINE).expect("a permit");
    let b = t.arena.writer_timeout(DEADLINE).expect("a permit");
    assert!(a.recovered() != b.recovered(), "its permit came back");
    for name in ["n", "m", "big"] {
        a.remove(name).expect("remove");
    }
    drop((a, b));
    t.assert_sound(0);
}

/// Another user gets in only as the mode says: 0600 refuses, 0660 with a shared group works.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "memory is its owner's alone")]
fn other_users_need_the_mode() {
    if !root("other_users_need_the_mode") {
        return;
    }
    const GROUP: u32 = 54_321;
    let dir = Dir::new();
    std::fs::set_permissions(&dir.0, PermissionsExt::from_mode(0o1777)).expect("ours");
    let mut ann = Child::puppet(&dir.0);
    ann.ask(&format!("user 54001 {GROUP}"));
    let mut bob = Child::puppet(&dir.0);
    bob.ask(&format!("user 54002 {GROUP}"));

    ann.ask("create private limit=10000000");
    ann.ask("publish batch n 1 1000");
    let refused = bob.refuse("open private");
    assert!(refused.starts_with("Os: cannot open") && refused.contains("Permission denied"), "{refused}");
    let refused = bob.refuse("open private trust");
    assert!(refused.contains("Permission denied"), "{refused}");
    bob.ask("list");

    ann.ask("create ours limit=10000000 mode=660");
    let mode = std::fs::metadata(dir.0.join("faretra.ours")).expect("the file");
    assert_eq!((mode.mode() & 0o7777, mode.uid(), mode.gid()), (0o660, 54_001, GROUP), "whatever the umask says");
    ann.ask("publish table n 2 10000");
    let refused = bob.refuse("open ours");
    assert!(refused.starts_with("Untrusted") && refused.contains("owner is user 54001"), "{refused}");
    let refused = ann.refuse("open ours");
    assert!(refused.starts_with("Untrusted") && refused.contains("mode 660"), "{refused}");
    bob.ask("open ours trust");
    assert_eq!(bob.ask("get n"), "table 2 1");
    assert_eq!(bob.ask("publish bundle m 3 10000"), "1");
    ann.ask("open ours trust");
    assert_eq!(ann.ask("get m"), "bundle 3 1");
    assert_eq!(ann.ask("participants"), "2", "each sees that the other lives");
    bob.ask("draft 1000");
    bob.kill();
    // Users differ, so that /proc may tell nothing: the lock does.
    until("the death to be seen", || (ann.ask("recover") == "1 1 1").then_some(()));
    assert_eq!(ann.ask("verify"), "");
}

/// The mode is what was asked for, whatever the umask; modes that make no sense are refused.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "memory is its owner's alone")]
fn modes_are_kept() {
    let dir = Dir::new();
    for mode in [0o600, 0o640, 0o660, 0o666] {
        let name = format!("m{mode:o}");
        let arena = Arena::options().dir(&dir.0).limit(MIB).mode(mode).create(&name).expect("an arena");
        let file = std::fs::metadata(arena.path()).expect("the file");
        assert_eq!(file.mode() & 0o7777, mode, "{mode:o}");
        drop(arena);
        let again = Arena::options().dir(&dir.0).open(&name);
        match mode & 0o022 {
            0 => drop(again.expect("nobody else may write it")),
            _ => assert!(matches!(again, Err(Error::Untrusted { .. })), "{mode:o}"),
        }
    }
    for mode in [0o700, 0o4600, 0o1660] {
        assert!(matches!(Arena::options().dir(&dir.0).mode(mode).create("x"), Err(Error::Invalid(_))), "{mode:o}");
    }
}

/// An ephemeral arena whose participants were all killed is gone at the next look.
#[test]
fn ephemeral_arenas_go_with_the_killed() {
    let dir = Dir::new();
    let path = dir.0.join("faretra.e");
    for how in ["list", "open", "open_or_create", "create"] {
        let mut first = Child::puppet(&dir.0);
        first.ask("create e limit=10000000 ephemeral");
        let mut second = Child::puppet(&dir.0);
        second.ask("open e");
        second.ask("publish table n 1 10000");
        first.kill();
        assert!(path.exists(), "one is still there");
        assert_eq!(second.ask("get n"), "table 1 1");
        second.kill();
        until("the locks to go", || {
            let options = || Arena::options().dir(&dir.0).limit(MIB);
            match how {
                "list" => options().list().expect("list").is_empty(),
                "open" => matches!(options().open("e"), Err(Error::NotFound { .. })),
                "open_or_create" => {
                    let arena = options().keep(false).open_or_create("e").expect("an arena");
                    arena.names().expect("names").is_empty()
                }
                _ => match options().keep(false).create("e") {
                    Ok(_) => true,
                    Err(Error::AlreadyExists { .. }) => false,
                    Err(e) => panic!("{e}"),
                },
            }
            .then_some(())
        });
        assert!(!path.exists(), "{how}");
    }
}

/// Eight processes that make, join and leave one ephemeral arena: nothing but NotFound, and nothing is left.
#[test]
fn ephemeral_arenas_are_raced() {
    let dir = Dir::new();
    let mut all: Vec<Child> = (0..8).map(|_| Child::puppet(&dir.0)).collect();
    for child in &mut all {
        child.tell("join_and_leave e 150");
    }
    let mut not_found = 0;
    for child in &mut all {
        let n = child.answer().unwrap_or_else(|e| panic!("an error that is not NotFound: {e}"));
        not_found += n.parse::<u64>().expect("a number");
    }
    eprintln!("8 processes x 150 times: {not_found} times not found");
    assert_eq!(Arena::options().dir(&dir.0).list().expect("list").len(), 0);
    assert_eq!(std::fs::read_dir(&dir.0).expect("the directory").count(), 0, "it is gone");
}

/// Arenas of another directory, by the option and by FARETRA_DIR; the option wins.
#[test]
fn arenas_of_another_directory() {
    let (a, b) = (Dir::new(), Dir::new());
    let mut child = Child::puppet(&a.0);
    child.ask("create t limit=1000000");
    assert!(a.0.join("faretra.t").exists(), "FARETRA_DIR");
    let there = format!("dir={}", b.0.display());
    assert!(child.refuse(&format!("open t {there}")).starts_with("NotFound"));
    child.ask(&format!("create t limit=1000000 {there}"));
    assert!(b.0.join("faretra.t").exists(), "Options::dir");
    assert_eq!(child.ask(&format!("list {there}")), "t:1");
    assert_eq!(Arena::options().dir(&a.0).list().expect("list")[0].name, "t");
}

/// A directory that is not on a tmpfs is refused with the reason, and so is one that is not there.
#[test]
fn directories_that_cannot_hold_arenas() {
    let there = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let create = |dir: &Path| Arena::options().dir(dir).limit(MIB).create("t");
    match create(&there) {
        Err(Error::NotAnArena { reason, .. }) => assert!(reason.contains("not on a tmpfs"), "{reason}"),
        Ok(arena) => {
            Arena::options().dir(&there).remove(arena.name()).expect("remove");
            skip("directories_that_cannot_hold_arenas", "the target directory is on a tmpfs");
        }
        Err(e) => panic!("{e}"),
    }
    let missing = there.join("nothing-here");
    assert!(matches!(create(&missing), Err(Error::Os { .. })));
    let opened = Arena::options().dir(&missing).open("t");
    assert!(matches!(opened, Err(Error::NotFound { .. } | Error::Os { .. })));
    assert!(matches!(Arena::options().dir(&missing).list(), Err(Error::Os { .. })));
}

/// Signals at 1 kHz interrupt nothing that matters.
#[test]
fn signals_interrupt_nothing() {
    let t = TestArena::with(|o| o.limit(256 * MIB).writers(1));
    let mut child = t.puppet();
    child.interrupt();
    for round in 0..6 {
        for kind in KINDS {
            child.ask(&format!("publish {kind} n {round} 300000"));
            child.ask("get n");
        }
        child.ask("trim");
        child.ask("recover");
        child.ask("unpin");
    }
    // Waiting for a permit, and for a name, through it all.
    child.ask("release");
    let w = t.arena.writer().expect("a permit");
    assert!(child.refuse("writer 200").starts_with("TimedOut"));
    assert!(child.refuse("wait_for m 0 200").starts_with("TimedOut"));
    child.tell("wait_for m 0 30000");
    std::thread::sleep(Duration::from_millis(60));
    values::publish(&w, "m", "batch", 8, 1000).expect("room");
    assert_eq!(child.answer().as_deref(), Ok("8 1"));
    child.tell("writer 30000");
    std::thread::sleep(Duration::from_millis(60));
    drop(w);
    assert_eq!(child.answer().as_deref(), Ok("recovered=false"));
    child.assert_interrupted(50);
    child.ask("remove n");
    child.ask("remove m");
    child.ask("close");
    t.assert_sound(0);
}

/// A limit is shared by all: what one process fills, another is refused, and told who holds it.
#[test]
fn the_limit_is_shared() {
    let t = TestArena::new(8 * MIB);
    let mut hoarder = t.puppet();
    hoarder.ask("draft 700000");
    let w = t.arena.writer().expect("a permit");
    let full = values::publish(&w, "n", "bytes", 1, 600_000).expect_err("the limit");
    let Error::NoSpace { asked, free, of, largest_holders, .. } = &full else { panic!("{full}") };
    assert!(*asked >= 600_000 * 8 && *free < *asked && *of == 8 * MIB, "{full}");
    assert_eq!(largest_holders[0].pid, hoarder.pid as u32, "{full}");
    assert!(largest_holders[0].bytes >= 700_000 * 8, "{full}");
    values::publish(&w, "small", "bytes", 1, (100 * KIB / 8) as usize).expect("a smaller one fits");
    // Memory of the dead is found when it is needed, without being asked.
    hoarder.kill();
    until("the memory to come back", || values::publish(&w, "n", "bytes", 1, 600_000).ok());
    w.remove("n").expect("remove");
    w.remove("small").expect("remove");
    drop(w);
    t.assert_sound(0);
}
