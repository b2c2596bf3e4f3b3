//! Shows that the mode and the access list of an arena's file decide who takes part and who looks on, that nobody removes what
//! is another's, and that words say so.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use faretra::Arena;

use crate::obey::set_acl;
use crate::support::{Child, Dir, skip, until};

const GROUP: u32 = 54_321;

/// A directory for everybody, or `None`: this test cannot be other users.
fn shared(test: &str, mode: u32) -> Option<Dir> {
    if !nix::unistd::geteuid().is_root() {
        skip(test, "needs root");
        return None;
    }
    let dir = Dir::new();
    std::fs::set_permissions(&dir.0, PermissionsExt::from_mode(mode)).expect("ours");
    Some(dir)
}

/// Ann and Bob are in the group; Eve is not.
fn people(dir: &Dir) -> [Child; 3] {
    [[54_001, GROUP], [54_002, GROUP], [54_003, 54_003]].map(|[user, group]| {
        let mut child = Child::puppet(&dir.0);
        child.ask(&format!("user {user} {group}"));
        child
    })
}

fn file(dir: &Dir, name: &str) -> PathBuf {
    dir.0.join(format!("faretra.{name}"))
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("the file").mode() & 0o7777
}

/// 0640: the group looks on, at what is published while it looks, and cannot take part; others see that there is an arena.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "other users are refused")]
fn a_group_that_may_read_looks_on() {
    let Some(dir) = shared("a_group_that_may_read_looks_on", 0o1777) else { return };
    let [mut ann, mut bob, mut eve] = people(&dir);
    ann.ask("create t limit=10000000 mode=640");
    ann.ask("publish batch n 1 1000");
    assert_eq!(bob.ask("observe t"), "n:1 alive=1 wrong=0");
    ann.ask("publish table n 2 1000");
    ann.ask("publish array m 3 1000");
    assert_eq!(bob.ask("observe t"), "m:1 n:2 alive=1 wrong=0");
    assert_eq!(bob.ask("list"), "t:1");
    for trust in ["", " trust"] {
        let told = bob.refuse(&format!("open t{trust}"));
        assert!(
            told.contains("Permission denied") && told.contains("`Options::observe` needs the right to read"),
            "{told}"
        );
        assert!(bob.refuse(&format!("rm t{trust}")).contains("Permission denied"));
    }
    assert!(eve.refuse("observe t").contains("Permission denied"));
    let listed = eve.ask("list");
    assert!(listed.starts_with("t:0(cannot open ") && listed.contains("Permission denied"), "{listed}");
    // The owner opens it again without trust: nobody else can write it.
    ann.ask("open t");
    assert_eq!(ann.ask("get m"), "array 3 1");
    ann.kill();
    until("an onlooker sees the death", || bob.ask("observe t").starts_with("m:1 n:2 alive=0 ").then_some(()));
}

/// An access list that lets another user write shows in the mode, whose group bits are its mask: so that its owner is told, too.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "other users are refused")]
fn access_lists_show_in_the_mode() {
    const TEST: &str = "access_lists_show_in_the_mode";
    // Tags of entries.
    const OWNER: u16 = 1;
    const USER: u16 = 2;
    const OWNERS_GROUP: u16 = 4;
    const MASK: u16 = 16;
    const OTHERS: u16 = 32;
    const NOBODY: u32 = u32::MAX;
    let Some(dir) = shared(TEST, 0o1777) else { return };
    let [mut ann, mut bob, mut eve] = people(&dir);
    ann.ask("create t limit=10000000");
    ann.ask("publish batch n 1 1000");
    let path = file(&dir, "t");
    let list = |rights, mask| {
        let entries = [(OWNER, 6, NOBODY), (USER, rights, 54_003), (OWNERS_GROUP, 0, NOBODY), (MASK, mask, NOBODY)];
        [entries.as_slice(), &[(OTHERS, 0, NOBODY)]].concat()
    };
    if let Err(e) = set_acl(&path, c"system.posix_acl_access", &list(6, 6)) {
        return skip(TEST, &format!("this tmpfs has no access lists: {e}"));
    }
    assert_eq!(mode(&path), 0o660, "the group bits are the mask");
    let told = ann.refuse("open t");
    assert!(told.starts_with("Untrusted") && told.contains("mode 660 lets others write"), "{told}");
    assert!(bob.refuse("open t trust").contains("Permission denied"), "the list names Eve only");
    assert!(eve.refuse("open t").starts_with("Untrusted"));
    eve.ask("open t trust");
    assert_eq!(eve.ask("get n"), "batch 1 1");
    eve.ask("publish array m 2 1000");
    eve.ask("close");
    // Without the right to write in the mask she looks on, whatever her entry says, and the owner trusts the file again.
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).expect("root may");
    assert_eq!(eve.ask("observe t"), "m:1 n:1 alive=1 wrong=0");
    assert!(eve.refuse("open t trust").contains("Permission denied"));
    ann.ask("open t");
    assert_eq!(ann.ask("get m"), "array 2 1");
    // A list that files of the directory inherit gives nobody what the mode does not.
    let inherited = [(OWNER, 7, NOBODY), (USER, 7, 54_003), (OWNERS_GROUP, 7, NOBODY), (MASK, 7, NOBODY)];
    let inherited = [inherited.as_slice(), &[(OTHERS, 7, NOBODY)]].concat();
    set_acl(&dir.0, c"system.posix_acl_default", &inherited).expect("access lists");
    ann.ask("create own limit=10000000");
    assert_eq!(mode(&file(&dir, "own")), 0o600);
    assert!(eve.refuse("open own trust").contains("Permission denied"));
    assert!(eve.refuse("observe own").contains("Permission denied"));
    ann.ask("open own");
    ann.ask("create ours limit=10000000 mode=660");
    assert_eq!(mode(&file(&dir, "ours")), 0o660);
    assert!(ann.refuse("open ours").starts_with("Untrusted"));
    eve.ask("open ours trust");
}

