//! What it costs to hand items over, beside what other libraries take for the same, measured in turn in the same run.
//!
//! ```text
//! cargo bench -p peers               a few minutes
//! cargo bench -p peers -- --quick    seconds
//! ```
//!
//! The rival is iceoryx2: publish/subscribe, polled; and the same with an event for each item, for those who sleep, which
//! is how its users wait. One process writes every byte of an item in place, another one sums it up and says that it has:
//! one item at a time, so that latency is measured. `whole` is from the first byte written, the memory asked for
//! included, to the last one read; `hand-over` is from the call that sends to the return of the call that receives. The
//! processes are this program again, on a processor each. All cases take turns, round by round, and the first item of
//! a turn is not counted. The ratio is the middle one of those of all rounds, each of a round's medians; eight of ten
//! rounds are between the two given beside it.
//!
//! iceoryx2 is set up as its own benchmarks are: one publisher, one subscriber, no history, a buffer of one item, slices
//! of the length that is sent. Its payload begins at a cache line, as ours does. Its own release builds are one unit,
//! linked as a whole, which is faster for both, and more so for it:
//!
//! ```text
//! CARGO_PROFILE_BENCH_LTO=true CARGO_PROFILE_BENCH_CODEGEN_UNITS=1 cargo bench -p peers
//! ```
#![allow(clippy::print_stdout, reason = "a bench is there to print")]
#![allow(unsafe_code, reason = "a signal, and a plain shared mapping, have no safe form")]

#[allow(dead_code, reason = "shared with `ratios`")]
#[path = "../ratios/measure.rs"]
mod measure;
#[allow(dead_code, reason = "shared with `channel`")]
#[path = "../ratios/pair.rs"]
mod pair;

mod node;
mod rival;

use std::process::Command;
use std::sync::atomic::Ordering::SeqCst;

use faretra::{Array, KIB, MIB};
use ndarray::Ix1;
use nix::sys::signal::{SigHandler, Signal, signal};

use measure::{Row, load, size, time};
use node::LeftBehind;
use pair::{Ends, Outcome, Partner, Used, WAITS, Wait, Word, Words, clock, part, pin_to_processor, sum, until};
use rival::Rival;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let hurry = if arguments.iter().any(|a| a == "--quick") { 10 } else { 1 };
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["partner", name] => return partner(name),
        ["measure", name, ..] => return measure(name, hurry),
        _ => {}
    }
    // A process that does nothing else clears up, whatever happens to those that measure.
    let left = LeftBehind(format!("bench-peers-{}", std::process::id()));
    println!("load average before: {}", load());
    let mut command = Command::new(std::env::current_exe()?);
    let status = command.args(["measure", &left.0]).args(arguments).status()?;
    println!("\nload average after: {}", load());
    if status.success() { Ok(()) } else { Err("one of the two processes failed".into()) }
}

// ------------------------------------------------------------------------------------------- what is measured

/// Who hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Faretra,
    Iceoryx2,
    /// Its event without an item.
    Event,
}

/// The last one is there and back only.
const CASES: [(Who, Wait); 6] = [
    (Who::Faretra, Wait::Polls),
    (Who::Iceoryx2, Wait::Polls),
    (Who::Faretra, Wait::Blocks),
    (Who::Faretra, Wait::Sleeps),
    (Who::Iceoryx2, Wait::Sleeps),
    (Who::Event, Wait::Sleeps),
];

/// One of ours, one of theirs, what to call the two, and what the ratio should be.
const PAIRS: [(usize, usize, &str, &str); 4] = [
    (0, 1, "polls; publish/subscribe", "<= 1"),
    (2, 4, "spins, then sleeps; publish/subscribe and event", "<= 1"),
    (3, 4, "sleeps at once; publish/subscribe and event", ""),
    (2, 5, "spins, then sleeps; event without an item", "<= 1"),
];

