//! What it costs to hand items over, beside what other libraries and the system take for the same, measured in turn in the
//! same run.
//!
//! ```text
//! cargo bench -p peers               some minutes
//! cargo bench -p peers -- --quick    less than two
//! cargo bench -p peers -- --pairs    several pairs of processes at the same time alone
//! ```
//!
//! One process writes every byte of an item, another one sums it up and says that it has: one item at a time, so that
//! latency is measured. `whole` is from the first byte written, the memory asked for included, to the last one read;
//! `hand-over` is from the call that sends to the return of the call that receives. The processes are this program again,
//! on a processor each. For each size, every way is opened anew some times, of which the first item each time is *cold*:
//! nobody has touched its memory. Then all take turns, round by round, and the first item of a turn is not counted. A
//! ratio is the middle one of those of all rounds, each of a round's medians; eight of ten rounds are between the two given
//! beside it.
//!
//! What others offer is listed in `ways.rs`; those that can write an item where it is read do so, the others copy it.
//! iceoryx2's own release builds are one unit, linked as a whole, which is faster for both, and more so for it:
//!
//! ```text
//! CARGO_PROFILE_BENCH_LTO=true CARGO_PROFILE_BENCH_CODEGEN_UNITS=1 cargo bench -p peers
//! ```
#![allow(clippy::print_stdout, reason = "a bench is there to print")]
#![allow(unsafe_code, reason = "a signal, plain shared mappings, and other libraries' own contracts")]
#![allow(clippy::disallowed_methods, reason = "what is made a slice here is a segment of others, not an arena")]

#[allow(dead_code, reason = "shared with `ratios`")]
#[path = "../ratios/measure.rs"]
mod measure;
#[allow(dead_code, reason = "shared with `channel`")]
#[path = "../ratios/pair.rs"]
mod pair;

mod lanes;
mod node;
mod tables;
mod ways;

use std::process::Command;
use std::sync::atomic::Ordering::SeqCst;

use faretra::{KIB, MIB};
use nix::sys::signal::{SigHandler, Signal, signal};

use measure::{load, size};
use node::LeftBehind;
use pair::{Outcome, Partner, Used, Word, Words, clock, pin_to_processor};
use tables::{Missing, OfSize, Samples};
use ways::{BARE, CASES, Case, Place, Stamps, Sum, Way};

/// Bytes of an item, and how many are handed over in a turn.
pub const SIZES: [(u64, usize); 5] = [(KIB, 1000), (64 * KIB, 500), (MIB, 100), (8 * MIB, 30), (64 * MIB, 6)];
/// How many small ones go there and back in a turn.
const TURNS: usize = 2000;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let hurry = if arguments.iter().any(|a| a == "--quick") { 10 } else { 1 };
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["partner", name] => return partner(name),
        ["measure", name, ..] => return measured(name, |here, other| measure(here, other, hurry)),
        ["lane", name, numbers @ ..] => return lanes::lane(name, numbers),
        _ => {}
    }
    // A process that does nothing else clears up, whatever happens to those that measure.
    let left = LeftBehind(format!("peers-{}", std::process::id()));
    println!("load average before: {}", load());
    let mut failed = false;
    if arguments.iter().all(|argument| argument != "--pairs") {
        let mut command = Command::new(std::env::current_exe()?);
        failed = !command.args(["measure", &left.0]).args(arguments).status()?.success();
    }
    let scaled = lanes::run(&left.0, hurry);
    println!("\nload average after: {}", load());
    scaled?;
    if failed { Err("one of the two processes failed".into()) } else { Ok(()) }
}

// ---------------------------------------------------------------------------------------------- both processes

/// All ways, those without an item last.
fn all() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain(BARE)
}

/// The sides of the ways that are open, by their place in the list.
pub struct Side {
    words: Words,
    name: String,
    lane: usize,
    side: usize,
    open: Vec<Option<Box<dyn Way>>>,
}

impl Side {
    fn new(name: &str, side: usize) -> Outcome<Side> {
        // The last word of a pair's name is its number.
        let lane: usize = name.rsplit('.').next().and_then(|lane| lane.parse().ok()).unwrap_or(0);
        pin_to_processor(2 * lane + side)?;
        let words = Words::open(&format!("/dev/shm/{name}"))?;
        Ok(Side { words, name: name.to_owned(), lane, side, open: all().map(|_| None).collect() })
    }

