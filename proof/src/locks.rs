//! Objects that lock: what they are made as, and what each must say.

use std::sync::atomic::Ordering;

use faretra::proof::{Form, Id, Kind, Life, Load, PARTITION, SLOTS, State, Tables, lock};

use crate::sim::{Sim, ok};

/// A mutex of 16 bytes.
pub const MUTEX: Form = Form { kind: Kind::Mutex, leases: 1, size: 16, slots: 2 };
/// A value of 16 bytes.
pub const VALUE: Form = Form { kind: Kind::Value, leases: SLOTS, size: 16, slots: SLOTS };
/// A semaphore of three permits.
pub const SEMAPHORE: Form = Form { kind: Kind::Semaphore, leases: 3, size: 0, slots: 0 };
/// An event that resets itself.
pub const EVENT: Form = Form { kind: Kind::Event, leases: 0, size: 1, slots: 0 };
/// A mutable array of two partitions.
pub const ARRAY: Form = Form { kind: Kind::MutableArray, leases: 2 * PARTITION, size: 2, slots: 0 };
/// One of each, and its name.
pub const ALL: [(&str, Form); 6] =
    [("m", MUTEX), ("u", VALUE), ("v", VALUE), ("s", SEMAPHORE), ("e", EVENT), ("g", ARRAY)];

/// Where the slots of a mutex lie.
pub fn guarded_words(t: &Tables<Sim>, mutex: Id) -> std::ops::Range<u64> {
    // Behind the leases, which have a cache line.
    let from = t.lock_word(mutex, lock::LEASES) + 64;
    from..from + MUTEX.slots * MUTEX.size
}

/// What a mutex or value was made as.
pub fn form_of(kind: Kind) -> Form {
    match kind {
        Kind::Mutex => MUTEX,
        _ => VALUE,
    }
}

/// What a pinned object that locks says; torn values are a failure. Of a mutable array: its first partition.
pub fn value(t: &Tables<Sim>, id: Id, kind: Kind) -> u64 {
    let leases = ok(t.leases_of(id)).expect("it locks");
    match kind {
        Kind::Mutex | Kind::Value => {
            let mut words = [0; 2];
            ok(t.load_slots(t.slots_of(id, &form_of(kind)), &mut words));
            assert_eq!(words[0], words[1], "K3: {id} is torn");
            words[0]
        }
        Kind::Semaphore => t.count_leases(leases, |s| matches!(s, State::Free | State::Back(_))),
        Kind::Condition => 0,
        Kind::Event => t.env.load(t.lock_word(id, lock::STATE), Ordering::SeqCst) & 1,
        _ => {
            let frozen = t.is_frozen(id);
            let part = t.part_entry(id, 0).part();
            assert_eq!(t.life(part, Ordering::Acquire), Life::part(id), "{part} is no part of {id}");
            let words = |p| [0, 1].map(|w| t.env.load(t.payload(part) + (p * 2 + w) * 8, Ordering::Relaxed));
            for p in 0..2 {
                let writer = t.count_leases(leases.part(p * PARTITION, 1), |s| s != State::Free);
                // Being written, or left half written, which the next is told.
                assert!(writer != 0 || words(p)[0] == words(p)[1], "K2: partition {p} is torn");
                assert!(!frozen || words(p)[0] == words(p)[1], "K5: a frozen array is torn");
            }
            words(0)[0]
        }
    }
}