const SIZES: [(u64, usize); 5] = [(KIB, 1000), (64 * KIB, 500), (MIB, 100), (8 * MIB, 30), (64 * MIB, 8)];

/// Nanoseconds of one case.
#[derive(Clone, Debug, Default)]
struct Times {
    all: Vec<u64>,
    /// The median of each round.
    rounds: Vec<f64>,
}

impl Times {
    fn add(&mut self, round: &[u64]) {
        self.all.extend(round);
        self.rounds.push(part(round, 0.5));
    }
}

/// What was measured of one case.
#[derive(Clone, Debug, Default)]
struct Samples {
    whole: Times,
    hand_over: Times,
    used: Used,
}

impl Samples {
    fn cpu(&self) -> f64 {
        self.used.cpu_us as f64 * 1e3 / self.whole.all.len() as f64
    }
}

// ---------------------------------------------------------------------------------------------- both processes

/// One of the two processes.
struct Here {
    words: Words,
    ours: Vec<Ends>,
    theirs: Rival,
    side: usize,
}

impl Here {
    fn connect(words: Words, name: &str, side: usize) -> Outcome<Here> {
        pin_to_processor(side)?;
        let ours = WAITS.iter().map(|wait| Ends::of(name, *wait, side)).collect::<Outcome<Vec<Ends>>>()?;
        let theirs = Rival::connect(name, side, &SIZES.map(|(bytes, _)| bytes as usize / 8))?;
        words.word(Word::Ready).fetch_add(1, SeqCst);
        // What is published before somebody subscribes is lost.
        until("the other process", || words.word(Word::Ready).load(SeqCst) == 2)?;
        Ok(Here { words, ours, theirs, side })
    }

    fn stamp(&self, word: Word) {
        self.words.word(word).store(clock(), SeqCst);
    }

    /// Side 0: writes, sends, and waits until it was read.
    fn give(&self, (who, wait): (Who, Wait), which: usize, seed: u64) -> Outcome {
        let len = SIZES[which].0 as usize / 8;
        self.words.word(Word::Seed).store(seed, SeqCst);
        self.stamp(Word::Starts);
        if who == Who::Faretra {
            let ends = &self.ours[wait as usize];
            let mut draft = ends.writer.draft_array::<u64, Ix1>(len)?;
            draft.view_mut()?.fill(seed);
            self.stamp(Word::Sends);
            ends.to.send(draft).map_err(|e| e.to_string())?;
            ends.hear()
        } else {
            let filled = self.theirs.fill(which, len, seed)?;
            self.stamp(Word::Sends);
            filled.send()?;
            self.theirs.wake(wait)?;
            self.theirs.hear(wait)
        }
    }

    /// Side 1: receives, reads, and says so.
    fn get(&self, (who, wait): (Who, Wait), which: usize) -> Outcome {
        let len = SIZES[which].0 as usize / 8;
        let expected = || self.words.word(Word::Seed).load(SeqCst).wrapping_mul(len as u64);
        let as_sent = |items: &[u64]| {
            let sum = sum(items);
            self.stamp(Word::WasRead);
            if (sum, items.len()) == (expected(), len) { Ok(()) } else { Err("not what was sent") }
        };
        if who == Who::Faretra {
            let ends = &self.ours[wait as usize];
            let lease = ends.receive()?;
            self.stamp(Word::Received);
            let array: Array<u64, Ix1> = (*lease).clone().try_into()?;
            as_sent(array.as_slice().ok_or("contiguous")?)?;
            drop(array);
            lease.ack();
            ends.say()
        } else {
            let sample = self.theirs.receive(which, wait)?;
            self.stamp(Word::Received);
            as_sent(sample.payload())?;
            drop(sample);
            self.theirs.say(wait)
        }
    }

