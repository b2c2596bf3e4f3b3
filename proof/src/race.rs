//! Interleavings: two or three participants race, under shuttle, on the code as it is.
//!
//! Participants switch only before accesses to words that another one uses too, one of them writing: other
//! accesses commute, so nothing is lost. Which words those are is learnt, and checked at the end: if a
//! schedule met a new one, the search begins anew. [`explore`] tries *every* schedule with at most so many
//! preemptions (Musuvathi and Qadeer, PLDI 2007); [`random`] goes beyond.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use faretra::proof::PAGE;
use shuttle::rand::Rng;
use shuttle::scheduler::{RandomScheduler, Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, Runner, thread};

use crate::check::check;
use crate::sim::{Done, Hook, Image, Killed, Op, Sim, Site, tiny};
use crate::stage::{Act, May, Stage, enter};
use crate::world::{Actor, attach, mortal, quiet};

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which words more than one participant uses.
struct Sharing {
    /// For each word: a bit for each participant that read it, and one for each that wrote it.
    used: Mutex<Vec<u16>>,
    /// Where to switch in this search.
    switch: Mutex<Vec<bool>>,
    grown: AtomicBool,
}

impl Sharing {
    fn new() -> Sharing {
        let words = (tiny().total / 8) as usize;
        Sharing {
            used: Mutex::new(vec![0; words]),
            switch: Mutex::new(vec![false; words]),
            grown: AtomicBool::new(false),
        }
    }

    fn note(&self, who: usize, off: u64, wrote: bool) {
        let word = (off / 8) as usize;
        let mut used = locked(&self.used);
        let mine = 1 << who | u16::from(wrote) << (8 + who);
        if used[word] & mine == mine {
            return;
        }
        used[word] |= mine;
        let (readers, writers) = (used[word] & 0xff, used[word] >> 8);
        let shared = writers != 0 && readers.count_ones() > 1;
        if shared && !locked(&self.switch)[word] {
            self.grown.store(true, Ordering::Relaxed);
        }
    }

    /// Switches at what was learnt. Returns whether that is more than before.
    fn learn(&self) -> bool {
        for (used, switch) in locked(&self.used).iter().zip(&mut *locked(&self.switch)) {
            *switch |= used >> 8 != 0 && (used & 0xff).count_ones() > 1;
        }
        self.grown.swap(false, Ordering::Relaxed)
    }
}

/// Lets others run before accesses to shared words, and may kill its participant.
struct Switch {
    who: usize,
    sharing: Arc<Sharing>,
    armed: AtomicBool,
    /// Changing steps left to live; negative: for ever.
    left: Mutex<Option<u64>>,
    inner: Option<Arc<dyn Hook>>,
}

impl Hook for Switch {
    fn step(&self, op: Op, off: u64, at: Site) {
        if !self.armed.load(Ordering::Relaxed) {
            return;
        }
        let shared = || locked(&self.sharing.switch)[(off / 8) as usize];
        match op {
            Op::Pause => thread::yield_now(),
            Op::Call | Op::Spin => thread::sleep(Duration::ZERO),
            _ if shared() => thread::sleep(Duration::ZERO),
            _ => {}
        }
        if op.changes()
            && let Some(left) = &mut *locked(&self.left)
        {
            if *left == 0 {
                resume_unwind(Box::new(Killed));
            }
            *left -= 1;
        }
        if let Some(inner) = &self.inner {
            inner.step(op, off, at);
        }
    }

    fn done(&self, done: Done, off: u64, order: Ordering, at: Site) {
        if let Some(inner) = &self.inner {
            inner.done(done, off, order, at);
        }
        if !self.armed.load(Ordering::Relaxed) {
            return;
        }
        match done {
            Done::Load => self.sharing.note(self.who, off, false),
            // A refused swap is a load, but an earlier step of the other might let it succeed.
            Done::Store | Done::Update | Done::Refused => self.sharing.note(self.who, off, true),
            Done::Punched(len) => {
                for off in (off..off + len.max(PAGE)).step_by(8) {
                    self.sharing.note(self.who, off, true);
                }
            }
            Done::Gone(_) => {}
        }
    }
}

