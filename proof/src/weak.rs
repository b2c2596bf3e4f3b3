//! Store buffering: the three Dekker pairs under loom's weak memory, on the code as it is.
//!
//! Each participant of a pair writes one word and then reads what the other writes; at least one must see the
//! other. Acquire and release do not give that. The raced words live in loom's atomics, all others in the image.
//!
//! loom treats `SeqCst` accesses as `AcqRel`, so they are spelled out with fences, as compilers do for hardware
//! without such accesses: [`Fences::After`] each write (x86, and AArch64's stores), or [`Fences::Before`] each access
//! (POWER, ARMv7). The code must be right under both, and each class of access is shown to be needed under the
//! one that gives it a fence. As loom misses interleavings in which a plain load precedes an update (its issue
//! 166), everything is run once more with loads that are updates.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64 as Count, Ordering};
use std::sync::{Arc, Mutex};

use faretra::proof::{Id, Life, meta};
use loom::sync::atomic::{AtomicU64, fence};
use loom::thread;

use crate::race::no_loose_ends;
use crate::script::{Stage, enter};
use crate::sim::{Cells, Image};
use crate::world::{Actor, Expect, PARENT, check, draft, ok, publish, quiet, value, world};

/// Where `SeqCst` puts its fences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fences {
    /// After each write.
    After,
    /// Before each access.
    Before,
}

/// A class of raced words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// Places.
    Place,
    /// Objects' words.
    Life,
    /// Pin counts.
    Pin,
}

/// A class of accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Loads.
    Loads,
    /// Swaps and additions.
    Updates,
}

/// How memory behaves.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// Where fences are.
    pub fences: Fences,
    /// Loads are updates that change nothing.
    pub loads_update: bool,
    /// Accesses that are not sequentially consistent after all.
    pub weakened: Option<(Word, Access)>,
}

impl Model {
    /// Nothing weakened.
    pub fn new(fences: Fences, loads_update: bool) -> Model {
        Model { fences, loads_update, weakened: None }
    }

    /// With one class of accesses weakened.
    #[must_use]
    pub fn weaken(self, word: Word, access: Access) -> Model {
        Model { weakened: Some((word, access)), ..self }
    }

    /// All models under which everything must hold.
    pub fn all() -> Vec<Model> {
        let both = |f| [Model::new(f, false), Model::new(f, true)];
        [both(Fences::After), both(Fences::Before)].concat()
    }
}

struct Raced {
    words: BTreeMap<u64, (Word, AtomicU64)>,
    model: Model,
}

impl Raced {
    fn fenced(&self, word: Word, access: Access, order: Ordering) -> bool {
        order == Ordering::SeqCst && self.model.weakened != Some((word, access))
    }

    fn before(&self, strong: bool) {
        if strong && self.model.fences == Fences::Before {
            fence(Ordering::SeqCst);
        }
    }

    fn after(&self, strong: bool) {
        if strong && self.model.fences == Fences::After {
            fence(Ordering::SeqCst);
        }
    }
}

impl Cells for Raced {
    fn load(&self, off: u64, order: Ordering) -> Option<u64> {
        let (word, cell) = self.words.get(&off)?;
        self.before(self.fenced(*word, Access::Loads, order));
        let order = if order == Ordering::Relaxed { order } else { Ordering::Acquire };
        Some(if self.model.loads_update { cell.fetch_or(0, order) } else { cell.load(order) })
    }

    fn store(&self, off: u64, value: u64, order: Ordering) -> Option<()> {
        let (word, cell) = self.words.get(&off)?;
        let strong = self.fenced(*word, Access::Updates, order);
        self.before(strong);
        let order = if order == Ordering::Relaxed { order } else { Ordering::Release };
        cell.store(value, order);
        self.after(strong);
        Some(())
    }

    fn cas(&self, off: u64, old: u64, new: u64, order: Ordering) -> Option<Result<u64, u64>> {
        let (word, cell) = self.words.get(&off)?;
        let strong = self.fenced(*word, Access::Updates, order);
        self.before(strong);
        let done = cell.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire);
        self.after(strong);
        Some(done)
    }

    fn fetch_add(&self, off: u64, value: u64, order: Ordering) -> Option<u64> {
        let (word, cell) = self.words.get(&off)?;
        let strong = self.fenced(*word, Access::Updates, order);
        self.before(strong);
        let before = cell.fetch_add(value, Ordering::AcqRel);
        self.after(strong);
        Some(before)
    }
}

/// Interesting things that happened, over all executions. Each must: else the model did not reach them.
#[derive(Debug, Default)]
pub struct Reached(Mutex<BTreeMap<&'static str, u64>>);

impl Reached {
    fn note(&self, what: &'static str) {
        if let Ok(mut all) = self.0.lock() {
            *all.entry(what).or_default() += 1;
        }
    }

    /// How often each.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().map_or_else(|e| e.into_inner().clone(), |all| all.clone())
    }
}

type Part = fn(&Actor, &Pair, &Reached);

/// Two participants, and the words that they race for.
#[derive(Clone)]
pub struct Pair {
    /// Shown when it fails.
    pub name: &'static str,
    stage: Image,
    expect: Expect,
    /// The object that matters, and the name whose place does.
    object: Id,
    record: Id,
    /// Runs before the race, undisturbed.
    before: fn(&[Actor; 2], Id),
    parts: [Part; 2],
    /// What must have happened in some execution.
    pub must_reach: &'static [&'static str],
    /// What must be caught when weakened, and under which fences.
    pub needs: &'static [(Fences, Word, Access)],
}

