//! What it costs to wait for several things, by a descriptor or by a future, beside the plain wait, in turn in one run.
//!
//! ```text
//! cargo bench --bench ready --features async              about a minute
//! cargo bench --bench ready --features async -- --quick   seconds
//! ```
//!
//! One thread sends an item and waits for the answer, which another thread sends as soon as it has the item. The other
//! thread waits in the plain way, and only the first one's waits differ. A round trip therefore has one wait of each kind.
//! The two threads have a processor each, where waking one that sleeps costs most, or share one, where it costs least. The
//! thread that serves descriptors and futures is on the first one's processor.
#![allow(clippy::print_stdout, reason = "a bench is there to print")]

#[allow(dead_code, reason = "shared with `ratios`")]
#[path = "ratios/measure.rs"]
mod measure;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use faretra::channel::Contents;
use faretra::sync::{Event, Reset};
use faretra::{Arena, Lease, MIB, Pollable, Receiver, RecvError, Select, Sender};
use futures_lite::StreamExt;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};

use measure::Row;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

struct Pair {
    arena: Arena,
    ask: Sender,
    /// Kept, so that the channel is not deserted before the other thread has begun.
    answer: Sender,
    answers: Receiver,
    /// Never set: what is waited for beside.
    events: Vec<Event>,
}

impl Pair {
    fn new(name: &str, spin: u32) -> Outcome<Pair> {
        let arena = Arena::options().limit(64 * MIB).keep(false).spin(spin).create(name)?;
        let writer = arena.writer()?;
        let ask = writer.sender_with("ask", 4, Contents::Mixed)?;
        let answer = writer.sender_with("answer", 4, Contents::Mixed)?;
        let answers = arena.receiver("answer")?;
        let events = (0..63).map(|i| arena.event(&format!("e{i}"), Reset::Manual));
        let events = events.collect::<Result<_, _>>()?;
        Ok(Pair { arena, ask, answer, answers, events })
    }

    /// Answers until the channel is closed.
    fn answer(&self) -> Outcome {
        let asked = self.arena.receiver("ask")?;
        for item in asked.iter() {
            drop(item?);
            self.answer.send("pong")?;
        }
        Ok(())
    }

    fn select(&self, others: usize) -> (Select, usize) {
        let mut select = Select::new();
        for event in &self.events[..others] {
            select.wait(event);
        }
        let index = select.recv(&self.answers);
        (select, index)
    }
}

fn used() -> Outcome<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let time = usage.user_time() + usage.system_time();
    Ok(time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64)
}

fn ack(lease: Lease) -> Outcome {
    lease.ack();
    Ok(())
}

