//! The arena's own end: who opens it, who leaves it last, who removes it, and whose its name is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use faretra::proof::{ArenaLife, Core, Load, Mem, Owner, Process, Stay, Sys, header};

use crate::check::{Expect, check};
use crate::race::{Race, Racer};
use crate::sim::{Image, Name, Sim, ok};
use crate::stage::{Stage, enter};
use crate::sweep::{Budget, STEP_BUDGET, Stops, deaths_of_a_process, while_stopped};
use crate::world::{Actor, PARENT, ROOM, VICTIM, at, publish, quiet, tables, world};

const OPENER: usize = 1 << 19;

/// What a process does with an arena that may end.
#[derive(Clone, Copy)]
pub struct End {
    /// Shown when it fails.
    pub name: &'static str,
    /// What it does; nobody is attached yet.
    pub run: fn(&Sim),
}

/// All of them.
pub const ENDS: [End; 5] = [
    End { name: "open, leave", run: open_and_leave },
    End { name: "open or create, leave", run: open_or_create },
    End { name: "remove", run: remove },
    End { name: "open, and stay", run: open_and_stay },
    End { name: "join by the file, leave", run: rejoin_and_leave },
];

/// Opens the arena. `None`: it has ended.
fn open(sim: &Sim) -> Option<Actor> {
    let tables = tables(sim);
    let seats = tables.geo.params.seats;
    ok(Core::enter(tables, seats, Process::default(), "sim"))
}

/// A2: who has joined an arena can rely on its name, unless somebody removes it.
fn has_its_name(sim: &Sim) {
    let state = sim.state();
    assert!(state.removed || state.name == Name::Ours, "A2: the arena was joined, and its name is {:?}", state.name);
}

fn open_and_leave(sim: &Sim) {
    if let Some(actor) = open(sim) {
        has_its_name(sim);
        ok(actor.recover());
        has_its_name(sim);
        actor.depart();
    }
}

fn open_and_stay(sim: &Sim) {
    if open(sim).is_some() {
        has_its_name(sim);
    }
}

/// A4: joins by another handle's file, whatever the name is.
fn rejoin_and_leave(sim: &Sim) {
    let tables = tables(sim);
    let seats = tables.geo.params.seats;
    let actor = ok(Core::rejoin(tables, seats, Process::default(), "sim"));
    ok(actor.recover());
    actor.depart();
}

/// Makes a new arena of that name where this one is over.
fn open_or_create(sim: &Sim) {
    match open(sim) {
        Some(actor) => {
            has_its_name(sim);
            actor.depart();
        }
        None => {
            // A step of its own: the file system gives a name to one only.
            sim.wake(header::NAME_BELL);
            let mut state = sim.state();
            if state.name == Name::Nobodys {
                state.name = Name::Anothers;
            }
        }
    }
}

fn remove(sim: &Sim) {
    sim.state().removed = true;
    if let Some(actor) = open(sim) {
        ok(actor.remove_arena());
        actor.depart();
    }
}

/// Where an end begins.
pub struct Beginning {
    /// Shown when it fails.
    pub name: &'static str,
    /// The arena.
    pub stage: Stage,
    /// Whether the arena stays when nobody takes part.
    keep: bool,
    /// Whether its first participant lives.
    lives: bool,
}

/// Kept and ephemeral ones, with one who lives in it, or with nobody but the dead.
pub fn beginnings() -> Vec<Beginning> {
    [
        ("kept, in use", Stay::Kept, true),
        ("kept, of the dead", Stay::Kept, false),
        ("in use", Stay::Ephemeral, true),
        ("of the dead", Stay::Ephemeral, false),
    ]
    .map(|(name, stay, lives)| beginning(name, [stay, stay].map(Stay::word), ArenaLife::OPEN, lives))
    .into()
}

