//! Shows what happens at the limits of an arena's seats and of a process: errors with the numbers, and a way on.

use faretra::arrow::arrow_array::Int64Array;
use faretra::{Arena, Error, GIB, MIB};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::obey::forked;
use crate::support::{DEADLINE, Dir, TestArena, until};

/// Seats of an arena, one of which is spare.
const SEATS: usize = 256;

/// How many mappings this process has of the arena's file, and how many bytes they are.
fn mappings(arena: &Arena) -> (usize, u64) {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux");
    let name = format!("faretra.{}", arena.name());
    let number = |text: &str| u64::from_str_radix(text, 16).expect("an address");
    let of_file = maps.lines().filter(|line| line.ends_with(&name));
    let bytes = of_file.map(|line| {
        let (from, to) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
        number(to) - number(from)
    });
    bytes.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes))
}

/// An arena of 256 GiB of capacity, 23 TiB of addresses to read and write, is opened as often in one process as it has seats, each time
/// to read and write: its mappings are shared. One more is refused with the number, and what looks after the arena still comes in.
#[test]
fn opens_of_one_process_share_its_mappings() {
    let dir = Dir::new();
    let options = || Arena::options().dir(&dir.0).spin(0);
    drop(options().limit(64 * MIB).capacity(256 * GIB).writers(512).create("a").expect("an arena"));
    let open = || {
        let arena = options().open("a")?;
        arena.writer()?.publish("x", [1_u8, 2, 3].as_slice())?;
        Ok::<_, Error>(arena)
    };
    let first = open().expect("a seat");
    let (_, alone) = mappings(&first);
    let mut all = vec![first];
    while all.len() < SEATS - 1 {
        all.push(open().unwrap_or_else(|e| panic!("open {}: {e}", all.len())));
    }
    let (_, together) = mappings(&all[0]);
    assert!(together < alone + SEATS as u64 * 64 * 1024, "{alone} bytes of address space became {together}");
    let error = open().expect_err("no seat is left");
    assert!(matches!(error, Error::Limit { limit, .. } if limit == SEATS as u64 - 1), "{error}");
    let spare = options().spare_seat().open("a").expect("the spare seat");
    assert_eq!(spare.verify().expect("looked at"), []);
    assert!(matches!(options().spare_seat().open("a"), Err(Error::Limit { .. })));
    drop(spare);
    // The mappings stay as long as anything that was read through any of them.
    let last = all.pop().expect("some");
    let object = last.get("x").expect("published");
    drop((last, all));
    assert_eq!(object.bytes().expect("pinned"), [1, 2, 3]);
    let again = open().expect("seats are free again");
    drop(object);
    assert_eq!(again.verify().expect("looked at"), []);
    drop(again);
    options().remove("a").expect("removed");
}

/// Each participant of one process dies for itself: closing one leaves the locks of the others alone.
#[test]
fn participants_that_share_mappings_leave_one_by_one() {
    let t = TestArena::new(16 * MIB);
    let others: Vec<Arena> = (0..5).map(|_| t.open()).collect();
    assert_eq!(t.arena.stats().expect("stats").participants, 6);
    for (left, arena) in others.into_iter().enumerate().rev() {
        drop(arena);
        t.arena.recover().expect("nothing to recover");
        assert_eq!(t.arena.stats().expect("stats").participants, left as u32 + 1);
    }
    let writer = t.arena.writer().expect("a permit");
    writer.publish("x", [7_u8].as_slice()).expect("alive, and not taken for dead");
    assert_eq!(t.arena.verify().expect("verify"), []);
}

/// Columns that were read through one handle are shared by a writer of another handle of this process, not copied.
#[test]
fn columns_are_shared_between_handles() {
    let t = TestArena::new(64 * MIB);
    let writer = t.arena.writer().expect("a permit");
    let column = Int64Array::from_iter_values(0..100_000);
    let batch = crate::arrow_types::samples::batch_of(vec![("n", std::sync::Arc::new(column))]);
    writer.publish("first", &batch).expect("room");
    let other = t.open();
    let read = other.batch("first").expect("published");
    let before = t.arena.stats().expect("stats").used;
    writer.publish("second", read.record_batch()).expect("room");
    let more = t.arena.stats().expect("stats").used - before;
    assert!(more < 100_000, "{more} bytes for a batch of 800,000 that is there already");
    drop((read, other));
    writer.remove("first").expect("removed");
    let second = t.arena.batch("second").expect("published");
    assert_eq!(second.column::<i64>("n").expect("a column")[99_999], 99_999);
    assert_eq!(t.arena.verify().expect("verify"), []);
}