fn polled(pollable: &Pollable, answers: &Receiver) -> Outcome {
    loop {
        match answers.try_recv() {
            Ok(lease) => return ack(lease),
            Err(RecvError::Empty) => {}
            Err(e) => return Err(e.into()),
        }
        if !pollable.rearm()? {
            poll(&mut [PollFd::new(pollable.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
        }
    }
}

fn main() -> Outcome {
    let quick = std::env::args().any(|a| a == "--quick");
    let (rounds, turns) = if quick { (500, 4) } else { (4000, 10) };
    let processors = processors()?;
    for (spin, other, how) in
        [(256, 1, "a processor each"), (0, 1, "a processor each"), (0, 0, "one processor for both")]
    {
        println!("\n{how}; spins before a sleep: {spin}");
        println!("{:>20} {:>8} {:>8} {:>9}", "", "us there", "us CPU,", "beside");
        println!("{:>20} {:>8} {:>8} {:>9}", "", "and back", "both", "recv");
        let places = [processors[0], processors[other % processors.len()]];
        let section = format!("waits, there and back: {how}, {spin} spins before a sleep");
        let name = format!("bench-ready-{}-{spin}-{other}", std::process::id());
        run((&section, &name), spin, rounds, turns, places)?;
    }
    Ok(())
}

/// Those that this program may use.
fn processors() -> Outcome<Vec<usize>> {
    let allowed = sched_getaffinity(nix::unistd::Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect())
}

/// From now on this thread, and those that it starts, run there.
fn stay_at(processor: usize) -> Outcome {
    let mut one = CpuSet::new();
    one.set(processor)?;
    Ok(sched_setaffinity(nix::unistd::Pid::from_raw(0), &one)?)
}

fn run((section, name): (&str, &str), spin: u32, rounds: u32, turns: usize, [here, there]: [usize; 2]) -> Outcome {
    stay_at(here)?;
    let pair = Pair::new(name, spin)?;
    std::thread::scope(|scope| -> Outcome {
        let answers = scope.spawn(|| {
            stay_at(there)?;
            pair.answer()
        });
        let pollable = pair.answers.pollable()?;
        let (mut one, mut eight, mut many) = (pair.select(0), pair.select(7), pair.select(63));
        let mut stream = pair.answers.stream();
        let selected = |(select, index): &mut (Select, usize)| -> Outcome {
            let done = select.select()?;
            assert_eq!(done.index(), *index);
            ack(done.recv(&pair.answers)?)
        };
        let mut iterator = pair.answers.iter();
        type Wait<'a> = Box<dyn FnMut() -> Outcome + 'a>;
        let mut ways: Vec<(&str, Wait<'_>)> = vec![
            ("recv", Box::new(|| ack(pair.answers.recv()?))),
            ("iterator", Box::new(|| iterator.next().ok_or("over")?.map(drop).map_err(Into::into))),
            ("select of 1", Box::new(|| selected(&mut one))),
            ("select of 8", Box::new(|| selected(&mut eight))),
            ("select of 64", Box::new(|| selected(&mut many))),
            ("descriptor, poll(2)", Box::new(|| polled(&pollable, &pair.answers))),
            ("async stream", Box::new(|| ack(futures_lite::future::block_on(stream.next()).ok_or("over")??))),
        ];
        let mut times = vec![vec![]; ways.len()];
        for _ in 0..turns {
            for (i, (_, wait)) in ways.iter_mut().enumerate() {
                let (began, before) = (Instant::now(), used()?);
                for _ in 0..rounds {
                    pair.ask.send("ping")?;
                    wait()?;
                }
                let each = |time: f64| time / f64::from(rounds);
                times[i].push((each(began.elapsed().as_secs_f64() * 1e6), each(used()? - before)));
            }
        }
        let median = |of: &dyn Fn(&(f64, f64)) -> f64, i: usize| {
            let mut all: Vec<f64> = times[i].iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let plain = median(&|t| t.0, 0);
        let spread = {
            let mut all: Vec<f64> = times[0].iter().map(|t| t.0).collect();
            all.sort_by(f64::total_cmp);
            (all[all.len() * 9 / 10] - all[all.len() / 10]) / plain
        };
        for (i, (name, _)) in ways.iter().enumerate() {
            let (time, cpu) = (median(&|t| t.0, i), median(&|t| t.1, i));
            println!("{name:>20} {time:8.2} {cpu:8.2} {:8.2}x", time / plain);
            Row {
                section: section.into(),
                what: if i == 0 { (*name).into() } else { format!("{name}; floor: recv") },
                p50: Some(time * 1e3),
                cpu: Some(cpu * 1e3),
                floor: (i > 0).then_some(plain * 1e3),
                spread: (i > 0).then_some(spread),
                ratio: (i > 0).then_some(time / plain),
                ..Row::default()
            }
            .tell();
        }
        // What it costs while nothing happens: of the other thread, which waits in the plain way, and of a descriptor besides.
        let idle = || -> Outcome<f64> {
            let (before, time) = (used()?, Duration::from_secs(if turns > 4 { 6 } else { 2 }));
            std::thread::sleep(time);
            Ok((used()? - before) / time.as_secs_f64())
        };
        let plain = idle()?;
        pollable.rearm()?;
        let both = idle()?;
        let armed = both - plain;
        println!("{:>20} {plain:.0} parts per million of a processor, a descriptor {armed:.0} more", "recv, idle");
        for (what, ppm) in [("recv, idle", plain), ("an armed descriptor, idle, more than that", armed)] {
            Row {
                section: section.into(),
                what: what.into(),
                value: Some(ppm / 1e4),
                unit: "%".into(),
                target: "<= 0.1 %".into(),
                ..Row::default()
            }
            .tell();
        }
        drop(ways);
        pair.ask.close().expect("open");
        answers.join().expect("no panic")
    })
}
