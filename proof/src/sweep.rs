//! Deaths and stops at every step.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use faretra::proof::Sys;

use crate::check::{Expect, check};
use crate::sim::{Hook, Image, Op, Sim, Site, ok};
use crate::stage::{Act, Script, Stage, Troupe, enter};
use crate::world::{Actor, VICTIM, at, attach, publish, quiet, read};

/// Keeps an image from before each changing step of one process, in which that process is dead.
///
/// That is what a kill at that step leaves: a process's own memory goes with it, and nobody ran meanwhile.
struct Deaths {
    sim: Sim,
    process: usize,
    armed: AtomicBool,
    images: Mutex<Vec<Image>>,
}

impl Hook for Deaths {
    fn step(&self, op: Op, _: u64, _: Site) {
        if op.changes() && self.armed.load(Ordering::Relaxed) {
            let image = self.sim.image_without(self.process);
            let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
            images.push(image);
        }
    }
}

impl Deaths {
    fn of(sim: &Sim, process: usize) -> Arc<Deaths> {
        Arc::new(Deaths { sim: sim.clone(), process, armed: AtomicBool::new(false), images: Mutex::default() })
    }

    fn during(&self, f: impl FnOnce()) -> Vec<Image> {
        self.armed.store(true, Ordering::Relaxed);
        f();
        self.armed.store(false, Ordering::Relaxed);
        let mut images = std::mem::take(&mut *self.images.lock().unwrap_or_else(PoisonError::into_inner));
        images.push(self.sim.image_without(self.process));
        images
    }
}

/// Every image that a death during `f`, and during the detaching after it, may leave.
pub fn deaths(sim: &Sim, process: usize, f: impl FnOnce(&Actor)) -> Vec<Image> {
    let hook = Deaths::of(sim, process);
    let actor = attach(sim, process, hook.clone());
    hook.during(|| {
        f(&actor);
        actor.detach();
    })
}

/// Every image that a death during `f` may leave, which attaches itself if it wants to.
pub fn deaths_of_a_process(sim: &Sim, process: usize, f: impl FnOnce(&Sim)) -> Vec<Image> {
    let hook = Deaths::of(sim, process);
    let own = sim.process(process, hook.clone());
    hook.during(|| f(&own))
}

/// Kills the victim of a script before each of its steps. Returns how many there were.
pub fn kill_sweep(script: &Script) -> u64 {
    let stage = script.stage();
    let images = deaths(&enter(&stage), VICTIM, script.victim);
    let points = images.len() as u64;
    for (step, image) in images.into_iter().enumerate() {
        at(|| format!("script `{}`, killed before step {step}", script.name), || check(image, &stage.expect));
    }
    points
}

/// Kills the victim before every `every`-th step, and a recoverer before each of its steps. Returns both counts.
pub fn second_order_sweep(script: &Script, every: usize) -> (u64, u64) {
    let stage = script.stage();
    let (mut points, mut pairs) = (0, 0);
    for (step, image) in deaths(&enter(&stage), VICTIM, script.victim).into_iter().enumerate().step_by(every) {
        points += 1;
        let sim = Sim::of(image);
        sim.state().room = crate::world::ROOM;
        let recover = |r: &Actor| {
            ok(if step % 2 == 0 { r.sweep() } else { r.recover() });
        };
        for (second, image) in deaths(&sim, 60, recover).into_iter().enumerate() {
            pairs += 1;
            at(
                || {
                    let name = script.name;
                    format!("script `{name}`, killed before step {step}, its recoverer before step {second}")
                },
                || check(image, &stage.expect),
            );
        }
    }
    (points, pairs)
}

/// Kills a victim in one act while another one's act is half done, its actor dead and not recovered. Takes
/// every `every`-th step of both. Returns the number of pairs.
pub fn pile_up_sweep(troupes: &[Troupe], every: usize) -> u64 {
    troupes.iter().map(|troupe| pile_up(troupe, every)).sum()
}

