//! What is said of what was measured: tables, and rows for the report.

use faretra::KIB;

use crate::SIZES;
use crate::lanes::{ITEM, PAIRS, section};
use crate::measure::{Along, Row, size, time};
use crate::pair::{Used, part};
use crate::ways::{BARE, BLOCKING, CASES, Case, EVENT, FUTEX, ICEORYX_EVENT, ICEORYX_POLLED, POLLED, SOCKET, WORD};

/// Nanoseconds of one case.
#[derive(Clone, Debug, Default)]
pub struct Times {
    all: Vec<u64>,
    /// The median of each round.
    rounds: Vec<f64>,
}

impl Times {
    fn add(&mut self, round: &[u64]) {
        if !round.is_empty() {
            self.all.extend(round);
            self.rounds.push(part(round, 0.5));
        }
    }

    fn at(&self, p: f64) -> f64 {
        part(&self.all, p)
    }

    /// How far apart the medians of the middle eight of ten rounds are, as a part of the one in the middle.
    fn spread(&self) -> f64 {
        let at = |part| at(self.rounds.clone(), part);
        (at(0.9) - at(0.1)) / at(0.5)
    }
}

/// Of numbers in any order.
fn at(mut numbers: Vec<f64>, part: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let index = (part * numbers.len().saturating_sub(1) as f64).round() as usize;
    numbers.get(index).copied().unwrap_or(f64::NAN)
}

/// What was measured of one case.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    whole: Times,
    hand_over: Times,
    used: Used,
    rounds: usize,
}

impl Samples {
    /// A round: how long each item took, whole and from hand to hand; and what both processes used for all, and for one
    /// more that does not count.
    pub fn add(&mut self, [whole, hand_over]: &[&[u64]; 2], used: Used) {
        self.whole.add(whole);
        self.hand_over.add(hand_over);
        self.used.add(used);
        self.rounds += 1;
    }

    fn each(&self, of: u64) -> f64 {
        of as f64 / self.whole.all.len() as f64
    }

    fn cpu(&self) -> f64 {
        self.each(self.used.cpu_us) * 1e3
    }

    fn faults(&self) -> (f64, f64) {
        (self.each(self.used.faults), self.each(self.used.major))
    }
}

/// Everything of one size, by the place of a case in the list.
pub struct OfSize {
    bytes: u64,
    pub cold: Vec<Samples>,
    pub warm: Vec<Samples>,
    /// Bytes of memory that the way has while one item is there.
    pub reserved: Vec<Option<u64>>,
}

impl OfSize {
    pub fn new(bytes: u64) -> OfSize {
        let none = || vec![Samples::default(); CASES.len()];
        OfSize { bytes, cold: none(), warm: none(), reserved: vec![None; CASES.len()] }
    }
}

/// What cannot be measured here.
pub struct Missing {
    pub way: &'static str,
    pub why: String,
}

// ---------------------------------------------------------------------------------------------------- the targets

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    ThereAndBack,
    Whole,
    HandOver,
}

/// One of ours, what it is compared with, in which respect, and what the ratio should be.
struct Pair {
    ours: &'static str,
    theirs: &'static str,
    of: Of,
    /// Items of this size only.
    only: Option<u64>,
    target: &'static str,
}

const fn pair(ours: &'static str, theirs: &'static str, of: Of, target: &'static str) -> Pair {
    Pair { ours, theirs, of, only: None, target }
}

const PAIRED: &[Pair] = &[
    pair(POLLED, ICEORYX_POLLED, Of::ThereAndBack, "<= 1 x"),
    pair(BLOCKING, ICEORYX_EVENT, Of::ThereAndBack, "<= 1 x"),
    pair(BLOCKING, EVENT, Of::ThereAndBack, "<= 1 x"),
    pair(BLOCKING, FUTEX, Of::ThereAndBack, "<= 1.2 x"),
    pair(POLLED, ICEORYX_POLLED, Of::Whole, "<= 1 x"),
    pair(POLLED, ICEORYX_POLLED, Of::HandOver, "<= 1 x"),
    pair(BLOCKING, ICEORYX_EVENT, Of::Whole, "<= 1 x"),
    pair(BLOCKING, ICEORYX_EVENT, Of::HandOver, "<= 0.8 x"),
    Pair { only: Some(64 * KIB), ..pair(BLOCKING, SOCKET, Of::Whole, "<= 1 x") },
];

