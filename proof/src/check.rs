//! What is asked of an arena after something was killed in it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use faretra::proof::{ArenaLife, Id, Life, PAGE, Set, Sys, header};

use crate::items::check_items;
use crate::sim::{Image, Sim, ok};
use crate::told::{check_places, check_sums};
use crate::world::{Actor, ROOM, publish, quiet, read};

const CHECKER: usize = 1 << 20;

/// What names say that nobody has finished with.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    allowed: BTreeMap<&'static str, Vec<Option<u64>>>,
}

impl Expect {
    /// One more value that a name may have.
    pub fn may(&mut self, name: &'static str, value: Option<u64>) {
        self.allowed.entry(name).or_default().push(value);
    }

    /// With what these may do.
    pub fn with(mut self, may: &[(&'static str, Option<u64>)]) -> Expect {
        for (name, value) in may {
            self.may(name, *value);
        }
        self
    }

    /// What is there now.
    pub fn of(actor: &Actor, names: &[&'static str]) -> Expect {
        let mut expect = Expect::default();
        for name in names {
            expect.may(name, ok(read(actor, name)));
        }
        expect
    }
}

/// Everything that is not free.
fn in_use(actor: &Actor) -> Vec<(Id, Life)> {
    let ids = actor.geo.zones.iter().flat_map(|zone| (0..actor.used(zone)).map(|slot| zone.id(slot)));
    ids.map(|id| (id, actor.life(id, Ordering::Relaxed))).filter(|(_, life)| *life != Life::FREE).collect()
}

/// What is asked of an arena after something was killed in it.
pub fn check(image: Image, expect: &Expect) {
    let mut versions = image.told.clone();
    versions.sort();
    let all = versions.len();
    versions.dedup();
    assert_eq!(versions.len(), all, "N4: a version was given twice");
    let mut counted = image.counted.clone();
    counted.sort_unstable();
    assert!(counted.windows(2).all(|two| two[0] != two[1]), "K1: a change was lost: {counted:?}");
    let sim = Sim::of(image.clone());
    sim.state().room = ROOM;
    make_good_how_it_ends(&mut sim.state());
    let r = quiet(&sim, CHECKER);
    // What any waiter does, and then what is only done when memory runs out or somebody asks for it.
    ok(r.recover());
    let (found, left) = (r.look_for_violations(), in_use(&r));
    assert!(found.is_empty(), "after a quick recovery: {found:?}");
    ok(r.sweep());
    let found = ok(r.verify());
    assert!(found.is_empty(), "after recovery: {found:?}");
    assert_eq!(in_use(&r), left, "a quick recovery left something for a sweep");
    check_items(&r, &image);
    check_sums(&r, &image);
    for (name, values) in &expect.allowed {
        let read = ok(read(&r, name));
        assert!(values.contains(&read), "`{name}` says {read:?}, allowed {values:?}");
    }
    // It still works, and what is new is newer than all that there was.
    ok(publish(&r, "after", 77, 1));
    assert_eq!(ok(read(&r, "after")), Some(77));
    let highest: BTreeMap<_, _> = versions.into_iter().collect();
    for (name, version) in highest {
        let next = ok(publish(&r, &name, 78, 0));
        assert!(next > version, "N4: `{name}` was at {version}, the next is {next}");
    }
    // With everybody dead and every name removed, every word is free and every page given back.
    sim.state().kill_all_but(CHECKER);
    ok(r.sweep());
    check_places(&r);
    let permits: Vec<_> =
        (0..r.geo.params.permits).map(|_| ok(r.try_lease(r.permits())).expect("a permit is missing")).collect();
    assert!(ok(r.try_lease(r.permits())).is_none(), "more permits than there are");
    for p in permits {
        r.give_back(p);
    }
    // Every seat is taken: a predecessor's pins would count for its successor.
    let guests: Vec<_> = (0..r.geo.params.seats - 1).map(|i| quiet(&sim, CHECKER + 1 + i as usize)).collect();
    for named in ok(r.names()) {
        assert!(ok(r.remove(&named.name)), "`{}` is gone", named.name);
    }
    r.trim(u64::MAX);
    for guest in guests {
        guest.detach();
    }
    let control = r.control_bytes();
    let (mut least, mut most) = control.into_inner();
    for zone in &r.geo.zones {
        for slot in 0..r.used(zone) {
            let life = r.life(zone.id(slot), Ordering::Relaxed);
            assert_eq!(life, Life::FREE, "{} leaked", zone.id(slot));
        }
        let pages = r.committed(zone);
        if zone.set == Set::Shared {
            // Z5: kept, and counted.
            least += pages.bytes;
            most += pages.bytes + pages.dirty * PAGE;
            continue;
        }
        assert_eq!(pages.bytes, 0, "pages of zone 2^{} leaked", zone.shift);
        assert_eq!(pages.dirty, 0, "a slot of zone 2^{} is unsure", zone.shift);
    }
    let kernel = r.env.in_memory();
    assert!((least..=most).contains(&kernel), "bytes leaked: {kernel} in memory, {least} to {most} expected");
    let others = ok(r.occupants()).into_iter().filter(|o| o.owner != r.me());
    assert_eq!(others.count(), 0, "a seat leaked");
}

/// What damage says of the arena's end is looked at in [`crate::ends`]; here it would hide what else is wrong.
fn make_good_how_it_ends(image: &mut Image) {
    image.set(header::STAY_AGAIN, image.get(header::STAY));
    if ArenaLife(image.get(header::LIFE)).closer().is_none() {
        image.set(header::LIFE, ArenaLife::OPEN.0);
    }
}
