//! What participants do at the condition `k` and the semaphore `p` of [`crate::waiters`], and the sums that must come out.

use std::sync::atomic::Ordering;

use faretra::Error;
use faretra::proof::{Enlisted, Form, Id, Kind, Leases, Load, State, Until, Waiters};

use crate::sim::{Image, Said, ok};
use crate::world::{Actor, with};

/// The condition `k`.
pub const CONDITION: Form = Form { kind: Kind::Condition, leases: 5, size: 16, slots: 5 };
/// The semaphore `p`.
pub const SEMAPHORE: Form = Form { kind: Kind::Semaphore, leases: 1, size: 0, slots: 0 };
/// The first number of the reserve.
pub const RESERVE: u64 = 1000;
/// Permits that can be posted.
pub const MOST: u64 = 100;

/// What is summed up.
#[derive(Clone, Copy, Debug)]
enum Sum {
    /// Waiters that a notifier told.
    Told,
    /// Waiters that left and had been told.
    Left,
    /// Permits that were posted.
    Posted,
    /// Posted permits that were taken.
    Taken,
    /// Those that were given back.
    Given,
}

/// Changes a sum, by `most` at most: says so before, and by how much afterwards.
fn change<T>(a: &Actor, sum: Sum, most: u64, f: impl FnOnce() -> (T, u64)) -> T {
    let say = |said, by: u64| a.env.state().said.push((said, (sum as u64) << 32 | most << 16 | by));
    say(Said::Changing, 0);
    let (done, by) = f();
    say(Said::Changed, by);
    done
}

/// The least and the most that a sum can be: who died while changing it may have done so, or not.
fn sum(image: &Image, sum: Sum) -> (u64, u64) {
    let (mut sure, mut open) = (0, 0);
    for (said, item) in image.said.iter().filter(|(_, item)| item >> 32 == sum as u64) {
        let most = item >> 16 & 0xffff;
        match said {
            Said::Changing => open += most,
            Said::Changed => {
                open -= most;
                sure += item & 0xffff;
            }
            _ => {}
        }
    }
    (sure, sure + open)
}

/// Runs `f` at the condition, if it is there.
pub fn at_k<T>(a: &Actor, f: impl FnOnce(Waiters) -> T) -> Option<T> {
    with(a, "k", |id, _| f(a.waiters_of(id, &CONDITION)))
}

/// Notifies waiters, so many at most.
pub fn notify(a: &Actor, waiters: Waiters, most: u64) {
    change(a, Sum::Told, most.min(CONDITION.leases), || ((), a.notify(waiters, most)));
}

/// Leaves, and says whether it was told.
pub fn leave(a: &Actor, waiters: Waiters, who: Enlisted) -> bool {
    change(a, Sum::Left, 1, || {
        let told = a.leave_waiters(waiters, who);
        (told, u64::from(told))
    })
}

/// Waits for one slice, as far as nobody tells it; says whether somebody did.
pub fn sleep(a: &Actor, waiters: Waiters, who: Enlisted) -> bool {
    let number = a.env.number();
    a.env.state().interrupted.insert(number);
    let waited = a.wait_enlisted(waiters, who, Until::Forever);
    a.env.state().interrupted.remove(&number);
    match waited {
        Err(Error::Interrupted) => false,
        told => {
            ok(told);
            true
        }
    }
}

/// Whether a waiter was told to go on.
pub fn is_told(a: &Actor, waiters: Waiters, who: Enlisted) -> bool {
    crate::sim::in_time(a.wait_enlisted(waiters, who, Until::Now)).is_some()
}

/// Posts permits to `p`.
pub fn post(a: &Actor, permits: u64) {
    with(a, "p", |id, _| {
        change(a, Sum::Posted, permits, || {
            let posted = a.post_permits(id, permits, MOST);
            ((), if posted { permits } else { 0 })
        });
    });
}

/// Takes a posted permit.
pub fn take(a: &Actor, id: Id, leases: Leases) -> Option<faretra::proof::Lease> {
    change(a, Sum::Taken, 1, || {
        let taken = ok(a.try_permit(id, leases));
        assert!(taken.is_none_or(|lease| lease.off < leases.first), "its own permit is used up");
        (taken, u64::from(taken.is_some()))
    })
}

/// Gives a posted permit back.
pub fn give_back(a: &Actor, lease: faretra::proof::Lease) {
    change(a, Sum::Given, 1, || (a.give_back_added(lease), 1));
}

fn marks(a: &Actor, id: Id) -> Vec<u64> {
    let data = a.slots_of(id, &CONDITION).first();
    (0..CONDITION.slots).map(|i| a.env.load(data + i * 16 + 8, Ordering::SeqCst)).collect()
}

/// W1, W2: what was told and what came of it, and how many permits there are. `r` waits with those who are left.
pub fn check_sums(r: &Actor, image: &Image) {
    with(r, "p", |id, leases| {
        let [posted, taken, given] = [Sum::Posted, Sum::Taken, Sum::Given].map(|of| sum(image, of));
        let free = r.added_permits(id).0;
        let sums = format!("{free} of {posted:?} are free, {taken:?} taken, {given:?} given back");
        assert!(posted.0 + given.0 <= free + taken.1, "K6: a permit is lost: {sums}");
        assert!(free + taken.0 <= posted.1 + given.1, "K6: a permit is there twice: {sums}");
        let all: Vec<_> = std::iter::from_fn(|| ok(r.try_permit(id, leases))).collect();
        assert_eq!(all.len() as u64, free, "K6");
        for lease in all {
            r.give_back_added(lease);
        }
    });
    with(r, "k", |id, leases| {
        let waiters = r.waiters_of(id, &CONDITION);
        let mine = ok(r.enlist(waiters));
        if let Some(mine) = mine {
            sleep(r, waiters, mine);
        }
        let marks = marks(r, id);
        assert!(marks.iter().all(|mark| mark & 3 != 3), "W2: nobody hands it on: {marks:x?}");
        let of_living = |i: u64| r.count_leases(leases.part(i, 1), |state| matches!(state, State::Leased(_))) != 0;
        let now: Vec<u64> = (0..).zip(&marks).filter(|(_, mark)| **mark & 3 == 2).map(|(i, _)| i).collect();
        assert!(now.iter().all(|i| of_living(*i)), "W2: nobody hands it on: {marks:x?}");
        let (told, left, now) = (sum(image, Sum::Told), sum(image, Sum::Left), now.len() as u64);
        assert!(left.0 + now <= told.1, "W2: {now} and {left:?} were told, of {told:?}");
        if marks.iter().any(|mark| mark & 3 == 1 && mark >> 13 >= RESERVE) {
            assert!(told.0 <= left.1 + now, "W2: of {told:?} that were told {now} and {left:?} are there");
        }
        if let Some(mine) = mine {
            r.leave_waiters(waiters, mine);
        }
    });
}

/// With all others dead, each place can be used again, once.
pub fn check_places(r: &Actor) {
    at_k(r, |waiters| {
        let all: Vec<_> = std::iter::from_fn(|| ok(r.enlist(waiters))).collect();
        assert_eq!(all.len() as u64, CONDITION.leases, "a place of the dead is not used again");
        r.notify(waiters, u64::MAX);
        assert!(all.iter().all(|who| is_told(r, waiters, *who)), "W2: somebody was passed over");
        for who in all {
            r.leave_waiters(waiters, who);
        }
        assert_eq!((r.count_waiting(waiters), r.lost_waiters(waiters)), (0, 0));
    });
}
