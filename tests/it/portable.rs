//! Shows what the portable back-end does by other means than that of Linux: names, sweeping, and deaths behind forked children.

use std::path::{Path, PathBuf};
use std::time::Instant;

use faretra::{Arena, Error, KIB, MIB};

use crate::support::{Child, DEADLINE, Dir, TestArena};

/// Side directories in a directory of arenas, by ID.
fn sides(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory").map(|e| e.expect("an entry").file_name());
    entries.filter_map(|file| Some(file.to_str()?.strip_prefix(".faretra-")?.to_owned())).collect()
}

/// Where Linux keeps the memory of an ID.
fn memory(id: &str) -> PathBuf {
    Path::new("/dev/shm").join(format!("faretra-{id}"))
}

/// A process that was killed is found dead, though a child that it had forked has its lock still.
#[test]
fn the_dead_are_found_behind_their_children() {
    let t = TestArena::with(|o| o.limit(16 * MIB).writers(1));
    let mut parent = t.puppet();
    parent.ask("writer");
    parent.ask("leave_a_child");
    assert!(matches!(t.arena.try_writer(), Ok(None)), "the parent has the permit");
    parent.kill();
    drop(t.arena.writer_timeout(DEADLINE).expect("the permit of the dead"));
}

/// A zombie has ended, though its pid is in use: its lock is free.
#[test]
fn the_dead_are_found_before_they_are_reaped() {
    let t = TestArena::with(|o| o.limit(16 * MIB).writers(1));
    let mut holder = t.puppet();
    holder.ask("writer");
    holder.kill_unreaped();
    drop(t.arena.writer_timeout(DEADLINE).expect("the permit of the dead"));
    holder.kill();
}

/// Memory that no name says and no participant has is given back by the next who makes an arena there; what somebody has is not.
#[test]
fn what_nobody_has_is_swept() {
    let dir = Dir::new();
    let here = Arena::options().dir(&dir.0).limit(MIB);
    let mut maker = Child::puppet(&dir.0);
    maker.ask("create lost");
    let [id] = sides(&dir.0).try_into().expect("one arena");
    std::fs::remove_file(dir.0.join("faretra.lost")).expect("its name");
    drop(here.create("other").expect("an arena"));
    assert!(memory(&id).exists() && sides(&dir.0).contains(&id), "somebody takes part");
    maker.ask("verify");
    maker.kill();
    drop(here.create("another").expect("an arena"));
    assert!(!memory(&id).exists(), "its memory is there still");
    assert!(!sides(&dir.0).contains(&id));
    assert_eq!(here.list().expect("a list").len(), 2);
}

/// What an arena leaves when it is removed, and when its last participant goes: nothing.
#[test]
fn an_arena_goes_whole() {
    let dir = Dir::new();
    let here = Arena::options().dir(&dir.0).limit(MIB);
    for (name, keep) in [("kept", true), ("ephemeral", false)] {
        let arena = here.clone().keep(keep).create(name).expect("an arena");
        let [id] = sides(&dir.0).try_into().expect("one arena");
        assert!(memory(&id).exists());
        if keep {
            here.remove(name).expect("removed");
            // Who takes part goes on without it.
            arena.writer().expect("a permit").publish("x", "y").expect("room");
        }
        drop(arena);
        assert!(!memory(&id).exists());
        assert_eq!(std::fs::read_dir(&dir.0).expect("a directory").count(), 0);
    }
}

/// A name whose memory a restart of the machine took says so, and can be removed; and what Linux's own back-end made is told.
#[test]
fn names_that_say_no_memory_are_told() {
    let dir = Dir::new();
    let here = Arena::options().dir(&dir.0).limit(MIB);
    drop(here.create("old").expect("an arena"));
    let [id] = sides(&dir.0).try_into().expect("one arena");
    std::fs::remove_file(memory(&id)).expect("its memory");
    let told = here.open("old").expect_err("there is none").to_string();
    assert!(told.contains("restart"), "{told}");
    here.remove("old").expect("removed");
    assert!(matches!(here.open("old"), Err(Error::NotFound { .. })));

    let mut of_linux = b"faretra\n\x05\0\0\0\0\0\0\0".to_vec();
    of_linux.resize(64 * KIB as usize, 0);
    std::fs::write(dir.0.join("faretra.linux"), of_linux).expect("a file");
    let told = here.open("linux").expect_err("another back-end's").to_string();
    assert!(told.contains("back-end of Linux"), "{told}");
}

/// What the platform has not is refused in words: memory for other users.
#[test]
fn other_users_are_refused_in_words() {
    let dir = Dir::new();
    let told = Arena::options().dir(&dir.0).mode(0o660).create("a").expect_err("not here").to_string();
    assert!(told.contains("660") && told.contains("600"), "{told}");
}

/// Threads of two processes that wait for each other a thousand times are woken each time: looking by themselves, every 90 ms,
/// they would not be done before the deadline.
#[test]
fn waiters_are_woken() {
    let t = TestArena::with(|o| o.limit(16 * MIB).spin(0));
    let mut other = Child::puppet(t.dir());
    other.ask("open t spin=0");
    other.tell("echo 1000");
    let start = Instant::now();
    let w = t.arena.writer().expect("a permit");
    for round in 1..=1000_u64 {
        w.publish("ping", round.to_string().as_str()).expect("room");
        let pong = t.arena.wait_for_timeout("pong", round - 1, DEADLINE).expect("an answer");
        assert!(pong.version() >= round);
        assert!(start.elapsed() < DEADLINE, "{round} rounds in {DEADLINE:?}");
    }
    other.answer().expect("its rounds");
}
