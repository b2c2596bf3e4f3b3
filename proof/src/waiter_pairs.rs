//! Pairs of participants whose words are raced for under weak memory ([`crate::weak`]): waiters of a condition, and permits
//! that are posted.

use std::sync::atomic::Ordering;
use std::time::Duration;

use faretra::proof::{Enlisted, Id, Lease, Leases, Life, Load, State, Until, lock};

use crate::sim::{Image, Sim, in_time, ok};
use crate::stage::{Stage, enter};
use crate::waiters::{self, CONDITION, at_k, narrow_stage, waiting_stage};
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
    vec![sleep_against_notify(), take_against_post()]
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
            waiters::notify(a, waiters, 1);
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
        waiters::post(a, 1);
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