/// A6, A7: those of which a word was damaged. What has two words for how long it stays that differ is kept; what has its
/// name is not over.
pub fn damaged_beginnings() -> Vec<Beginning> {
    let [kept, ephemeral] = [Stay::Kept, Stay::Ephemeral].map(Stay::word);
    let nobody = ArenaLife::closing(Owner { seat: 40_000, incarnation: 3 });
    let mut all = vec![];
    for lives in [true, false] {
        all.extend([
            beginning("kept, and ephemeral by its second page", [kept, ephemeral], ArenaLife::OPEN, lives),
            beginning("ephemeral, and kept by its second page", [ephemeral, kept], ArenaLife::OPEN, lives),
            beginning("ephemeral, and nothing by its second page", [ephemeral, 0], ArenaLife::OPEN, lives),
            beginning("kept, and gone", [kept, kept], ArenaLife::GONE, lives),
            beginning("kept, with an impossible life", [kept, kept], ArenaLife(77), lives),
            beginning("kept, closed by nobody", [kept, kept], nobody, lives),
        ]);
    }
    all
}

fn beginning(name: &'static str, stays: [u64; 2], life: ArenaLife, lives: bool) -> Beginning {
    let sim = world();
    let first = quiet(&sim, PARENT);
    ok(publish(&first, "x", 1, 1));
    let expect = Expect::of(&first, &["x"]);
    for (off, word) in [header::STAY, header::STAY_AGAIN].into_iter().zip(stays) {
        sim.store(off, word, Ordering::Relaxed);
    }
    sim.store(header::LIFE, life.0, Ordering::Relaxed);
    let image = if lives { sim.image() } else { sim.image_without(PARENT) };
    let keep = stays != [Stay::Ephemeral.word(); 2];
    Beginning { name, stage: Stage { image, expect }, keep, lives }
}

/// Lets everybody who would take a name away fail at it, and demands that the arena is there as before. Returns how many
/// tried.
pub fn names_that_stay() -> u64 {
    let mut tried = 0;
    for begin in beginnings() {
        for run in [try_to_open, rejoin_and_leave, try_to_remove] {
            let sim = enter(&begin.stage);
            sim.state().sticky = true;
            run(&sim.process(VICTIM, sim.hook()));
            assert_eq!(
                sim.load(header::LIFE, Ordering::Relaxed),
                ArenaLife::OPEN.0,
                "{}: closing for ever",
                begin.name
            );
            let mut image = sim.image();
            (image.sticky, image.removed) = (false, false);
            at(|| begin.name.to_owned(), || check_use(&image, &begin));
            at(|| begin.name.to_owned(), || check_end(image, &begin));
            tried += 1;
        }
    }
    tried
}

/// Opens an arena whose name does not go, and leaves it.
fn try_to_open(sim: &Sim) {
    let tables = tables(sim);
    let seats = tables.geo.params.seats;
    if let Ok(Some(actor)) = Core::enter(tables, seats, Process::default(), "sim") {
        actor.depart();
    }
}

/// Removes an arena whose name does not go. Of the dead, an ephemeral one is not even joined.
fn try_to_remove(sim: &Sim) {
    let tables = tables(sim);
    let seats = tables.geo.params.seats;
    if let Ok(Some(actor)) = Core::enter(tables, seats, Process::default(), "sim") {
        assert!(actor.remove_arena().is_err(), "the name is there");
        actor.depart();
    }
}

/// What is asked of an arena after something was killed on the way to its end. Everybody but whoever asks is dead.
fn check_end(mut image: Image, begin: &Beginning) {
    image.kill_all_but(OPENER);
    let sim = Sim::of(image.clone());
    sim.state().room = ROOM;
    let own = sim.process(OPENER, sim.hook());
    let found = open(&own);
    let name = sim.state().name;
    match found {
        Some(actor) => {
            assert!(begin.keep, "an ephemeral arena of the dead was joined");
            assert_eq!(name, Name::Ours, "A2: an arena was joined that has no name");
            actor.depart();
            assert_eq!(sim.state().name, Name::Ours, "a kept arena went with its last participant");
        }
        None => {
            assert!(!begin.keep || image.removed, "a kept arena has ended, which nobody removed");
            assert_ne!(name, Name::Ours, "A3: the arena is over, and its name leads nowhere");
        }
    }
    check(image, &begin.stage.expect);
}

/// A5: what is asked of an ephemeral arena in which everybody is dead but one who came by the file, and who leaves now.
fn check_last_leaves(mut image: Image, begin: &Beginning) {
    if begin.keep {
        return;
    }
    image.kill_all_but(OPENER);
    let sim = Sim::of(image);
    sim.state().room = ROOM;
    rejoin_and_leave(&sim.process(OPENER, sim.hook()));
    assert_ne!(sim.state().name, Name::Ours, "A5: everybody has left an ephemeral arena, and its name stays");
}

