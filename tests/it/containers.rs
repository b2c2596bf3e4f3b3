//! Shows that processes in namespaces of their own, as in containers, share arenas by the tmpfs that they share, and by nothing
//! else; and that all of a container may be killed at once.

use std::path::{Path, PathBuf};
use std::process::Command;

use faretra::{Arena, MIB};

use crate::support::{Child, Dir, TestArena, assert_sound, skip, until};
use crate::system::SmallFs;

/// Whether `unshare` may make these namespaces here.
fn permitted(test: &str, namespaces: &[&str]) -> bool {
    let done = Command::new("unshare").args(namespaces).args(["--fork", "true"]).output();
    match done {
        Ok(done) if done.status.success() => true,
        Ok(done) => {
            skip(test, &format!("no namespaces {namespaces:?}: {}", String::from_utf8_lossy(&done.stderr).trim()));
            false
        }
        Err(e) => {
            skip(test, &format!("no `unshare`: {e}"));
            false
        }
    }
}

const CONTAINER: [&str; 5] = ["--pid", "--mount", "--ipc", "--uts", "--mount-proc"];

/// Where a container has what it shares.
const SHARED: &str = "/mnt";

/// A process that is the first of a container: its own processes, mounts, IPC and /dev/shm; `setup` is a line for the shell in
/// which `$1` is a directory outside.
fn container(outside: &Path, setup: &str, arenas: &Path) -> Child {
    let script = format!("{setup} && mount -t tmpfs -o size=64m tmpfs /dev/shm && shift && exec \"$@\"");
    let outside = outside.to_str().expect("ours");
    let mut wrapper = vec!["unshare"];
    wrapper.extend(CONTAINER);
    wrapper.extend(["--fork", "--kill-child", "sh", "-c", &script, "sh", outside]);
    Child::start("puppet", arenas, &wrapper)
}

/// Puts the directory outside, a tmpfs that containers share, at [`SHARED`].
const BIND: &str = "mount --bind \"$1\" /mnt";

/// The process id, as this process counts, of a container's first process.
fn first_process(container: &Child) -> String {
    let children = format!("/proc/{0}/task/{0}/children", container.outer_pid());
    std::fs::read_to_string(children).expect("it lives").trim().to_owned()
}

/// One more process in a container, as `docker exec` starts one.
fn one_more_in(container: &Child, arenas: &Path) -> Child {
    let first = first_process(container);
    let enter = ["nsenter", "--target", &first, "--pid", "--mount", "--ipc", "--uts"];
    Child::start("puppet", arenas, &enter)
}

