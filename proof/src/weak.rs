//! Weak memory: the pairs of [`crate::pairs`] under loom, on the code as it is.
//!
//! The raced words of a pair live in loom's atomics, all others in the image.
//!
//! loom treats `SeqCst` accesses as `AcqRel`, so they are spelled out with fences, as compilers do for hardware
//! without such accesses: [`Fences::After`] each write (x86, and AArch64's stores), or [`Fences::Before`] each access
//! (POWER, ARMv7). The code must be right under both, and each class of access is shown to be needed under the
//! one that gives it a fence. What only needs acquire and release is right without fences, too ([`Fences::Nowhere`]),
//! and each class of access that carries something is shown to be needed by making it `Relaxed`. As loom misses
//! interleavings in which a plain load precedes an update (its issue 166), everything is run once more with loads
//! that are updates.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64 as Count, Ordering};
use std::sync::{Arc, Mutex};

use faretra::proof::Id;
use loom::sync::atomic::{AtomicU64, fence};
use loom::thread;

use crate::check::check;
use crate::race::no_loose_ends;
use crate::sim::{Cells, Image};
use crate::stage::{Stage, enter};
use crate::world::{Actor, quiet};

/// Where `SeqCst` puts its fences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fences {
    /// After each write.
    After,
    /// Before each access.
    Before,
    /// Nowhere: it is acquire and release.
    Nowhere,
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
    /// Hold words of a shared part.
    Hold,
    /// Turns of its holds.
    Turn,
    /// Leases: a mutex's, a writer's of a partition, those of slots.
    Lease,
    /// Leases of a partition's readers.
    Reader,
    /// The word that says which slot is current, or that an array is frozen.
    State,
    /// What a lease guards: elements, or the words of a value.
    Data,
    /// Bells.
    Bell,
    /// Marks of those who wait at a condition.
    Mark,
    /// The cells of a ring.
    Cell,
    /// Where the next item of a ring goes, and where it comes from.
    Position,
    /// What is told of a ring: that it is closed, how often something came back, who is there.
    Told,
}

/// A class of accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Loads.
    Loads,
    /// Stores, swaps and additions.
    Updates,
}

/// What is left of an access's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weak {
    /// Acquire and release.
    Unfenced,
    /// Nothing.
    Relaxed,
}

/// How memory behaves.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// Where fences are.
    pub fences: Fences,
    /// Loads are updates that change nothing.
    pub loads_update: bool,
    /// Accesses that are weaker than the code says.
    pub weakened: Option<(Word, Access, Weak)>,
}

impl Model {
    /// Nothing weakened.
    pub fn new(fences: Fences, loads_update: bool) -> Model {
        Model { fences, loads_update, weakened: None }
    }

    /// With one class of accesses weakened.
    #[must_use]
    pub fn weaken(self, word: Word, access: Access, weak: Weak) -> Model {
        Model { weakened: Some((word, access, weak)), ..self }
    }

    /// All models under which a pair must hold.
    pub fn all(pair: &Pair) -> Vec<Model> {
        let fences = [Fences::After, Fences::Before, Fences::Nowhere];
        let known = fences.iter().filter(|f| pair.unfenced || **f != Fences::Nowhere);
        known.flat_map(|f| [Model::new(*f, false), Model::new(*f, true)]).collect()
    }
}

struct Raced {
    words: BTreeMap<u64, (Word, AtomicU64)>,
    model: Model,
}

