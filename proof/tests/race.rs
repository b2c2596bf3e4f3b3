//! Promise: no interleaving of participants loses an object, tears one, frees one under a reader, gives a
//! version twice or leaks a byte, also when one of them dies on the way.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use faretra::proof::{Life, Mem, State, Until, header};
use proof::chains::{self, chain_stage, emptied_chain, orphaned_chain};
use proof::hb::Clocks;
use proof::queue::{self, orphaned_stage, queue_stage};
use proof::race::{Race, Racer, Searched, Watch, explore, explore_watched, random};
use proof::script::{acting_stage, acts, knotted_stage, object_acts, object_stage, sharing_stage, stage_after_death};
use proof::sim::ok;
use proof::stage::{Act, Stage, enter};
use proof::sweep::deaths;
use proof::waiters::{self, orphaned_stages, waiting_stage};
use proof::world::{Actor, quiet};

fn find<'a>(all: &'a [Act], name: &str) -> &'a Act {
    all.iter().find(|a| a.name == name).expect("an act")
}

/// Every pair of acts, every schedule in which one of the two is preempted once. Nobody dies, so nothing
/// may be left for a sweep; and every use of payload is ordered by what came before it.
#[test]
fn every_pair_of_acts() {
    let (stage, plain, acts) = (acting_stage(), object_stage(), acts());
    let objects = object_acts().len();
    let mut all = Searched { complete: true, ..Searched::default() };
    for (i, a) in acts.iter().enumerate() {
        for (j, b) in acts.iter().enumerate().skip(i) {
            let stage = if j < objects { &plain } else { &stage };
            let clocks = Clocks::weaken(None);
            let watch: Arc<Watch> = Arc::new(move |who| Some(clocks.hook(who)));
            all = all.and(explore_watched(Race::new(stage, &[a, b]), 1, 20_000, watch));
        }
    }
    eprintln!("{all:?}");
    assert!(all.complete);
}

/// Core pairs with two preemptions.
#[test]
fn core_pairs_with_two_preemptions() {
    let (stage, acts) = (acting_stage(), acts());
    let mut all = Searched { complete: true, ..Searched::default() };
    for (a, b) in [
        ("publish x without parts", "publish x without parts"),
        ("publish x without parts", "read x"),
        ("publish x without parts", "remove x"),
        ("read x", "remove x"),
        ("drop a draft", "drop a draft"),
        ("drop a draft", "trim"),
        ("publish z", "remove y"),
        ("attach, detach", "recover"),
        ("lock m, add 1", "lock m, add 1"),
        ("lock m, add 1", "remove m"),
        ("update v", "update v"),
        ("store u", "store u and read it"),
        ("use a permit of s up, release one", "use a permit of s up, release one"),
        ("write half of g", "read half of g"),
        ("write g, half by half", "freeze g"),
        ("freeze g", "read half of g"),
        ("load z", "load z"),
        ("load z", "fail to make z"),
        ("load z", "make z, remove it before that is over"),
        ("make z, remove it before that is over", "remove z"),
    ] {
        all = all.and(explore(Race::new(&stage, &[find(&acts, a), find(&acts, b)]), 2, 20_000));
    }
    eprintln!("{all:?}");
}

/// One of two dies at a step, the other goes on or recovers.
#[test]
fn deaths_in_races() {
    let (stage, acts) = (acting_stage(), acts());
    let mut all = Searched { complete: true, ..Searched::default() };
    for victim in [
        "publish x",
        "remove x",
        "pin x while it is replaced",
        "remove x, publish z instead",
        "trim",
        "lock m, add 1",
        "update v",
        "write g, half by half",
        "freeze g",
        "load z",
        "make z, remove it before that is over",
    ] {
        for other in
            ["load z", "remove z", "recover", "publish x", "remove x", "lock m, add 1", "update v", "read half of g"]
        {
            for step in (0..60).step_by(9) {
                let race = Race::new(&stage, &[find(&acts, victim), find(&acts, other)]).killing(0, step);
                all = all.and(explore(race, 1, 20_000));
            }
        }
    }
    // A store that dies in the middle, at each of its steps.
    for step in 0..40 {
        let pair = [find(&acts, "store u"), find(&acts, "store u and read it")];
        all = all.and(explore(Race::new(&stage, &pair).killing(0, step), 1, 20_000));
    }
    eprintln!("{all:?}");
    assert!(all.deaths > 500);
}