/// In a directory with the sticky bit a participant cannot take the name of another's arena away; it is told so, and the arena
/// goes on as if nothing had been tried.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "other users are refused")]
fn a_sticky_directory_keeps_names() {
    let Some(dir) = shared("a_sticky_directory_keeps_names", 0o1777) else { return };
    let [mut ann, mut bob, mut eve] = people(&dir);
    ann.ask("create t limit=10000000 mode=660");
    ann.ask("publish batch n 1 1000");
    for _ in 0..3 {
        let told = bob.refuse("rm t trust");
        assert!(told.starts_with("Os: cannot remove") && told.contains("Operation not permitted"), "{told}");
        bob.ask("open t trust");
        assert_eq!(bob.ask("get n"), "batch 1 1");
        assert_eq!(ann.ask("participants"), "2");
    }
    assert!(bob.refuse("rm t").starts_with("Untrusted"));
    assert!(eve.refuse("rm t").contains("Permission denied"));
    assert!(file(&dir, "t").exists());
    assert_eq!(ann.ask("verify"), "");
    bob.ask("close");
    ann.ask("rm t trust");
    assert!(!file(&dir, "t").exists());
}

/// An arena of which nobody is left, and which would go with the next look of its owner, stays whoever else looks; so do files
/// that are no arenas.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "other users are refused")]
fn what_is_anothers_is_never_pruned() {
    let Some(dir) = shared("what_is_anothers_is_never_pruned", 0o777) else { return };
    let [mut ann, mut bob, mut eve] = people(&dir);
    // Everybody may remove files of this directory, and even write the file.
    ann.ask("create gone limit=10000000 mode=666 ephemeral");
    ann.ask("publish batch n 1 1000");
    ann.kill();
    let path = file(&dir, "gone");
    until("the lock to go", || bob.ask("observe gone").starts_with("n:1 alive=0 ").then_some(()));
    let odd = file(&dir, "odd");
    std::fs::write(&odd, "faretra\nand nothing that an arena begins with").expect("a file");
    chown(&odd, Some(54_001), Some(GROUP)).expect("root may");
    let me = || Arena::options().dir(&dir.0);
    for _ in 0..2 {
        let listed = bob.ask("list");
        assert!(listed.contains("gone:0") && listed.contains("odd:0(") && !listed.contains("gone:0("), "{listed}");
        eve.ask("list");
        assert!(me().list().expect("list").iter().any(|a| a.name == "gone"), "root is another, too");
        for other in [&mut bob, &mut eve] {
            let told = other.refuse("open gone");
            assert!(told.starts_with("Untrusted") && told.contains("owner is user 54001"), "{told}");
            assert!(other.refuse("rm gone").starts_with("Untrusted"));
            assert!(other.refuse("create gone limit=1000000").starts_with("AlreadyExists"));
            assert!(other.refuse("rm odd").contains("Permission denied"));
        }
        assert!(me().remove("gone").is_err_and(|e| e.to_string().contains("take part as its owner")));
        assert!(path.exists() && odd.exists());
    }
    let mut ann = Child::puppet(&dir.0);
    ann.ask(&format!("user 54001 {GROUP}"));
    assert!(!ann.ask("list trust").contains("gone"), "its owner's look prunes it");
    assert!(!path.exists() && odd.exists());
}

/// A directory as Kubernetes makes one for `fsGroup`: containers with users of their own share the group, by which they share
/// arenas; who is killed is recovered from, to the byte.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "other users are refused")]
fn users_of_a_pod_share_by_the_group() {
    let Some(dir) = shared("users_of_a_pod_share_by_the_group", 0o2770) else { return };
    chown(&dir.0, None, Some(GROUP)).expect("root may");
    let [mut one, mut two, mut eve] = [54_001, 54_002, 54_003].map(|user| {
        let mut child = Child::puppet(&dir.0);
        child.ask(&format!("user {user} {user}{}", if user == 54_003 { "" } else { " 54321" }));
        child
    });
    one.ask("create t limit=60000000 mode=660");
    assert_eq!(std::fs::metadata(file(&dir, "t")).expect("the file").gid(), GROUP, "the directory's");
    two.ask("open t trust");
    one.ask("publish batch n 1 100000");
    assert_eq!(two.ask("get n"), "batch 1 1");
    two.ask("draft 500000");
    two.ask("lock m");
    assert!(eve.refuse("open t trust").contains("Permission denied"));
    two.kill();
    until("the death to be seen", || (one.ask("recover") == "1 1 1").then_some(()));
    assert_eq!(one.ask("lock m 30000"), "recovered=true 0");
    one.ask("unlock");
    one.ask("remove n");
    one.ask("remove m");
    one.ask("close");
    one.ask("open t trust");
    one.ask("trim");
    assert_eq!(one.ask("verify"), "");
    one.ask("rm t trust");
}
