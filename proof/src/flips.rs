//! Damage: bits of the segment flip, and whatever is asked of it answers in words.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use faretra::proof::{End, Found, Oldest, Outcome, PAGE};

use crate::oracle::Random;
use crate::script::{acting_stage, acts, stage_after_death};
use crate::sim::{Image, Sim};
use crate::stage::Stage;
use crate::sweep::Budget;
use crate::world::{Actor, ROOM, draft, try_attach};

/// Steps for one operation on a damaged segment. A damaged count may make a walk as long as a zone.
const STEPS: u64 = 200_000;

/// What flips did.
#[derive(Clone, Debug, Default)]
pub struct Flips {
    /// Bits flipped, one arena each.
    pub flips: u64,
    /// Operations that ended in an error.
    pub errors: u64,
    /// Flips that the rules tell of.
    pub noticed: u64,
    /// Flips with which an operation panicked or did not end, and how.
    pub broken: Vec<String>,
}

fn tried<T>(seen: &mut Flips, done: faretra::Result<T>) -> Option<T> {
    seen.errors += u64::from(done.is_err());
    done.ok()
}

fn everything(a: &Actor, budget: &Budget, seen: &mut Flips) {
    budget.renew();
    let violations = a.look_for_violations();
    seen.noticed += u64::from(!violations.is_empty());
    for name in ["x", "y", "w"] {
        budget.renew();
        if let Some(id) = tried(seen, a.pin_named(name)).flatten() {
            let _ = a.kind(id);
            for i in 0..a.part_count(id) {
                let _ = a.object(a.part_entry(id, i).part());
            }
            a.unpin(id);
        }
    }
    budget.renew();
    tried(seen, a.names());
    budget.renew();
    a.kept();
    for name in ["x", "z"] {
        budget.renew();
        if let Some(draft) = tried(seen, draft(a, 5, 1))
            && tried(seen, a.publish(name, draft, None)).is_none()
        {
            a.drop_draft(draft);
        }
    }
    granted(a, budget, seen);
    rings(a, budget, seen);
    budget.renew();
    if let Some(permit) = tried(seen, a.try_lease(a.permits())).flatten() {
        a.give_back(permit);
    }
    budget.renew();
    tried(seen, a.sweep());
    budget.renew();
    tried(seen, a.remove("x"));
    budget.renew();
    a.trim(u64::MAX);
    budget.renew();
    a.look_for_violations();
    budget.renew();
    a.detach();
}

/// What locks, if it is there.
fn granted(a: &Actor, budget: &Budget, seen: &mut Flips) {
    for name in ["m", "u", "v", "s", "e", "g"] {
        budget.renew();
        let Some(id) = tried(seen, a.pin_named(name)).flatten() else { continue };
        if let Some(leases) = tried(seen, a.leases_of(id)).flatten() {
            a.lessees(leases);
            if leases.count > 0
                && let Some(lease) = tried(seen, a.try_lease(leases)).flatten()
            {
                a.give_back(lease);
            }
            a.add_permit(leases);
        }
        a.is_frozen(id);
        a.unpin(id);
    }
}

/// Channels and the feed, if they are there.
fn rings(a: &Actor, budget: &Budget, seen: &mut Flips) {
    for name in ["C", "D", "F", "U"] {
        budget.renew();
        let Some(id) = tried(seen, a.pin_named(name)).flatten() else { continue };
        if let Some(ring) = tried(seen, a.ring_of(id)) {
            a.depth(ring);
            a.outstanding(ring);
            a.present(ring, End::Send);
            // Of a chain nobody asks that.
            let kept = || [a.positions_kept(ring).start, a.sent(ring)];
            for position in (!ring.is_chain()).then(kept).into_iter().flatten() {
                if let Some(Found::Item(id)) = tried(seen, a.pin_position(ring, position)) {
                    a.unpin(id);
                }
            }
            budget.renew();
            if let Some(item) = tried(seen, draft(a, 5, 0)) {
                let sent = match ring.is_feed() {
                    true => a.try_append(ring, item, Oldest::MustBeSeen),
                    false => a.try_send(ring, item),
                };
                if tried(seen, sent) != Some(Outcome::Done(())) {
                    a.drop_draft(item);
                }
            }
            budget.renew();
            if !ring.is_feed()
                && let Some(Outcome::Done(taken)) = tried(seen, a.try_take(ring))
            {
                a.refuse(ring, taken);
            }
            a.join(ring, End::Send);
            a.leave_end(ring, End::Send);
        }
        a.unpin(id);
        budget.renew();
        tried(seen, a.remove(name));
    }
}

/// Flips one bit of an image, and does everything there is to do.
fn flip(mut image: Image, off: u64, bit: u32, seen: &mut Flips) {
    seen.flips += 1;
    image.flip(off, bit);
    image.lenient = true;
    image.room = ROOM;
    let sim = Sim::of(image);
    let budget = Arc::new(Budget::new(STEPS));
    let run = AssertUnwindSafe(|| {
        if let Some(actor) = tried(seen, try_attach(&sim, 5, budget.clone())) {
            everything(&actor, &budget, seen);
        }
    });
    if let Err(why) = catch_unwind(run) {
        let text = why.downcast_ref::<String>().cloned();
        let text = text.or_else(|| why.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        seen.broken.push(format!("bit {bit} of {off:#x}: {}", text.unwrap_or_default()));
    }
}

/// Flips `bits` random bits (64: all) of every word that is not zero, and of the word after it. Only words that
/// something may change: the first page is checked by its sum when an arena is opened.
pub fn sweep(seed: u64, bits: u64) -> Flips {
    let mut random = Random::new(seed);
    let mut seen = Flips::default();
    let acts = acts();
    let dead = acts.iter().find(|a| a.name == "publish x").expect("an act");
    let stages =
        [acting_stage(), crate::queue::queue_stage(), crate::chains::chain_stage(), stage_after_death(dead, 30)];
    for Stage { image, .. } in stages {
        let mut offsets: Vec<u64> = image.offsets().into_iter().filter(|o| *o >= PAGE).collect();
        offsets.extend(offsets.clone().iter().map(|o| o + 8).filter(|o| image.has_word(*o)));
        offsets.sort_unstable();
        offsets.dedup();
        for off in offsets {
            for i in 0..bits {
                let bit = if bits == 64 { i } else { random.below(64) };
                flip(image.clone(), off, bit as u32, &mut seen);
            }
        }
    }
    seen
}
