//! A segment and a kernel in memory, with a step before every access.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use faretra::proof::{Full, Geometry, Load, Mem, Owner, PAGE, Params, Process, Sys};

/// What is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A shared load.
    Load,
    /// A shared store, swap or addition.
    Write,
    /// A system call that changes something.
    Call,
    /// Waiting for others: a retry or a sleep.
    Spin,
}

impl Op {
    /// Whether being killed before it differs from being killed after it.
    pub fn changes(self) -> bool {
        matches!(self, Op::Write | Op::Call)
    }
}

/// Called before each access of one process. May unwind with [`Killed`], block, or switch threads.
pub trait Hook: Send + Sync {
    /// `at` is where in the crate the access is.
    fn step(&self, op: Op, off: u64, at: &'static Location<'static>);
}

/// Does nothing.
#[derive(Debug, Default)]
pub struct Quiet;
impl Hook for Quiet {
    fn step(&self, _: Op, _: u64, _: &'static Location<'static>) {}
}

/// What a killed process unwinds with.
#[derive(Debug)]
pub struct Killed;

/// Everything that is shared: the segment's bytes, and what the kernel knows.
#[derive(Clone, Debug, Default)]
pub struct State {
    words: BTreeMap<u64, u64>,
    pages: BTreeSet<u64>,
    /// Who holds which lock.
    locks: BTreeMap<Owner, usize>,
    /// Pages that the file system has at most.
    pub room: u64,
    /// Times that a sleeper was woken.
    pub wakes: u64,
    clock: u64,
}

impl State {
    /// The kernel lets go of what a process held.
    pub fn kill(&mut self, process: usize) {
        self.locks.retain(|_, holder| *holder != process);
    }

    /// Pages in memory.
    pub fn pages(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Flips a bit of a word that is in memory, for damage tests.
    pub fn flip(&mut self, off: u64, bit: u32) {
        *self.words.entry(off).or_default() ^= 1 << bit;
    }

    /// Offsets of all words that are not zero.
    pub fn offsets(&self) -> Vec<u64> {
        self.words.keys().copied().collect()
    }
}

/// One process's door to the shared state.
#[derive(Clone)]
pub struct Sim {
    state: Arc<Mutex<State>>,
    process: usize,
    hook: Arc<dyn Hook>,
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sim(process {})", self.process)
    }
}

impl Sim {
    /// A new, zeroed segment with the pages that creation puts in memory.
    pub fn new(geo: &Geometry, room: u64) -> Sim {
        let state = State {
            room,
            ..State::default()
        };
        let sim = Sim {
            state: Arc::new(Mutex::new(state)),
            process: 0,
            hook: Arc::new(Quiet),
        };
        let p = &geo.params;
        let must = [
            (0, 2 * PAGE),
            (geo.seat_words, p.seats * 8),
            (geo.seats, p.seats * 128),
            (geo.permits, p.permits * 8),
            (geo.buckets, p.buckets * 8),
            (geo.heads, geo.zones.len() as u64 * 64),
        ];
        for (off, len) in must {
            sim.commit(off, len).expect("room for the header");
        }
        sim
    }

    /// The same segment, as seen by another process.
    pub fn process(&self, process: usize, hook: Arc<dyn Hook>) -> Sim {
        Sim {
            state: self.state.clone(),
            process,
            hook,
        }
    }

    /// A copy of the whole segment that shares nothing with this one.
    pub fn fork(&self) -> Sim {
        Sim {
            state: Arc::new(Mutex::new(self.state().clone())),
            process: 0,
            hook: Arc::new(Quiet),
        }
    }

    /// Looks at the shared state behind everyone's back.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who this is.
    pub fn number(&self) -> usize {
        self.process
    }

    fn touch(state: &State, off: u64) {
        assert!(off % 8 == 0, "offset {off:#x} is not aligned");
        assert!(
            state.pages.contains(&(off / PAGE)),
            "offset {off:#x} was touched before its page was in memory"
        );
    }
}

