//! Shows that a process that scribbles over the arena at random, while others read, publish, send, receive and wait in it,
//! costs them errors in words and nothing else: no signal, no panic, no hang, no memory by a damaged length; and that it
//! deletes no arena.
//!
//! `cargo xtask chaos --seconds N --seed S` runs it for as long as one likes. The seed repeats the choices, not the schedule:
//! that is the kernel's.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

use crate::chaos_worker::{TRADES, furnish};
use crate::damage::extents;
use crate::support::{Child, Dir};
use crate::values::Random;

/// How long an arena is used and damaged.
const ROUND: Duration = Duration::from_millis(900);

/// How long the workers of a round may take to end, all their operations and the machine's other work included.
const PATIENCE: Duration = Duration::from_secs(40);

/// Bytes that an arena of the size used here has at most, its records and all pages of its control region that words may tell of.
const MOST: u64 = 320 << 20;

const PAGE: u64 = 4096;

/// A worker, and what it says.
struct Worker {
    child: Child,
    trade: usize,
}

impl Worker {
    fn new(dir: &Dir, trade: usize) -> Worker {
        Worker { child: Child::start("chaos", &dir.0, &[]), trade }
    }
}

/// A word of the arena that is in memory: of the second page, of a region chosen at random, or of the first page.
fn some_word(file: &File, ranges: &[(u64, u64)], random: &mut Random) -> Option<u64> {
    match random.below(100) {
        0 => return Some(random.below(14) * 8),
        1..20 => return Some(PAGE + random.below(44) * 8),
        _ => {}
    }
    // Regions have pages of their own, and the large ones are not worth more.
    let (from, to) = ranges[random.below(ranges.len() as u64) as usize];
    let page = from + random.below((to - from) / PAGE) * PAGE;
    let mut bytes = vec![0; PAGE as usize];
    file.read_exact_at(&mut bytes, page).ok()?;
    let used: Vec<u64> = (0..PAGE).step_by(8).filter(|at| bytes[*at as usize..][..8] != [0; 8]).collect();
    let any = random.below(PAGE / 8) * 8;
    let at = match used.len() as u64 {
        0 => any,
        _ if random.below(8) == 0 => any,
        n => used[random.below(n) as usize],
    };
    Some(page + at)
}

/// Changes one word. Half of what is written is nearly what was there.
fn scribble(file: &File, ranges: &[(u64, u64)], random: &mut Random) -> Option<()> {
    let (off, from) = (some_word(file, ranges, random)?, some_word(file, ranges, random)?);
    let read = |off| {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, off).ok()?;
        Some(u64::from_le_bytes(word))
    };
    let (before, other) = (read(off)?, read(from)?);
    let word = match random.below(10) {
        0 | 1 => before ^ 1 << random.below(64),
        2 => before.wrapping_add(1),
        3 => before.wrapping_sub(1 + random.below(64)),
        4 => before ^ random.below(1 << 20) << random.below(44),
        5 | 6 => other,
        7 => 0,
        8 => u64::MAX >> random.below(64),
        _ => random.next(),
    };
    file.write_all_at(&word.to_le_bytes(), off).ok()
}

/// A page or a few, each a range of its own: where all of a round's damage is done, so that the rest works on.
fn some_pages(file: &File, random: &mut Random) -> Vec<(u64, u64)> {
    let ranges: Vec<_> = extents(file).into_iter().filter(|(from, to)| to - from >= PAGE).collect();
    let page = |_| {
        let (from, to) = ranges[random.below(ranges.len() as u64) as usize];
        let page = from + random.below((to - from) / PAGE) * PAGE;
        (page, page + PAGE)
    };
    (0..4).map(page).collect()
}

