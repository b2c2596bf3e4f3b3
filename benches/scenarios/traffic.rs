//! The allocator alone: memory that one process takes and another one frees, not written, beside mimalloc's among threads of one
//! process.
//!
//! *Replaced*, as in Larson's benchmark: everybody takes memory of random sizes and puts it in one of 1,024 places that all share,
//! where it frees what lay there, whoever took that. A place is a name in the arena, and a pointer behind a lock in the process.
//! *Passed on*: one takes memory, another one frees it; through a channel of the arena, or one of the standard library.

use std::sync::Mutex;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use faretra::channel::Contents;
use faretra::{Arena, GIB};

use crate::crew::{Crew, Member, Told, run_name};
use crate::heap::Block;
use crate::measure::{Along, Table, Times};
use crate::pair::{DEADLINE, Outcome, clock};
use crate::setting::{Random, Scale};

pub const WORKER: &str = "traffic-worker";
pub const HEAP: &str = "traffic-heap";

const PLACES: u64 = 1024;
const CAPACITY: usize = 256;
const LEAST: u64 = 64;
const MOST: u64 = 8192;

const REPLACED: u64 = 0;
const PASSED_ON: u64 = 1;

/// What a worker is told: which, how often, and when all begin.
fn begin(at: u64) {
    while clock() < at {
        std::hint::spin_loop();
    }
}

/// One process of the arena's. Of those that pass on, the even ones take and the odd ones free.
pub fn worker(told: &Told) -> Outcome {
    let arena = Arena::options().keep(false).open(&told.name)?;
    let writer = arena.writer()?;
    let names: Vec<String> = (0..PLACES).map(|i| format!("place-{i}")).collect();
    let sender = writer.sender_with("passed", CAPACITY, Contents::Mixed)?;
    let receiver = arena.receiver("passed")?;
    let mut random = Random::new(told.index as u64 + 1);
    told.serve(|line| {
        let [what, count, at] = *line else { return Err("three numbers".into()) };
        begin(at);
        for _ in 0..count {
            match (what, told.index % 2) {
                (REPLACED, _) => {
                    let draft = writer.draft_bytes(random.size(LEAST, MOST) as usize)?;
                    writer.publish(&names[random.below(PLACES) as usize], draft)?;
                }
                (_, 0) => {
                    let draft = writer.draft_bytes(random.size(LEAST, MOST) as usize)?;
                    sender.send_timeout(draft, DEADLINE).map_err(|e| e.to_string())?;
                }
                _ => receiver.recv_timeout(DEADLINE)?.ack(),
            }
        }
        Ok(vec![clock()])
    })
}

/// The one process of mimalloc's, with as many threads.
pub fn heap(told: &Told) -> Outcome {
    let places: Vec<Mutex<Option<Block>>> = (0..PLACES).map(|_| Mutex::default()).collect();
    told.serve(|line| {
        let [what, count, at, threads] = *line else { return Err("four numbers".into()) };
        let (sender, receiver) = sync_channel(CAPACITY);
        let receiver = Mutex::new(receiver);
        let places = &places;
        let run = |index: u64, sender: std::sync::mpsc::SyncSender<Block>| {
            let mut random = Random::new(index + 1);
            begin(at);
            for _ in 0..count {
                match (what, index % 2) {
                    (REPLACED, _) => {
                        let block = Block::new(random.size(LEAST, MOST) as usize);
                        let place = &places[random.below(PLACES) as usize];
                        let old = place.lock().expect("no panic").replace(block);
                        drop(old);
                    }
                    (_, 0) => sender.send(Block::new(random.size(LEAST, MOST) as usize)).expect("it is taken"),
                    _ => drop(receiver.lock().expect("no panic").recv().expect("it comes")),
                }
            }
            clock()
        };
        let ends: Vec<u64> = std::thread::scope(|scope| {
            let spawn = |index| {
                let sender = sender.clone();
                let run = &run;
                scope.spawn(move || run(index, sender))
            };
            let all: Vec<_> = (0..threads).map(spawn).collect();
            all.into_iter().map(|one| one.join().expect("no panic")).collect()
        });
        Ok(vec![ends.into_iter().max().unwrap_or_default()])
    })
}

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    let mut heap = Member::start(HEAP, "none", 0, &[])?;
    for (what, workers) in
        [(REPLACED, 1), (REPLACED, 2), (REPLACED, 4), (REPLACED, 8), (PASSED_ON, 2), (PASSED_ON, 4), (PASSED_ON, 8)]
    {
        let name = run_name("traffic");
        let arena = Arena::options().limit(GIB).keep(false).create(&name)?;
        let mut crew = Crew::start(WORKER, &name, workers as usize, &[])?;
        let (mut ours, mut floor) = (Times::default(), Times::default());
        let (rounds, count) = (scale.of(5, 12), scale.of(80_000, 200_000) / workers);
        // What passes through a channel is counted once, and not once at each end.
        let operations = if what == REPLACED { count * workers } else { count * workers / 2 };
        for round in 0..=rounds {
            let soon = || clock() + 10_000_000;
            let at = soon();
            heap.tell(&[what, count, at, workers])?;
            let theirs = Duration::from_nanos(heap.answer()?[0] - at);
            let at = soon();
            crew.tell(&[what, count, at])?;
            let last = crew.answers()?.into_iter().map(|end| end[0]).max().ok_or("somebody")?;
            if round > 0 {
                floor.push(theirs, operations);
                ours.push(Duration::from_nanos(last - at), operations);
            }
        }
        let (way, floor_way) = match what {
            REPLACED => ("taken, put in a shared place, the old freed", "mimalloc: the same, threads"),
            _ => ("taken by one, freed by another", "mimalloc: taken and freed, threads"),
        };
        let what = format!("64 B to 8 KiB {way}, by {workers}; floor: mimalloc in one process");
        table.along(what, Along::Processes(workers), [way, floor_way], &ours, &floor, "");
        crew.finish()?;
        let violations = arena.verify()?;
        if !violations.is_empty() {
            return Err(format!("the arena is not sound: {violations:?}").into());
        }
    }
    heap.finish()
}
