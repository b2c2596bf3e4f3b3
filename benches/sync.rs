//! What locks and values cost, beside what the system offers, measured in turn in the same run.
//!
//! ```text
//! cargo bench --bench sync               about two minutes
//! cargo bench --bench sync -- --quick    seconds
//! ```
//!
//! Rivals lie in a shared mapping of their own: a robust, process-shared pthread mutex; a POSIX semaphore; bare
//! atomics; a bare futex. Only the first of them survives the death of its holder. Processes are this program again.
#![allow(clippy::print_stdout, reason = "a bench is there to print")]
#![allow(unsafe_code, reason = "pthread's and the kernel's locks have no safe form")]

#[allow(dead_code, reason = "shared with `ratios`")]
#[path = "ratios/measure.rs"]
mod measure;
#[allow(dead_code, reason = "shared with `channel` and `peers`")]
#[path = "ratios/pair.rs"]
mod pair;

use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use faretra::sync::{Event, Mutex, Reset, Semaphore};
use faretra::{Arena, MIB};
use memmap2::{MmapOptions, MmapRaw};

use measure::{Row, Table, Times, block, in_turn, load, time};
use pair::{DEADLINE, Outcome, Used, clock, futex_set, futex_wait, half, told, until};

/// Processes that want one lock.
const CROWD: usize = 8;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Another process of the same measurement.
    if let [role, arena, floor, rest @ ..] = arguments.as_slice()
        && !role.starts_with('-')
    {
        let all = Everything::open(arena, floor)?;
        return match (role.as_str(), rest) {
            ("partner", [rounds]) => partner(&all, rounds.parse()?),
            ("crowd", [lock, ms, work]) => crowd(&all, lock, ms.parse()?, work.parse()?),
            _ => Err(format!("no role {role} {rest:?}").into()),
        };
    }
    let hurry = if arguments.iter().any(|a| a == "--quick") { 10 } else { 1 };
    println!("load average before: {}", load());
    let all = Everything::make()?;
    alone(&all, hurry)?;
    handed_over(&all, hurry)?;
    contended(&all, hurry)?;
    println!("\nload average after: {}", load());
    Ok(())
}

/// Ours and theirs.
struct Everything {
    arena: Arena,
    mutex: Mutex,
    semaphore: Semaphore,
    /// Whose turn it is: ours, and the partner's.
    turns: [Event; 2],
    floor: Floor,
}

impl Everything {
    fn make() -> Outcome<Everything> {
        let name = format!("bench-sync-{}", std::process::id());
        let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
        Everything::of(arena, Floor::make(&format!("/dev/shm/{name}"))?)
    }

    fn open(arena: &str, floor: &str) -> Outcome<Everything> {
        Everything::of(Arena::options().keep(false).open(arena)?, Floor::open(floor)?)
    }

    fn of(arena: Arena, floor: Floor) -> Outcome<Everything> {
        Ok(Everything {
            mutex: arena.mutex("mutex")?,
            semaphore: arena.semaphore("semaphore", 1)?,
            turns: [arena.event("turn-0", Reset::Auto)?, arena.event("turn-1", Reset::Auto)?],
            arena,
            floor,
        })
    }

    fn start(&self, role: &str, rest: &[String]) -> Outcome<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([role, self.arena.name(), &self.floor.path]).args(rest).stdout(Stdio::piped());
        Ok(command.spawn()?)
    }
}

/// What the rivals work on: a file of shared memory.
struct Floor {
    map: MmapRaw,
    path: String,
    /// Removes the file at the end.
    ours: bool,
}

impl Drop for Floor {
    fn drop(&mut self) {
        if self.ours {
            // It may be gone already, and nothing depends on it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Floor {
    const MUTEX: usize = 0;
    const SEMAPHORE: usize = 64;
    /// Words on cache lines of their own.
    const WORDS: usize = 128;

    fn make(path: &str) -> Outcome<Floor> {
        std::fs::File::create_new(path)?.set_len(4096)?;
        let mut floor = Floor::open(path)?;
        floor.ours = true;
        let mut kind = std::mem::MaybeUninit::uninit();
        // SAFETY: initialises `kind`.
        check(unsafe { libc::pthread_mutexattr_init(kind.as_mut_ptr()) })?;
        // SAFETY: `kind` is initialised.
        check(unsafe { libc::pthread_mutexattr_setpshared(kind.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED) })?;
        // SAFETY: `kind` is initialised.
        check(unsafe { libc::pthread_mutexattr_setrobust(kind.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST) })?;
        // SAFETY: memory of our own, which nobody uses yet.
        check(unsafe { libc::pthread_mutex_init(floor.mutex(), kind.as_ptr()) })?;
        // SAFETY: memory of our own, which nobody uses yet.
        check(unsafe { libc::sem_init(floor.semaphore(), 1, 1) })?;
        Ok(floor)
    }

    fn open(path: &str) -> Outcome<Floor> {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Floor { map: MmapOptions::new().len(4096).map_raw(&file)?, path: path.to_owned(), ours: false })
    }

    fn mutex(&self) -> *mut libc::pthread_mutex_t {
        self.map.as_mut_ptr().wrapping_add(Floor::MUTEX).cast()
    }

    fn semaphore(&self) -> *mut libc::sem_t {
        self.map.as_mut_ptr().wrapping_add(Floor::SEMAPHORE).cast()
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < 16);
        let at = self.map.as_mut_ptr().wrapping_add(Floor::WORDS + index * 64).cast();
        // SAFETY: inside the mapping, aligned, lives as long as `self`; all processes use it as this atomic.
        unsafe { AtomicU64::from_ptr(at) }
    }

