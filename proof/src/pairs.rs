//! Pairs of participants whose words are raced for under weak memory ([`crate::weak`]).
//!
//! * Store buffering: each of the two writes one word and then reads what the other writes; at least one must see
//!   the other. Acquire and release do not give that. Dekker pairs: pin/put, settle/replace, unpin/reclaim, the
//!   erasing of a hold/t9, the writer/a reader of a partition, a sleeper's flag/what it waits for.
//! * Message passing: who sees a word sees what was written before it. Holds that move (H4), values in slots (K3),
//!   what a mutex or a partition guards (K1, K5).

use std::sync::atomic::Ordering;
use std::time::Duration;

use faretra::proof::{Id, Lease, Life, Load, Making, State, Until, lock, meta};
use loom::thread;

use crate::granted;
use crate::weak::Access::{Loads, Updates};
use crate::weak::Weak::{Relaxed, Unfenced};

use crate::check::Expect;
use crate::script::sharing_stage;
use crate::sim::{Image, Sim, in_time, ok, tiny};
use crate::stage::{Stage, enter};
use crate::weak::{FIRST_SEAT, Fences, Pair, Part, Word};
use crate::world::{Actor, PARENT, draft, extend, publish, quiet, value, with, world};

type Before = fn(&[Actor; 2], Id);

/// All pairs.
pub fn pairs() -> Vec<Pair> {
    [dekker(), holds(), granted_pairs(), crate::ring_pairs::rings(), crate::waiter_pairs::waits()].concat()
}

fn nothing(_: &[Actor; 2], _: Id) {}

/// An object's word, and its pins by those who race.
fn object_words(image: &Image, id: Id) -> Vec<(Word, u64)> {
    let geo = tiny();
    let pins = [FIRST_SEAT, FIRST_SEAT + 1].map(|seat| (Word::Pin, geo.pin(seat, id)));
    let known = pins.into_iter().filter(|(_, off)| image.has_word(*off));
    [(Word::Life, geo.life(id))].into_iter().chain(known).collect()
}

/// `x` published once, everything in memory that the race needs.
fn stage_with(parts: u64) -> (Image, Id, Id) {
    let sim = world();
    let parent = quiet(&sim, PARENT);
    ok(publish(&parent, "x", 1, parts));
    let record = ok(parent.lookup("x")).expect("published");
    parent.unpin(record);
    let object = ok(parent.pin_named("x")).expect("published");
    parent.unpin(object);
    // The rows of those who race, and the pages of the slots.
    let racers = [10, 11].map(|process| quiet(&sim, process));
    for actor in &racers {
        ok(actor.raise_pin(object));
        actor.unpin(object);
    }
    for d in [0; 3].map(|_| ok(draft(&parent, 0, 0))) {
        parent.drop_draft(d);
    }
    for actor in racers {
        actor.detach();
    }
    parent.detach();
    quiet(&sim, PARENT);
    (sim.image(), object, record)
}

