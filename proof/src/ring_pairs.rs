//! Pairs of participants at one channel or feed under weak memory; see [`crate::pairs`].
//!
//! * Message passing: who takes an item sees what its sender wrote; who sees that something came back finds it (Q5).
//! * One word decides: a cell between two senders, an item's word between two receivers, the head's cell between a
//!   late sender and one who was told that the channel is closed (Q4), a feed's cell between an item and the end (F3).
//! * Store buffering: a sleeper's flag against the cell, the item's word, the position or the presence that it waits
//!   for (B2); a subscriber's pin against the cell that is replaced (O1).

use std::sync::atomic::Ordering;
use std::time::Duration;

use faretra::proof::{
    End, Found, Id, Kind, Life, Mem, Oldest, Outcome, Ring, RingForm, State, Taken, Until, meta, ring,
};

use crate::weak::Access::{Loads, Updates};
use crate::weak::Weak::{Relaxed, Unfenced};

use crate::check::Expect;
use crate::items::{acknowledge, make, number, say, select_item, take, try_send, with};
use crate::sim::{Image, Said, Sim, in_time, ok, tiny};
use crate::stage::{Stage, enter};
use crate::weak::{Class, FIRST_SEAT, Fences, Pair, Part, Reached, Word};
use crate::world::{Actor, PARENT, draft, quiet, value, world};

/// A channel for one item, or a feed for one (and its end), with so many items in it, and where things lie.
struct Laid {
    stage: Stage,
    id: Id,
    ring: Ring,
    at: u64,
    /// The items that are there, then those that are made next.
    items: Vec<Id>,
    /// The segments that are made next.
    segments: Vec<Id>,
}

fn lay(name: &str, items: u64) -> Laid {
    let sim = world();
    let parent = quiet(&sim, PARENT);
    if name == "F" {
        let feed = ok(parent.draft_ring(RingForm::feed(1, 1)));
        parent.set_meta(feed.id, meta::ROWS, crate::world::tag(name));
        ok(parent.publish(name, feed, Some(0)));
    } else if name == "U" {
        let chain = ok(parent.draft_ring(RingForm::chain(2, 1)));
        parent.set_meta(chain.id, meta::ROWS, crate::world::tag(name));
        ok(parent.publish(name, chain, Some(0)));
    } else {
        make(&parent, name, 1);
    }
    let racers = [10, 11].map(|process| quiet(&sim, process));
    let ring = with(&parent, name, |ring| ring).expect("made");
    // Rows and pages that the race needs are in memory.
    let made: Vec<_> = (0..4).map(|_| ok(draft(&parent, 0, 0))).collect();
    let segments: Vec<_> = (0..2).map(|_| ok(parent.alloc(Kind::Segment, 8))).collect();
    for item in made.iter().chain(&segments) {
        for racer in &racers {
            ok(racer.raise_pin(item.id));
            racer.unpin(item.id);
        }
    }
    let ids = made.iter().map(|item| item.id).collect();
    // What a segment's memory had before looks like no cell of it.
    for segment in &segments {
        parent.env.store(parent.payload(segment.id), 9, Ordering::Relaxed);
    }
    let segment_ids = segments.iter().map(|segment| segment.id).collect();
    made.into_iter().chain(segments).for_each(|item| parent.drop_draft(item));
    racers.into_iter().for_each(|racer| racer.detach());
    parent.detach();
    let parent = quiet(&sim, PARENT);
    for _ in 0..items {
        give(&parent, name);
    }
    let at = parent.payload(ring.id);
    let stage = Stage { expect: Expect::default(), image: sim.image() };
    Laid { stage, id: ring.id, ring, at, items: ids, segments: segment_ids }
}

impl Laid {
    fn cells(&self) -> Vec<(Word, u64)> {
        (0..self.ring.cells).map(|cell| (Word::Cell, self.ring.cell(cell))).collect()
    }

