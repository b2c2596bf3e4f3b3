//! Pairs of participants whose words are raced for under weak memory ([`crate::weak`]): waiters of a condition, and permits
//! that are posted.

use std::sync::atomic::Ordering;
use std::time::Duration;

use faretra::proof::{Enlisted, Id, Lease, Leases, Life, Load, Mem, State, Until, lock};

use crate::sim::{Image, Sim, in_time, ok};
use crate::stage::{Stage, enter};
use crate::told::{self, CONDITION, at_k};
use crate::waiters::{narrow_stage, waiting_stage};
use crate::weak::Access::{Loads, Updates};
use crate::weak::Weak::Unfenced;
use crate::weak::{Fences, Pair, Part, Word};
use crate::world::quiet;

/// So short that it ends where it would sleep.
const AN_INSTANT: Until = Until::Within(Duration::from_nanos(1));

fn named(stage: &Stage, name: &str) -> Id {
    let watcher = quiet(&enter(stage), 80);
    ok(watcher.pin_named(name)).expect("there")
}

/// The lease of whoever has it.
fn lease_of(a: &crate::world::Actor, leases: Leases, index: u64) -> Lease {
    let off = leases.part(index, 1).first;
    let Some(State::Leased(ticket)) = Life(a.env.load(off, Ordering::Relaxed)).state() else { panic!("it is leased") };
    Lease { off, bell: leases.bell, ticket, recovered: false }
}

/// All of them.
pub fn waits() -> Vec<Pair> {
    vec![sleep_against_notify(), take_against_post(), leave_against_hand_on()]
}

fn woken(image: &Image) {
    assert!(image.slept.is_none() || image.wakes > 0, "B2: a sleeper was not woken");
}

/// B2: who sleeps at its own bell is woken by who writes its mark.
fn sleep_against_notify() -> Pair {
    // The third place is the one that is raced for.
    const PLACE: u64 = 2;
    let stage = waiting_stage();
    let id = named(&stage, "k");
    let data = quiet(&enter(&stage), 80).slots_of(id, &CONDITION).first();
    let wait: Part = |a, pair, reached| {
        at_k(a, |waiters| {
            let lease = lease_of(a, ok(a.leases_of(pair.object)).expect("leases"), PLACE);
            let who = Enlisted { lease, index: PLACE };
            let told = in_time(a.wait_enlisted(waiters, who, AN_INSTANT)).is_some();
            reached.note(if told { "was told" } else { "would sleep" });
            if !told {
                a.env.state().slept = Some(0);
            }
        });
    };
    let notify: Part = |a, _, reached| {
        at_k(a, |waiters| {
            let before = a.env.state().wakes;
            told::notify(a, waiters, 1);
            reached.note(if a.env.state().wakes > before { "rang" } else { "nobody sleeps" });
        });
    };
    Pair {
        name: "bell/mark: sleep against notify",
        stage,
        object: id,
        record: id,
        words: vec![(Word::Bell, data + PLACE * 16), (Word::Mark, data + PLACE * 16 + 8)],
        before: |actors, _| {
            at_k(&actors[0], |waiters| ok(actors[0].enlist(waiters)).expect("room"));
        },
        parts: [wait, notify],
        at_end: woken,
        must_reach: &["was told", "would sleep", "rang", "nobody sleeps"],
        needs: &[
            (Fences::Before, Word::Mark, Loads, Unfenced),
            (Fences::After, Word::Mark, Updates, Unfenced),
            (Fences::Before, Word::Bell, Loads, Unfenced),
            (Fences::After, Word::Bell, Updates, Unfenced),
        ],
        unfenced: false,
    }
}