impl Of {
    fn words(self) -> &'static str {
        match self {
            Of::ThereAndBack => "8 bytes there and back",
            Of::Whole => "first byte written to last byte read",
            Of::HandOver => "hand-over",
        }
    }

    fn times(self, samples: &Samples) -> &Times {
        if self == Of::HandOver { &samples.hand_over } else { &samples.whole }
    }
}

/// All ways, those without an item last.
fn all() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain(BARE)
}

fn find<'a>(samples: &'a [Samples], name: &str) -> Option<&'a Samples> {
    samples.get(all().position(|case| case.name == name)?)
}

/// The rows that have a target, of one size or of none.
fn paired(samples: &[Samples], bytes: Option<u64>) {
    for pair in PAIRED {
        let fits = pair.only.is_none_or(|only| Some(only) == bytes) && bytes.is_none() == (pair.of == Of::ThereAndBack);
        let found = find(samples, pair.ours).zip(find(samples, pair.theirs)).filter(|(_, theirs)| theirs.rounds > 0);
        let Some((ours, theirs)) = found.filter(|_| fits) else { continue };
        let (ours, theirs) = (pair.of.times(ours), pair.of.times(theirs));
        // What else goes on changes from round to round, and both had the same of it: rounds are compared, not all times.
        let ratios: Vec<f64> = ours.rounds.iter().zip(&theirs.rounds).map(|(a, b)| a / b).collect();
        let [low, ratio, high] = [0.1, 0.5, 0.9].map(|part| at(ratios.clone(), part));
        let of = pair.of.words();
        let what = bytes.map_or_else(String::new, |bytes| format!("{}, ", size(bytes)));
        println!(
            "| {what}{of} | {} | {} | {} | {} | {ratio:.2} | {low:.2} to {high:.2} | {} |",
            pair.ours,
            time(ours.at(0.5)),
            pair.theirs,
            time(theirs.at(0.5)),
            pair.target
        );
        let who = format!("{}; floor: {}", pair.ours, pair.theirs);
        Row {
            section: if bytes.is_some() { format!("{of}: {who}") } else { format!("{of}, beside others") },
            what: bytes.map_or(who, size),
            floor: Some(theirs.at(0.5)),
            spread: Some(theirs.spread()),
            ratio: Some(ratio),
            target: pair.target.into(),
            p50: Some(ours.at(0.5)),
            p99: Some(ours.at(0.99)),
            p999: Some(ours.at(0.999)),
            ..Row::default()
        }
        .tell();
    }
}

// -------------------------------------------------------------------------------------------------------- all ways

/// A row for one way: its floor is what the system's own memory and waits take, polled or asleep as the way is.
fn told(section: &str, case: &Case, bytes: u64, of: Of, samples: &Samples, floor: Option<&Samples>) {
    let times = of.times(samples);
    if times.rounds.is_empty() {
        return;
    }
    let p50 = times.at(0.5);
    let floor = floor.map(|floor| of.times(floor)).filter(|floor| !floor.rounds.is_empty() && !case.floor);
    let ratios = floor.map(|floor| times.rounds.iter().zip(&floor.rounds).map(|(a, b)| a / b).collect::<Vec<f64>>());
    Row {
        section: section.into(),
        what: if of == Of::ThereAndBack { case.name.into() } else { format!("{}, {}", case.name, size(bytes)) },
        sized: Some((bytes, case.name.into())),
        p50: Some(p50),
        p99: Some(times.at(0.99)),
        p999: Some(times.at(0.999)),
        cpu: (of != Of::HandOver).then(|| samples.cpu()),
        faults: (of != Of::HandOver).then(|| samples.faults()),
        floor: floor.map(|floor| floor.at(0.5)),
        spread: floor.map(Times::spread),
        ratio: ratios.map(|ratios| at(ratios, 0.5)),
        rate: (of == Of::Whole).then_some(bytes as f64 * 1e9 / p50),
        ..Row::default()
    }
    .tell();
}

fn not_there(section: &str, missing: &[Missing]) {
    for one in missing {
        Row { section: section.into(), what: one.way.into(), shown: Some(one.why.clone()), ..Row::default() }.tell();
    }
}

fn floor<'a>(samples: &'a [Samples], case: &Case) -> Option<&'a Samples> {
    find(samples, if case.polls { WORD } else { FUTEX })
}

fn header() {
    println!("| what | ours | p50 | beside | its p50 | ratio | most rounds | target |\n|{}", "---|".repeat(8));
}