/// Damages an arena for some time, everywhere or in a few pages. Returns how many words were changed.
fn damage(file: &File, random: &mut Random) -> u64 {
    let gap = [0, 1, 5, 30][random.below(4) as usize];
    let few = (random.below(2) == 0).then(|| some_pages(file, random));
    let (end, mut changed) = (Instant::now() + ROUND, 0);
    while Instant::now() < end {
        if let Some(few) = &few {
            for _ in 0..16 {
                changed += u64::from(scribble(file, few, random).is_some());
            }
            std::thread::sleep(Duration::from_micros(gap * 1000 + 100));
            continue;
        }
        // What is given back meanwhile leaves ranges without a page.
        let ranges: Vec<_> = extents(file).into_iter().filter(|(from, to)| to - from >= PAGE).collect();
        for _ in 0..16 {
            changed += u64::from(scribble(file, &ranges, random).is_some());
            std::thread::sleep(Duration::from_micros(gap * 1000 + 50));
        }
    }
    changed
}

/// For as long as `FARETRA_CHAOS_SECONDS` says, by the seed `FARETRA_CHAOS_SEED`.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "writes words into the arena's file")]
fn a_scribbler_at_work_costs_errors_and_nothing_else() {
    let told = |name: &str, or: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(or);
    let (seconds, seed) = (told("FARETRA_CHAOS_SECONDS", 20), told("FARETRA_CHAOS_SEED", 1));
    let home = Dir::new();
    let mut workers: Vec<Worker> = (0..TRADES.len()).map(|trade| Worker::new(&home, trade)).collect();
    let (mut found, mut totals, mut changed, mut rounds) = (vec![], [0_u64; 3], 0, 0);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        let mut random = Random(seed.wrapping_mul(0x1_0000_0001).wrapping_add(rounds));
        let dir = Dir::new();
        let arena = furnish(&dir.0).expect("an arena");
        let path = arena.path().to_owned();
        drop(arena);
        let file = File::options().read(true).write(true).open(&path).expect("the arena's file");
        for worker in &mut workers {
            let time = ROUND.as_millis() as u64 + random.below(200);
            worker.child.tell(&format!("{} {} {} {time}", worker.trade, dir.0.display(), random.next()));
        }
        changed += damage(&file, &mut random);
        let end = Instant::now() + PATIENCE;
        for worker in &mut workers {
            let mut whole = false;
            while let Some(said) = worker.child.try_answer(end.saturating_duration_since(Instant::now())) {
                let line = said.unwrap_or_else(|e| e);
                match line.strip_prefix("done ") {
                    Some(counts) => {
                        let counts = counts.split(' ').map(|n| n.parse::<u64>().expect("a number"));
                        totals.iter_mut().zip(counts).for_each(|(total, n)| *total += n);
                        whole = true;
                        break;
                    }
                    None => {
                        eprintln!("round {rounds}, who {}s: {line}", TRADES[worker.trade]);
                        found.push(format!("round {rounds}, who {}s: {line}", TRADES[worker.trade]));
                    }
                }
            }
            if !whole {
                worker.child.kill_if_it_lives();
                let end = worker.child.wait();
                found.push(format!("round {rounds}, who {}s: it ended, {end:?}", TRADES[worker.trade]));
                *worker = Worker::new(&home, worker.trade);
            }
        }
        let left = std::fs::metadata(&path).map(|file| (file.ino(), file.blocks() * 512));
        match left {
            Ok((inode, _)) if inode != file.metadata().expect("a file").ino() => {
                found.push(format!("round {rounds}: another arena has the name"))
            }
            Ok((_, bytes)) if bytes > MOST => {
                found.push(format!("round {rounds}: the arena has {bytes} bytes in memory"))
            }
            Ok(_) => {}
            Err(e) => found.push(format!("round {rounds}: the arena's file was deleted: {e}")),
        }
        rounds += 1;
    }
    let [done, failed, damaged] = totals;
    eprintln!(
        "seed {seed}: {rounds} arenas, {changed} words changed; of {done} operations {failed} failed, {damaged} of them by words \
         of damage"
    );
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
    assert!(damaged > 0 && failed < done, "the damage was noticed, and did not end everything");
}