    /// Opens a way for items of so many words; no two openings of a run have the same number.
    fn open(&mut self, case: usize, words: usize, number: usize) -> Outcome {
        self.open[case] = None;
        let of = all().nth(case).ok_or("a way")?;
        // Pairs that do the same at the same time share what can be shared.
        let run = self.name.rsplit_once('.').map_or(&*self.name, |(run, _)| run);
        let (name, shared) = (self.name_of(number), format!("{run}-{number}"));
        let place = Place { name, shared, lane: self.lane, side: self.side, words };
        self.open[case] = Some((of.open)(&place).map_err(|e| format!("{}: {e}", of.name))?);
        Ok(())
    }

    /// What everything of an opening is called: short, because it becomes a part of paths of sockets.
    fn name_of(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }

    fn way(&mut self, case: usize) -> Outcome<(&mut Box<dyn Way>, Stamps<'_>)> {
        let way = self.open.get_mut(case).and_then(Option::as_mut).ok_or("not open")?;
        Ok((way, Stamps(&self.words)))
    }

    /// Side 1: receives an item, reads it, looks whether it is what was sent, and says so.
    fn take(&mut self, case: usize, words: usize) -> Outcome {
        let (way, stamps) = self.way(case)?;
        let came = way.take(&stamps)?;
        let seed = stamps.0.word(Word::Seed).load(SeqCst);
        let sent = Sum::expected(seed, words);
        if came != sent {
            let name = all().nth(case).map_or("", |case| case.name);
            return Err(format!("{name}: {came:?} came, {sent:?} was sent").into());
        }
        way.say()
    }

    /// Side 0: sends an item, does something while it is there, and waits until it was read. How long it was on its way:
    /// to its last byte read, and from the call that sends to the return of the call that receives.
    fn give(&mut self, case: usize, seed: u64, meanwhile: impl FnOnce(&dyn Way)) -> Outcome<[u64; 2]> {
        let (way, stamps) = self.way(case)?;
        stamps.0.word(Word::Seed).store(seed, SeqCst);
        way.give(seed, &stamps)?;
        meanwhile(&**way);
        if !all().nth(case).is_some_and(|case| case.alone) {
            way.hear()?;
        }
        let at = |word| stamps.0.word(word).load(SeqCst);
        Ok([at(Word::WasRead) - at(Word::Starts), at(Word::Received) - at(Word::Sends)])
    }

    /// Something small there and back.
    fn turn(&mut self, case: usize) -> Outcome {
        let side = self.side;
        let (way, _) = self.way(case)?;
        if side == 0 {
            way.say()?;
            way.hear()
        } else {
            way.hear()?;
            way.say()
        }
    }
}

/// What the other process may be told: always three numbers more.
const OPEN: usize = 0;
const TAKE: usize = 1;
const TURN: usize = 2;
const CLOSE: usize = 3;

/// The other process: told what comes, it does its part, and says what that used.
fn partner(name: &str) -> Outcome {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let mut here = Side::new(name, 1)?;
    for line in std::io::stdin().lines() {
        let numbers: Vec<usize> = line?.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [what, case, words, count] = numbers[..] else { return Err("four numbers".into()) };
        let before = Used::now()?;
        match what {
            OPEN => here.open(case, words, count)?,
            TAKE => (0..count).try_for_each(|_| here.take(case, words))?,
            TURN => (0..count).try_for_each(|_| here.turn(case))?,
            CLOSE => here.open[case] = None,
            _ => return Err("something that it knows".into()),
        }
        println!("{}", Used::since(before)?);
    }
    Ok(())
}

/// Side 0, with its partner: whoever waits for one that is gone would wait for ever, so it ends with it.
pub fn measured(name: &str, measure: impl FnOnce(&mut Side, &mut Partner) -> Outcome) -> Outcome {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let on_death = |handler| {
        // SAFETY: what is called does nothing but end this process.
        unsafe { signal(Signal::SIGCHLD, handler) }
    };
    on_death(SigHandler::Handler(give_up))?;
    drop(Words::make(&format!("/dev/shm/{name}"))?);
    let mut other = Partner::start(name)?;
    let mut here = Side::new(name, 0)?;
    let measured = measure(&mut here, &mut other);
    on_death(SigHandler::SigDfl)?;
    measured?;
    drop(here);
    other.finish()
}