/// What somebody does in a race.
#[derive(Clone, Copy)]
pub enum Run {
    /// As a participant that is attached already.
    Attached(fn(&Actor)),
    /// As a process that attaches itself, or does not.
    Alone(fn(&Sim)),
}

/// Who takes part in a race.
pub struct Racer {
    /// What it does.
    pub run: Run,
    /// Killed before this changing step of it, counted from 0.
    pub dies_at: Option<u64>,
}

impl Racer {
    /// A participant that is attached already, and lives.
    pub fn attached(run: fn(&Actor)) -> Racer {
        Racer { run: Run::Attached(run), dies_at: None }
    }

    /// A process that attaches itself, or does not, and lives.
    pub fn alone(run: fn(&Sim)) -> Racer {
        Racer { run: Run::Alone(run), dies_at: None }
    }
}

/// Makes a hook for the `n`-th racer of an execution: what follows orderings, say.
pub type Watch = dyn Fn(usize) -> Option<Arc<dyn Hook>> + Send + Sync;

/// One race: from where, who, and what may come of it.
pub struct Race {
    /// Shown when it fails.
    pub name: String,
    /// The arena before.
    pub stage: Stage,
    /// Who runs.
    pub racers: Vec<Racer>,
    /// Somebody died before, so that loose ends are there from the beginning.
    pub loose_before: bool,
    /// What must hold of the arena at the end, besides all that [`check`] asks.
    pub at_end: Option<Arc<AtEnd>>,
}

/// Looks at the arena at the end of a race.
pub type AtEnd = dyn Fn(&Image) + Send + Sync;

impl Race {
    /// A race of acts.
    pub fn new(stage: &Stage, acts: &[&Act]) -> Race {
        let names: Vec<_> = acts.iter().map(|a| a.name).collect();
        let mut stage = stage.clone();
        for act in acts {
            stage.expect = stage.expect.with(act.may);
        }
        Race {
            name: names.join(" || "),
            stage,
            racers: acts.iter().map(|a| Racer::attached(a.run)).collect(),
            loose_before: false,
            at_end: None,
        }
    }

    /// A race like this one, one racer of which dies.
    #[must_use]
    pub fn killing(mut self, who: usize, step: u64) -> Race {
        self.name = format!("{}, {who} dies at {step}", self.name);
        self.racers[who].dies_at = Some(step);
        self
    }

    /// With more that its names may say.
    #[must_use]
    pub fn may(mut self, may: May) -> Race {
        self.stage.expect = self.stage.expect.with(may);
        self
    }
}

/// How many schedules a search tried, and whether those were all with its number of preemptions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Searched {
    /// Executions.
    pub schedules: u64,
    /// Whether there are no more.
    pub complete: bool,
    /// Different arenas that they ended in.
    pub ends: u64,
    /// Racers that were killed where they were to be.
    pub deaths: u64,
}

impl Searched {
    /// Both searches.
    #[must_use]
    pub fn and(self, other: Searched) -> Searched {
        Searched {
            schedules: self.schedules + other.schedules,
            complete: self.complete && other.complete,
            ends: self.ends + other.ends,
            deaths: self.deaths + other.deaths,
        }
    }
}

/// What executions of one search have in common.
struct Search {
    sharing: Arc<Sharing>,
    /// Ends that were checked already.
    seen: Mutex<HashSet<u64>>,
    schedules: AtomicU64,
    deaths: AtomicU64,
}