    /// The entry of a chain's first segment, its cell, its word and its pins.
    fn segment(&self) -> Vec<(Word, u64)> {
        let (geo, id) = (tiny(), self.segments[0]);
        let cell = quiet(&enter(&self.stage), 80).payload(id);
        let pins = [FIRST_SEAT, FIRST_SEAT + 1].map(|seat| (Word::Pin, geo.pin(seat, id)));
        let words = [(Word::Place, self.ring.entry(0)), (Word::Cell, cell), (Word::Hold, geo.life(id))];
        words.into_iter().chain(pins).collect()
    }

    fn positions(&self) -> Vec<(Word, u64)> {
        [ring::TAIL, ring::HEAD].map(|word| (Word::Position, self.at + word * 8)).to_vec()
    }

    fn told(&self, words: &[u64]) -> Vec<(Word, u64)> {
        words.iter().map(|word| (Word::Told, self.at + word * 8)).collect()
    }

    fn bell(&self, end: End) -> Vec<(Word, u64)> {
        vec![(Word::Bell, self.ring.bell(end))]
    }

    /// Who is at an end, of those who race.
    fn presence(&self, end: End) -> Vec<(Word, u64)> {
        let seats = tiny().params.seats;
        let word = |seat| ring::PRESENCE + end as u64 * seats + seat;
        self.told(&[word(FIRST_SEAT), word(FIRST_SEAT + 1)])
    }

    fn lives(&self, items: std::ops::Range<usize>) -> Vec<(Word, u64)> {
        self.items[items].iter().map(|id| (Word::Life, tiny().life(*id))).collect()
    }

    fn pins(&self, items: std::ops::Range<usize>) -> Vec<(Word, u64)> {
        let seats = [FIRST_SEAT, FIRST_SEAT + 1];
        self.items[items].iter().flat_map(|id| seats.map(|seat| (Word::Pin, tiny().pin(seat, *id)))).collect()
    }

    /// What items say.
    fn data(&self, items: std::ops::Range<usize>) -> Vec<(Word, u64)> {
        let watcher = quiet(&enter(&self.stage), 80);
        let words = |id: &Id| [0, 296].map(|at| (Word::Data, watcher.payload(*id) + at));
        self.items[items].iter().flat_map(words).collect()
    }

    fn pair(
        &self,
        name: &'static str,
        words: &[Vec<(Word, u64)>],
        parts: [Part; 2],
        must_reach: &'static [&'static str],
        needs: &'static [Class],
        unfenced: bool,
    ) -> Pair {
        Pair {
            name,
            stage: self.stage.clone(),
            object: self.items[0],
            record: self.id,
            words: words.concat(),
            before: |_, _| {},
            parts,
            at_end: |_| {},
            must_reach,
            needs,
            unfenced,
        }
    }
}

/// Sends or appends a small item. `false`: there was no room.
fn give(a: &Actor, name: &str) -> bool {
    with(a, name, |ring| {
        let number = number(a);
        let item = ok(draft(a, number, 0));
        let done = if ring.is_feed() {
            say(a, Said::Appending, number);
            let done = ok(a.try_append(ring, item, Oldest::MayGo)) == Outcome::Done(());
            if done {
                say(a, Said::Appended, number);
            }
            done
        } else {
            try_send(a, ring, item, number)
        };
        if !done {
            a.drop_draft(item);
        }
        done
    }) == Some(true)
}

fn receive(a: &Actor, reached: &Reached) {
    with(a, "C", |ring| match ok(a.try_take(ring)) {
        Outcome::Done(taken) => {
            acknowledge(a, ring, taken);
            reached.note("received");
        }
        Outcome::NotNow => reached.note("found nothing"),
        Outcome::Closed => reached.note("found it closed"),
    });
}

fn slept_no_longer(image: &Image) {
    assert!(image.slept.is_none() || image.wakes > 0, "B2: a sleeper was not woken");
}

/// Waits at an end, so short that it ends where it would sleep.
fn wait_at(a: &Actor, name: &str, end: End, reached: &Reached, mut done: impl FnMut(Ring) -> bool) {
    with(a, name, |ring| {
        let attempt = || Ok(done(ring).then_some(()));
        let got = in_time(a.wait(ring.bell(end), Until::Within(Duration::from_nanos(1)), || {}, attempt));
        reached.note(if got.is_some() { "need not sleep" } else { "would sleep" });
        if got.is_none() {
            a.env.state().slept = Some(0);
        }
    });
}

