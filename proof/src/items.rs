//! Items of channels and of a feed: sent, taken, said of, and checked in the end.

use std::cell::Cell;
use std::collections::BTreeSet;

use faretra::proof::{Awaited, Draft, End, Found, Outcome, Ring, RingForm, Taken, header, meta, wait_for_any};

use crate::sim::{Image, Said, Sim, ok};
use crate::world::{Actor, draft, tag, value};

/// Which channel was drained.
pub const C: u64 = 0;
/// See [`C`].
pub const U: u64 = 1;

/// Writes down what somebody does with an item.
pub fn say(a: &Actor, said: Said, item: u64) {
    a.env.state().said.push((said, item));
}

/// Publishes a channel of so many cells.
pub fn make(a: &Actor, name: &str, cells: u64) {
    let draft = ok(a.draft_ring(RingForm::channel(cells)));
    a.set_meta(draft.id, meta::ROWS, tag(name));
    ok(a.publish(name, draft, Some(0)).inspect_err(|_| a.drop_draft(draft)));
}

/// Publishes the channel `U` without a bound: three segments of two cells.
pub fn make_chain(a: &Actor) {
    let draft = ok(a.draft_ring(RingForm::chain(3, 2)));
    a.set_meta(draft.id, meta::ROWS, tag("U"));
    ok(a.publish("U", draft, Some(0)).inspect_err(|_| a.drop_draft(draft)));
}

/// Runs `f` with a channel or feed pinned, if it is there.
pub fn with<T>(a: &Actor, name: &str, f: impl FnOnce(Ring) -> T) -> Option<T> {
    let id = ok(a.pin_named(name))?;
    let done = f(ok(a.ring_of(id)));
    a.unpin(id);
    Some(done)
}

/// The number of the next item: no two are the same.
pub fn number(a: &Actor) -> u64 {
    let mut image = a.env.state();
    image.items += 1;
    image.items
}

/// Sends an item. `false`: the channel is full, or closed.
pub fn try_send(a: &Actor, ring: Ring, item: Draft, number: u64) -> bool {
    say(a, Said::Sending, number);
    match ok(a.try_send(ring, item)) {
        Outcome::Done(()) => {
            say(a, Said::Sent, number);
            true
        }
        _ => false,
    }
}

/// Takes an item, if there is one.
pub fn take(a: &Actor, ring: Ring) -> Option<Taken> {
    match ok(a.try_take(ring)) {
        Outcome::Done(taken) => Some(taken),
        _ => None,
    }
}

/// Acknowledges an item that was taken.
pub fn acknowledge(a: &Actor, ring: Ring, taken: Taken) {
    let number = value(a, taken.id);
    say(a, Said::Acking, number);
    a.acknowledge(ring, taken);
    say(a, Said::Acked, number);
}

/// Publishes the feed `F` of two items and two subscribers.
pub fn make_feed(a: &Actor) {
    let draft = ok(a.draft_ring(RingForm::feed(2, 2)));
    a.set_meta(draft.id, meta::ROWS, tag("F"));
    ok(a.publish("F", draft, Some(0)).inspect_err(|_| a.drop_draft(draft)));
}

/// Reads what the feed has, as a subscriber from the oldest on: what, and how many were missed.
pub fn read_feed(a: &Actor) -> (Vec<u64>, u64) {
    let (mut all, mut missed) = (vec![], 0);
    with(a, "F", |ring| {
        let Some((lease, mut position)) = ok(a.try_subscribe(ring, |oldest, _| oldest)) else { return };
        loop {
            match ok(a.pin_position(ring, position)) {
                Found::Item(id) => {
                    let number = value(a, id);
                    assert!(!all.contains(&number), "F2: {number} twice");
                    all.push(number);
                    a.unpin(id);
                    position += 1;
                }
                Found::Gone(next) => {
                    assert!(next > position, "F2: back to {next} from {position}");
                    missed += next - position;
                    position = next;
                }
                Found::Nothing | Found::End => break,
            }
            a.show_position(ring, lease, position);
        }
        a.give_back(lease);
    });
    (all, missed)
}