    fn half(&self, index: usize) -> &AtomicU32 {
        half(self.word(index))
    }

    fn lock(&self) {
        // SAFETY: `make` initialised it, before any other process knew of it.
        let locked = unsafe { libc::pthread_mutex_lock(self.mutex()) };
        if locked == libc::EOWNERDEAD {
            // SAFETY: the same, and we have it.
            unsafe { libc::pthread_mutex_consistent(self.mutex()) };
        }
    }

    fn unlock(&self) {
        // SAFETY: `lock` was called.
        unsafe { libc::pthread_mutex_unlock(self.mutex()) };
    }

    fn acquire(&self) {
        // SAFETY: `make` initialised it, before any other process knew of it.
        while unsafe { libc::sem_wait(self.semaphore()) } != 0 {}
    }

    fn release(&self) {
        // SAFETY: the same.
        unsafe { libc::sem_post(self.semaphore()) };
    }
}

fn check(result: i32) -> std::io::Result<()> {
    match result {
        0 => Ok(()),
        code => Err(std::io::Error::from_raw_os_error(code)),
    }
}

/// Nobody else wants anything.
fn alone(all: &Everything, hurry: u64) -> Outcome {
    let (rounds, n) = (200 / hurry as usize, 10_000);
    let Everything { arena, mutex, semaphore, floor, .. } = all;
    let mut table = Table::new("alone");
    let [ours, theirs] = in_turn(
        rounds,
        n,
        [&mut || block(n, || drop(mutex.lock().expect("free"))), &mut || {
            block(n, || {
                floor.lock();
                floor.unlock();
            })
        }],
    );
    table.ratio("mutex: lock, unlock | robust pthread mutex", &ours, &theirs, "<= 25 ns");

    let guarding = arena.mutex_with("guarding", 0_u64)?;
    let [ours, theirs] = in_turn(
        rounds,
        n,
        [&mut || block(n, || *guarding.lock().expect("free") += 1), &mut || {
            block(n, || {
                floor.lock();
                floor.word(0).store(floor.word(0).load(SeqCst) + 1, std::sync::atomic::Ordering::Relaxed);
                floor.unlock();
            })
        }],
    );
    table.ratio("mutex with a u64: += 1 | the same", &ours, &theirs, "");

    let [ours, theirs] = in_turn(
        rounds,
        n,
        [&mut || block(n, || drop(semaphore.acquire().expect("free"))), &mut || {
            block(n, || {
                floor.acquire();
                floor.release();
            })
        }],
    );
    table.ratio("semaphore: acquire, drop | sem_t", &ours, &theirs, "");

    let word = arena.shared_value("word", 0_u64)?;
    let bare = floor.word(1);
    let [ours, theirs] =
        in_turn(rounds, n, [&mut || block(n, || word.load().expect("sound")), &mut || block(n, || bare.load(SeqCst))]);
    table.ratio("value of 8 bytes: load | atomic", &ours, &theirs, "");
    let [ours, theirs] = in_turn(
        rounds,
        n,
        [&mut || block(n, || word.update(|n| n + 1).expect("sound")), &mut || block(n, || bare.fetch_add(1, SeqCst))],
    );
    table.ratio("value of 8 bytes: update | fetch_add", &ours, &theirs, "");

    let large = arena.shared_value("large", [0_u64; 8])?;
    let words: Vec<&AtomicU64> = (4..12).map(|i| floor.word(i)).collect();
    let [ours, theirs] = in_turn(
        rounds,
        n,
        [&mut || block(n, || large.load().expect("sound")), &mut || {
            block(n, || words.iter().map(|w| w.load(SeqCst)).sum::<u64>())
        }],
    );
    table.ratio("value of 64 bytes: load | 8 atomics, torn", &ours, &theirs, "");
    let [ours, theirs] = in_turn(
        rounds,
        n,
        [&mut || block(n, || large.update(|all| all.map(|n| n + 1)).expect("sound")), &mut || {
            block(n, || words.iter().map(|w| w.fetch_add(1, SeqCst)).sum::<u64>())
        }],
    );
    table.ratio("value of 64 bytes: update | 8 fetch_add, torn", &ours, &theirs, "");
    table.print();
    Ok(())
}