/// Two containers with one tmpfs, as `docker run --ipc=container:..` and a pod's `emptyDir` with `medium: Memory` have it: values,
/// locks and channels go from one to the other. All of one is killed with its first process; the other notices, goes on with
/// what the dead held, and has every byte back.
#[test]
#[cfg_attr(
    all(feature = "portable", not(feature = "proof")),
    ignore = "a container is Linux's, and the memory is not in the directory that is shared"
)]
fn two_containers_share_a_tmpfs() {
    const TEST: &str = "two_containers_share_a_tmpfs";
    if !permitted(TEST, &CONTAINER) {
        return;
    }
    let Some(fs) = SmallFs::new(TEST, 256 * MIB) else { return };
    let arenas = PathBuf::from(SHARED);
    for round in 0..3 {
        let mut two = container(fs.path(), BIND, &arenas);
        two.ask("create t limit=100000000 writers=4");
        let mut one = container(fs.path(), BIND, &arenas);
        let mut more: Vec<Child> = (0..2).map(|_| one_more_in(&one, &arenas)).collect();
        // Each counts its processes for itself.
        assert_eq!((one.pid, two.pid), (1, 1));
        one.ask("open t");
        one.ask("publish batch n 1 200000");
        assert_eq!(two.ask("get n"), "batch 1 1");
        assert_eq!(two.ask("check"), "1");
        for (i, child) in more.iter_mut().enumerate() {
            assert!(child.pid > 1);
            child.ask("open t");
            child.ask("get n");
            child.ask(&format!("draft {}", 100_000 * (i + 1)));
            child.ask(&format!("lock m{i}"));
        }
        // An item that was received in the one, and not acknowledged.
        two.ask("w-send job");
        assert!(more[0].ask("w-take").contains("job"));
        one.ask("draft 300000");
        assert_eq!(two.ask("participants"), "4");
        assert_eq!(two.ask("recover"), "0 0 0", "they live, whatever their numbers");
        // What waits in the second for what the first holds.
        two.tell("lock m0 30000");
        std::thread::sleep(std::time::Duration::from_millis(50));
        one.kill();
        assert_eq!(two.answer().as_deref(), Ok("recovered=true 0"), "round {round}");
        for child in &mut more {
            child.wait();
        }
        until("the deaths to be seen", || (two.ask("participants") == "1").then_some(()));
        assert_eq!(two.ask("lock m1 30000"), "recovered=true 0");
        assert_eq!(two.ask("check"), "1", "its pin is its own");
        assert!(two.ask("w-take").contains("job"), "the item came back");
        two.ask("w-ack");
        assert_eq!(two.ask("recover"), "0 0 0");
        two.ask("close");
        two.ask("open t");
        for name in ["n", "m0", "m1", "jobs"] {
            two.ask(&format!("remove {name}"));
        }
        assert_eq!(two.ask("verify"), "");
        two.ask("close");
        // From outside it is an arena as any other: nothing is left in it.
        let arena = Arena::options().dir(fs.path()).open("t").expect("outside");
        assert_sound(&arena, 0);
        let s = arena.stats().expect("stats");
        assert_eq!((s.names, s.objects, s.participants), (0, 0, 1), "{s:?}");
        drop(arena);
        Arena::options().dir(fs.path()).remove("t").expect("removed");
    }
}

/// Two containers that each have their own /dev/shm do not see each other's arenas, also where these have one name; what is in
/// one goes with it.
#[test]
fn containers_that_share_nothing_see_nothing() {
    const TEST: &str = "containers_that_share_nothing_see_nothing";
    if !permitted(TEST, &CONTAINER) {
        return;
    }
    let dir = Dir::new();
    let shm = Path::new("/dev/shm");
    let mut one = container(&dir.0, "true", shm);
    let mut two = container(&dir.0, "true", shm);
    one.ask("create t limit=10000000");
    one.ask("publish batch n 1 1000");
    assert_eq!(two.ask("list"), "");
    assert!(two.refuse("open t").starts_with("NotFound"));
    two.ask("create t limit=10000000");
    two.ask("publish array n 2 1000");
    assert_eq!((one.ask("get n"), two.ask("get n")), ("batch 1 1".into(), "array 2 1".into()));
    assert_eq!((one.ask("participants"), two.ask("participants")), ("1".into(), "1".into()));
    one.kill();
    assert_eq!(two.ask("recover"), "0 0 0");
    assert_eq!(two.ask("verify"), "");
}

/// Docker's 64 MB at /dev/shm: the error has the numbers, nothing is lost, and what fits works.
#[test]
#[cfg_attr(
    all(feature = "portable", not(feature = "proof")),
    ignore = "a container is Linux's, and the memory is not in the directory that is shared"
)]
fn sixty_four_megabytes() {
    const TEST: &str = "sixty_four_megabytes";
    if !permitted(TEST, &CONTAINER) {
        return;
    }
    let dir = Dir::new();
    let mut child = container(&dir.0, "true", Path::new("/dev/shm"));
    // The default limit is more than there is.
    child.ask("create t");
    child.ask("publish batch kept 1 200000");
    let full = child.refuse("publish bytes big 2 12500000");
    let room = "bytes free of the file system of 67108864 bytes";
    assert!(full.starts_with("NoSpace: no room for 1000") && full.contains(room), "{full}");
    assert!(full.contains("use a larger tmpfs"), "{full}");
    assert_eq!(child.ask("get kept"), "batch 1 1");
    child.ask("publish bytes smaller 3 2500000");
    assert_eq!(child.ask("verify"), "");
}