/// All of them.
pub fn rings() -> Vec<Pair> {
    let send: Part = |a, _, reached| reached.note(if give(a, "C") { "sent" } else { "not sent" });
    let take_one: Part = |a, _, reached| receive(a, reached);
    let close_and_drain: Part = |a, _, reached| {
        with(a, "C", |ring| {
            a.close_ring(ring);
            loop {
                match ok(a.try_take(ring)) {
                    Outcome::Done(taken) => {
                        acknowledge(a, ring, taken);
                        reached.note("drained one");
                    }
                    Outcome::Closed => break say(a, Said::Drained, 0),
                    Outcome::NotNow => unreachable!("it is closed"),
                }
            }
        });
    };
    // The one that it has.
    let refuse: Part = |a, _, _| {
        with(a, "C", |ring| {
            let (id, word) = a.outstanding(ring)[0];
            let Some(State::Leased(ticket)) = word.state() else { panic!("it has the lease") };
            a.refuse(ring, Taken { id, ticket, attempts: 0 });
        });
    };
    let append: Part = |a, _, reached| reached.note(if give(a, "F") { "appended" } else { "not appended" });
    // What is replaced first is free for the second, if nobody reads it.
    let append_twice: Part = |a, pair, reached| {
        assert!(give(a, "F"));
        let free = a.life(pair.object, Ordering::Acquire) == Life::FREE;
        reached.note(if free { "freed by the producer" } else { "kept for the reader" });
        assert!(give(a, "F"));
    };
    let end: Part = |a, _, reached| {
        with(a, "F", |ring| {
            let end = ok(a.draft_end());
            let ended = ok(a.try_append(ring, end, Oldest::MayGo)) == Outcome::Done(());
            if !ended {
                a.drop_draft(end);
            }
            reached.note("ended");
        });
    };
    let read: Part = |a, _, reached| {
        with(a, "F", |ring| match ok(a.pin_position(ring, 0)) {
            Found::Item(id) => {
                assert_eq!(value(a, id), 1, "F2: another item at position 0");
                loom::thread::yield_now();
                assert_eq!(value(a, id), 1, "O1: {id} changed under a pin");
                a.unpin(id);
                reached.note("read it");
            }
            Found::Gone(_) => reached.note("it was gone"),
            found => panic!("{found:?}"),
        });
    };
    let wait_for_an_item: Part = |a, _, reached| {
        wait_at(a, "C", End::Receive, reached, |ring| {
            take(a, ring).is_some_and(|taken| {
                acknowledge(a, ring, taken);
                true
            })
        })
    };
    let wait_for_one_of_two: Part = |a, _, reached| {
        with(a, "C", |ring| {
            let (_, slept) = select_item(a, ring);
            reached.note(if slept { "would sleep" } else { "need not sleep" });
            if slept {
                a.env.state().slept = Some(0);
            }
        });
    };
    let wait_for_room: Part = |a, _, reached| wait_at(a, "C", End::Send, reached, |ring| !a.is_full(ring));
    let wait_for_the_last: Part =
        |a, _, reached| wait_at(a, "C", End::Receive, reached, |ring| a.is_deserted(ring, End::Send));
    let leave: Part = |a, _, _| {
        with(a, "C", |ring| a.leave_end(ring, End::Send));
    };

    let send_in_chain: Part = |a, _, reached| reached.note(if give(a, "U") { "sent" } else { "not sent" });
    let take_from_chain: Part = |a, _, reached| {
        with(a, "U", |ring| match ok(a.try_take(ring)) {
            Outcome::Done(taken) => {
                acknowledge(a, ring, taken);
                reached.note("received");
            }
            _ => reached.note("found nothing"),
        });
    };
    // Uses the first segment up; then whoever finds it free writes over it, as if it was never used.
    let use_up: Part = |a, pair, reached| {
        let alone = give(a, "U");
        take_from_chain_of(a);
        let next = ok(a.alloc(Kind::Segment, 8));
        reached.note(if next.id == pair.object { "freed" } else { "kept for the sender" });
        a.env.store(a.payload(next.id), 0, Ordering::Relaxed);
        a.drop_draft(next);
        assert!(alone, "there is room for two");
    };

    let chain = lay("U", 0);
    let mut late = chain.pair(
        "entry/pin: send to a segment that is used up meanwhile",
        &[chain.segment(), chain.positions()],
        [send_in_chain, use_up],
        &["sent", "freed", "kept for the sender"],
        &[
            (Fences::Before, Word::Pin, Loads, Unfenced),
            (Fences::After, Word::Pin, Updates, Unfenced),
            (Fences::Before, Word::Place, Loads, Unfenced),
            (Fences::Before, Word::Hold, Loads, Unfenced),
            (Fences::After, Word::Hold, Updates, Unfenced),
        ],
        false,
    );
    late.object = chain.segments[0];
    late.before = |actors, _| {
        with(&actors[0], "U", |ring| ok(actors[0].make_room(ring)));
    };
    let empty = lay("C", 0);
    let full = lay("C", 1);
    let feed = lay("F", 2);
    let mut waits_for_an_item = empty.pair(
        "bell/cell: sleep at a channel against send",
        &[empty.bell(End::Receive), empty.cells()],
        [wait_for_an_item, send],
        &["need not sleep", "would sleep", "sent"],
        &[
            (Fences::Before, Word::Bell, Loads, Unfenced),
            (Fences::After, Word::Bell, Updates, Unfenced),
            (Fences::Before, Word::Cell, Loads, Unfenced),
            (Fences::After, Word::Cell, Updates, Unfenced),
        ],
        false,
    );
    waits_for_an_item.at_end = slept_no_longer;
    let mut waits_for_one_of_two = empty.pair(
        "bells/cell: sleep at a channel and something else against send",
        &[empty.bell(End::Receive), empty.cells()],
        [wait_for_one_of_two, send],
        &["need not sleep", "would sleep", "sent"],
        &[
            (Fences::Before, Word::Bell, Loads, Unfenced),
            (Fences::After, Word::Bell, Updates, Unfenced),
            (Fences::Before, Word::Cell, Loads, Unfenced),
            (Fences::After, Word::Cell, Updates, Unfenced),
        ],
        false,
    );
    waits_for_one_of_two.at_end = slept_no_longer;
    let mut refused = full.pair(
        "word/returned: refuse against receive",
        &[full.told(&[ring::RETURNED, ring::LOOKED]), full.lives(0..1)],
        [refuse, take_one],
        &["received", "found nothing"],
        &[
            (Fences::After, Word::Told, Loads, Relaxed),
            (Fences::Nowhere, Word::Told, Loads, Relaxed),
            (Fences::Before, Word::Told, Updates, Relaxed),
            (Fences::Nowhere, Word::Told, Updates, Relaxed),
        ],
        true,
    );
    refused.before = |actors, _| {
        let take = || with(&actors[0], "C", |ring| take(&actors[0], ring)).flatten().expect("one is there");
        // It came back once before, so that whoever looks has something to look for.
        let taken = take();
        with(&actors[0], "C", |ring| actors[0].refuse(ring, taken));
        take();
    };
    refused.at_end = |image| {
        // Recovery would count it once more.
        let watcher = quiet(&Sim::of(image.clone()), 81);
        with(&watcher, "C", |ring| {
            let back = watcher.outstanding(ring).iter().any(|(_, word)| matches!(word.state(), Some(State::Back(_))));
            assert!(!back || take(&watcher, ring).is_some(), "Q5: what came back is not found");
        });
    };
    let mut waits_for_room = full.pair(
        "bell/cell: sleep at a full channel against receive",
        &[full.bell(End::Send), full.cells(), full.positions()],
        [wait_for_room, take_one],
        &["need not sleep", "would sleep", "received"],
        &[(Fences::After, Word::Bell, Updates, Unfenced)],
        false,
    );
    waits_for_room.at_end = slept_no_longer;
    let mut waits_for_the_last = empty.pair(
        "bell/presence: sleep at a channel against the last sender's leaving",
        &[empty.bell(End::Receive), empty.presence(End::Send)],
        [wait_for_the_last, leave],
        &["need not sleep", "would sleep"],
        &[
            (Fences::Before, Word::Bell, Loads, Unfenced),
            (Fences::After, Word::Bell, Updates, Unfenced),
            (Fences::Before, Word::Told, Loads, Unfenced),
            (Fences::After, Word::Told, Updates, Unfenced),
        ],
        false,
    );
    waits_for_the_last.before = |actors, _| {
        with(&actors[1], "C", |ring| actors[1].join(ring, End::Send));
    };
    waits_for_the_last.at_end = slept_no_longer;
    vec![
        empty.pair(
            "cell/data: send against receive",
            &[empty.cells(), empty.positions(), empty.lives(0..1), empty.data(0..1)],
            [send, take_one],
            &["sent", "received", "found nothing"],
            &[
                (Fences::After, Word::Cell, Loads, Relaxed),
                (Fences::Nowhere, Word::Cell, Loads, Relaxed),
                (Fences::After, Word::Cell, Updates, Relaxed),
                (Fences::Nowhere, Word::Cell, Updates, Relaxed),
            ],
            true,
        ),
        empty.pair(
            "cell/position: two senders, room for one",
            &[empty.cells(), empty.positions(), empty.lives(0..2)],
            [send, send],
            &["sent", "not sent"],
            &[
                (Fences::Nowhere, Word::Cell, Loads, Relaxed),
                (Fences::Nowhere, Word::Cell, Updates, Relaxed),
                (Fences::After, Word::Position, Loads, Relaxed),
                (Fences::Nowhere, Word::Position, Updates, Relaxed),
            ],
            true,
        ),
        full.pair(
            "word/cell: two receivers, one item",
            &[full.cells(), full.positions(), full.lives(0..1)],
            [take_one, take_one],
            &["received", "found nothing"],
            &[],
            true,
        ),
        empty.pair(
            "closed/cell: send against close and drain",
            &[empty.cells(), empty.positions(), empty.told(&[ring::CLOSED]), empty.lives(0..1)],
            [send, close_and_drain],
            &["sent", "not sent", "drained one"],
            &[(Fences::Nowhere, Word::Cell, Loads, Relaxed), (Fences::Nowhere, Word::Cell, Updates, Relaxed)],
            true,
        ),
        refused,
        feed.pair(
            "cell/pin: read a feed's oldest against replacing it",
            &[feed.cells(), feed.pins(0..1), feed.lives(0..1), feed.data(0..1)],
            [read, append_twice],
            &["read it", "it was gone", "freed by the producer", "kept for the reader"],
            &[
                (Fences::Before, Word::Life, Loads, Unfenced),
                (Fences::After, Word::Life, Updates, Unfenced),
                (Fences::Before, Word::Pin, Loads, Unfenced),
                (Fences::After, Word::Pin, Updates, Unfenced),
                (Fences::Before, Word::Cell, Loads, Unfenced),
            ],
            false,
        ),
        feed.pair(
            "cell/position: append against the end",
            &[feed.cells(), feed.positions(), feed.lives(2..4)],
            [append, end],
            &["appended", "not appended", "ended"],
            &[],
            true,
        ),
        chain.pair(
            "entry/cell: send into a new segment against receive",
            &[chain.segment()[..3].to_vec(), chain.lives(0..1), chain.data(0..1)],
            [send_in_chain, take_from_chain],
            &["sent", "received", "found nothing"],
            &[
                (Fences::After, Word::Place, Loads, Relaxed),
                (Fences::After, Word::Place, Updates, Relaxed),
                (Fences::After, Word::Hold, Updates, Unfenced),
                (Fences::Before, Word::Hold, Loads, Unfenced),
            ],
            false,
        ),
        late,
        waits_for_an_item,
        waits_for_one_of_two,
        waits_for_room,
        waits_for_the_last,
    ]
}

fn take_from_chain_of(a: &Actor) {
    with(a, "U", |ring| {
        if let Some(taken) = take(a, ring) {
            acknowledge(a, ring, taken);
        }
    });
}
