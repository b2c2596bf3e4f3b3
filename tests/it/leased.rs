//! Shows that what was read from a leased item stays as it was when the lease is over, however that ended, and that nothing of
//! the item is left when nobody has it any more.

use faretra::{Arena, Array, Lease, MIB, Object, Receiver, Sender};
use ndarray::{Array1, Ix1};
use nix::sys::wait::{WaitStatus, waitpid};

use crate::obey::forked;
use crate::support::{Dir, TestArena, until};

const LEN: usize = 4000;

fn values(n: u64) -> Array1<u64> {
    Array1::from_elem(LEN, n)
}

fn read(object: &Object) -> Array<u64, Ix1> {
    object.array().expect("an array")
}

fn is(array: &Array<u64, Ix1>, n: u64) -> bool {
    array.len() == LEN && array.iter().all(|value| *value == n)
}

/// Uses all memory that was freed again.
fn churn(tx: &Sender, rx: &Receiver) {
    let items: Vec<Lease> = (0..40)
        .map(|n| {
            tx.send(values(1000 + n)).map_err(|e| e.to_string()).expect("room");
            rx.recv().expect("sent")
        })
        .collect();
    items.into_iter().for_each(Lease::ack);
}

fn live(arena: &Arena) -> u64 {
    arena.stats().expect("stats").live
}

/// A way in which a lease ends, in every case with the item gone from all channels afterwards.
type Ending = fn(Lease, &Receiver, &Sender, &Receiver);

const ENDINGS: &[(&str, Ending)] = &[
    ("acknowledged", |lease, _, _, _| lease.ack()),
    ("given back", |lease, rx, _, _| {
        drop(lease);
        rx.recv().expect("it came back").ack();
    }),
    ("given back twice", |lease, rx, _, _| {
        drop(lease);
        drop(rx.recv().expect("it came back"));
        rx.recv().expect("it came back").ack();
    }),
    ("forwarded", |lease, _, next, after| {
        lease.send(next).map_err(|e| e.to_string()).expect("room");
        after.recv().expect("sent").ack();
    }),
    ("acknowledged after a forward that failed", |lease, _, next, after| {
        next.send(values(9)).map_err(|e| e.to_string()).expect("room");
        next.send(values(9)).map_err(|e| e.to_string()).expect("room");
        let read_before = read(&lease);
        let full = lease.try_send(next).expect_err("two are there");
        drop(read_before);
        full.into_lease().expect("not sent").ack();
        after.iter().take(2).for_each(|item| assert!(is(&read(&item.expect("sent")), 9)));
        after.recv().expect("the iterator gave it back").ack();
    }),
];

/// An array that was read under the lease, and one that was read by the next who had the item, outlive both.
#[test]
fn what_was_read_outlives_its_lease() {
    let t = TestArena::new(64 * MIB);
    let other = t.arena.reopen().expect("a seat");
    let writer = t.arena.writer().expect("a permit");
    let (tx, next, busy) = (
        writer.sender("c", 2).expect("made"),
        writer.sender("next", 2).expect("made"),
        writer.sender("busy", 64).expect("made"),
    );
    let (rx, after) = (other.receiver("c").expect("there"), t.arena.receiver("next").expect("there"));
    let worker = other.receiver("busy").expect("there");
    churn(&busy, &worker);
    let before = live(&t.arena);
    for (ending, end) in ENDINGS {
        for keeps in [true, false] {
            tx.send(values(7)).map_err(|e| e.to_string()).expect("room");
            let lease = rx.recv().expect("sent");
            let kept = read(&lease);
            assert!(is(&kept, 7));
            let kept = keeps.then_some(kept);
            end(lease, &rx, &next, &after);
            churn(&busy, &worker);
            if let Some(kept) = kept {
                assert!(is(&kept, 7), "{ending}");
                assert!(live(&t.arena) > before, "{ending}: it is kept");
            }
            assert_eq!(live(&t.arena), before, "{ending}, {keeps}");
        }
    }
    assert_eq!(t.arena.verify().expect("looked at"), []);
}

/// Other threads have what was read, and drop it while the lease ends.
#[test]
fn threads_let_go_while_leases_end() {
    let t = TestArena::new(64 * MIB);
    let writer = t.arena.writer().expect("a permit");
    let tx = writer.sender("c", 4).expect("made");
    let rx = t.arena.receiver("c").expect("there");
    tx.send(values(0)).map_err(|e| e.to_string()).expect("room");
    rx.recv().expect("sent").ack();
    let before = live(&t.arena);
    let (give, given) = std::sync::mpsc::sync_channel::<(u64, Array<u64, Ix1>)>(2);
    std::thread::scope(|scope| {
        scope.spawn(move || given.iter().for_each(|(n, array)| assert!(is(&array, n))));
        for n in 0..3000 {
            tx.send(values(n)).map_err(|e| e.to_string()).expect("room");
            let lease = rx.recv().expect("sent");
            give.send((n, read(&lease))).expect("it listens");
            match n % 3 {
                0 => lease.ack(),
                _ => {
                    drop(lease);
                    rx.recv().expect("it came back").ack();
                }
            }
        }
        drop(give);
    });
    assert_eq!(live(&t.arena), before);
    assert_eq!(t.arena.verify().expect("looked at"), []);
}

/// A forked child keeps what its parent had leased, though the parent acknowledges it and uses the memory again.
#[test]
fn a_child_inherits_what_is_leased() {
    let dir = Dir::new();
    let arena = Arena::options().dir(&dir.0).limit(64 * MIB).capacity(64 * MIB).create("a").expect("an arena");
    let writer = arena.writer().expect("a permit");
    let (tx, busy) = (writer.sender("c", 2).expect("made"), writer.sender("busy", 64).expect("made"));
    let (rx, worker) = (arena.receiver("c").expect("there"), arena.receiver("busy").expect("there"));
    churn(&busy, &worker);
    let before = live(&arena);
    tx.send(values(7)).map_err(|e| e.to_string()).expect("room");
    let lease = rx.recv().expect("sent");
    let kept = read(&lease);
    let pins = arena.pin_again().expect("pinned");
    let go = dir.0.join("go");
    let child = forked(|| {
        until("a file", || go.exists().then_some(()));
        i32::from(!is(&kept, 7))
    });
    drop(kept);
    lease.ack();
    churn(&busy, &worker);
    assert!(live(&arena) > before, "kept for the child");
    std::fs::write(&go, "").expect("a file");
    assert_eq!(waitpid(child, None).expect("our child"), WaitStatus::Exited(child, 0));
    drop(pins);
    assert_eq!(live(&arena), before);
    assert_eq!(arena.verify().expect("looked at"), []);
}
