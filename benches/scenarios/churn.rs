//! An hour of a busy arena: four processes that publish values of random sizes over each other's, remove and pin them, 1,000 times a
//! second all told, as fast as the machine can. What is measured is memory over that hour (of the arena, and of the processes), whether
//! a publish of the last minute costs what one of the first did, and what is left when all is let go. Beside it four threads do the
//! same with blocks of mimalloc's.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use faretra::{Arena, Error, GIB, KIB, Object};

use crate::crew::{Crew, Member, Told, run_name};
use crate::heap::Block;
use crate::measure::{Along, Row, Table, Times};
use crate::pair::{Outcome, Used};
use crate::setting::{Random, Scale};

pub const WORKER: &str = "churn-worker";
pub const HEAP: &str = "churn-heap";

const WORKERS: u64 = 4;
/// Of each worker.
const NAMES: u64 = 500;
const LEAST: u64 = 64;
const MOST: u64 = 256 * KIB;
/// So many pins has each worker at a time.
const PINS: usize = 16;
/// Tells a worker to let go of everything.
const LET_GO: u64 = u64::MAX;
/// So many times stand for all that were measured.
const QUANTILES: usize = 1000;

/// What a worker does next.
enum Step {
    Publish {
        name: u64,
        bytes: u64,
    },
    Remove(u64),
    /// Of anybody's.
    Pin(u64),
}

/// The steps of one worker: the same for processes and threads.
struct Script {
    random: Random,
    first: u64,
}

impl Script {
    fn of(index: u64) -> Script {
        Script { random: Random::new(index + 1), first: index * NAMES }
    }

    fn next(&mut self) -> Step {
        let own = self.first + self.random.below(NAMES);
        match self.random.below(10) {
            0 => Step::Remove(own),
            1 | 2 => Step::Pin(self.random.below(WORKERS * NAMES)),
            _ => Step::Publish { name: own, bytes: self.random.size(LEAST, MOST) },
        }
    }
}

fn name(i: u64) -> String {
    format!("value-{i}")
}

/// Memory of this process that no file stands for.
fn own_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}

/// Bytes that are published, memory of the process, its page faults, and quantiles of the times of a publish.
fn said(published: u64, faults: u64, mut times: Vec<u64>) -> Vec<u64> {
    times.sort_unstable();
    let some = (0..QUANTILES).filter_map(|i| times.get((2 * i + 1) * times.len() / (2 * QUANTILES)).copied());
    [published, own_bytes(), faults].into_iter().chain(some).collect()
}