/// Two recover at once what a third left, or one recovers and the other takes the seat.
#[test]
fn recoveries_race() {
    let acts = acts();
    let mut all = Searched { complete: true, ..Searched::default() };
    for dead in ["publish x", "remove x", "drop a draft", "pin x while it is replaced", "take a permit"] {
        for step in (1..40).step_by(13) {
            let stage = stage_after_death(find(&acts, dead), step);
            for other in ["recover", "recover, sit down, publish z"] {
                let mut race = Race::new(&stage, &[find(&acts, "recover"), find(&acts, other)]);
                race.name = format!("{} after `{dead}` died at {step}", race.name);
                race.loose_before = true;
                all = all.and(explore(race, 1, 20_000));
            }
        }
    }
    eprintln!("{all:?}");
}

/// L3: a slow recoverer leaves the next occupant of a dead one's seat alone.
#[test]
fn a_successor_is_let_be() {
    let acts = acts();
    let stage = stage_after_death(find(&acts, "take a permit"), 1);
    let pair = [find(&acts, "recover"), find(&acts, "recover, sit down, publish z")];
    let mut race = Race::new(&stage, &pair);
    race.loose_before = true;
    eprintln!("{:?}", explore(race, 2, 12_000));
}

/// Three at once, in any order, one of them killed at a random step.
#[test]
fn random_triples() {
    let found = random(vec![acting_stage()], acts, 1, 3000);
    eprintln!("{found:?}");
    assert!(found.deaths > 100);
}

/// H1-H4: parts are shared, moved from holder to holder and torn down at once, in records and in knots.
#[test]
fn shares_race() {
    let acts = acts();
    let mut all = Searched { complete: true, ..Searched::default() };
    let names = [
        "x again, with its parts shared",
        "alias z of x",
        "alias z of x, remove x, read z",
        "remove x",
        "publish x",
        "read x",
        "recover",
    ];
    for stage in [sharing_stage(), knotted_stage(false), knotted_stage(true)] {
        for (i, a) in names.iter().enumerate() {
            for b in &names[i..] {
                let pair = [find(&acts, a), find(&acts, b)];
                all = all.and(explore(Race::new(&stage, &pair), 1, 20_000));
                for step in (0..50).step_by(11) {
                    all = all.and(explore(Race::new(&stage, &pair).killing(0, step), 1, 20_000));
                }
            }
        }
    }
    // A hold that moves twice between the looks of one scan.
    let pair = [find(&acts, names[0]), find(&acts, "recover")];
    all = all.and(explore(Race::new(&sharing_stage(), &pair), 2, 60_000));
    eprintln!("{all:?}");
    assert!(all.complete && all.deaths > 500);
}

/// B2: who falls asleep is woken by what happens next.
#[test]
fn no_wake_up_is_lost() {
    let mut stage = acting_stage();
    let sim = enter(&stage);
    // One of the two permits is held all the time.
    let holder = quiet(&sim, 60);
    ok(holder.try_lease(holder.permits()));
    stage.image = sim.image();
    let mut race = Race::new(&stage, &[]);
    race.name = "wait for a permit || give it back".into();
    race.racers = vec![
        Racer::attached(|a| {
            let mut tries = 0;
            let mut take = || {
                tries += 1;
                let taken = a.try_lease(a.permits())?;
                if let Some(permit) = taken {
                    // Given back in silence: the sleeper's own ring would hide that nobody else rang.
                    let leased = Life::leased(permit.ticket);
                    let _ = a.env.cas(permit.off, leased.0, Life::FREE.0, Ordering::SeqCst);
                }
                Ok((tries == 3 || taken.is_some()).then_some(()))
            };
            ok(a.wait(header::PERMIT_BELL, Until::Forever, || {}, &mut take));
        }),
        Racer::attached(|a| {
            if let Some(permit) = ok(a.try_lease(a.permits())) {
                a.give_back(permit);
            }
        }),
    ];
    race.at_end = Some(Arc::new(|image| {
        if let Some(before) = image.slept {
            assert!(image.wakes > before, "B2: a sleeper was not woken");
        }
    }));
    let found = explore(race, 3, 200_000);
    eprintln!("{found:?}");
}