/// The three Dekker pairs of objects, as four races.
pub fn dekker() -> Vec<Pair> {
    let pin: Part = |a, pair, reached| {
        let off = a.geo.meta(pair.record, meta::PLACE);
        let Some((id, _)) = ok(a.pin(off)) else { return };
        let first = value(a, id);
        reached.note(if first == 1 { "pinned the old" } else { "pinned the new" });
        thread::yield_now();
        assert_eq!(value(a, id), first, "O1: {id} changed under a pin");
        a.unpin(id);
    };
    let replace: Part = |a, pair, reached| {
        let off = a.geo.meta(pair.record, meta::PLACE);
        let new = ok(draft(a, 2, 0));
        a.set_meta(new.id, meta::VERSION, 2);
        let put = ok(a.put(new, pair.record, a.place(off)));
        assert!(put, "nobody else changes the place");
        // Whoever finds the old one free writes over it.
        let next = ok(draft(a, 3, 0));
        reached.note(if next.id == pair.object { "freed by the writer" } else { "kept for the reader" });
        a.drop_draft(next);
    };
    let put: Part = |a, pair, reached| {
        let off = a.geo.meta(pair.record, meta::PLACE);
        let new = ok(draft(a, 2, 0));
        a.set_meta(new.id, meta::VERSION, 2);
        let mut tries = 0;
        while !ok(a.put(new, pair.record, a.place(off))) {
            tries += 1;
        }
        reached.note(if tries == 0 { "put at once" } else { "put after another" });
        reached.note(match a.life(new.id, Ordering::Acquire) {
            Life::FREE => "replaced already",
            _ => "current for a while",
        });
    };
    let unpin: Part = |a, pair, reached| {
        a.unpin(pair.object);
        let free = a.life(pair.object, Ordering::Acquire) == Life::FREE;
        reached.note(if free { "freed after unpin" } else { "left to the other" });
    };
    let reclaim: Part = |a, pair, reached| {
        a.reclaim(pair.object);
        let free = a.life(pair.object, Ordering::Acquire) == Life::FREE;
        reached.note(if free { "freed after reclaim" } else { "still pinned" });
    };
    let first_pins: fn(&[Actor; 2], Id) = |actors, object| ok(actors[0].raise_pin(object));
    let first_pins_what_goes: fn(&[Actor; 2], Id) = |actors, object| {
        ok(actors[0].raise_pin(object));
        ok(publish(&actors[1], "x", 2, 0));
    };
    let (image, object, record) = stage_with(0);
    let stage = Stage { expect: Expect::default().with(&[("x", Some(2))]), image };
    let mut words = vec![(Place, tiny().meta(record, meta::PLACE))];
    // The object, and the slots beside it, where its successors go.
    for id in object.0..object.0 + 3 {
        words.extend(object_words(&stage.image, Id(id)));
    }
    let pair = |name, before, parts, must_reach, needs| Pair {
        name,
        stage: stage.clone(),
        object,
        record,
        words: words.clone(),
        before,
        parts,
        at_end: |_| {},
        must_reach,
        needs,
        unfenced: false,
    };
    use Word::{Life as Object, Pin, Place};
    vec![
        pair(
            "row/place: pin against replace and reclaim",
            nothing,
            [pin, replace],
            &["pinned the old", "pinned the new", "freed by the writer", "kept for the reader"],
            &[
                (Fences::After, Object, Updates, Unfenced),
                (Fences::After, Pin, Updates, Unfenced),
                (Fences::Before, Place, Loads, Unfenced),
                (Fences::Before, Object, Loads, Unfenced),
                (Fences::Before, Pin, Loads, Unfenced),
            ],
        ),
        pair(
            "word/place: settle against replace",
            nothing,
            [put, put],
            &["put at once", "put after another", "replaced already", "current for a while"],
            &[(Fences::After, Object, Updates, Unfenced), (Fences::Before, Place, Loads, Unfenced)],
        ),
        pair(
            "row/word: unpin against replace and reclaim",
            first_pins,
            [unpin, replace],
            &["freed after unpin", "left to the other", "freed by the writer", "kept for the reader"],
            &[
                (Fences::After, Object, Updates, Unfenced),
                (Fences::After, Pin, Updates, Unfenced),
                (Fences::Before, Object, Loads, Unfenced),
                (Fences::Before, Pin, Loads, Unfenced),
            ],
        ),
        pair(
            "row/word: unpin against the second look of reclaim",
            first_pins_what_goes,
            [unpin, reclaim],
            &["freed after unpin", "left to the other", "freed after reclaim", "still pinned"],
            &[
                (Fences::After, Object, Updates, Unfenced),
                (Fences::After, Pin, Updates, Unfenced),
                (Fences::Before, Object, Loads, Unfenced),
                (Fences::Before, Pin, Loads, Unfenced),
            ],
        ),
    ]
}

/// The words of a part's holds, as far as they are in its record.
fn hold_words(part: Id) -> Vec<(Word, u64)> {
    let word = |w| tiny().meta(part, w);
    vec![
        (Word::Hold, word(meta::HOLDS)),
        (Word::Hold, word(meta::HOLDS + 1)),
        (Word::Turn, word(meta::HOLD_TURN)),
        (Word::Life, tiny().life(part)),
    ]
}