/// Runs racers from a stage to the end, and checks that.
fn execute(race: &Race, search: &Search, watch: &Watch) {
    search.schedules.fetch_add(1, Ordering::Relaxed);
    let sim = enter(&race.stage);
    let mut ready = vec![];
    for (who, racer) in race.racers.iter().enumerate() {
        let hook = Arc::new(Switch {
            who,
            sharing: search.sharing.clone(),
            armed: AtomicBool::new(false),
            left: Mutex::new(racer.dies_at),
            inner: watch(who),
        });
        let actor = matches!(racer.run, Run::Attached(_)).then(|| attach(&sim, 10 + who, hook.clone()));
        ready.push((who, racer.run, actor, hook));
    }
    let died = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = ready
        .into_iter()
        .map(|(who, run, actor, hook)| {
            let (sim, died) = (sim.clone(), died.clone());
            thread::spawn(move || {
                hook.armed.store(true, Ordering::Relaxed);
                let done = mortal(|| match (run, &actor) {
                    (Run::Attached(run), Some(actor)) => run(actor),
                    (Run::Alone(run), _) => run(&sim.process(10 + who, hook.clone())),
                    (Run::Attached(_), None) => unreachable!("attached above"),
                });
                match done {
                    Some(()) => {
                        // It leaves undisturbed: leaving has races of its own.
                        hook.armed.store(false, Ordering::Relaxed);
                        if let Some(actor) = actor {
                            actor.detach();
                        }
                    }
                    None => {
                        // Between its last step and the kernel's letting go others run.
                        thread::sleep(Duration::ZERO);
                        died.fetch_add(1, Ordering::Relaxed);
                        sim.state().kill(10 + who);
                    }
                }
            })
        })
        .collect();
    for t in threads {
        t.join().expect("a racer");
    }
    search.deaths.fetch_add(died.load(Ordering::Relaxed), Ordering::Relaxed);
    let image = sim.image();
    let alive = race.racers.iter().all(|r| r.dies_at.is_none());
    if let Some(at_end) = &race.at_end {
        at_end(&image);
    }
    if locked(&search.seen).insert(print_of(&image)) {
        if alive && !race.loose_before {
            // Where nobody died, nothing is left for a sweep.
            no_loose_ends(&image);
        }
        check(image, &race.stage.expect);
    }
}

/// What everybody finished leaves nothing that breaks a rule, without any recovery.
pub fn no_loose_ends(image: &Image) {
    let watcher = quiet(&Sim::of(image.clone()), 80);
    let found = watcher.look_for_violations();
    assert!(found.is_empty(), "nobody died, and yet: {found:?}");
}