/// Rounds of one block of a ping-pong.
const BLOCK: u64 = 100;

/// Turns go to and fro between two processes that sleep in between; each step is timed.
fn handed_over(all: &Everything, hurry: u64) -> Outcome {
    let blocks = 100 / hurry;
    let mut table = Table::new("handed over");
    let mut partner = all.start("partner", &[blocks.to_string()])?;
    let mut times: [Times; 4] = Default::default();
    for counted in 0..=blocks {
        // The first of each block waits for the partner to come along.
        for (which, times) in times.iter_mut().enumerate() {
            for round in 0..BLOCK {
                let start = Instant::now();
                let waited = turn(all, which, 0)?;
                if counted > 0 && round > 0 {
                    times.push(waited.unwrap_or_else(|| start.elapsed()), 1);
                }
            }
        }
    }
    if !partner.wait()?.success() {
        return Err("the partner failed".into());
    }
    let [events, futex, mutex, robust] = times;
    table.ratio("event there and back | bare futex", &events, &futex, "");
    table.plain("bare futex there and back", &futex, "");
    table.ratio("mutex to one who sleeps for it | robust pthread mutex", &mutex, &robust, "");
    table.plain("robust pthread mutex to one who sleeps for it", &robust, "");
    table.print();
    Ok(())
}

/// One round of side 0 (measures) or 1. `Some`: only this part of it counts.
fn turn(all: &Everything, which: usize, side: usize) -> Outcome<Option<Duration>> {
    let Everything { mutex, turns, floor, .. } = all;
    match (which, side) {
        (0, 0) => {
            turns[1].set()?;
            turns[0].wait_timeout(DEADLINE)?;
        }
        (0, _) => {
            turns[1].wait_timeout(DEADLINE)?;
            turns[0].set()?;
        }
        (1, 0) => {
            futex_set(floor.half(2));
            futex_wait(floor.half(3));
        }
        (1, _) => {
            futex_wait(floor.half(2));
            futex_set(floor.half(3));
        }
        // Side 1 locks, and says so; side 0 waits for the lock; when it sleeps, side 1 unlocks and says when.
        (_, 0) => {
            turns[0].wait_timeout(DEADLINE)?;
            let guard = if which == 2 { Some(mutex.lock()?) } else { None };
            if which == 3 {
                floor.lock();
            }
            let now = clock();
            let waited = Duration::from_nanos(now.saturating_sub(floor.word(12).load(SeqCst)));
            if which == 3 {
                floor.unlock();
            }
            drop(guard);
            // Not the event: it may be set for the next round already when this one is noticed.
            futex_set(floor.half(15));
            return Ok(Some(waited));
        }
        (_, _) => {
            let guard = if which == 2 { Some(mutex.lock()?) } else { None };
            if which == 3 {
                floor.lock();
            }
            turns[0].set()?;
            std::thread::sleep(Duration::from_micros(300));
            floor.word(12).store(clock(), SeqCst);
            if which == 3 {
                floor.unlock();
            }
            drop(guard);
            futex_wait(floor.half(15));
        }
    }
    Ok(None)
}

fn partner(all: &Everything, blocks: u64) -> Outcome {
    for _ in 0..=blocks {
        for which in 0..4 {
            for _ in 0..BLOCK {
                turn(all, which, 1)?;
            }
        }
    }
    Ok(())
}

/// What one of the crowd did.
#[derive(Clone, Default)]
struct Report {
    rounds: u64,
    median: u64,
    longest: u64,
    cpu_us: u64,
}

const LOCKS: [&str; 4] = ["mutex", "robust", "semaphore", "sem_t"];