/// The one part of what is published under `x`.
fn part_of_x(stage: &Stage) -> Id {
    let watcher = quiet(&enter(stage), 80);
    let x = ok(watcher.pin_named("x")).expect("published");
    watcher.part_entry(x, 0).part()
}

/// Shared parts: who holds them, and who looks whether anybody does.
pub fn holds() -> Vec<Pair> {
    let scan: Part = |a, pair, reached| {
        a.reclaim(pair.object);
        reached.note(match a.life(pair.object, Ordering::Acquire) {
            Life::FREE => "freed after the scan",
            Life::LOOSE => "found to be held",
            _ => "left to the other",
        });
    };
    let move_on: Part = |a, _, reached| {
        assert!(ok(extend(a, "x", "x", 21)));
        reached.note("moved");
    };
    let remove: Part = |a, pair, reached| {
        ok(a.remove("x"));
        let free = a.life(pair.object, Ordering::Acquire) == Life::FREE;
        reached.note(if free { "freed after its last hold" } else { "left by the last holder" });
    };
    let share: Part = |a, pair, reached| {
        ok(extend(a, "z", "x", 22));
        let held = a.is_held(pair.object);
        reached.note(if held { "shared the old" } else { "shared the new" });
    };
    let replace: Part = |a, pair, reached| {
        ok(publish(a, "x", 2, 0));
        let free = a.life(pair.object, Ordering::Acquire) == Life::FREE;
        reached.note(if free { "freed by the writer" } else { "kept" });
    };
    let stage = sharing_stage();
    let part = part_of_x(&stage);
    let pair = |name, may: crate::stage::May, parts, must_reach, needs, unfenced| Pair {
        name,
        stage: Stage { image: stage.image.clone(), expect: stage.expect.clone().with(may) },
        object: part,
        record: part,
        words: hold_words(part),
        before: nothing,
        parts,
        at_end: |_| {},
        must_reach,
        needs,
        unfenced,
    };
    // `x` owns its part.
    let (image, x, record) = stage_with(1);
    let owned = Stage { image, expect: Expect::default().with(&[("x", Some(2)), ("z", Some(22))]) };
    let own = part_of_x(&owned);
    let mut words = [object_words(&owned.image, x), hold_words(own)].concat();
    words.push((Word::Place, tiny().meta(record, meta::PLACE)));
    let shared = Pair {
        stage: owned,
        object: own,
        record,
        words,
        ..pair(
            "hold/word: a part is shared against its owner's end",
            &[],
            [share, replace],
            &["shared the old", "shared the new", "freed by the writer", "kept"],
            &[
                (Fences::Before, Word::Place, Loads, Unfenced),
                (Fences::Before, Word::Life, Loads, Unfenced),
                (Fences::After, Word::Life, Updates, Unfenced),
                (Fences::Before, Word::Pin, Loads, Unfenced),
                (Fences::After, Word::Pin, Updates, Unfenced),
            ],
            false,
        )
    };
    vec![
        pair(
            "hold/turn: a hold moves against a scan",
            &[("x", Some(21))],
            [move_on, scan],
            &["moved", "found to be held"],
            &[
                (Fences::Nowhere, Word::Hold, Loads, Relaxed),
                (Fences::Nowhere, Word::Hold, Updates, Relaxed),
                (Fences::Nowhere, Word::Turn, Loads, Relaxed),
                (Fences::Nowhere, Word::Turn, Updates, Relaxed),
                (Fences::After, Word::Hold, Loads, Relaxed),
                (Fences::After, Word::Turn, Loads, Relaxed),
            ],
            true,
        ),
        pair(
            "hold/word: erase against the second look of reclaim",
            &[("x", None)],
            [remove, scan],
            &["freed after its last hold", "left by the last holder", "freed after the scan", "found to be held"],
            &[
                (Fences::Before, Word::Life, Loads, Unfenced),
                (Fences::After, Word::Life, Updates, Unfenced),
                (Fences::Before, Word::Hold, Loads, Unfenced),
                (Fences::After, Word::Hold, Updates, Unfenced),
            ],
            false,
        ),
        shared,
    ]
}