/// What is asked first, where somebody is in the arena all the time and nobody removes it: the next who comes joins it.
fn check_use(image: &Image, begin: &Beginning) {
    if !begin.lives || image.removed {
        return;
    }
    let sim = Sim::of(image.clone());
    sim.state().room = ROOM;
    let joined = open(&sim.process(OPENER, sim.hook())).is_some();
    assert_eq!((joined, sim.state().name), (true, Name::Ours), "A2: an arena in use is over");
}

/// Kills a process before each of its steps. Returns how many there were.
pub fn kill_sweep(begin: &Beginning, end: &End) -> u64 {
    let images = deaths_of_a_process(&enter(&begin.stage), VICTIM, end.run);
    let points = images.len() as u64;
    for (step, image) in images.into_iter().enumerate() {
        let place = || format!("{}: `{}` killed before step {step}", begin.name, end.name);
        at(place, || check_use(&image, begin));
        at(place, || check_last_leaves(image.clone(), begin));
        at(place, || check_end(image, begin));
    }
    points
}

/// Kills a process before every `every`-th step, and whoever comes next before each of his.
pub fn second_order_sweep(begin: &Beginning, end: &End, every: usize) -> u64 {
    let mut pairs = 0;
    for (step, image) in
        deaths_of_a_process(&enter(&begin.stage), VICTIM, end.run).into_iter().enumerate().step_by(every)
    {
        for next in [open_and_leave, remove] {
            for (second, image) in deaths_of_a_process(&Sim::of(image.clone()), 60, next).into_iter().enumerate() {
                pairs += 1;
                let place =
                    || format!("{}: `{}` killed before step {step}, the next before {second}", begin.name, end.name);
                at(place, || check_use(&image, begin));
                at(place, || check_end(image, begin));
            }
        }
    }
    pairs
}

/// Stops a process before each of its steps; others do everything meanwhile, each within a budget; then it goes on, or is
/// killed there.
pub fn stop_sweep(begin: &Beginning, end: &End) -> Stops {
    let mut seen = Stops::default();
    for step in 1.. {
        let sim = enter(&begin.stage);
        let budget = Arc::new(Budget::new(STEP_BUDGET));
        let run = end.run;
        let victim = move |sim: &Sim, arm: &dyn Fn()| {
            arm();
            run(sim);
        };
        let others = || {
            for (i, other) in ENDS.iter().enumerate() {
                budget.renew();
                at(|| format!("meanwhile `{}`", other.name), || (other.run)(&sim.process(31 + i, budget.clone())));
            }
            sim.image()
        };
        let place = || format!("{}: `{}` stopped before step {step}", begin.name, end.name);
        let done = at(place, || while_stopped(&sim, step, victim, others));
        let Some(killed) = done else { break };
        at(place, || check_end(killed, begin));
        at(place, || check_end(sim.image(), begin));
        seen.points += 1;
        seen.worst = seen.worst.max(budget.worst());
    }
    seen
}

/// A race of ends, one of which may die.
pub fn race(begin: &Arc<Beginning>, ends: &[End], dies: Option<(usize, u64)>) -> Race {
    let names: Vec<_> = ends.iter().map(|end| end.name).collect();
    let begin = begin.clone();
    let mut race = Race {
        name: format!("{}: {}", begin.name, names.join(" || ")),
        stage: begin.stage.clone(),
        racers: ends.iter().map(|end| Racer::alone(end.run)).collect(),
        loose_before: true,
        at_end: None,
    };
    let (lives, whole) = (begin.lives, dies.is_none());
    let stays = ends.iter().any(|end| end.name == "open, and stay");
    race.at_end = Some(Arc::new(move |image: &Image| {
        let named = image.name == Name::Ours;
        // Somebody was there all the time.
        assert!(!lives || image.removed || named, "A2: an arena in use lost its name");
        let left = whole && !lives && !stays && !begin.keep;
        assert!(!left || !named, "A5: everybody has left an ephemeral arena, and its name stays");
        check_end(image.clone(), &begin);
    }));
    match dies {
        Some((who, step)) => race.killing(who, step),
        None => race,
    }
}