impl Load for Sim {
    #[track_caller]
    fn load(&self, off: u64, _: Ordering) -> u64 {
        self.hook.step(Op::Load, off, Location::caller());
        let state = self.state();
        Sim::touch(&state, off);
        state.words.get(&off).copied().unwrap_or(0)
    }
}

impl Mem for Sim {
    #[track_caller]
    fn store(&self, off: u64, value: u64, _: Ordering) {
        self.hook.step(Op::Write, off, Location::caller());
        let mut state = self.state();
        Sim::touch(&state, off);
        state.words.insert(off, value);
    }

    #[track_caller]
    fn cas(&self, off: u64, old: u64, new: u64, _: Ordering) -> Result<u64, u64> {
        self.hook.step(Op::Write, off, Location::caller());
        let mut state = self.state();
        Sim::touch(&state, off);
        let word = state.words.entry(off).or_default();
        if *word != old {
            return Err(*word);
        }
        *word = new;
        Ok(old)
    }

    #[track_caller]
    fn fetch_add(&self, off: u64, value: u64, _: Ordering) -> u64 {
        self.hook.step(Op::Write, off, Location::caller());
        let mut state = self.state();
        Sim::touch(&state, off);
        let word = state.words.entry(off).or_default();
        let before = *word;
        *word = before.wrapping_add(value);
        before
    }

    #[track_caller]
    fn spin(&self) {
        self.hook.step(Op::Spin, 0, Location::caller());
    }
}

impl Sys for Sim {
    #[track_caller]
    fn commit(&self, off: u64, len: u64) -> Result<(), Full> {
        self.hook.step(Op::Call, off, Location::caller());
        let mut state = self.state();
        // A kernel may be killed, or run out, in the middle: some pages may stay.
        for page in off / PAGE..(off + len).div_ceil(PAGE) {
            if !state.pages.contains(&page) {
                if state.pages() >= state.room {
                    return Err(Full);
                }
                state.pages.insert(page);
            }
        }
        Ok(())
    }

    #[track_caller]
    fn punch(&self, off: u64, len: u64) -> bool {
        self.hook.step(Op::Call, off, Location::caller());
        assert!(
            off % PAGE == 0 && len % PAGE == 0,
            "punched {len} bytes at {off:#x}"
        );
        let mut state = self.state();
        state
            .pages
            .retain(|p| !(off / PAGE..(off + len) / PAGE).contains(p));
        state.words.retain(|w, _| !(off..off + len).contains(w));
        true
    }

    fn in_memory(&self) -> u64 {
        self.state().pages() * PAGE
    }

    fn room(&self) -> (u64, u64) {
        let state = self.state();
        ((state.room - state.pages()) * PAGE, state.room * PAGE)
    }

    #[track_caller]
    fn lock(&self, owner: Owner) -> bool {
        self.hook.step(Op::Call, 0, Location::caller());
        let mut state = self.state();
        *state.locks.entry(owner).or_insert(self.process) == self.process
    }

    #[track_caller]
    fn unlock(&self, owner: Owner) {
        self.hook.step(Op::Call, 0, Location::caller());
        self.state().locks.remove(&owner);
    }

    fn is_gone(&self, owner: Owner, _: Process) -> bool {
        !self.state().locks.contains_key(&owner)
    }

    #[track_caller]
    fn sleep(&self, _: u64, _: u32, _: Duration) {
        self.hook.step(Op::Spin, 0, Location::caller());
    }

    #[track_caller]
    fn wake(&self, _: u64) {
        self.hook.step(Op::Call, 0, Location::caller());
        self.state().wakes += 1;
    }

    fn now(&self) -> u64 {
        let mut state = self.state();
        state.clock += 1;
        state.clock
    }
}

/// A layout small enough to be walked through, yet with every kind of zone.
pub fn tiny() -> Geometry {
    let params = Params {
        capacity: 1 << 16,
        seats: 6,
        permits: 2,
        buckets: 2,
        max_slots: 32,
        shared: 2 * PAGE,
        shared_top: 9,
    };
    Geometry::new(params).expect("valid numbers")
}
