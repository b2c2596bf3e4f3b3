//! Several pairs of processes at the same time, each with a way of its own: does it scale?

use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::SeqCst;

use faretra::KIB;

use crate::measure::size;
use crate::pair::{Outcome, Word, Words, clock, told, until};
use crate::tables;
use crate::ways::{CASES, Case};

/// Bytes of an item.
pub const ITEM: u64 = 64 * KIB;
const ITEMS: usize = 4000;
/// How many pairs of processes.
pub const PAIRS: [usize; 4] = [1, 2, 4, 8];

/// Ways whose readers do not sleep would only wait for processors.
fn scales(case: &Case) -> bool {
    !case.polls && (case.missing)().is_none()
}

/// All ways with each number of pairs: items a second, all pairs together.
pub fn run(name: &str, hurry: usize) -> Outcome {
    println!("\nmeasuring {:?} pairs of processes ...", PAIRS);
    let mut rates: Vec<(&Case, Vec<Result<f64, String>>)> =
        CASES.iter().filter(|case| scales(case)).map(|case| (case, vec![])).collect();
    let mut run = 0;
    for pairs in PAIRS {
        for (case, rates) in &mut rates {
            let index = CASES.iter().position(|one| one.name == case.name).ok_or("in the list")?;
            run += 1;
            rates.push(
                together(&format!("{name}.{run}"), index, pairs, ITEMS / hurry.min(4) / pairs)
                    .map_err(|e| e.to_string()),
            );
        }
    }
    tables::scaling(&rates);
    Ok(())
}

/// So many pairs, each with so many items.
fn together(name: &str, case: usize, pairs: usize, items: usize) -> Outcome<f64> {
    let words = Words::make(&format!("/dev/shm/{name}"))?;
    let numbers = [case, items].map(|number| number.to_string());
    let start = |lane: usize| -> Outcome<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["lane", &format!("{name}.{lane}"), name]).args(&numbers);
        Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?)
    };
    let mut lanes = (0..pairs).map(start).collect::<Outcome<Vec<Child>>>()?;
    let all_there = || words.word(Word::Ready).load(SeqCst) == pairs as u64;
    let gathered =
        until("all pairs", || all_there() || lanes.iter_mut().any(|lane| !matches!(lane.try_wait(), Ok(None))));
    words.word(Word::Go).store(1, SeqCst);
    if gathered.is_err() || !all_there() {
        for lane in &mut lanes {
            // It may have ended by itself.
            let _ = lane.kill();
            let _ = lane.wait();
        }
        return Err("a pair ended before all were there".into());
    }
    let mut ran: Vec<(u64, u64)> = vec![];
    for lane in &mut lanes {
        let text = told(lane)?;
        let numbers: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [from, to] = numbers[..] else { return Err(format!("a pair said {text:?}").into()) };
        ran.push((from, to));
    }
    let from = ran.iter().map(|ran| ran.0).min().ok_or("a pair")?;
    let to = ran.iter().map(|ran| ran.1).max().ok_or("a pair")?;
    Ok((pairs * items) as f64 * 1e9 / (to - from) as f64)
}

/// One pair: it opens the way, waits for the others, hands its items over, and says when it began and ended.
pub fn lane(name: &str, numbers: &[&str]) -> Outcome {
    let [run, case, items] = numbers else { return Err("a name and two numbers".into()) };
    let (case, items): (usize, usize) = (case.parse()?, items.parse()?);
    let words = Words::open(&format!("/dev/shm/{run}"))?;
    let len = ITEM as usize / 8;
    crate::measured(name, |here, other| {
        crate::open(here, other, case, len, 1)?;
        crate::items(here, other, case, (len, items / 10 + 1), |_| ())?;
        words.word(Word::Ready).fetch_add(1, SeqCst);
        until("the start", || words.word(Word::Go).load(SeqCst) == 1)?;
        let start = clock();
        crate::items(here, other, case, (len, items), |_| ())?;
        println!("{start} {}", clock());
        crate::close(here, other, case)
    })
}

/// What a row of this is called.
pub fn section() -> String {
    format!("pairs of processes at the same time, {} each", size(ITEM))
}