/// N6: a maker is done while what it published is removed: one of the two sees that the name stands for nothing, and that
/// nobody makes anything for it.
fn maker_against_remover() -> Pair {
    let sim = world();
    let parent = quiet(&sim, PARENT);
    ok(publish(&parent, "x", 1, 0));
    let object = ok(parent.pin_named("x")).expect("published");
    parent.unpin(object);
    let record = ok(parent.lookup("x")).expect("published");
    parent.unpin(record);
    let words = vec![
        (Word::Place, parent.geo.meta(record, meta::PLACE)),
        (Word::Lease, parent.maker(record).first),
        (Word::Life, parent.geo.life(object)),
    ];
    let end: Part = |a, pair, reached| {
        let leases = a.maker(pair.record);
        let Some(State::Leased(ticket)) = a.maker_word(pair.record).state() else { panic!("it is the maker") };
        let lease = Lease { off: leases.first, bell: leases.bell, ticket, recovered: false };
        a.end_making(Making { name: pair.record, lease });
        let gone = ok(a.lookup("x")).map(|name| a.unpin(name)).is_none();
        reached.note(if gone { "gone when the maker was done" } else { "there when the maker was done" });
    };
    let remove: Part = |a, pair, reached| {
        let made = matches!(a.maker_word(pair.record).state(), Some(State::Leased(_)));
        assert!(ok(a.remove("x")), "it was published");
        reached.note(if made { "removed from the maker" } else { "removed afterwards" });
    };
    Pair {
        name: "maker/place: the end of a making against a removal",
        stage: Stage { image: sim.image(), expect: Expect::default().with(&[("x", None)]) },
        object,
        record,
        words,
        before: |actors, _| {
            let name = ok(actors[0].lookup("x")).expect("published");
            ok(actors[0].try_lease(actors[0].maker(name))).expect("free");
        },
        parts: [end, remove],
        at_end: |image| {
            let watcher = quiet(&Sim::of(image.clone()), 80);
            assert!(ok(watcher.lookup("x")).is_none(), "N6: a name of nothing stays");
        },
        must_reach: &[
            "gone when the maker was done",
            "there when the maker was done",
            "removed from the maker",
            "removed afterwards",
        ],
        // The remover has fences besides: it evicts what the place named, and looks at the place again.
        needs: &[(Fences::After, Word::Lease, Updates, Unfenced), (Fences::Before, Word::Place, Loads, Unfenced)],
        unfenced: false,
    }
}

/// One object that locks, published under a name.
fn granted_stage(name: &str) -> (Stage, Id) {
    let sim = world();
    let parent = quiet(&sim, PARENT);
    granted::publish_one(&parent, name);
    let id = ok(parent.pin_named(name)).expect("published");
    parent.unpin(id);
    (Stage { image: sim.image(), expect: Expect::default() }, id)
}

