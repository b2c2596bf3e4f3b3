//! Deaths, stops and races at every step. `cargo xtask sweep [--full]`; with `--races` nothing but the races.

#![allow(clippy::print_stdout, reason = "a command talks to its user")]

use std::sync::Arc;
use std::time::Instant;

use proof::hb::{self, Clocks};
use proof::queue;
use proof::race::{Race, Searched, Watch, explore, explore_watched, random};
use proof::script::{acting_stage, acts, scripts, stage_after_death, troupes};
use proof::stage::{Act, Stage};
use proof::{ends, flips, oracle, sweep};

fn main() {
    let full = std::env::args().any(|a| a == "--full");
    let began = Instant::now();
    let said = |what: String| println!("{:7.1} s  {what}", began.elapsed().as_secs_f64());
    if !std::env::args().any(|a| a == "--races") {
        sweeps(full, &said);
    }
    races(full, &said);
    if full {
        println!("orderings, weakened one by one:");
        for (place, race) in hb::survey(6000) {
            println!("  {place}: {}", race.map_or("not needed for payload".to_owned(), |r| r.join(" || ")));
        }
        said("survey of orderings".to_owned());
    }
}

fn sweeps(full: bool, said: &dyn Fn(String)) {
    let (mut kills, mut points, mut pairs) = (0, 0, 0);
    for script in scripts() {
        kills += sweep::kill_sweep(&script);
        let (p, q) = sweep::second_order_sweep(&script, if full { 1 } else { 7 });
        (points, pairs) = (points + p, pairs + q);
    }
    said(format!("kill sweep: {kills} points of {} scripts", scripts().len()));
    said(format!("second order: {pairs} pairs from {points} points"));
    let piled = sweep::pile_up_sweep(&troupes(), if full { 3 } else { 9 });
    said(format!("a death while another is unsettled: {piled} pairs"));
    let (mut stops, mut worst) = (0, 0);
    for troupe in &troupes() {
        for act in &troupe.acts {
            let seen = sweep::stop_sweep(troupe, act, if full { 1 } else { 5 });
            (stops, worst) = (stops + seen.points, worst.max(seen.worst));
        }
    }
    said(format!("stop sweep: {stops} points, each resumed and killed; worst operation of the others {worst} steps"));
    let (mut killed, mut paired, mut stopped) = (0, 0, 0);
    for begin in &ends::beginnings() {
        for end in &ends::ENDS {
            killed += ends::kill_sweep(begin, end);
            paired += ends::second_order_sweep(begin, end, 1);
            stopped += ends::stop_sweep(begin, end).points;
        }
    }
    said(format!("the arena's end: {killed} points, {paired} pairs, {stopped} stops"));
    let histories = if full { 100 } else { 8 };
    let played: Vec<_> = (0..histories).map(|seed| oracle::play(seed, 3000)).collect();
    let operations: u64 = played.iter().map(|h| h.operations).sum();
    let deaths: u64 = played.iter().map(|h| h.deaths).sum();
    said(format!("histories against the oracle: {operations} operations, {deaths} deaths"));
    let flipped = flips::sweep(1, 64);
    assert!(flipped.broken.is_empty(), "{:?}", flipped.broken);
    said(format!("bit flips: {}, {} noticed, none broke anything", flipped.flips, flipped.noticed));
}

fn races(full: bool, said: &dyn Fn(String)) {
    let mut all = Searched { complete: true, ..Searched::default() };
    for begin in ends::beginnings().into_iter().map(Arc::new) {
        for one in ends::ENDS {
            for other in ends::ENDS {
                all = all.and(explore(ends::race(&begin, &[one, other], None), 2, if full { 200_000 } else { 2_000 }));
                for step in (0..40).step_by(if full { 1 } else { 7 }) {
                    all = all.and(explore(ends::race(&begin, &[one, other], Some((0, step))), 1, 20_000));
                }
            }
        }
    }
    said(format!("ends of arenas, 2 preemptions; one dies, 1 preemption: {all:?}"));
    for troupe in &troupes() {
        pairs(full, &troupe.stage, &troupe.acts, said);
    }
    let acts = acts();
    let executions = if full { 300_000 } else { 10_000 };
    let stages = vec![acting_stage(), stage_after_death(&acts[0], 20), stage_after_death(&acts[5], 12)];
    said(format!("random triples with deaths: {:?}", random(stages, proof::script::acts, 1, executions)));
    let triples = random(vec![queue::queue_stage()], queue::acts, 1, executions);
    said(format!("random triples of channels with deaths: {triples:?}"));
}

fn pairs(full: bool, stage: &Stage, acts: &[Act], said: &dyn Fn(String)) {
    let mut all = Searched { complete: true, ..Searched::default() };
    let bound = if full { 2 } else { 1 };
    for (i, a) in acts.iter().enumerate() {
        for b in &acts[i..] {
            let clocks = Clocks::weaken(None);
            let watch: Arc<Watch> = Arc::new(move |who| Some(clocks.hook(who)));
            all = all.and(explore_watched(Race::new(stage, &[a, b]), bound, 200_000, watch));
        }
        if full {
            said(format!("  act {} of {} with all behind it: {all:?}", i + 1, acts.len()));
        }
    }
    said(format!("pairs of acts, {bound} preemptions: {all:?}"));
    let mut all = Searched { complete: true, ..Searched::default() };
    for victim in acts {
        for other in acts {
            for step in (0..60).step_by(if full { 3 } else { 20 }) {
                all = all.and(explore(Race::new(stage, &[victim, other]).killing(0, step), 1, 20_000));
            }
        }
    }
    said(format!("pairs of acts, one dies, 1 preemption: {all:?}"));
}