    /// An empty item there and back.
    fn turn(&self, (who, wait): (Who, Wait)) -> Outcome {
        let ends = &self.ours[wait as usize];
        let say = || match who {
            Who::Faretra => ends.say(),
            Who::Iceoryx2 => self.theirs.say(wait),
            Who::Event => self.theirs.wake(wait),
        };
        let hear = || match who {
            Who::Faretra => ends.hear(),
            Who::Iceoryx2 => self.theirs.hear(wait),
            Who::Event => self.theirs.sleep(),
        };
        if self.side == 0 {
            say()?;
            hear()
        } else {
            hear()?;
            say()
        }
    }
}

/// What an empty item is, among the sizes.
const TURN: usize = SIZES.len();

/// The other process: told what comes, it does its part, and says what that used.
fn partner(name: &str) -> Outcome {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let here = Here::connect(Words::open(&format!("/dev/shm/{name}"))?, name, 1)?;
    for line in std::io::stdin().lines() {
        let numbers: Vec<usize> = line?.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [case, which, count] = numbers[..] else { return Err("three numbers".into()) };
        let before = Used::now()?;
        for _ in 0..count {
            if which == TURN { here.turn(CASES[case])? } else { here.get(CASES[case], which)? }
        }
        let used = Used::since(before)?;
        println!("{} {}", used.cpu_us, used.faults);
    }
    Ok(())
}

/// Side 0.
fn measure(name: &str, hurry: usize) -> Outcome {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    // Who waits for one that is gone would wait for ever.
    let on_death = |handler| {
        // SAFETY: what is called does nothing but end this process.
        unsafe { signal(Signal::SIGCHLD, handler) }
    };
    on_death(SigHandler::Handler(give_up))?;
    let words = Words::make(&format!("/dev/shm/{name}"))?;
    let mut other = Partner::start(name)?;
    let here = Here::connect(words, name, 0)?;
    let measured = to_and_fro(&here, &mut other, hurry).and_then(|()| sizes(&here, &mut other, hurry));
    on_death(SigHandler::SigDfl)?;
    measured?;
    other.finish()
}

extern "C" fn give_up(_: libc::c_int) {
    // SAFETY: allowed in a handler.
    unsafe { libc::_exit(1) }
}

// --------------------------------------------------------------------------------------------------- the tables

/// One turn of a case: times of `whole` and `hand-over` of all items but the first.
fn turn(here: &Here, other: &mut Partner, case: usize, which: usize, count: usize) -> Outcome<[Vec<u64>; 2]> {
    other.tell(&[case, which, count])?;
    let mut times = [vec![], vec![]];
    for i in 0..count {
        let at = |word| here.words.word(word).load(SeqCst);
        if which == TURN {
            let start = clock();
            here.turn(CASES[case])?;
            times[0].push(clock() - start);
        } else {
            here.give(CASES[case], which, i as u64 + 1)?;
            times[0].push(at(Word::WasRead) - at(Word::Starts));
            times[1].push(at(Word::Received) - at(Word::Sends));
        }
    }
    // The first waits for the other to come along.
    Ok(times.map(|times| times.into_iter().skip(1).collect()))
}

/// All cases in turn, round by round, after two rounds that are not counted.
fn rounds(
    here: &Here,
    other: &mut Partner,
    cases: usize,
    which: usize,
    (rounds, count): (usize, usize),
) -> Outcome<Vec<Samples>> {
    let mut samples = vec![Samples::default(); cases];
    for round in 0..rounds + 2 {
        for (case, samples) in samples.iter_mut().enumerate() {
            let before = Used::now()?;
            let [whole, hand_over] = turn(here, other, case, which, count + 1)?;
            let mut used = Used::since(before)?;
            used.add(other.answer()?);
            if round >= 2 {
                samples.whole.add(&whole);
                samples.hand_over.add(&hand_over);
                samples.used.add(used);
            }
        }
    }
    Ok(samples)
}