/// Q1-Q6: every pair of what is done to channels, every schedule with one preemption; then with two, for the
/// core; then with one of the two killed.
#[test]
fn channels_race() {
    let (stage, acts) = (queue_stage(), queue::acts());
    let mut all = Searched { complete: true, ..Searched::default() };
    for (i, a) in acts.iter().enumerate() {
        for b in &acts[i..] {
            let clocks = Clocks::weaken(None);
            let watch: Arc<Watch> = Arc::new(move |who| Some(clocks.hook(who)));
            let mut race = Race::new(&stage, &[a, b]);
            // A channel that is removed while the other has it pinned goes with the pin; what came back waits.
            race.loose_before = true;
            all = all.and(explore_watched(race, 1, 20_000, watch));
            for step in (0..60).step_by(13) {
                all = all.and(explore(Race::new(&stage, &[a, b]).killing(0, step), 1, 20_000));
            }
        }
    }
    for (a, b) in [
        ("send to C", "receive from C"),
        ("send to C", "send to C"),
        ("receive from C", "receive from C"),
        ("refuse what comes from C", "receive from C"),
        ("forward from C to D", "receive from D"),
        ("close C", "send to C"),
        ("close C and drain it", "send to C"),
        ("receive twice from C", "receive twice from C, then send twice"),
    ] {
        all = all.and(explore(Race::new(&stage, &[find(&acts, a), find(&acts, b)]), 2, 30_000));
    }
    // Two settle at once what a third had leased; one of them is slow, and the memory is used again meanwhile.
    let orphaned = orphaned_stage();
    for (a, b) in [("sweep", "recover, receive twice, send twice"), ("sweep", "sweep"), ("sweep", "remove C")] {
        let mut race = Race::new(&orphaned, &[find(&acts, a), find(&acts, b)]);
        race.loose_before = true;
        all = all.and(explore(race, 1, 20_000));
    }
    eprintln!("{all:?}");
    assert!(all.deaths > 500);
}

/// C1-C3: every pair of what is done to a channel without a bound, every schedule with one preemption; then with two, for
/// the core; then with one of the two killed.
#[test]
fn chains_race() {
    let (stage, acts) = (chain_stage(), chains::acts());
    let mut all = Searched { complete: true, ..Searched::default() };
    for (i, a) in acts.iter().enumerate() {
        for b in &acts[i..] {
            let clocks = Clocks::weaken(None);
            let watch: Arc<Watch> = Arc::new(move |who| Some(clocks.hook(who)));
            let mut race = Race::new(&stage, &[a, b]);
            race.loose_before = true;
            all = all.and(explore_watched(race, 1, 20_000, watch));
            for step in (0..60).step_by(13) {
                all = all.and(explore(Race::new(&stage, &[a, b]).killing(0, step), 1, 20_000));
            }
        }
    }
    for (a, b) in [
        ("send to U", "send to U"),
        ("send to U", "receive from U"),
        ("receive from U", "receive from U"),
        ("receive twice from U", "receive from U, then send three"),
        ("close U and drain it", "send to U"),
    ] {
        all = all.and(explore(Race::new(&stage, &[find(&acts, a), find(&acts, b)]), 2, 30_000));
    }
    let orphaned = orphaned_chain();
    for (a, b) in [("sweep", "recover, receive twice, send twice"), ("sweep", "sweep"), ("sweep", "remove U")] {
        let mut race = Race::new(&orphaned, &[find(&acts, a), find(&acts, b)]);
        race.loose_before = true;
        all = all.and(explore(race, 1, 20_000));
    }
    eprintln!("{all:?}");
    assert!(all.deaths > 500);
}

/// Two senders that saw a channel without a bound open, one of which makes the segment for both, and somebody who closes and
/// drains the channel meanwhile.
#[test]
fn two_senders_race_with_a_drain() {
    let (stage, acts) = (emptied_chain(), chains::acts());
    let three = ["close U and drain it", "send to U", "send to U"].map(|name| find(&acts, name));
    let found = explore(Race::new(&stage, &three), 2, 200_000);
    eprintln!("{found:?}");
    assert!(found.complete);
}

/// Three at once at a channel without a bound, one of them killed at a random step.
#[test]
fn random_triples_at_chains() {
    let found = random(vec![chain_stage()], chains::acts, 3, 6000);
    eprintln!("{found:?}");
    assert!(found.deaths > 100);
}

/// Somebody died in the middle of sending or appending, at each of its steps: a waiter recovers from that while another
/// uses the ring and its memory; and the same, the waiter killed too.
#[test]
fn recovery_races_with_the_living() {
    let (stage, acts) = (queue_stage(), queue::acts());
    fn recover(a: &Actor) {
        ok(a.recover());
    }
    let recover = Act { name: "recover as waiters do", run: recover, may: &[] };
    let mut all = Searched { complete: true, ..Searched::default() };
    for (dies, others) in [
        ("append to F", &["append to F five times", "read F", "remove F"][..]),
        ("send to C", &["receive twice from C, then send twice", "remove C"]),
        ("refuse what comes from C", &["receive twice from C", "remove C"]),
        ("forward from C to D", &["receive from D", "remove C"]),
    ] {
        for image in deaths(&enter(&stage), 50, find(&acts, dies).run) {
            let stage = Stage { image, expect: stage.expect.clone() };
            for other in others {
                let race = || {
                    let mut race = Race::new(&stage, &[&recover, find(&acts, other)]);
                    race.loose_before = true;
                    race
                };
                all = all.and(explore(race(), 1, 20_000));
                for step in (20..400).step_by(130) {
                    all = all.and(explore(race().killing(0, step), 1, 20_000));
                }
            }
        }
    }
    eprintln!("{all:?}");
    assert!(all.complete && all.deaths > 500);
}