pub fn there_and_back(samples: &[Samples], missing: &[Missing]) {
    let section = Of::ThereAndBack.words();
    println!("\n### {section}\n\n| way | p50 | p99 | p99.9 | CPU |\n|---|---|---|---|---|");
    for (case, samples_of) in all().zip(samples).filter(|(_, samples)| samples.rounds > 0) {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|p| time(samples_of.whole.at(p)));
        println!("| {} | {p50} | {p99} | {p999} | {} |", case.name, time(samples_of.cpu()));
        told(section, case, 8, Of::ThereAndBack, samples_of, floor(samples, case));
    }
    for one in missing {
        println!("| {} | {} | | | |", one.way, one.why);
    }
    not_there(section, missing);
    println!();
    header();
    paired(samples, None);
}

pub fn sizes(all_sizes: &[OfSize], missing: &[Missing]) {
    for OfSize { bytes, cold, warm, reserved } in all_sizes {
        println!("\n### {}: from the first byte written to the last one read\n", size(*bytes));
        println!("| way | p50 | p99 | p99.9 | hand-over | p99 | CPU | faults | major | first item | memory / live |");
        println!("|{}", "---|".repeat(11));
        for (index, case) in CASES.iter().enumerate().filter(|(index, _)| warm[*index].rounds > 0) {
            let (samples, first) = (&warm[index], &cold[index]);
            let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|p| time(samples.whole.at(p)));
            let [hand_over, high] = [0.5, 0.99].map(|p| time(samples.hand_over.at(p)));
            let (minor, major) = samples.faults();
            let cpu = time(samples.cpu());
            let first_p50 = time(first.whole.at(0.5));
            let live = reserved[index].filter(|bytes| *bytes > 0).map(|reserved| reserved as f64 / *bytes as f64);
            let memory = live.map_or("-".into(), |live| format!("{live:.2}"));
            println!(
                "| {} | {p50} | {p99} | {p999} | {hand_over} | {high} | {cpu} | {minor:.2} | {major:.2} | {first_p50} | {memory} |",
                case.name
            );
            let how = if case.polls { "polled" } else { "blocking" };
            let of = Of::Whole.words();
            told(&format!("{of}, {how}, warm"), case, *bytes, Of::Whole, samples, floor(warm, case));
            told(&format!("{of}, {how}, fresh memory"), case, *bytes, Of::Whole, first, floor(cold, case));
            if !case.alone {
                let section = format!("{}, {how}, warm", Of::HandOver.words());
                told(&section, case, *bytes, Of::HandOver, samples, floor(warm, case));
            }
            if !case.alone && !case.floor {
                Row {
                    section: MEMORY.into(),
                    what: format!("{}, {}", case.name, size(*bytes)),
                    sized: Some((*bytes, case.name.into())),
                    value: live,
                    unit: "B/B".into(),
                    shown: live.is_none().then(|| "cannot be seen: its segments have no names".into()),
                    kind: "memory",
                    ..Row::default()
                }
                .tell();
            }
        }
        for one in missing {
            println!("| {} | {} |{}", one.way, one.why, " |".repeat(9));
        }
    }
    for section in ["warm", "fresh memory"] {
        not_there(&format!("{}, blocking, {section}", Of::Whole.words()), missing);
    }
    println!("\n### beside others\n");
    header();
    for of_size in all_sizes {
        paired(&of_size.warm, Some(of_size.bytes));
    }
}

/// Of rows that say how much memory a way keeps for each byte of the one item that is there.
const MEMORY: &str = "memory reserved for each byte of one item that is there";

pub fn scaling(rates: &[(&Case, Vec<Result<f64, String>>)]) {
    println!("\n### {}: items a second, all together\n", section());
    println!("| way |{} |\n|{}", PAIRS.map(|pairs| format!(" {pairs}")).join(" |"), "---|".repeat(PAIRS.len() + 1));
    for (case, rates) in rates {
        let cell = |rate: &Result<f64, String>| rate.as_ref().map_or_else(String::clone, |rate| format!("{rate:.0}"));
        println!("| {} | {} |", case.name, rates.iter().map(cell).collect::<Vec<_>>().join(" | "));
        for (pairs, rate) in PAIRS.iter().zip(rates) {
            Row {
                section: section(),
                what: format!("{}, {pairs} pairs", case.name),
                sized: Some((ITEM, case.name.into())),
                value: rate.as_ref().ok().copied(),
                shown: rate.as_ref().err().cloned(),
                unit: "items/s".into(),
                along: Some((Along::Processes(*pairs as u64), case.name.into())),
                ..Row::default()
            }
            .tell();
        }
    }
}

// The sizes that the targets name are among those that are measured.
const _: () = assert!(SIZES[1].0 == 64 * KIB);