fn pile_up(Troupe { stage, acts }: &Troupe, every: usize) -> u64 {
    let mut pairs = 0;
    for (i, first) in acts.iter().enumerate() {
        let images = deaths(&enter(stage), 50, first.run);
        for (j, image) in images.into_iter().enumerate().skip(i % every).step_by(every) {
            for second in acts {
                let sim = Sim::of(image.clone());
                let expect = stage.expect.clone().with(first.may).with(second.may);
                let images = deaths(&sim, VICTIM, second.run);
                for (k, image) in images.into_iter().enumerate().skip(j % every).step_by(every) {
                    pairs += 1;
                    at(
                        || format!("`{}` dead at {j}, then `{}` dead at {k}", first.name, second.name),
                        || check(image, &expect),
                    );
                }
            }
        }
    }
    pairs
}

/// Where a stopped process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Stopped,
    Resumed,
    Finished,
}

/// Blocks its process before its `at`-th step, whatever that is.
struct StopAt {
    at: u64,
    armed: AtomicBool,
    count: AtomicU64,
    phase: Mutex<Phase>,
    changed: Condvar,
}

impl StopAt {
    fn set(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.changed.notify_all();
    }

    fn wait(&self, done: impl Fn(Phase) -> bool) -> Phase {
        let guard = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_while(guard, |p| !done(*p));
        *waited.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hook for StopAt {
    fn step(&self, op: Op, _: u64, _: Site) {
        let counts = self.armed.load(Ordering::Relaxed) && !matches!(op, Op::Spin | Op::Pause);
        if counts && self.count.fetch_add(1, Ordering::Relaxed) + 1 == self.at {
            self.set(Phase::Stopped);
            self.wait(|p| p == Phase::Resumed);
        }
    }
}

/// Counts steps, and fails beyond a budget: nobody may wait for the one who is stopped.
#[derive(Debug)]
pub struct Budget {
    steps: AtomicU64,
    worst: AtomicU64,
    most: u64,
}

impl Budget {
    /// At most so many steps for each operation.
    pub fn new(most: u64) -> Budget {
        Budget { steps: AtomicU64::new(0), worst: AtomicU64::new(0), most }
    }

    /// Starts counting anew.
    pub fn renew(&self) {
        self.steps.store(0, Ordering::Relaxed);
    }

    /// The most steps that an operation took.
    pub fn worst(&self) -> u64 {
        self.worst.load(Ordering::Relaxed)
    }
}

impl Hook for Budget {
    fn step(&self, _: Op, _: u64, _: Site) {
        let steps = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        self.worst.fetch_max(steps, Ordering::Relaxed);
        assert!(steps <= self.most, "an operation took more than {} steps: it waits for somebody", self.most);
    }
}

/// Steps that any operation may take while somebody is stopped. Recovery and trimming look at every
/// word of the arena a few times; everything else needs a small part of it.
pub const STEP_BUDGET: u64 = 20_000;

/// What a stop sweep saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stops {
    /// Steps at which somebody was stopped.
    pub points: u64,
    /// Most steps of one operation of the others.
    pub worst: u64,
}

/// Stops a process before every `every`-th step of an act; two others do everything that there is to do, each
/// operation within a budget; then, once, it goes on, and once it is killed there.
pub fn stop_sweep(troupe: &Troupe, act: &Act, every: usize) -> Stops {
    let mut seen = Stops::default();
    for step in (1..).step_by(every) {
        let budget = Arc::new(Budget::new(STEP_BUDGET));
        let place = || format!("`{}` stopped before step {step}", act.name);
        if !at(place, || stop_once(troupe, act, step, &budget)) {
            break;
        }
        seen.points += 1;
        seen.worst = seen.worst.max(budget.worst());
    }
    seen
}

fn stop_once(troupe: &Troupe, act: &Act, step: u64, budget: &Arc<Budget>) -> bool {
    let sim = enter(&troupe.stage);
    let run = act.run;
    let victim = move |sim: &Sim, armed: &dyn Fn()| {
        let actor = attach(sim, VICTIM, sim.hook());
        armed();
        run(&actor);
        actor.detach();
    };
    let Some((expect, killed)) = while_stopped(&sim, step, victim, || others(troupe, act, &sim, budget)) else {
        return false;
    };
    at(|| "it was killed there".into(), || check(killed, &expect));
    at(|| "it went on".into(), || check(sim.image_without(VICTIM), &expect));
    true
}

/// What `others` do while `victim` is stopped before a step of it, counted from when it calls what it is given; then it
/// goes on to its end. `None`: it has no such step.
pub fn while_stopped<T>(
    sim: &Sim,
    step: u64,
    victim: impl FnOnce(&Sim, &dyn Fn()) + Send + 'static,
    others: impl FnOnce() -> T,
) -> Option<T> {
    let hook = Arc::new(StopAt {
        at: step,
        armed: AtomicBool::new(false),
        count: AtomicU64::new(0),
        phase: Mutex::new(Phase::Running),
        changed: Condvar::new(),
    });
    let running = {
        let (own, hook) = (sim.process(VICTIM, hook.clone()), hook.clone());
        thread::spawn(move || {
            let arm = || hook.armed.store(true, Ordering::Relaxed);
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| victim(&own, &arm)));
            hook.set(Phase::Finished);
            done.unwrap_or_else(|why| std::panic::resume_unwind(why));
        })
    };
    if hook.wait(|p| matches!(p, Phase::Stopped | Phase::Finished)) == Phase::Finished {
        running.join().expect("it ran undisturbed");
        return None;
    }
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(others));
    hook.set(Phase::Resumed);
    let joined = running.join();
    let done = done.unwrap_or_else(|why| std::panic::resume_unwind(why));
    joined.unwrap_or_else(|why| std::panic::resume_unwind(why));
    Some(done)
}