/// Q1: who drops the last but one pin of a channel takes it for nobody's, until he has looked at pins. Items that come
/// back meanwhile wait for that.
#[test]
fn a_channel_that_may_live_keeps_its_items() {
    let sim = enter(&orphaned_stage());
    let [user, dropper, recoverer] = [11, 12, 13].map(|process| quiet(&sim, process));
    let channel = ok(user.pin_named("C")).expect("there");
    let leased = || user.outstanding(ok(user.ring_of(channel)));
    assert_eq!(leased().len(), 2, "of the dead");
    assert!(ok(user.remove("C")));
    let dying = Life::dying(dropper.ticket());
    assert!(dropper.turn_life(channel, Life::LOOSE, dying));
    ok(recoverer.recover());
    assert_eq!(leased().len(), 2, "they are still the dead one's");
    assert!(dropper.turn_life(channel, dying, Life::LOOSE), "somebody has it pinned");
    ok(recoverer.recover());
    assert!(leased().iter().all(|(_, word)| matches!(word.state(), Some(State::Back(_)))), "{:?}", leased());
    assert_eq!(leased().len(), 2);
}

/// Three at once at channels, one of them killed at a random step.
#[test]
fn random_triples_at_channels() {
    let found = random(vec![queue_stage()], queue::acts, 2, 6000);
    eprintln!("{found:?}");
    assert!(found.deaths > 100);
}

/// W1-W3, K6: every pair of what is done to waiters and posted permits, every schedule with two preemptions; then with one,
/// and one of the two killed, at each step of what matters.
#[test]
fn waiters_race() {
    let (stage, acts) = (waiting_stage(), waiters::acts());
    let mut all = Searched { complete: true, ..Searched::default() };
    for (i, a) in acts.iter().enumerate() {
        for b in &acts[i..] {
            let mut race = Race::new(&stage, &[a, b]);
            // A condition that is removed while the other has it pinned goes with the pin.
            race.loose_before = true;
            all = all.and(explore(race, 2, 40_000));
        }
    }
    eprintln!("nobody dies: {all:?}");
    for (victim, every) in [
        ("wait at k, be told, leave", 1),
        ("wait at k, be told, abandon it", 1),
        ("wait twice at k, be told once", 2),
        ("notify all at k", 2),
        ("post two to p", 1),
        ("take a posted permit, give it back", 1),
    ] {
        for other in &acts {
            let mut deaths = 1;
            for step in (0..100).step_by(every) {
                if deaths == 0 {
                    break;
                }
                let found = explore(Race::new(&stage, &[find(&acts, victim), other]).killing(0, step), 1, 20_000);
                deaths = found.deaths;
                all = all.and(found);
            }
        }
    }
    eprintln!("{all:?}");
    assert!(all.complete && all.deaths > 500);
}

/// W2: somebody died when he was told to go on, and was abandoning that, at each step; two look for the dead, take the place
/// or notify at once, also where no other place is left; then the first of them is killed, too, at each step.
#[test]
fn what_the_dead_were_told_is_raced_for() {
    let acts = waiters::acts();
    let mut all = Searched { complete: true, ..Searched::default() };
    for stage in orphaned_stages(find(&acts, "wait at k, be told, abandon it")) {
        for (a, b) in [
            ("wait at k, look for the dead, leave", "wait at k, look for the dead, leave"),
            ("look for the dead at k", "look for the dead at k"),
            ("look for the dead at k", "wait at k, be told, leave"),
            ("look for the dead at k", "ask who died at k"),
            ("look for the dead at k", "notify one at k"),
            ("ask who died at k", "wait at k, be told, leave"),
        ] {
            let race = || {
                let mut race = Race::new(&stage, &[find(&acts, a), find(&acts, b)]);
                race.loose_before = true;
                race
            };
            all = all.and(explore(race(), 1, 20_000));
            for step in 0..100 {
                let found = explore(race().killing(0, step), 1, 20_000);
                all = all.and(found);
                if found.deaths == 0 {
                    break;
                }
            }
        }
    }
    eprintln!("{all:?}");
    assert!(all.complete && all.deaths > 500);
}

/// Three at once at a condition, one of them killed at a random step.
#[test]
fn random_triples_at_conditions() {
    let orphans = orphaned_stages(find(&waiters::acts(), "wait at k, be told, abandon it"));
    let found = random([vec![waiting_stage()], orphans].concat(), waiters::acts, 4, 4000);
    eprintln!("{found:?}");
    assert!(found.deaths > 100);
}
