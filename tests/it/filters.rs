//! Shows what filters of system calls (seccomp) and old kernels take from an arena: nothing that has another way, and where
//! there is none, an error says so.

use faretra::MIB;

use crate::support::{Child, TestArena};
use crate::system::SmallFs;
use crate::values::KINDS;

/// A call and what it answers; of `madvise`, for one advice.
struct Filter {
    what: &'static str,
    calls: Vec<(i64, Option<i32>)>,
    errors: &'static [i32],
}

impl Filter {
    /// Forbids the calls in a process.
    fn set(&self, child: &mut Child, error: i32) {
        for (call, advice) in &self.calls {
            let only = advice.map_or_else(String::new, |advice| format!(" 2 {advice}"));
            child.ask(&format!("forbid {call} {error}{only}"));
        }
    }
}

fn populate() -> (i64, Option<i32>) {
    (libc::SYS_madvise, Some(libc::MADV_POPULATE_WRITE))
}

/// What is forbidden, and has another way.
fn with_another_way() -> [Filter; 5] {
    const FORBIDDEN: &[i32] = &[libc::EPERM, libc::ENOSYS];
    let fallocate = (libc::SYS_fallocate, None);
    [
        Filter { what: "fallocate", calls: vec![fallocate], errors: FORBIDDEN },
        // EINVAL: a kernel before 5.14.
        Filter { what: "populate", calls: vec![populate()], errors: &[libc::EINVAL, libc::EPERM, libc::ENOSYS] },
        Filter { what: "memfd", calls: vec![(libc::SYS_memfd_create, None)], errors: FORBIDDEN },
        Filter { what: "pidfd", calls: vec![(libc::SYS_pidfd_open, None)], errors: FORBIDDEN },
        Filter { what: "several bells", calls: vec![(libc::SYS_futex_waitv, None)], errors: FORBIDDEN },
    ]
}

/// Every kind of value is published, read and removed, drafts are dropped, memory is given back to the byte, and an arena is
/// made and removed, by a process that lacks a call; a second one, which lacks nothing, sees the same.
#[test]
fn what_has_another_way_works() {
    for filter in with_another_way() {
        for error in filter.errors {
            let t = TestArena::new(64 * MIB);
            let mut child = Child::puppet(t.dir());
            filter.set(&mut child, *error);
            child.ask("create own limit=10000000");
            child.ask("publish bytes n 1 100000");
            child.ask("rm own");
            child.ask("open t");
            for kind in KINDS {
                child.ask(&format!("publish {kind} {kind} 7 100000"));
                assert!(child.ask(&format!("get {kind}")).contains(" 7 "), "{} {error}: {kind}", filter.what);
                crate::values::check(&t.arena.get(kind).expect("published")).expect("whole");
            }
            child.ask("draft 500000");
            child.ask("check");
            child.ask("unpin");
            for kind in KINDS {
                child.ask(&format!("remove {kind}"));
            }
            let before = t.arena.stats().expect("stats").used;
            child.ask("release");
            child.ask("trim");
            let after = t.arena.stats().expect("stats").used;
            assert!(after < before / 2, "{} {error}: {before} bytes became {after}", filter.what);
            assert_eq!(child.ask("verify"), "", "{} {error}", filter.what);
            t.assert_nothing_left(vec![child]);
        }
    }
}

/// On a full tmpfs the other way ends in the same error, and never in a signal.
#[test]
#[cfg_attr(
    all(feature = "portable", not(feature = "proof")),
    ignore = "filters calls that the portable back-end does not make"
)]
fn the_other_way_fails_in_words() {
    for filter in with_another_way().into_iter().take(2) {
        let Some(fs) = SmallFs::new("the_other_way_fails_in_words", 8 * MIB) else { return };
        let mut child = Child::puppet(fs.path());
        filter.set(&mut child, filter.errors[0]);
        child.ask("create t limit=67108864");
        child.ask("publish table kept 1 60000");
        child.ask("get kept");
        for kind in KINDS {
            let full = child.refuse(&format!("publish {kind} big 2 3000000"));
            assert!(full.starts_with("NoSpace: no room for "), "{} {kind}: {full}", filter.what);
        }
        let refused = (0..100_000).find(|i| {
            child.tell(&format!("publish bytes fill-{i} 3 2000"));
            child.answer().is_err_and(|e| {
                assert!(e.starts_with("NoSpace"), "{}: {e}", filter.what);
                true
            })
        });
        assert!(refused.is_some());
        child.ask("check");
        assert_eq!(child.ask("verify"), "", "{}", filter.what);
        child.ask("remove fill-0");
        child.ask("publish bytes again 4 100");
    }
}

/// Without both ways to have memory, and without the calls that arenas are made of, `create` and `open` say what is missing;
/// nothing is left, and who looks on needs none of them.
#[test]
#[cfg_attr(
    all(feature = "portable", not(feature = "proof")),
    ignore = "filters calls that the portable back-end does not make"
)]
fn what_has_no_other_way_is_said() {
    let t = TestArena::new(16 * MIB);
    crate::values::publish(&t.arena.writer().expect("a permit"), "n", "batch", 1, 1000).expect("room");
    let fallocate = (libc::SYS_fallocate, None);
    let no_memory = "neither fallocate nor MADV_POPULATE_WRITE works in this process";
    for (calls, create, open) in [
        (vec![fallocate, populate()], no_memory, Some(no_memory)),
        (vec![(libc::SYS_linkat, None)], "cannot name", None),
    ] {
        for error in [libc::EPERM, libc::ENOSYS] {
            let mut child = Child::puppet(t.dir());
            Filter { what: "", calls: calls.clone(), errors: &[] }.set(&mut child, error);
            let told = child.refuse("create own limit=10000000");
            assert!(told.starts_with("Os: ") && told.contains(create), "{told}");
            match open {
                Some(open) => assert!(child.refuse("open t").contains(open)),
                None => drop(child.ask("open t")),
            }
            let seen = child.ask("observe t");
            assert!(seen.starts_with("n:1 alive=") && seen.ends_with("wrong=0"), "{seen}");
            drop(child);
            assert_eq!(t.options().list().expect("list").len(), 1, "nothing is left of `own`");
        }
    }
    t.assert_nothing_left(vec![]);
}

/// Where neither call that gives memory back is allowed, freed memory is used again, everything stays sound, and another
/// process gives the memory back.
#[test]
fn memory_that_cannot_be_given_back_is_used_again() {
    let t = TestArena::new(64 * MIB);
    let mut child = t.puppet();
    child.ask(&format!("forbid {} {}", libc::SYS_fallocate, libc::EPERM));
    child.ask(&format!("forbid {} {} 2 {}", libc::SYS_madvise, libc::EPERM, libc::MADV_REMOVE));
    for round in 0..20 {
        child.ask(&format!("publish bytes n {round} 500000"));
        child.ask("get n");
        child.ask("unpin");
        child.ask("trim");
        assert_eq!(child.ask("verify"), "");
    }
    child.ask("remove n");
    child.ask("trim");
    child.ask("publish bytes n 1 500000");
    assert!(t.arena.stats().expect("stats").used < 32 * MIB, "{:?}", t.arena.stats());
    t.assert_nothing_left(vec![child]);
}