/// What two others do while the victim is stopped. Returns the arena as it would be if that were killed now.
fn others(troupe: &Troupe, act: &Act, sim: &Sim, budget: &Arc<Budget>) -> (Expect, Image) {
    let actors = [31, 32].map(|p| attach(sim, p, budget.clone()));
    let mut expect = troupe.stage.expect.clone().with(act.may);
    for (i, other) in troupe.acts.iter().enumerate() {
        budget.renew();
        at(|| format!("meanwhile `{}`", other.name), || (other.run)(&actors[i % 2]));
        expect = expect.with(other.may);
    }
    // A name that the victim does not touch keeps what it was given.
    budget.renew();
    ok(publish(&actors[0], "own", 5, 1));
    budget.renew();
    assert_eq!(ok(read(&actors[1], "own")), Some(5));
    expect.may("own", Some(5));
    // Loose ends of the stopped one are tied up by a sweep: it leaves nothing that breaks a rule.
    budget.renew();
    ok(actors[1].sweep());
    let found = actors[0].look_for_violations();
    assert!(found.is_empty(), "with one process stopped: {found:?}");
    for actor in actors {
        budget.renew();
        actor.detach();
    }
    (expect, sim.image_without(VICTIM))
}

/// A sleeper that nobody attends to: the arena works without whoever holds a permit.
pub fn a_stopped_holder_keeps_its_permit(stage: &Stage) {
    let sim = enter(stage);
    let stopped = quiet(&sim, VICTIM);
    let held = ok(stopped.try_lease(stopped.permits())).expect("free");
    let other = quiet(&sim, 31);
    ok(other.sweep());
    let mine = ok(other.try_lease(other.permits())).expect("the second permit");
    assert!(!mine.recovered);
    assert!(ok(other.try_lease(other.permits())).is_none(), "taken from a living holder");
    stopped.give_back(held);
    let again = ok(other.try_lease(other.permits())).expect("given back");
    assert!(!again.recovered);
    assert!(other.env.in_memory() > 0);
}