/// A process of the arena's.
pub fn worker(told: &Told) -> Outcome {
    let arena = Arena::options().keep(false).open(&told.name)?;
    let writer = arena.writer()?;
    let source = vec![7_u8; MOST as usize];
    let mut script = Script::of(told.index as u64);
    let mut sizes = vec![0; NAMES as usize];
    let names: Vec<String> = (0..WORKERS * NAMES).map(name).collect();
    let mut pins: VecDeque<Object> = VecDeque::new();
    told.serve(|line| {
        let [steps] = *line else { return Err("one number".into()) };
        if steps == LET_GO {
            pins.clear();
            for i in 0..NAMES {
                writer.remove(&names[(script.first + i) as usize])?;
                sizes[i as usize] = 0;
            }
            return Ok(said(0, 0, vec![]));
        }
        let (before, mut times) = (Used::now()?, vec![]);
        for _ in 0..steps {
            match script.next() {
                Step::Publish { name, bytes } => {
                    let start = Instant::now();
                    writer.publish(&names[name as usize], &source[..bytes as usize])?;
                    times.push(start.elapsed().as_nanos() as u64);
                    sizes[(name - script.first) as usize] = bytes;
                }
                Step::Remove(name) => {
                    writer.remove(&names[name as usize])?;
                    sizes[(name - script.first) as usize] = 0;
                }
                Step::Pin(name) => match arena.get(&names[name as usize]) {
                    Ok(object) => {
                        pins.push_back(object);
                        if pins.len() > PINS {
                            pins.pop_front();
                        }
                    }
                    Err(Error::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                },
            }
        }
        Ok(said(sizes.iter().sum(), Used::since(before)?.faults, times))
    })
}

/// The process of mimalloc's: its threads are the workers.
pub fn heap(told: &Told) -> Outcome {
    let source = vec![7_u8; MOST as usize];
    let places: Vec<Mutex<Option<Arc<Block>>>> = (0..WORKERS * NAMES).map(|_| Mutex::default()).collect();
    let mut workers: Vec<(Script, VecDeque<Arc<Block>>)> =
        (0..WORKERS).map(|index| (Script::of(index), VecDeque::new())).collect();
    let at_first = own_bytes();
    told.serve(|line| {
        let [steps] = *line else { return Err("one number".into()) };
        let run = |script: &mut Script, pins: &mut VecDeque<Arc<Block>>| {
            let mut times = vec![];
            for _ in 0..steps {
                match script.next() {
                    Step::Publish { name, bytes } => {
                        let start = Instant::now();
                        let mut block = Block::new(bytes as usize);
                        block.copy_from(&source[..bytes as usize]);
                        let old = places[name as usize].lock().expect("no panic").replace(Arc::new(block));
                        drop(old);
                        times.push(start.elapsed().as_nanos() as u64);
                    }
                    Step::Remove(name) => drop(places[name as usize].lock().expect("no panic").take()),
                    Step::Pin(name) => {
                        pins.extend(places[name as usize].lock().expect("no panic").clone());
                        if pins.len() > PINS {
                            pins.pop_front();
                        }
                    }
                }
            }
            times
        };
        let run = &run;
        let times = std::thread::scope(|scope| {
            let all: Vec<_> = workers.iter_mut().map(|(script, pins)| scope.spawn(move || run(script, pins))).collect();
            all.into_iter().flat_map(|one| one.join().expect("no panic")).collect()
        });
        let bytes = |place: &Mutex<Option<Arc<Block>>>| place.lock().expect("no panic").as_ref().map_or(0, |b| b.len());
        let mut answer = said(places.iter().map(bytes).sum(), 0, times);
        answer[1] = answer[1].saturating_sub(at_first);
        Ok(answer)
    })
}

/// One minute of all workers.
struct Minute {
    published: u64,
    /// Of the processes beside the arena.
    own: u64,
    faults: u64,
    publish: Times,
    took: Duration,
}

fn minute(crew: &mut [Member], steps: u64) -> Outcome<Minute> {
    let start = Instant::now();
    crew.iter_mut().try_for_each(|member| member.tell(&[steps]))?;
    let mut all = Minute { published: 0, own: 0, faults: 0, publish: Times::default(), took: Duration::ZERO };
    for member in crew {
        let [published, own, faults, ref times @ ..] = member.answer()?[..] else {
            return Err("three and more".into());
        };
        all.published += published;
        all.own += own;
        all.faults += faults;
        times.iter().for_each(|ns| all.publish.push(Duration::from_nanos(*ns), 1));
    }
    all.took = start.elapsed();
    Ok(all)
}

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    let (minutes, steps) = (scale.of(6, 60), scale.of(2_000, 15_000));
    let name = run_name("churn");
    let arena = Arena::options().limit(GIB).keep(false).create(&name)?;
    let mut crew = Crew::start(WORKER, &name, WORKERS as usize, &[])?;
    let mut heap = [Member::start(HEAP, "none", 0, &[])?];
    // Memory of names stays with the arena: so it begins with all names having been there.
    minute(&mut crew.0, NAMES * 20)?;
    minute(&mut heap, NAMES * 20)?;
    minute(&mut crew.0, LET_GO)?;
    arena.trim()?;
    let start = arena.stats()?;
    let (mut took, mut took_heap) = (Times::default(), Times::default());
    let (mut first, mut last): (Option<Minute>, Option<Minute>) = (None, None);
    for nth in 0..minutes {
        let theirs = minute(&mut heap, steps)?;
        let ours = minute(&mut crew.0, steps)?;
        let stats = arena.stats()?;
        took.push(ours.took, steps * WORKERS);
        took_heap.push(theirs.took, steps * WORKERS);
        let (of, shown) = (Along::Seconds((nth + 1) * 60), nth == 0 || nth + 1 == minutes);
        for (what, bytes, minute) in [
            ("memory of the arena", stats.used, &ours),
            ("of that, not freed", stats.live, &ours),
            ("memory of the processes beside it", ours.own, &ours),
            ("mimalloc: memory of the process", theirs.own, &theirs),
        ] {
            let row = format!("minute {}: {what}", nth + 1);
            if shown {
                table.memory(row, of, what, bytes, minute.published);
            } else {
                let value = Some(bytes as f64 / minute.published as f64);
                let (along, unit) = (Some((of, what.to_owned())), "x".into());
                Row { section: "churn".into(), what: row, along, memory: Some(bytes), value, unit, ..Row::default() }
                    .tell();
            }
        }
        let row = Row {
            section: "churn".into(),
            what: format!("minute {}: publish", nth + 1),
            along: Some((of, "publish".into())),
            p50: Some(ours.publish.p50()),
            p99: Some(ours.publish.p99()),
            p999: ours.publish.p999(),
            floor: Some(theirs.publish.p50()),
            ..Row::default()
        };
        row.tell();
        if nth == 0 {
            first = Some(ours);
        } else {
            last = Some(ours);
        }
    }
    let (first, last) = (first.ok_or("a minute")?, last.ok_or("two minutes")?);
    table.ratio("a step of any kind, all together; floor: mimalloc, threads, memcpy", &took, &took_heap, "");
    table.ratio("a publish in the last minute; floor: in the first", &last.publish, &first.publish, "<= 1.1 x");
    let faults = |minute: &Minute| minute.faults as f64 / (steps * WORKERS) as f64;
    table.fact("page faults a step, first minute", format!("{:.4}", faults(&first)), "");
    table.fact("page faults a step, last minute", format!("{:.4}", faults(&last)), "");
    // All is let go, two times, with another stretch of the hour between.
    for again in [false, true] {
        if again {
            minute(&mut crew.0, steps)?;
        }
        minute(&mut crew.0, LET_GO)?;
        arena.trim()?;
        let end = arena.stats()?;
        let which = if again { "let go once more" } else { "all let go" };
        let more = |now: u64, then: u64| format!("{} B", now as i64 - then as i64);
        table.fact(
            format!("{which}: objects more than at first"),
            (end.objects as i64 - start.objects as i64).to_string(),
            "<= 0",
        );
        table.fact(format!("{which}: bytes of objects more than at first"), more(end.live, start.live), "<= 0 B");
        table.fact(format!("{which}: freed bytes that are kept after trim()"), more(end.warm, 0), "<= 0 B");
        table.fact(format!("{which}: bytes of metadata more than at first"), more(end.metadata, start.metadata), "");
        table.fact(format!("{which}: bytes of the arena more than at first"), more(end.used, start.used), "");
    }
    let violations = arena.verify()?;
    if !violations.is_empty() {
        return Err(format!("the arena is not sound: {violations:?}").into());
    }
    crew.finish()?;
    let [heap] = heap;
    heap.finish()
}