/// What is granted: leases, and what they guard.
pub fn granted_pairs() -> Vec<Pair> {
    let pair = |name,
                of: &str,
                may: crate::stage::May,
                words: fn(u64, u64) -> Vec<(Word, u64)>,
                parts,
                must_reach,
                needs,
                unfenced| {
        let (stage, id) = granted_stage(of);
        let watcher = quiet(&enter(&stage), 80);
        let at = watcher.payload(id);
        let elements =
            if of == "g" { watcher.payload(watcher.part_entry(id, 0).part()) } else { at + lock::LEASES * 8 + 64 };
        Pair {
            name,
            stage: Stage { expect: stage.expect.with(may), image: stage.image },
            object: id,
            record: id,
            words: words(at, elements),
            before: nothing as Before,
            parts,
            at_end: |_| {},
            must_reach,
            needs,
            unfenced,
        }
    };
    let rows: fn(u64, u64) -> Vec<(Word, u64)> = |at, data| {
        let lease = |i| at + (lock::LEASES + i) * 8;
        vec![(Word::Lease, lease(0)), (Word::Reader, lease(1)), (Word::Data, data), (Word::Data, data + 8)]
    };
    let frozen: fn(u64, u64) -> Vec<(Word, u64)> = |at, data| {
        let lease = at + lock::LEASES * 8;
        vec![(Word::Lease, lease), (Word::State, at + lock::STATE * 8), (Word::Data, data), (Word::Data, data + 8)]
    };
    // Two of three slots are written at most, and one is current.
    let slots: fn(u64, u64) -> Vec<(Word, u64)> = |at, data| {
        let leases = (0..3).map(|s| (Word::Lease, at + (lock::LEASES + s) * 8));
        let data = (0..6).map(|w| (Word::Data, data + w * 8));
        [(Word::State, at + lock::STATE * 8)].into_iter().chain(leases).chain(data).collect()
    };
    let mutex: fn(u64, u64) -> Vec<(Word, u64)> = |at, data| {
        let data = (0..4).map(|w| (Word::Data, data + w * 8));
        [(Word::State, at + lock::STATE * 8), (Word::Lease, at + lock::LEASES * 8)].into_iter().chain(data).collect()
    };
    let bell: fn(u64, u64) -> Vec<(Word, u64)> =
        |at, _| vec![(Word::Bell, at + lock::BELL * 8), (Word::Lease, at + lock::LEASES * 8)];

    let write: Part = |a, _, reached| {
        reached.note(if granted::write(a, 0, 6) { "wrote" } else { "the writer gave way" });
    };
    let look: Part = |a, _, reached| {
        reached.note(match granted::look(a, 0) {
            Some(0) => "read the old",
            Some(_) => "read the new",
            None => "the reader gave way",
        });
    };
    let freeze: Part = |a, _, reached| {
        reached.note(match granted::freeze(a) {
            Some(0) => "froze the old",
            Some(_) => "froze the new",
            None => "did not freeze",
        });
    };
    let store_twice: Part = |a, _, reached| {
        granted::store(a, 4);
        granted::store(a, 5);
        reached.note("stored twice");
    };
    let load: Part = |a, _, reached| {
        reached.note(match granted::load(a, "u") {
            0 => "loaded the first",
            4 => "loaded the second",
            _ => "loaded the third",
        });
    };
    let store: Part = |a, _, reached| {
        granted::store(a, 4);
        reached.note("stored 4");
    };
    let store_and_load: Part = |a, _, reached| {
        granted::store(a, 5);
        reached.note(if granted::load(a, "u") == 5 { "loaded what it stored" } else { "loaded the other's" });
    };
    let update: Part = |a, _, reached| {
        reached.note(if granted::update(a) == 1 { "made 1 of 0" } else { "made 2 of 1" });
    };
    let lock_and_add: Part = |a, _, reached| {
        reached.note(match granted::lock_and_add(a) {
            Some(1) => "locked first",
            Some(_) => "locked after the other",
            None => "found it locked",
        });
    };
    let wait: Part = |a, _, reached| {
        with(a, "m", |_, leases| {
            // So short that it ends where it would sleep.
            let got =
                in_time(a.wait(leases.bell, Until::Within(Duration::from_nanos(1)), || {}, || a.try_lease(leases)));
            reached.note(if got.is_some() { "got the lease" } else { "would sleep" });
            if got.is_none() {
                a.env.state().slept = Some(0);
            }
        });
    };
    let unlock: Part = |a, pair, reached| {
        let leases = ok(a.leases_of(pair.object)).expect("a lease");
        let word = Life(a.env.load(leases.first, Ordering::Relaxed));
        let Some(State::Leased(ticket)) = word.state() else { panic!("it holds the lease") };
        let lease = Lease { off: leases.first, bell: leases.bell, ticket, recovered: false };
        reached.note(if a.give_back(lease) { "rang" } else { "nobody waits" });
    };
    let mut all = vec![
        pair(
            "writer/reader: a partition is written against read",
            "g",
            &[("g", Some(0)), ("g", Some(6))],
            rows,
            [write, look],
            &["wrote", "the writer gave way", "read the old", "read the new", "the reader gave way"],
            &[
                (Fences::Before, Word::Lease, Loads, Unfenced),
                (Fences::After, Word::Lease, Updates, Unfenced),
                (Fences::Before, Word::Reader, Loads, Unfenced),
                (Fences::After, Word::Reader, Updates, Unfenced),
                (Fences::After, Word::Lease, Loads, Relaxed),
                (Fences::Before, Word::Lease, Updates, Relaxed),
            ],
            false,
        ),
        pair(
            "lease/state: freeze against write",
            "g",
            &[("g", Some(0)), ("g", Some(6))],
            frozen,
            [freeze, write],
            &["froze the old", "froze the new", "did not freeze", "wrote", "the writer gave way"],
            &[
                (Fences::After, Word::Lease, Updates, Relaxed),
                (Fences::Before, Word::Lease, Updates, Relaxed),
                (Fences::Nowhere, Word::Lease, Updates, Relaxed),
            ],
            true,
        ),
        pair(
            "state/data: stores against a load",
            "u",
            &[("u", Some(5))],
            slots,
            [store_twice, load],
            &["stored twice", "loaded the first", "loaded the second", "loaded the third"],
            &[
                (Fences::After, Word::State, Loads, Relaxed),
                (Fences::Before, Word::State, Loads, Relaxed),
                (Fences::After, Word::State, Updates, Relaxed),
                (Fences::After, Word::Data, Loads, Relaxed),
                (Fences::Nowhere, Word::Data, Loads, Relaxed),
                (Fences::Nowhere, Word::Data, Updates, Relaxed),
            ],
            true,
        ),
        pair(
            "lease/state: store against store",
            "u",
            &[("u", Some(4)), ("u", Some(5))],
            slots,
            [store, store_and_load],
            &["stored 4", "loaded what it stored", "loaded the other's"],
            &[
                (Fences::After, Word::Lease, Updates, Relaxed),
                (Fences::Nowhere, Word::Lease, Updates, Relaxed),
                (Fences::Before, Word::State, Loads, Relaxed),
                (Fences::After, Word::State, Updates, Relaxed),
            ],
            true,
        ),
        pair(
            "state/data: update against update",
            "v",
            &[("v", Some(2))],
            slots,
            [update, update],
            &["made 1 of 0", "made 2 of 1"],
            &[
                (Fences::After, Word::State, Loads, Relaxed),
                (Fences::Before, Word::State, Updates, Relaxed),
                (Fences::After, Word::State, Updates, Relaxed),
            ],
            true,
        ),
        pair(
            "lease/data: unlock against lock",
            "m",
            &[("m", Some(1)), ("m", Some(2))],
            mutex,
            [lock_and_add, lock_and_add],
            &["locked first", "locked after the other", "found it locked"],
            &[
                (Fences::After, Word::Lease, Updates, Relaxed),
                (Fences::Before, Word::Lease, Updates, Relaxed),
                (Fences::Nowhere, Word::Lease, Updates, Relaxed),
            ],
            true,
        ),
    ];
    let mut sleeper = pair(
        "bell/lease: sleep against unlock",
        "m",
        &[("m", Some(0))],
        bell,
        [wait, unlock],
        &["got the lease", "would sleep", "rang", "nobody waits"],
        &[
            (Fences::Before, Word::Lease, Loads, Unfenced),
            (Fences::After, Word::Lease, Updates, Unfenced),
            (Fences::Before, Word::Bell, Loads, Unfenced),
            (Fences::After, Word::Bell, Updates, Unfenced),
        ],
        false,
    );
    sleeper.before = |actors, id| {
        let leases = ok(actors[1].leases_of(id)).expect("a lease");
        ok(actors[1].try_lease(leases)).expect("free");
    };
    sleeper.at_end = |image| assert!(image.slept.is_none() || image.wakes > 0, "B2: a sleeper was not woken");
    all.push(sleeper);
    all.push(maker_against_remover());
    all
}