/// What was said of items, against what is still there. `r` takes all of it.
pub fn check_items(r: &Actor, image: &Image) {
    let of = |what| -> Vec<u64> { image.said.iter().filter(|(s, _)| *s == what).map(|(_, n)| *n).collect() };
    let acked = of(Said::Acked);
    let set = |list: &[u64]| list.iter().copied().collect::<BTreeSet<u64>>();
    assert_eq!(set(&acked).len(), acked.len(), "Q3: acknowledged twice: {acked:?}");
    let first = |what, n| image.said.iter().position(|said| *said == (what, n));
    for n in of(Said::Acking) {
        assert!(first(Said::Sending, n) < first(Said::Acking, n), "Q3: {n} was received before it was sent");
    }
    let mut left = vec![];
    for name in ["C", "D", "U"] {
        with(r, name, |ring| {
            let closed = of(Said::Drained).contains(&if name == "U" { U } else { C }) && name != "D";
            // Drafts of one's own in the memory of what was acknowledged: nobody may be given those.
            let mut own = vec![];
            let sent = r.sent(ring);
            while let Some(taken) = take(r, ring) {
                let late = closed && taken.attempts == 0;
                assert!(!late, "Q4: sent after somebody was told that it is closed");
                left.push(value(r, taken.id));
                r.acknowledge(ring, taken);
                own.extend(draft(r, 0, 1));
            }
            assert_eq!(r.taken(ring), sent, "Q7: items of `{name}` that were there were not counted");
            // Every cell is empty, whatever the memory of its last item is now.
            for _ in 0..ring.capacity() {
                let item = ok(draft(r, 0, 0));
                match ok(r.try_send(ring, item)) {
                    Outcome::Done(()) => own.push(item),
                    Outcome::Closed => r.drop_draft(item),
                    Outcome::NotNow => panic!("Q2: `{name}` is empty, and full"),
                }
            }
            while let Some(taken) = take(r, ring) {
                own.retain(|d| d.id != taken.id);
                r.acknowledge(ring, taken);
            }
            own.into_iter().for_each(|d| r.drop_draft(d));
            assert!(r.outstanding(ring).is_empty(), "Q5: something is left in `{name}`");
        });
    }
    let there = set(&left);
    assert_eq!(there.len(), left.len(), "Q3: delivered twice: {left:?}");
    let twice: Vec<_> = acked.iter().filter(|n| there.contains(n)).collect();
    assert!(twice.is_empty(), "Q3: acknowledged, and there again: {twice:?}");
    let unsent: Vec<_> = there.difference(&set(&of(Said::Sending))).copied().collect();
    assert!(unsent.is_empty(), "never sent: {unsent:?}");
    if of(Said::FeedRemoved).is_empty() && ok(r.lookup("F")).map(|id| r.unpin(id)).is_some() {
        let appended = of(Said::Appended);
        let (items, missed) = read_feed(r);
        assert_eq!(missed, 0, "F1: positions are missing");
        assert!(items.iter().all(|n| of(Said::Appending).contains(n)), "never appended: {items:?}");
        let capacity = with(r, "F", |ring| ring.capacity()).unwrap_or_default() as usize;
        assert!(items.len() >= appended.len().min(capacity), "F1: {items:?} is left of {appended:?}");
    }
    if of(Said::Removed).is_empty() {
        let acking = set(&of(Said::Acking));
        let lost: Vec<_> = of(Said::Sent).into_iter().filter(|n| !there.contains(n) && !acking.contains(n)).collect();
        assert!(lost.is_empty(), "Q1: lost: {lost:?}");
    }
}

/// Something that is waited for, beside others.
struct Thing<'a> {
    actor: &'a Actor,
    bell: u64,
    is_ready: &'a dyn Fn() -> bool,
}

impl Awaited<Sim> for Thing<'_> {
    fn bell(&self) -> Option<(&Actor, u64)> {
        Some((self.actor, self.bell))
    }

    fn is_ready(&self) -> bool {
        (self.is_ready)()
    }
}

/// Waits for two things at once: for an item of a channel, and for what nobody brings about. Gives up after a sleep that no
/// bell ended. Says whether there was an item, and whether it slept like that.
pub fn select_item(a: &Actor, ring: Ring) -> (bool, bool) {
    let slept = Cell::new(false);
    let (item, over) = (|| a.has_item(ring), || slept.get());
    let things = [
        Thing { actor: a, bell: header::PERMIT_BELL, is_ready: &over },
        Thing { actor: a, bell: ring.bell(End::Receive), is_ready: &item },
    ];
    (ok(wait_for_any(&things, 1, None, || slept.set(true))) == Some(1), slept.get())
}