/// A cgroup of this test, with so many bytes of memory. `None`: there can be none here.
fn memory_cgroup(test: &str, bytes: u64) -> Option<Cgroup> {
    let name = format!("faretra-test-{}", std::process::id());
    let root = Path::new("/sys/fs/cgroup");
    // Where something can be swapped out, nobody need be killed.
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps.lines().count() > 1 {
        skip(test, "there is swap");
        return None;
    }
    for (dir, limit) in [(root.join("memory"), "memory.limit_in_bytes"), (root.to_owned(), "memory.max")] {
        let group = Cgroup(dir.join(&name));
        if std::fs::create_dir(&group.0).is_ok() && std::fs::write(group.0.join(limit), bytes.to_string()).is_ok() {
            return Some(group);
        }
    }
    skip(test, "no memory cgroup can be made here");
    None
}

/// Goes with its last process.
struct Cgroup(PathBuf);

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Beyond the memory of its container a process is killed by the kernel in the middle of whatever it does: every byte comes back,
/// and those outside go on.
#[test]
fn a_memory_cgroup_kills_and_nothing_is_lost() {
    const TEST: &str = "a_memory_cgroup_kills_and_nothing_is_lost";
    let Some(group) = memory_cgroup(TEST, 64 * MIB) else { return };
    let t = TestArena::new(400 * MIB);
    for kind in ["bytes", "batch", "drafted-batch"] {
        let mut child = t.puppet();
        if let Err(e) = std::fs::write(group.0.join("cgroup.procs"), child.pid.to_string()) {
            return skip(TEST, &format!("a process may not be put in a cgroup: {e}"));
        }
        let version = child.ask(&format!("publish {kind} kept 1 100000"));
        child.ask("lock m");
        // What it publishes fits, and the copy in the arena does not fit beside it.
        child.tell(&format!("publish {kind} kept 2 4500000"));
        assert_eq!(child.killed_by(), Some(libc::SIGKILL), "{kind}");
        until("the death to be seen", || {
            t.arena.recover().expect("recover");
            (t.arena.stats().expect("stats").participants == 1).then_some(())
        });
        let kept = t.arena.get("kept").expect("published");
        assert_eq!((crate::values::check(&kept), kept.version().to_string()), (Ok(1), version), "{kind}");
        drop(kept);
        t.assert_nothing_left(vec![]);
    }
}

/// A tmpfs that a container has read-only: an onlooker reads, lists and verifies what others change meanwhile; who wants to take
/// part or make an arena is told why not.
#[test]
#[cfg_attr(
    all(feature = "portable", not(feature = "proof")),
    ignore = "a container is Linux's, and the memory is not in the directory that is shared"
)]
fn a_read_only_mount_is_looked_at() {
    const TEST: &str = "a_read_only_mount_is_looked_at";
    if !permitted(TEST, &CONTAINER) {
        return;
    }
    let t = TestArena::new(16 * MIB);
    let setup = format!("{BIND} && mount -o remount,bind,ro /mnt");
    let mut child = container(t.dir(), &setup, Path::new(SHARED));
    let w = t.arena.writer().expect("a permit");
    for round in 1..=3 {
        crate::values::publish(&w, "n", "batch", round, 1000).expect("room");
        assert_eq!(child.ask("observe t"), format!("n:{round} alive=1 wrong=0"));
        assert_eq!(child.ask("list"), "t:1");
    }
    for line in ["open t", "rm t"] {
        let told = child.refuse(line);
        assert!(told.starts_with("Os: cannot open /mnt/faretra.t: Read-only file system"), "{told}");
        assert!(told.contains("`Options::observe` needs the right to read it only"), "{told}");
    }
    let told = child.refuse("create own limit=1000000");
    assert!(told.starts_with("Os: cannot create a segment in /mnt: Read-only file system"), "{told}");
    drop(w);
    drop(child);
    assert_eq!(t.arena.verify().expect("verify"), []);
}

