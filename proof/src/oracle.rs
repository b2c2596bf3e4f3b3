//! Long histories against an oracle of a few lines: a map from names to values and versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use faretra::Error;

use crate::check::{Expect, check};
use crate::sim::ok;
use crate::world::{Actor, DieAt, attach, mortal, publish_if, read, world};

/// Random numbers from a seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers that follow from the seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next, below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % n
    }
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// What happened in a history.
#[derive(Clone, Copy, Debug, Default)]
pub struct History {
    /// Operations.
    pub operations: u64,
    /// Of those, cut short by a death.
    pub deaths: u64,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Publish { value: u64, parts: u64, expected: Option<u64> },
    Remove,
    Read,
}

/// What a step did, as its process was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Version(u64),
    Conflict(u64),
    Removed(bool),
    Value(Option<u64>),
}

struct Model {
    /// What is there: value and version.
    now: BTreeMap<&'static str, (u64, u64)>,
    /// The highest version that a name ever had.
    highest: BTreeMap<&'static str, u64>,
}

impl Model {
    fn version(&self, name: &str) -> u64 {
        self.now.get(name).map_or(0, |n| n.1)
    }

    fn published(&mut self, name: &'static str, value: u64, version: u64) {
        let highest = self.highest.entry(name).or_default();
        assert!(version > *highest, "N4: `{name}` went from {highest} to {version}");
        *highest = version;
        self.now.insert(name, (value, version));
    }
}

fn run(actor: &Actor, name: &'static str, step: Step) -> Told {
    match step {
        Step::Publish { value, parts, expected } => match publish_if(actor, name, value, parts, expected) {
            Ok(version) => Told::Version(version),
            Err(Error::Conflict { found, .. }) => Told::Conflict(found),
            Err(e) => panic!("publishing `{name}`: {e}"),
        },
        Step::Remove => Told::Removed(ok(actor.remove(name))),
        Step::Read => Told::Value(ok(read(actor, name))),
    }
}

/// Plays a random history with three processes, one step at a time, some of them cut short by a death.
pub fn play(seed: u64, operations: u64) -> History {
    let mut random = Random::new(seed);
    let mut seen = History::default();
    let sim = world();
    let mut next_process = 3;
    let mut join = || {
        let hook = Arc::new(DieAt::default());
        next_process += 1;
        (next_process, attach(&sim, next_process, hook.clone()), hook)
    };
    let mut actors = [join(), join(), join()];
    let mut model = Model { now: BTreeMap::new(), highest: BTreeMap::new() };
    for count in 0..operations {
        seen.operations += 1;
        let who = random.below(3) as usize;
        let name = NAMES[random.below(NAMES.len() as u64) as usize];
        let version = model.version(name);
        let step = match random.below(10) {
            0..5 => Step::Publish { value: 100 + count, parts: random.below(3), expected: None },
            5 => Step::Publish { value: 100 + count, parts: 0, expected: Some(version) },
            6 => Step::Publish { value: 100 + count, parts: 0, expected: Some(version + 1 + random.below(2)) },
            7 => Step::Remove,
            _ => Step::Read,
        };
        let dies = random.below(12) == 0;
        let (process, actor, hook) = &actors[who];
        hook.arm(if dies { 1 + random.below(90) } else { 0 });
        match mortal(|| run(actor, name, step)) {
            Some(told) => {
                hook.arm(0);
                expect(&mut model, name, step, told);
            }
            None => {
                seen.deaths += 1;
                sim.state().kill(*process);
                let other = &actors[(who + 1) % 3].1;
                ok(other.recover());
                settle(&mut model, name, step, other);
                actors[who] = join();
            }
        }
        if count % 100 == 99 {
            let found = actors[0].1.look_for_violations();
            assert!(found.is_empty(), "seed {seed}, after {count} operations: {found:?}");
            for name in NAMES {
                let there = ok(read(&actors[1].1, name));
                assert_eq!(there, model.now.get(name).map(|n| n.0), "seed {seed}: `{name}` after {count} operations");
            }
        }
        if count % 500 == 250 {
            actors[2].1.trim(u64::MAX);
        }
    }
    let mut all = Expect::default();
    for name in NAMES {
        all.may(name, model.now.get(name).map(|n| n.0));
    }
    check(sim.image(), &all);
    seen
}

fn expect(model: &mut Model, name: &'static str, step: Step, told: Told) {
    let there = model.now.get(name).copied();
    match (step, told) {
        (Step::Publish { value, expected, .. }, Told::Version(version)) => {
            assert!(expected.is_none_or(|e| e == model.version(name)), "published over another version");
            model.published(name, value, version);
        }
        (Step::Publish { expected, .. }, Told::Conflict(found)) => {
            assert_eq!(found, model.version(name));
            assert_ne!(expected, Some(found), "a conflict with the version that is there");
        }
        (Step::Remove, Told::Removed(removed)) => {
            assert_eq!(removed, there.is_some());
            model.now.remove(name);
        }
        (Step::Read, Told::Value(value)) => assert_eq!(value, there.map(|t| t.0), "`{name}`"),
        _ => unreachable!("{step:?} told {told:?}"),
    }
}

/// After a death: what the step would have done is done, or not at all.
fn settle(model: &mut Model, name: &'static str, step: Step, other: &Actor) {
    let before = model.now.get(name).map(|n| n.0);
    let there = ok(read(other, name));
    match step {
        Step::Publish { value, .. } if there == Some(value) => {
            let named = ok(other.names());
            let version = named.iter().find(|n| n.name == name).expect("it was just read").version;
            model.published(name, value, version);
        }
        Step::Remove if there.is_none() => {
            model.now.remove(name);
        }
        _ => assert_eq!(there, before, "`{name}` after a death in {step:?}"),
    }
}