/// Eight processes want one lock all the time.
fn contended(all: &Everything, hurry: u64) -> Outcome {
    let (rounds, ms) = (3, 2000 / hurry);
    println!("measuring contended ...");
    let mut rows = vec![];
    for work in [0, 2000] {
        let mut runs: [Vec<(Report, u64, u64)>; 4] = Default::default();
        for _ in 0..rounds {
            for (lock, runs) in LOCKS.iter().zip(&mut runs) {
                runs.push(run_crowd(all, lock, ms, work)?);
            }
        }
        for (lock, mut runs) in LOCKS.iter().zip(runs) {
            runs.sort_by_key(|(sum, ..)| sum.rounds);
            let (sum, least, most) = &runs[runs.len() / 2];
            let per_second = sum.rounds as f64 / ms as f64 * 1e3;
            Row {
                section: format!("rounds a second of one lock, {CROWD} processes"),
                what: format!("{lock}, work of {work} ns"),
                value: Some(per_second),
                unit: "rounds/s".into(),
                ..Row::default()
            }
            .tell();
            let cells = [
                lock.to_string(),
                if work == 0 { "none".into() } else { time(work as f64) },
                format!("{per_second:.0}"),
                time(sum.median as f64),
                time(sum.longest as f64),
                format!("{:.0}", sum.longest as f64 / sum.median.max(1) as f64),
                format!("{:.2}", *most as f64 / (*least).max(1) as f64),
                format!("{:.2}", sum.cpu_us as f64 / ms as f64 / 1e3),
            ];
            rows.push(cells);
        }
    }
    println!("\n### contended by {CROWD} processes, {ms} ms, the middle one of {rounds} runs by throughput\n");
    println!("| lock | work | rounds/s | median wait | longest | longest/median | most/least rounds | CPUs |");
    println!("|---|---|---|---|---|---|---|---|");
    for cells in rows {
        println!("| {} |", cells.join(" | "));
    }
    Ok(())
}

/// All of them together, and the rounds of the one with the fewest and the most.
fn run_crowd(all: &Everything, lock: &str, ms: u64, work: u64) -> Outcome<(Report, u64, u64)> {
    let go = all.floor.word(13);
    let ready = all.floor.word(14);
    go.store(0, SeqCst);
    ready.store(0, SeqCst);
    let args = [lock.to_owned(), ms.to_string(), work.to_string()];
    let mut crowd = (0..CROWD).map(|_| all.start("crowd", &args)).collect::<Result<Vec<_>, _>>()?;
    until("the crowd to gather", || ready.load(SeqCst) == CROWD as u64)?;
    go.store(1, SeqCst);
    let mut reports = vec![];
    for child in &mut crowd {
        let text = told(child)?;
        let numbers: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [rounds, median, longest, cpu_us] = numbers[..] else { return Err(text.into()) };
        reports.push(Report { rounds, median, longest, cpu_us });
    }
    reports.sort_by_key(|r| r.median);
    let sum = Report {
        rounds: reports.iter().map(|r| r.rounds).sum(),
        median: reports[CROWD / 2].median,
        longest: reports.iter().map(|r| r.longest).max().unwrap_or(0),
        cpu_us: reports.iter().map(|r| r.cpu_us).sum(),
    };
    let rounds = || reports.iter().map(|r| r.rounds);
    Ok((sum, rounds().min().unwrap_or(0), rounds().max().unwrap_or(0)))
}

fn crowd(all: &Everything, lock: &str, ms: u64, work: u64) -> Outcome {
    let Everything { mutex, semaphore, floor, .. } = all;
    let busy = || {
        let start = Instant::now();
        while work != 0 && start.elapsed() < Duration::from_nanos(work) {
            std::hint::spin_loop();
        }
    };
    let mut waits: Vec<u32> = Vec::with_capacity(1 << 22);
    let mut rounds = 0_u64;
    let mut longest = 0;
    floor.word(14).fetch_add(1, SeqCst);
    until("the start", || floor.word(13).load(SeqCst) == 1)?;
    let before = Used::now()?;
    let end = Instant::now() + Duration::from_millis(ms);
    loop {
        let start = Instant::now();
        if start >= end {
            break;
        }
        let waited = match lock {
            "mutex" => {
                let _guard = mutex.lock()?;
                let waited = start.elapsed();
                busy();
                waited
            }
            "semaphore" => {
                let _permit = semaphore.acquire()?;
                let waited = start.elapsed();
                busy();
                waited
            }
            "robust" => {
                floor.lock();
                let waited = start.elapsed();
                busy();
                floor.unlock();
                waited
            }
            "sem_t" => {
                floor.acquire();
                let waited = start.elapsed();
                busy();
                floor.release();
                waited
            }
            _ => return Err(format!("no lock {lock}").into()),
        };
        rounds += 1;
        longest = longest.max(waited.as_nanos() as u64);
        if waits.len() < waits.capacity() {
            waits.push(waited.as_nanos().min(u128::from(u32::MAX)) as u32);
        }
    }
    let cpu = Used::since(before)?.cpu_us;
    waits.sort_unstable();
    let median = waits.get(waits.len() / 2).copied().unwrap_or(0);
    println!("{rounds} {median} {longest} {cpu}");
    Ok(())
}