/// The seat of the first of two who attach after the parent; the second has the next.
const FIRST_SEAT: u64 = 1;

impl Pair {
    /// Whether some execution goes wrong.
    pub fn fails(&self, model: Model, preemptions: usize) -> bool {
        let run = || self.run(model, preemptions, &Arc::new(Reached::default()));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
    }

    /// Runs all executions with at most so many preemptions. Panics where one goes wrong. Returns how many.
    pub fn run(&self, model: Model, preemptions: usize, reached: &Arc<Reached>) -> u64 {
        let executions = Arc::new(Count::new(0));
        let (pair, reached, count) = (self.clone(), reached.clone(), executions.clone());
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.max_branches = 20_000;
        builder.check(move || {
            count.fetch_add(1, Ordering::Relaxed);
            pair.execute(model, &reached);
        });
        executions.load(Ordering::Relaxed)
    }

    fn execute(&self, model: Model, reached: &Arc<Reached>) {
        let stage = Stage { image: self.stage.clone(), expect: self.expect.clone() };
        let sim = enter(&stage);
        let geo = crate::sim::tiny();
        let mut words = BTreeMap::new();
        let mut race = |word, off| {
            words.insert(off, (word, AtomicU64::new(stage.image.get(off))));
        };
        race(Word::Place, geo.meta(self.record, meta::PLACE));
        // The object, and the slots beside it, where its successors go.
        for id in self.object.0..self.object.0 + 3 {
            race(Word::Life, geo.life(Id(id)));
            for seat in [FIRST_SEAT, FIRST_SEAT + 1] {
                if stage.image.has_word(geo.pin(seat, Id(id))) {
                    race(Word::Pin, geo.pin(seat, Id(id)));
                }
            }
        }
        let raced = Arc::new(Raced { words, model });
        let sim = sim.with_cells(raced.clone());
        let actors = [0, 1].map(|i| quiet(&sim, 10 + i));
        (self.before)(&actors, self.object);
        let race = |(i, actor): (usize, Actor)| {
            let (pair, reached) = (self.clone(), reached.clone());
            thread::spawn(move || {
                pair.parts[i](&actor, &pair, &reached);
                actor
            })
        };
        let threads: Vec<_> = actors.into_iter().enumerate().map(race).collect();
        let actors: Vec<_> = threads.into_iter().map(|t| t.join().expect("a participant")).collect();
        drop(actors);
        let mut image = sim.image();
        for (off, (_, cell)) in &raced.words {
            image.set(*off, cell.load(Ordering::SeqCst));
        }
        no_loose_ends(&image);
        check(image, &self.expect);
    }
}

/// `x` published once, everything in memory that the race needs.
fn stage() -> (Image, Id, Id) {
    let sim = world();
    let parent = quiet(&sim, PARENT);
    ok(publish(&parent, "x", 1, 0));
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

/// The pairs.
pub fn pairs() -> Vec<Pair> {
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
    let publish: Part = |a, pair, reached| {
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
    let nothing: fn(&[Actor; 2], Id) = |_, _| {};
    let first_pins: fn(&[Actor; 2], Id) = |actors, object| ok(actors[0].raise_pin(object));
    let first_pins_what_goes: fn(&[Actor; 2], Id) = |actors, object| {
        ok(actors[0].raise_pin(object));
        ok(crate::world::publish(&actors[1], "x", 2, 0));
    };
    let (stage, object, record) = stage();
    let mut expect = Expect::default();
    expect.may("x", Some(2));
    let pair = |name, before, parts, must_reach, needs| Pair {
        name,
        stage: stage.clone(),
        expect: expect.clone(),
        object,
        record,
        before,
        parts,
        must_reach,
        needs,
    };
    use Access::{Loads, Updates};
    use Word::{Life as Object, Pin, Place};
    vec![
        pair(
            "row/place: pin against replace and reclaim",
            nothing,
            [pin, replace],
            &["pinned the old", "pinned the new", "freed by the writer", "kept for the reader"],
            &[
                (Fences::After, Object, Updates),
                (Fences::After, Pin, Updates),
                (Fences::Before, Place, Loads),
                (Fences::Before, Object, Loads),
                (Fences::Before, Pin, Loads),
            ],
        ),
        pair(
            "word/place: settle against replace",
            nothing,
            [publish, publish],
            &["put at once", "put after another", "replaced already", "current for a while"],
            &[(Fences::After, Object, Updates), (Fences::Before, Place, Loads)],
        ),
        pair(
            "row/word: unpin against replace and reclaim",
            first_pins,
            [unpin, replace],
            &["freed after unpin", "left to the other", "freed by the writer", "kept for the reader"],
            &[
                (Fences::After, Object, Updates),
                (Fences::After, Pin, Updates),
                (Fences::Before, Object, Loads),
                (Fences::Before, Pin, Loads),
            ],
        ),
        pair(
            "row/word: unpin against the second look of reclaim",
            first_pins_what_goes,
            [unpin, reclaim],
            &["freed after unpin", "left to the other", "freed after reclaim", "still pinned"],
            &[
                (Fences::After, Object, Updates),
                (Fences::After, Pin, Updates),
                (Fences::Before, Object, Loads),
                (Fences::Before, Pin, Loads),
            ],
        ),
    ]
}