/// When all seats belong to processes that were killed, the next one that comes takes them back.
#[test]
fn seats_of_the_dead_are_taken_back() {
    let t = TestArena::with(|options| options.limit(16 * MIB));
    let (options, dir) = (t.options(), t.close());
    let children: Vec<Pid> = (0..SEATS - 1)
        .map(|_| {
            forked(|| {
                let _arena = options.clone().open("t").expect("a seat");
                std::thread::sleep(DEADLINE);
                1
            })
        })
        .collect();
    until("all seats are taken", || {
        let seen = options.clone().observe("t").expect("observed").stats().expect("stats");
        (seen.participants as usize == SEATS - 1).then_some(())
    });
    assert!(matches!(options.clone().open("t"), Err(Error::Limit { .. })), "they are alive");
    children.iter().for_each(|child| kill(*child, Signal::SIGKILL).expect("our child"));
    for child in children {
        assert!(matches!(waitpid(child, None), Ok(WaitStatus::Signaled(_, Signal::SIGKILL, _))));
    }
    let arena = options.open("t").expect("a seat");
    assert_eq!(arena.stats().expect("stats").participants, 1);
    assert_eq!(arena.verify().expect("verify"), []);
    drop(dir);
}

/// What a process may not have (address space, files of that size) is named with its numbers, and nothing dies of it.
#[test]
#[cfg_attr(
    all(feature = "portable", not(feature = "proof")),
    ignore = "the error does not name the limit of addresses"
)]
fn limits_of_the_process_are_named() {
    let dir = Dir::new();
    let options = || Arena::options().dir(&dir.0).limit(16 * MIB);
    drop(options().create("a").expect("an arena"));
    let under = |resource: Resource, most: u64, name: &'static str, says: &'static str| {
        let child = forked(|| {
            setrlimit(resource, most, most).expect("less than before");
            let result = match name {
                "a" => options().open(name),
                _ => options().create(name),
            };
            match result.map(drop) {
                Err(e @ Error::Os { .. }) if e.to_string().contains(says) => 0,
                Err(_) => 1,
                Ok(()) => 2,
            }
        });
        let end = waitpid(child, None).expect("our child");
        assert!(matches!(end, WaitStatus::Exited(_, 0)), "{says}: {end:?}");
    };
    under(Resource::RLIMIT_AS, 20 * GIB, "a", "may have 20 GiB (`ulimit -v`)");
    under(Resource::RLIMIT_AS, 20 * GIB, "b", "address space");
    under(Resource::RLIMIT_FSIZE, GIB, "b", "1073741824 (`ulimit -f`)");
    drop(options().open("a").expect("as it was"));
}

/// An arena for 520 participants: as many opens, of this process and of one that is killed with half of them, each with a pin of
/// its own; all come back, and each of the others is told apart.
#[test]
fn more_participants_than_fit_a_byte() {
    const MANY: usize = 520;
    let dir = Dir::new();
    let options = || Arena::options().dir(&dir.0).spin(0);
    drop(options().limit(64 * MIB).capacity(GIB).participants(MANY as u32).writers(2).create("a").expect("an arena"));
    let open = || options().open("a");
    let first = open().expect("a seat");
    let writer = first.writer().expect("a permit");
    writer.publish("x", [1_u8].as_slice()).expect("room");
    let mut mine = vec![];
    while mine.len() < MANY / 2 - 1 {
        let arena = open().unwrap_or_else(|e| panic!("open {}: {e}", mine.len()));
        let x = arena.get("x").expect("published");
        mine.push((arena, x));
    }
    // SAFETY of the test: the child only opens, and waits to be killed.
    let child = forked(|| {
        let mut all = vec![];
        while all.len() < MANY / 2 {
            let arena = options().open("a").expect("a seat");
            let x = arena.get("x").expect("published");
            all.push((arena, x));
        }
        options().open("a").map(drop).expect_err("no seat is left");
        let _permit = all.last().expect("the last seat").0.writer().expect("a permit");
        std::fs::write(dir.0.join("ready"), "").expect("a file");
        loop {
            std::thread::park();
        }
    });
    until("the child has its seats", || dir.0.join("ready").exists().then_some(()));
    let error = open().expect_err("no seat is left");
    assert!(matches!(error, Error::Limit { limit: 520, .. }), "{error}");
    // Nobody but the pins keeps it.
    writer.publish("x", [2_u8].as_slice()).expect("room");
    let who = first.who().expect("looked at");
    assert_eq!(who.len(), MANY);
    assert_eq!(who.iter().filter(|holder| holder.pins == 1).count(), MANY - 1, "each has its own pin");
    kill(child, Signal::SIGKILL).expect("it lives");
    assert_eq!(waitpid(child, None), Ok(WaitStatus::Signaled(child, Signal::SIGKILL, false)));
    until("its seats come back", || (first.recover().expect("sound").participants == 0).then_some(()));
    assert_eq!(first.who().expect("looked at").len(), MANY / 2);
    assert!(first.writer_timeout(DEADLINE).expect("its permit").recovered(), "it came back from the last seat");
    assert_eq!(mine.last().expect("some").1.bytes().expect("pinned"), [1]);
    drop(mine);
    assert_eq!(first.verify().expect("looked at"), []);
    assert_eq!(first.stats().expect("looked at").objects, 3, "a name, its list, its object");
    for wrong in [0, 4096] {
        let error = options().participants(wrong).create("b").expect_err("out of range");
        assert!(error.to_string().contains("1 to 4095"), "{error}");
    }
}