/// IPC, UTS and user namespaces change nothing but the number of the owner: a user that has none in the namespace is a stranger.
#[test]
fn other_namespaces() {
    const TEST: &str = "other_namespaces";
    let t = TestArena::with(|o| o.limit(64 * MIB).writers(4));
    for namespaces in [&["--ipc"][..], &["--uts"], &["--user", "--map-root-user"], &["--cgroup"], &["--mount"]] {
        if !permitted(TEST, namespaces) {
            continue;
        }
        let mut wrapper = vec!["unshare", "--fork", "--kill-child"];
        wrapper.extend(namespaces);
        let mut child = Child::start("puppet", t.dir(), &wrapper);
        child.ask("open t");
        child.ask("publish batch n 1 10000");
        child.ask("draft 100000");
        assert_eq!(t.arena.recover().expect("recover").participants, 0, "{namespaces:?}: it lives");
        assert_eq!(child.ask("recover"), "0 0 0");
        child.kill();
        until("the death to be seen", || (t.arena.recover().expect("recover").participants == 1).then_some(()));
        assert_eq!(crate::values::check(&t.arena.get("n").expect("published")), Ok(1), "{namespaces:?}");
        t.arena.writer().expect("a permit").remove("n").expect("removed");
        t.assert_sound(0);
    }
    let unmapped = ["--user"];
    if permitted(TEST, &unmapped) && nix::unistd::geteuid().is_root() {
        // Root outside is nobody inside, and may write the file all the same: it is not told apart from a stranger.
        let mut wrapper = vec!["unshare", "--fork", "--kill-child"];
        wrapper.extend(unmapped);
        let mut child = Child::start("puppet", t.dir(), &wrapper);
        let us = nix::unistd::geteuid();
        child.tell("open t");
        match child.answer() {
            // Both are the number that stands for all who have none.
            Ok(_) => assert_eq!(t.arena.stats().expect("stats").participants, 2),
            Err(told) => assert!(told.starts_with("Untrusted") && told.contains("owner is user"), "{us}: {told}"),
        }
    }
}

/// A PID namespace whose processes see the /proc of another one: its numbers are others' there, and are not believed.
#[test]
#[cfg_attr(
    all(feature = "portable", not(feature = "proof")),
    ignore = "a container is Linux's, and the memory is not in the directory that is shared"
)]
fn the_proc_of_another_namespace() {
    const TEST: &str = "the_proc_of_another_namespace";
    if !permitted(TEST, &["--pid"]) {
        return;
    }
    let t = TestArena::with(|o| o.limit(64 * MIB).writers(2));
    let mut one = Child::start("puppet", t.dir(), &["unshare", "--pid", "--fork", "--kill-child"]);
    assert_eq!(one.pid, 1);
    one.ask("open t");
    one.ask("draft 100000");
    for _ in 0..3 {
        let who = t.arena.who().expect("who");
        assert_eq!(who.iter().filter(|holder| holder.alive).count(), 2, "{who:?}");
        assert_eq!(t.arena.recover().expect("recover").participants, 0, "it lives");
        assert_eq!(one.ask("recover"), "0 0 0");
        // Process 1 of the /proc that it sees is another program.
        let told = who.iter().find(|holder| holder.pid == 1).expect("it takes part");
        let ours = std::fs::read_to_string("/proc/self/comm").expect("ours");
        assert_eq!(told.command, ours.trim_end(), "one program, in two processes");
    }
    one.kill();
    until("the death to be seen", || (t.arena.recover().expect("recover").participants == 1).then_some(()));
    t.assert_sound(0);
}

/// Every test that the recipes name is there.
#[test]
fn recipes_name_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/containers.md")).expect("the recipes");
    let named = text.split('`').filter_map(|word| word.split_once("::").filter(|(file, _)| !file.contains(['O', ' '])));
    let named: Vec<(&str, &str)> = named.collect();
    assert!(named.len() > 15, "{named:?}");
    for (file, test) in named {
        let source = std::fs::read_to_string(root.join(format!("tests/it/{file}.rs"))).expect("a file of tests");
        assert!(source.contains(&format!("\nfn {test}() {{\n")), "{file}::{test}");
    }
}