fn header(first: &str) {
    println!(
        "| {first} | ours p50 | p99 | p99.9 | CPU | iceoryx2 p50 | p99 | p99.9 | CPU | ratio | most rounds | target |"
    );
    println!("|{}", "---|".repeat(12));
}

fn row((section, bytes): (&str, Option<u64>), first: &str, [ours, theirs]: [(&Times, f64); 2], target: &str) {
    // What else goes on changes from round to round, and both had the same of it: rounds are compared, not all times.
    let mut ratios: Vec<f64> = ours.0.rounds.iter().zip(&theirs.0.rounds).map(|(a, b)| a / b).collect();
    ratios.sort_by(f64::total_cmp);
    let at = |part: f64| ratios[(part * (ratios.len() - 1) as f64).round() as usize];
    let ratio = at(0.5);
    let told = |times: &Times, way: &str| Row {
        section: section.into(),
        what: format!("{first}: {way}"),
        sized: bytes.map(|bytes| (bytes, way.into())),
        p50: Some(part(&times.all, 0.5)),
        p99: Some(part(&times.all, 0.99)),
        ..Row::default()
    };
    let mut of_theirs = theirs.0.rounds.clone();
    of_theirs.sort_by(f64::total_cmp);
    let theirs_at = |part: f64| of_theirs[(part * (of_theirs.len() - 1) as f64).round() as usize];
    Row {
        floor: Some(part(&theirs.0.all, 0.5)),
        spread: Some((theirs_at(0.9) - theirs_at(0.1)) / theirs_at(0.5)),
        ratio: Some(ratio),
        target: if target.is_empty() { String::new() } else { format!("{target} x") },
        ..told(ours.0, "faretra")
    }
    .tell();
    told(theirs.0, "iceoryx2").tell();
    let met = match target {
        "" => "",
        _ if ratio < 1.005 => ": met", // as it is printed
        _ => ": missed",
    };
    let times = [ours, theirs].map(|(times, cpu)| {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|p| time(part(&times.all, p)));
        format!("{p50} | {p99} | {p999} | {}", time(cpu))
    });
    let most = format!("{:.2} to {:.2}", at(0.1), at(0.9));
    println!("| {first} | {} | {} | {ratio:.2} | {most} | {target}{met} |", times[0], times[1]);
}

/// Empty items there and back.
fn to_and_fro(here: &Here, other: &mut Partner, hurry: usize) -> Outcome {
    println!("measuring there and back ...");
    let samples = rounds(here, other, CASES.len(), TURN, (20 / hurry.min(4), 2000 / hurry))?;
    println!("\n### 8 bytes there and back\n");
    header("ours waits so; iceoryx2 uses");
    for (ours, theirs, what, target) in PAIRS {
        row(
            ("8 bytes there and back", None),
            what,
            [ours, theirs].map(|case| (&samples[case].whole, samples[case].cpu())),
            target,
        );
    }
    Ok(())
}

fn sizes(here: &Here, other: &mut Partner, hurry: usize) -> Outcome {
    let mut all = vec![];
    println!();
    for (which, (bytes, count)) in SIZES.into_iter().enumerate() {
        println!("measuring {} ...", size(bytes));
        all.push(rounds(here, other, CASES.len() - 1, which, (20 / hurry.min(4), (count / hurry).max(3)))?);
    }
    for (ours, theirs, what, target) in PAIRS.into_iter().take(3) {
        for (of, times) in [
            ("first byte written to last byte read", (|s| &s.whole) as fn(&Samples) -> &Times),
            ("hand-over", |s| &s.hand_over),
        ] {
            println!("\n### {of}: {what}\n");
            header("item");
            for ((bytes, _), samples) in SIZES.iter().zip(&all) {
                let pair = [ours, theirs].map(|case| (times(&samples[case]), samples[case].cpu()));
                row((&format!("{of}: {what}"), Some(*bytes)), &size(*bytes), pair, target);
            }
        }
    }
    Ok(())
}