/// Equal for ends that are checked alike.
fn print_of(image: &Image) -> u64 {
    let told = image.told.iter().fold(0u64, |h, (name, version)| {
        let name = name.bytes().fold(*version, |h, b| h.wrapping_mul(31) + u64::from(b));
        h.wrapping_add(name.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    });
    let mut said = std::hash::DefaultHasher::new();
    (&image.said, &image.counted).hash(&mut said);
    image.fingerprint() ^ told ^ said.finish()
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.failure_persistence = FailurePersistence::None;
    config.silence_warnings = true;
    config
}

type Panic = Box<dyn std::any::Any + Send>;

fn search(
    race: &Arc<Race>,
    watch: &Arc<Watch>,
    search: &Arc<Search>,
    scheduler: impl Scheduler + 'static,
) -> Result<(), Panic> {
    let (race, watch, search) = (race.clone(), watch.clone(), search.clone());
    catch_unwind(AssertUnwindSafe(|| {
        Runner::new(scheduler, config()).run(move || execute(&race, &search, &*watch));
    }))
}

/// Every schedule of a race with at most `bound` preemptions, unless there are more than `most`.
pub fn explore(race: Race, bound: usize, most: u64) -> Searched {
    explore_watched(race, bound, most, Arc::new(|_| None))
}

/// Every schedule of a race as [`explore`] tries them, with a hook for each racer.
pub fn explore_watched(race: Race, bound: usize, most: u64, watch: Arc<Watch>) -> Searched {
    let name = race.name.clone();
    try_explore(race, bound, most, watch).unwrap_or_else(|why| {
        eprintln!("in the race {name}");
        resume_unwind(why)
    })
}

/// Every schedule of a race as [`explore_watched`] tries them. `Err`: what one of them panicked with.
pub fn try_explore(race: Race, bound: usize, most: u64, watch: Arc<Watch>) -> Result<Searched, Panic> {
    let race = Arc::new(race);
    let state = Arc::new(Search {
        sharing: Arc::new(Sharing::new()),
        seen: Mutex::default(),
        schedules: AtomicU64::new(0),
        deaths: AtomicU64::new(0),
    });
    // A first idea of what is shared.
    search(&race, &watch, &state, RandomScheduler::new_from_seed(7, 20))?;
    loop {
        state.sharing.learn();
        state.schedules.store(0, Ordering::Relaxed);
        state.deaths.store(0, Ordering::Relaxed);
        let complete = Arc::new(AtomicBool::new(false));
        let bounded =
            Bounded { bound, most, levels: vec![], depth: 0, spent: 0, executions: 0, complete: complete.clone() };
        search(&race, &watch, &state, bounded)?;
        if !state.sharing.grown.load(Ordering::Relaxed) {
            return Ok(Searched {
                schedules: state.schedules.load(Ordering::Relaxed),
                complete: complete.load(Ordering::Relaxed),
                ends: locked(&state.seen).len() as u64,
                deaths: state.deaths.load(Ordering::Relaxed),
            });
        }
    }
}

/// Random schedules of random races of three acts, one of whose actors dies at a random step in two of three.
pub fn random(stages: Vec<Stage>, acts: fn() -> Vec<Act>, seed: u64, executions: usize) -> Searched {
    let sharing = Arc::new(Sharing::new());
    locked(&sharing.switch).fill(true);
    let state =
        Arc::new(Search { sharing, seen: Mutex::default(), schedules: AtomicU64::new(0), deaths: AtomicU64::new(0) });
    let inner = state.clone();
    let body = move || {
        let (all, mut rng) = (acts(), shuttle::rand::thread_rng());
        let three = [0; 3].map(|_| &all[rng.gen_range(0..all.len())]);
        let stage = &stages[rng.gen_range(0..stages.len())];
        let mut race = Race::new(stage, &three);
        // Some stages begin with somebody dead.
        race.loose_before = true;
        if rng.gen_range(0..3) != 0 {
            race = race.killing(0, rng.gen_range(0..60));
        }
        // Ends of different races are not comparable.
        locked(&inner.seen).clear();
        let name = race.name.clone();
        let run = AssertUnwindSafe(|| execute(&race, &inner, &|_| None));
        if let Err(why) = catch_unwind(run) {
            eprintln!("in the race {name}");
            resume_unwind(why);
        }
    };
    let scheduler = RandomScheduler::new_from_seed(seed, executions);
    Runner::new(scheduler, config()).run(body);
    Searched {
        schedules: state.schedules.load(Ordering::Relaxed),
        deaths: state.deaths.load(Ordering::Relaxed),
        ..Searched::default()
    }
}

/// A point at which there was a choice.
struct Level {
    choices: usize,
    chosen: usize,
}

/// All schedules with at most so many preemptions, depth first.
struct Bounded {
    bound: usize,
    most: u64,
    levels: Vec<Level>,
    depth: usize,
    spent: usize,
    executions: u64,
    complete: Arc<AtomicBool>,
}

impl Scheduler for Bounded {
    fn new_execution(&mut self) -> Option<Schedule> {
        if self.executions > 0 {
            while self.levels.last().is_some_and(|l| l.chosen + 1 == l.choices) {
                self.levels.pop();
            }
            let Some(last) = self.levels.last_mut() else {
                self.complete.store(true, Ordering::Relaxed);
                return None;
            };
            last.chosen += 1;
        }
        if self.executions == self.most {
            return None;
        }
        self.executions += 1;
        (self.depth, self.spent) = (0, 0);
        Some(Schedule::new(0))
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, yields: bool) -> Option<TaskId> {
        // The first task only starts the others and waits for them.
        let first = runnable.iter().find(|t| usize::from(t.id()) == 0);
        if let Some(main) = first {
            return Some(main.id());
        }
        // Who pauses lets another go on, if there is one: no preemption is spent for that.
        let stays = |t: &&&Task| Some(t.id()) == current && !(yields && runnable.len() > 1);
        let here = runnable.iter().find(stays);
        let others = runnable.iter().filter(|t| Some(t.id()) != current);
        let mut choices: Vec<TaskId> = here.iter().map(|t| t.id()).collect();
        if here.is_none() || self.spent < self.bound {
            choices.extend(others.map(|t| t.id()));
        }
        if choices.len() == 1 {
            return Some(choices[0]);
        }
        if self.depth == self.levels.len() {
            self.levels.push(Level { choices: choices.len(), chosen: 0 });
        }
        let chosen = self.levels[self.depth].chosen;
        self.depth += 1;
        if here.is_some() && chosen > 0 {
            self.spent += 1;
        }
        Some(choices[chosen])
    }

    fn next_u64(&mut self) -> u64 {
        unreachable!("a bounded search draws no random numbers")
    }
}