/// W2: a waiter was told in place of a dead one by somebody who died then. It leaves, while another goes on with that.
fn leave_against_hand_on() -> Pair {
    const DEAD: u64 = 2;
    const NEXT: u64 = 3;
    let stage = waiting_stage();
    let id = named(&stage, "k");
    let sim = enter(&stage);
    let [dead, notifier] = [50, 51].map(|process| quiet(&sim, process));
    at_k(&dead, |waiters| ok(dead.enlist(waiters)).expect("room"));
    at_k(&notifier, |waiters| told::notify(&notifier, waiters, 1));
    sim.state().kill(50);
    ok(notifier.recover());
    notifier.detach();
    let stage = Stage { image: sim.image(), ..stage };
    let data = quiet(&enter(&stage), 80).slots_of(id, &CONDITION).first();
    let leave: Part = |a, pair, _| {
        at_k(a, |waiters| {
            let lease = lease_of(a, ok(a.leases_of(pair.object)).expect("leases"), NEXT);
            assert!(told::leave(a, waiters, Enlisted { lease, index: NEXT }), "it was told");
        });
    };
    let hand_on: Part = |a, pair, reached| {
        let mark = a.env.load(pair.words[0].1, Ordering::SeqCst);
        reached.note(if mark == 0 { "it was said to have come" } else { "has to look" });
        at_k(a, |waiters| a.hand_on_for_the_dead(waiters, 1));
    };
    Pair {
        name: "mark/mark: leave against handing on",
        stage,
        object: id,
        record: id,
        words: vec![(Word::Mark, data + DEAD * 16 + 8), (Word::Mark, data + NEXT * 16 + 8)],
        before: |actors, id| {
            let a = &actors[0];
            let who = at_k(a, |waiters| ok(a.enlist(waiters)).expect("room")).expect("there");
            assert_eq!(who.index, NEXT);
            let mark = |index| a.slots_of(id, &CONDITION).first() + index * 16 + 8;
            let number = a.env.load(mark(NEXT), Ordering::SeqCst) >> 13;
            a.env.store(mark(DEAD), number << 13 | 3, Ordering::SeqCst);
            a.env.store(mark(NEXT), number << 13 | (DEAD + 1) << 2 | 2, Ordering::SeqCst);
        },
        parts: [leave, hand_on],
        at_end: |_| {},
        must_reach: &["it was said to have come", "has to look"],
        needs: &[],
        unfenced: true,
    }
}

/// B2: who sleeps for a permit is woken by who posts one.
fn take_against_post() -> Pair {
    let mut stage = narrow_stage();
    let sim = enter(&stage);
    // None is free, and none is counted.
    let id = named(&stage, "p");
    let watcher = quiet(&sim, 80);
    while watcher.take_added_permit(id) {}
    watcher.detach();
    stage.image = sim.image();
    stage.image.said.clear();
    let at = quiet(&Sim::of(stage.image.clone()), 80).payload(id);
    let take: Part = |a, pair, reached| {
        let leases = ok(a.leases_of(pair.object)).expect("leases");
        let got = in_time(a.permit(pair.object, leases, AN_INSTANT));
        reached.note(if got.is_some() { "got a permit" } else { "would sleep" });
        match got {
            Some(lease) => {
                a.give_back_added(lease);
            }
            None => a.env.state().slept = Some(0),
        }
    };
    let post: Part = |a, _, reached| {
        let before = a.env.state().wakes;
        told::post(a, 1);
        reached.note(if a.env.state().wakes > before { "rang" } else { "nobody sleeps" });
    };
    Pair {
        name: "bell/state: take a permit against post",
        stage,
        object: id,
        record: id,
        words: vec![(Word::Bell, at + lock::BELL * 8), (Word::State, at + lock::STATE * 8)],
        before: |_, _| {},
        parts: [take, post],
        at_end: woken,
        must_reach: &["got a permit", "would sleep", "rang", "nobody sleeps"],
        needs: &[
            (Fences::Before, Word::State, Loads, Unfenced),
            (Fences::After, Word::State, Updates, Unfenced),
            (Fences::Before, Word::Bell, Loads, Unfenced),
            (Fences::After, Word::Bell, Updates, Unfenced),
        ],
        unfenced: false,
    }
}