impl Raced {
    /// What is left of an order, and whether it has fences.
    fn order(&self, word: Word, access: Access, order: Ordering) -> (Ordering, bool) {
        let weak = self.model.weakened.filter(|(w, a, _)| (*w, *a) == (word, access)).map(|(_, _, weak)| weak);
        let relaxed = order == Ordering::Relaxed || weak == Some(Weak::Relaxed);
        let left = if relaxed { Ordering::Relaxed } else { Ordering::AcqRel };
        (left, order == Ordering::SeqCst && weak.is_none())
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

fn acquires(order: Ordering) -> Ordering {
    if order == Ordering::Relaxed { order } else { Ordering::Acquire }
}

fn releases(order: Ordering) -> Ordering {
    if order == Ordering::Relaxed { order } else { Ordering::Release }
}

impl Cells for Raced {
    fn load(&self, off: u64, order: Ordering) -> Option<u64> {
        let (word, cell) = self.words.get(&off)?;
        let (order, strong) = self.order(*word, Access::Loads, order);
        self.before(strong);
        let order = acquires(order);
        // Data are stored, not swapped, while others load them; loom would let the store come before an update
        // that did not see it.
        let update = self.model.loads_update && *word != Word::Data;
        Some(if update { cell.fetch_or(0, order) } else { cell.load(order) })
    }

    fn store(&self, off: u64, value: u64, order: Ordering) -> Option<()> {
        let (word, cell) = self.words.get(&off)?;
        let (order, strong) = self.order(*word, Access::Updates, order);
        self.before(strong);
        cell.store(value, releases(order));
        self.after(strong);
        Some(())
    }

    fn cas(&self, off: u64, old: u64, new: u64, order: Ordering) -> Option<Result<u64, u64>> {
        let (word, cell) = self.words.get(&off)?;
        let (order, strong) = self.order(*word, Access::Updates, order);
        self.before(strong);
        let done = cell.compare_exchange(old, new, order, acquires(order));
        self.after(strong);
        Some(done)
    }

    fn fetch_add(&self, off: u64, value: u64, order: Ordering) -> Option<u64> {
        let (word, cell) = self.words.get(&off)?;
        let (order, strong) = self.order(*word, Access::Updates, order);
        self.before(strong);
        let before = cell.fetch_add(value, order);
        self.after(strong);
        Some(before)
    }
}

/// Interesting things that happened, over all executions. Each must: else the model did not reach them.
#[derive(Debug, Default)]
pub struct Reached(Mutex<BTreeMap<&'static str, u64>>);

impl Reached {
    /// One more.
    pub fn note(&self, what: &'static str) {
        if let Ok(mut all) = self.0.lock() {
            *all.entry(what).or_default() += 1;
        }
    }

    /// How often each.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().map_or_else(|e| e.into_inner().clone(), |all| all.clone())
    }
}

/// The seat of the first of two who attach after the parent; the second has the next.
pub const FIRST_SEAT: u64 = 1;

/// What one participant of a pair does.
pub type Part = fn(&Actor, &Pair, &Reached);

/// Two participants, and the words that they race for.
#[derive(Clone)]
pub struct Pair {
    /// Shown when it fails.
    pub name: &'static str,
    /// The arena before, and what its names may say in the end.
    pub stage: Stage,
    /// The object that matters, and the name whose place does.
    pub object: Id,
    /// See `object`.
    pub record: Id,
    /// Where the raced words lie.
    pub words: Vec<(Word, u64)>,
    /// Runs before the race, undisturbed.
    pub before: fn(&[Actor; 2], Id),
    /// What the two do.
    pub parts: [Part; 2],
    /// Looks at the arena in the end, besides all that [`check`] asks.
    pub at_end: fn(&Image),
    /// What must have happened in some execution.
    pub must_reach: &'static [&'static str],
    /// What must be caught when weakened, and under which fences.
    pub needs: &'static [Class],
    /// Whether acquire and release are all that it needs.
    pub unfenced: bool,
}

/// A class of accesses, what is left of their order, and where fences are.
pub type Class = (Fences, Word, Access, Weak);

/// Each class of a pair's accesses weakened in turn, and whether something goes wrong then.
pub fn survey(pair: &Pair, preemptions: usize) -> Vec<(Class, bool)> {
    let words: std::collections::BTreeSet<Word> = pair.words.iter().map(|(word, _)| *word).collect();
    let mut all = vec![];
    for word in words {
        for access in [Access::Loads, Access::Updates] {
            for weak in [Weak::Unfenced, Weak::Relaxed] {
                for fences in [Fences::After, Fences::Before, Fences::Nowhere] {
                    // Where nothing has a fence, nothing can lose one; and a pair that needs some fails anyway.
                    if fences == Fences::Nowhere && (weak == Weak::Unfenced || !pair.unfenced) {
                        continue;
                    }
                    let model = Model::new(fences, false).weaken(word, access, weak);
                    all.push(((fences, word, access, weak), pair.fails(model, preemptions)));
                }
            }
        }
    }
    all
}

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
        let sim = enter(&self.stage);
        let cell = |(word, off): &(Word, u64)| (*off, (*word, AtomicU64::new(self.stage.image.get(*off))));
        let words = self.words.iter().map(cell).collect();
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
        (self.at_end)(&image);
        no_loose_ends(&image);
        check(image, &self.stage.expect);
    }
}