extern "C" fn give_up(_: libc::c_int) {
    // SAFETY: allowed in a handler.
    unsafe { libc::_exit(1) }
}

/// Opens a way on both sides.
fn open(here: &mut Side, other: &mut Partner, case: usize, words: usize, number: usize) -> Outcome {
    other.tell(&[OPEN, case, words, number])?;
    here.open(case, words, number)?;
    other.answer()?;
    Ok(())
}

fn close(here: &mut Side, other: &mut Partner, case: usize) -> Outcome {
    here.open[case] = None;
    other.tell(&[CLOSE, case, 0, 0])?;
    other.answer()?;
    Ok(())
}

/// So many items, one after the other: for each, how long it took whole, and from hand to hand.
fn items(
    here: &mut Side,
    other: &mut Partner,
    case: usize,
    (words, count): (usize, usize),
    mut meanwhile: impl FnMut(&dyn Way),
) -> Outcome<([Vec<u64>; 2], Used)> {
    let alone = all().nth(case).is_some_and(|case| case.alone);
    let before = Used::now()?;
    if !alone {
        other.tell(&[TAKE, case, words, count])?;
    }
    let mut times = [vec![], vec![]];
    for item in 0..count {
        let [whole, hand_over] = here.give(case, item as u64 + 1, &mut meanwhile)?;
        times[0].push(whole);
        times[1].push(hand_over);
    }
    let mut used = Used::since(before)?;
    if !alone {
        used.add(other.answer()?);
    }
    Ok((times, used))
}

// ------------------------------------------------------------------------------------------- what is measured

fn measure(here: &mut Side, other: &mut Partner, hurry: usize) -> Outcome {
    let missing: Vec<Missing> =
        CASES.iter().filter_map(|case| Some(Missing { way: case.name, why: (case.missing)()? })).collect();
    let there = |case: usize| all().nth(case).is_some_and(|case| missing.iter().all(|one| one.way != case.name));
    let mut number = 0;

    println!("measuring there and back ...");
    let mut turns: Vec<Samples> = all().map(|_| Samples::default()).collect();
    let who: Vec<usize> =
        (0..turns.len()).filter(|case| there(*case) && !all().nth(*case).is_some_and(|case| case.alone)).collect();
    for case in &who {
        number += 1;
        open(here, other, *case, 1, number)?;
    }
    for round in 0..20 / hurry.min(4) + 2 {
        for case in &who {
            let before = Used::now()?;
            other.tell(&[TURN, *case, 1, TURNS / hurry + 1])?;
            let mut times = vec![];
            for _ in 0..=TURNS / hurry {
                let start = clock();
                here.turn(*case)?;
                times.push(clock() - start);
            }
            let mut used = Used::since(before)?;
            used.add(other.answer()?);
            if round >= 2 {
                turns[*case].add(&[&times[1..], &[]], used);
            }
        }
    }
    for case in &who {
        close(here, other, *case)?;
    }
    tables::there_and_back(&turns, &missing);

    let mut sizes = vec![];
    for (bytes, count) in SIZES {
        println!("measuring {} ...", size(bytes));
        let words = bytes as usize / 8;
        let mut of_size = OfSize::new(bytes);
        let who: Vec<usize> = (0..CASES.len()).filter(|case| there(*case)).collect();
        for _ in 0..(10 / hurry).max(3) {
            for case in &who {
                number += 1;
                open(here, other, *case, words, number)?;
                let (times, used) = items(here, other, *case, (words, 1), |_| ())?;
                of_size.cold[*case].add(&[&times[0], &times[1]], used);
            }
        }
        let count = (count / hurry).max(3);
        for round in 0..20 / hurry.min(4) + 2 {
            for case in &who {
                let (times, used) = items(here, other, *case, (words, count + 1), |_| ())?;
                if round >= 2 {
                    // The first waits for the other to come along.
                    of_size.warm[*case].add(&[&times[0][1..], &times[1][1..]], used);
                }
            }
        }
        // The last openings have consecutive numbers.
        for (case, number) in who.iter().zip(number + 1 - who.len()..) {
            let name = here.name_of(number);
            let mut reserved = None;
            items(here, other, *case, (words, 1), |way| {
                reserved = way.reserved(&name);
            })?;
            of_size.reserved[*case] = reserved;
            close(here, other, *case)?;
        }
        sizes.push(of_size);
    }
    tables::sizes(&sizes, &missing);
    Ok(())
}
