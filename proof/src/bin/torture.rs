//! Real processes that use one arena in every way while they are killed, stopped and forked at random.
//!
//! `cargo run --release -p proof --bin torture -- --seconds N --seed S [--workers W]`
//!
//! Workers publish values of every kind, each made of a seed that names its place and, where it was
//! published by `publish_if`, its version; whatever is read is checked against its seed, when it is read
//! and again when it is let go of. What was read goes on under other names, in bundles and tables, and as columns of
//! new versions; what is granted goes from hand to hand (`granted.rs`), and so do the items of channels, whose history
//! is written down (`flow.rs`, `history.rs`), as is that of feeds (`feed_flow.rs`, `feed_history.rs`). The master sends SIGKILL and SIGSTOP every few milliseconds. In the end
//! everything is settled and removed: the history has to be in order, `verify` content, and not a byte may be left.
//!
//! The seed repeats the choices, not the schedule: that is the kernel's.
#![allow(unsafe_code, reason = "fork")]
#![allow(clippy::print_stdout, reason = "a program that reports, and workers that answer their master")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use faretra::arrow::arrow_array::RecordBatch;
use faretra::{Arena, ArrayDraft, Batch, Bundle, Error, GIB, Kind, MIB, Object, Table, Writer};
use ndarray::Ix1;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};

#[path = "../../../tests/it/values.rs"]
mod values;

#[path = "../../../tests/it/history.rs"]
mod history;

#[allow(dead_code, reason = "shared with the tests, which do more with it")]
#[path = "../../../tests/it/flow.rs"]
mod flow;

#[path = "../../../tests/it/feed_history.rs"]
mod feed_history;

#[allow(dead_code, reason = "shared with the tests, which do more with it")]
#[path = "../../../tests/it/feed_flow.rs"]
mod feed_flow;

#[path = "torture/granted.rs"]
mod granted;

#[path = "torture/handed.rs"]
mod handed;

use granted::Granted;
use handed::Handed;
use values::{KINDS, Random};

const NAMES: u64 = 20;
/// Names of what is shared: it says which name it came from.
const ALIASES: u64 = 10;
const PERMITS: u32 = 32;
const LIMIT: u64 = 256 * MIB;
/// A worker that is not stopped says something in this time, or hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// What workers count.
#[derive(Clone, Copy)]
enum Count {
    Steps,
    Checks,
    Forks,
    Shared,
    Locks,
    Permits,
    Stores,
    Partitions,
    Frozen,
    Told,
    Sent,
    Received,
    Acknowledged,
    Appended,
    Read,
    Looks,
}

const COUNTS: usize = 16;
type Counts = [u64; COUNTS];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mut seconds, mut seed, mut workers, mut worker) = (10, 1, 6, None);
    while let Some(arg) = args.next() {
        let value = args.next().and_then(|v| v.parse().ok());
        match (arg.as_str(), value) {
            ("--seconds", Some(n)) => seconds = n,
            ("--seed", Some(n)) => seed = n,
            ("--workers", Some(n)) if n > 0 => workers = n,
            ("--worker", Some(n)) => worker = Some(n),
            _ => {
                eprintln!("usage: torture [--seconds N] [--seed S] [--workers W]");
                return ExitCode::from(2);
            }
        }
    }
    let done = match worker {
        Some(seed) => work(seed),
        None => master(Duration::from_secs(seconds), seed, workers as usize),
    };
    match done {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(violation) => {
            println!("VIOLATION {violation}");
            ExitCode::FAILURE
        }
    }
}

// ---------------------------------------------------------------------------------------------- the master

/// A directory on tmpfs for this run, and the arenas in it.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
        for history in handed::histories(&self.0) {
            let _ = std::fs::remove_file(history);
        }
    }
}

/// What workers tell.
#[derive(Debug)]
enum News {
    /// Since the last time.
    Counts(Counts),
    Violation(String),
}

struct Worker {
    process: Child,
    index: usize,
    stopped: Option<Instant>,
    heard: Instant,
}

#[derive(Default)]
struct Totals {
    counts: Counts,
    kills: u64,
    stops: u64,
    killed_stopped: u64,
}

fn master(time: Duration, seed: u64, workers: usize) -> Result<String, String> {
    let place = Place(PathBuf::from(format!("/dev/shm/faretra-torture-{}", std::process::id())));
    let dir = &place.0;
    std::fs::create_dir_all(dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
    let e = |e: Error| format!("the master: {e}");
    let arena = Arena::options().dir(dir).limit(LIMIT).capacity(GIB).writers(PERMITS).create("t").map_err(e)?;
    let mut random = Random(seed);
    let (send, news) = channel();
    let mut all = vec![];
    for index in 0..workers {
        all.push(start(dir, &mut random, index, &send)?);
    }
    let mut totals = Totals::default();
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_micros(random.below(6000)));
        listen(&news, &mut all, &mut totals)?;
        disturb(&mut all[random.below(workers as u64) as usize], &mut random, &mut totals)?;
        for w in &mut all {
            if let Some(until) = w.stopped {
                if Instant::now() > until {
                    signal(w, Signal::SIGCONT)?;
                    (w.stopped, w.heard) = (None, Instant::now());
                }
            } else if w.heard.elapsed() > PATIENCE {
                return Err(format!("worker {} (process {}) hangs", w.index, w.process.id()));
            }
            let ended = w.process.try_wait().map_err(|e| e.to_string())?;
            if let Some(status) = ended {
                listen(&news, &mut [], &mut totals)?;
                if status.signal() != Some(libc::SIGKILL) {
                    return Err(format!("worker {} ended by itself: {status}", w.index));
                }
                *w = start(dir, &mut random, w.index, &send)?;
            }
        }
    }
    finish(&arena, dir, &mut all, &news, &mut totals)?;
    let (items, feeds) = settle(&arena, dir)?;
    let [ops, checks, forks, shared, locks, permits, stores, partitions, frozen, told, rest @ ..] = totals.counts;
    let [sent, received, acked, appended, read, looks] = rest;
    let Totals { kills, stops, killed_stopped, .. } = totals;
    let control = arena.stats().map_err(e)?.used;
    Ok(format!(
        "torture: seed {seed}, {} s, {workers} workers: {ops} operations, {checks} values checked, {kills} killed \
         ({killed_stopped} of them stopped), {stops} stopped, {forks} forked; {shared} values shared, {locks} times \
         locked, {permits} permits acquired, {stores} uses of shared values, {partitions} of partitions, {frozen} \
         arrays frozen, {told} told of a death; {sent} items of channels sent, {received} received, {acked} \
         acknowledged, in order: {items:?}; {appended} items of feeds appended, {read} read, {looks} looks at the \
         newest and at all, in order: {feeds:?}; verify is content, 0 bytes left beside {control} bytes of records",
        time.as_secs()
    ))
}

fn start(dir: &Path, random: &mut Random, index: usize, news: &Sender<(usize, u32, News)>) -> Result<Worker, String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut process = Command::new(exe)
        .args(["--worker", &random.next().to_string()])
        .env("FARETRA_DIR", dir)
        .env("FARETRA_TORTURE_MASTER", std::process::id().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot start a worker: {e}"))?;
    let (stdout, pid, news) = (process.stdout.take().ok_or("no pipe")?, process.id(), news.clone());
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let told = match line.strip_prefix("VIOLATION ") {
                Some(what) => News::Violation(what.to_owned()),
                // A killed worker's last line may be cut.
                None => match counts(&line) {
                    Some(counts) => News::Counts(counts),
                    None => continue,
                },
            };
            if news.send((index, pid, told)).is_err() {
                break;
            }
        }
    });
    Ok(Worker { process, index, stopped: None, heard: Instant::now() })
}

/// `+ number ... number .`
fn counts(line: &str) -> Option<Counts> {
    let words = line.strip_prefix("+ ")?.strip_suffix(" .")?.split(' ').map(str::parse);
    let all: Result<Vec<u64>, _> = words.collect();
    all.ok()?.try_into().ok()
}

fn listen(news: &Receiver<(usize, u32, News)>, all: &mut [Worker], totals: &mut Totals) -> Result<(), String> {
    for (index, pid, told) in news.try_iter() {
        match told {
            News::Violation(what) => return Err(format!("seen by worker {index} (process {pid}): {what}")),
            News::Counts(counts) => totals.counts.iter_mut().zip(counts).for_each(|(t, n)| *t += n),
        }
        if let Some(w) = all.iter_mut().find(|w| w.process.id() == pid) {
            w.heard = Instant::now();
        }
    }
    Ok(())
}

fn signal(w: &Worker, signal: Signal) -> Result<(), String> {
    kill(Pid::from_raw(w.process.id() as i32), signal).map_err(|e| format!("{signal} to worker {}: {e}", w.index))
}

fn disturb(w: &mut Worker, random: &mut Random, totals: &mut Totals) -> Result<(), String> {
    match random.below(10) {
        0..3 => {
            signal(w, Signal::SIGKILL)?;
            totals.kills += 1;
            totals.killed_stopped += u64::from(w.stopped.take().is_some());
            let _ = w.process.wait();
        }
        3..6 if w.stopped.is_none() => {
            signal(w, Signal::SIGSTOP)?;
            totals.stops += 1;
            let longest = if random.below(20) == 0 { 800 } else { 40 };
            w.stopped = Some(Instant::now() + Duration::from_millis(random.below(longest)));
        }
        _ => {}
    }
    Ok(())
}

/// Half of the workers are killed, the others told to stop.
fn finish(
    arena: &Arena,
    dir: &Path,
    all: &mut [Worker],
    news: &Receiver<(usize, u32, News)>,
    totals: &mut Totals,
) -> Result<(), String> {
    let e = |e: Error| format!("the master: {e}");
    for w in all.iter() {
        if w.stopped.is_some() {
            signal(w, Signal::SIGCONT)?;
        }
        if w.index % 2 == 0 {
            signal(w, Signal::SIGKILL)?;
            totals.kills += 1;
        }
    }
    arena.set_limit(LIMIT).map_err(e)?;
    handed::close_some(arena, dir)?;
    arena.writer_timeout(PATIENCE).map_err(e)?.publish("stop", &b"now"[..]).map_err(e)?;
    for w in all.iter_mut() {
        let start = Instant::now();
        let status = loop {
            match w.process.try_wait().map_err(|e| e.to_string())? {
                Some(status) => break status,
                None if start.elapsed() > PATIENCE => return Err(format!("worker {} does not end", w.index)),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        listen(news, &mut [], totals)?;
        if w.index % 2 == 1 && !status.success() {
            return Err(format!("worker {} was told to stop, and ended with {status}", w.index));
        }
    }
    // What they forked dies with them, a moment later.
    let start = Instant::now();
    loop {
        arena.recover().map_err(e)?;
        if arena.stats().map_err(e)?.participants == 1 {
            break;
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("participants that should be gone: {:?}", arena.who().map_err(e)?));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(50));
    listen(news, &mut [], totals)
}

/// Everything is sound, and nothing is left once everything is removed.
fn settle(arena: &Arena, dir: &Path) -> Result<(history::Told, feed_history::Told), String> {
    let e = |e: Error| format!("the master: {e}");
    let verify = |when: &str| match arena.verify().map_err(e)?.as_slice() {
        [] => Ok(()),
        all => Err(format!("{when}: {}", all.iter().map(|v| format!("{v}; ")).collect::<String>())),
    };
    let recovered = arena.recover().map_err(e)?;
    if recovered.participants != 0 || recovered.objects != 0 || recovered.permits != 0 || recovered.locks != 0 {
        return Err(format!("a second recovery found something to do: {recovered:?}"));
    }
    verify("after recovery")?;
    let busy = arena.stats().map_err(e)?.writers_busy;
    if busy != 0 {
        return Err(format!("{busy} permits are held by nobody"));
    }
    granted::obtainable(arena)?;
    let told = handed::in_order(arena, dir)?;
    let writer = arena.writer_timeout(PATIENCE).map_err(e)?;
    for entry in arena.names().map_err(e)? {
        if entry.name.starts_with(['n', 'a']) {
            let object = arena.get(&entry.name).map_err(e)?;
            whole(&object)?;
        }
        if !writer.remove(&entry.name).map_err(e)? {
            return Err(format!("`{}` was listed, and is not there", entry.name));
        }
    }
    drop(writer);
    verify("with everything removed")?;
    arena.trim().map_err(e)?;
    verify("after trim")?;
    let s = arena.stats().map_err(e)?;
    if (s.live, s.warm, s.names, s.used) != (0, 0, 0, s.metadata) {
        return Err(format!("bytes are left: {s:?}"));
    }
    // The ephemeral arena went with its last participant, or goes now.
    Arena::options().dir(dir).list().map_err(e)?;
    let files: Vec<_> = std::fs::read_dir(dir).map_err(|e| e.to_string())?.flatten().map(|f| f.path()).collect();
    if files.len() != 1 {
        return Err(format!("files are left: {files:?}"));
    }
    Ok(told)
}

// --------------------------------------------------------------------------------------------- the workers

/// What a value's seed says: the name that it belongs under, and its version, if its author knew it.
fn seed(name: u64, version: Option<u64>, random: &mut Random) -> u64 {
    let version = version.filter(|v| *v < 1 << 24).map_or(0, |v| 1 << 8 | v << 16);
    name | version | (random.next() & 0xff_ffff) << 40
}

/// Checks a value that was read: that it is whole, where it belongs, and of its version.
fn whole(object: &Object) -> Result<(), String> {
    let name = object.name();
    let wrong = |what: String| format!("`{name}` version {}: {what}", object.version());
    let seed = values::check(object).map_err(wrong)?;
    if name.starts_with('a') {
        // It has come from elsewhere.
        return Ok(());
    }
    let index = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    if index != (seed & 0xff).to_string() {
        return Err(wrong(format!("the value of name {} is here (seed {seed:#x})", seed & 0xff)));
    }
    if seed >> 8 & 1 != 0 && (seed >> 16 & 0xff_ffff) != object.version() {
        return Err(wrong(format!("it was published as version {}", seed >> 16 & 0xff_ffff)));
    }
    Ok(())
}

struct Hands {
    arena: Arena,
    random: Random,
    writers: Vec<Writer>,
    held: Vec<Object>,
    drafts: Vec<ArrayDraft<u64, Ix1>>,
    ephemeral: Option<Arena>,
    children: Vec<Pid>,
    /// The highest version of each name that was seen.
    seen: [u64; NAMES as usize],
    counts: Counts,
    granted: Option<Granted>,
    handed: Handed,
}

/// `None`: an error that may happen, and does not matter.
fn allowed<T>(done: faretra::Result<T>) -> Result<Option<T>, String> {
    match done {
        Ok(value) => Ok(Some(value)),
        Err(
            Error::NoSpace { .. }
            | Error::NotFound { .. }
            | Error::Conflict { .. }
            | Error::TimedOut(_)
            | Error::Limit { .. },
        ) => Ok(None),
        Err(e) => Err(format!("an error that should not be: {e}")),
    }
}

fn work(seed: u64) -> Result<String, String> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(|e| e.to_string())?;
    let master = std::env::var("FARETRA_TORTURE_MASTER").unwrap_or_default();
    if nix::unistd::getppid().to_string() != master {
        return Err("workers are started by their master".into());
    }
    let open = || Arena::open("t");
    // At worst the limit is reached for a moment.
    let mut arena = allowed(open())?;
    while arena.is_none() {
        std::thread::sleep(Duration::from_millis(1));
        arena = allowed(open())?;
    }
    let mut hands = Hands {
        arena: arena.ok_or("no arena")?,
        random: Random(seed),
        writers: vec![],
        held: vec![],
        drafts: vec![],
        ephemeral: None,
        children: vec![],
        seen: [0; NAMES as usize],
        counts: Counts::default(),
        granted: None,
        handed: Handed::default(),
    };
    let mut told = Instant::now();
    while hands.arena.get("stop").is_err() {
        hands.step()?;
        hands.count(Count::Steps);
        if told.elapsed() > Duration::from_millis(5) {
            hands.tell()?;
            told = Instant::now();
        }
    }
    hands.let_go()?;
    for child in std::mem::take(&mut hands.children) {
        ended_well(waitpid(child, None).map_err(|e| e.to_string())?)?;
    }
    hands.tell()?;
    drop(hands);
    Ok("bye".into())
}

fn ended_well(status: WaitStatus) -> Result<bool, String> {
    match status {
        WaitStatus::StillAlive => Ok(false),
        WaitStatus::Exited(_, 0) => Ok(true),
        other => Err(format!("a forked child ended with {other:?}")),
    }
}

impl Hands {
    fn count(&mut self, what: Count) {
        self.counts[what as usize] += 1;
    }

    fn tell(&mut self) -> Result<(), String> {
        let numbers = std::mem::take(&mut self.counts).map(|n| n.to_string());
        let line = format!("+ {} .\n", numbers.join(" "));
        // One write, so that a kill does not cut it often.
        std::io::stdout().write_all(line.as_bytes()).map_err(|e| e.to_string())
    }

    fn name(&mut self) -> (u64, String) {
        let n = self.random.below(NAMES);
        (n, format!("n{n}"))
    }

    fn words(&mut self) -> usize {
        match self.random.below(100) {
            0..60 => 2 + self.random.below(500) as usize,
            60..95 => 500 + self.random.below(20_000) as usize,
            _ => 20_000 + self.random.below(400_000) as usize,
        }
    }

    fn step(&mut self) -> Result<(), String> {
        match self.random.below(7) {
            0..2 => return self.grant(),
            2..4 => return self.handed.step(&self.arena, &mut self.random, &mut self.counts),
            _ => {}
        }
        match self.random.below(1000) {
            0..230 => self.publish(),
            230..330 => self.share(),
            330..700 => self.read(),
            700..770 => {
                let name = if self.random.below(3) == 0 { self.alias_name() } else { self.name().1 };
                if let Some(w) = self.writer()? {
                    allowed(w.remove(&name))?;
                }
                Ok(())
            }
            770..830 => self.draft(),
            830..870 => {
                if self.writers.len() > 2 || self.random.below(2) == 0 {
                    self.writers.clear();
                } else if let Some(w) = allowed(self.arena.try_writer())?.flatten() {
                    self.writers.push(w);
                }
                Ok(())
            }
            870..900 => allowed(self.arena.recover()).map(drop),
            900..915 => allowed(self.arena.trim()).map(drop),
            915..930 => {
                allowed(self.arena.names())?;
                allowed(self.arena.stats())?;
                allowed(self.arena.who()).map(drop)
            }
            // Others may be stopped halfway, so that it may have something to say.
            930..935 => allowed(self.arena.verify()).map(drop),
            935..945 => {
                let (n, name) = self.name();
                let newer = self.seen[n as usize];
                let got = allowed(self.arena.wait_for_timeout(&name, newer, Duration::from_millis(3)))?;
                got.map_or(Ok(()), |object| self.check(&object, n))
            }
            945..950 => {
                let bytes = LIMIT / 4 + self.random.below(LIMIT);
                allowed(self.arena.set_limit(bytes)).map(drop)
            }
            950..965 => self.join_or_leave(),
            965..975 => {
                self.let_go()?;
                // The old seat is left after the new one was taken.
                if let Some(arena) = allowed(Arena::open("t"))? {
                    self.arena = arena;
                    self.granted = None;
                }
                Ok(())
            }
            975..985 => self.fork(),
            _ => self.let_go(),
        }
    }

    fn writer(&self) -> Result<Option<Writer>, String> {
        match self.writers.first() {
            Some(w) => Ok(Some(w.clone())),
            None => allowed(self.arena.writer_timeout(Duration::from_secs(2))),
        }
    }

    fn publish(&mut self) -> Result<(), String> {
        let (n, name) = self.name();
        let kind = KINDS[self.random.below(KINDS.len() as u64) as usize];
        let words = self.words();
        let Some(w) = self.writer()? else { return Ok(()) };
        if self.random.below(4) != 0 {
            let seed = seed(n, None, &mut self.random);
            if let Some(version) = allowed(values::publish(&w, &name, kind, seed, words))? {
                self.saw(n, version, true)?;
            }
            return Ok(());
        }
        // As the next version of what is there.
        let Some(version) = allowed(self.arena.get(&name))?.map(|o| o.version()) else { return Ok(()) };
        let seed = seed(n, Some(version + 1), &mut self.random);
        let value = values::payload(seed, words);
        let bytes: &[u8] = bytemuck::cast_slice(&value);
        if let Some(got) = allowed(w.publish_if(&name, version, bytes))?
            && got != version + 1
        {
            return Err(format!("`{name}` at version {version} was replaced by version {got}"));
        }
        Ok(())
    }

    fn alias_name(&mut self) -> String {
        format!("a{}", self.random.below(ALIASES))
    }

    fn grant(&mut self) -> Result<(), String> {
        if self.granted.is_none() {
            self.granted = Granted::open(&self.arena)?;
        }
        let Some(granted) = &mut self.granted else { return Ok(()) };
        granted.step(&self.arena, &mut self.random, &mut self.counts)
    }

    /// Publishes what was read, or what is in it, once more.
    fn share(&mut self) -> Result<(), String> {
        let (_, from) = self.name();
        let from = if self.random.below(3) == 0 { self.alias_name() } else { from };
        let Some(object) = allowed(self.arena.get(&from))? else { return Ok(()) };
        let Some(w) = self.writer()? else { return Ok(()) };
        let to = self.alias_name();
        let e = |e: Error| format!("{} `{from}`: {e}", object.kind());
        let batch = match object.kind() {
            Kind::Batch => Some(Batch::try_from(object.clone()).map_err(e)?),
            Kind::Table => Some(Table::try_from(object.clone()).map_err(e)?.batch(0).map_err(e)?),
            _ => None,
        };
        // It is let go of before it is published again, now and then: then only the new value keeps it.
        let done = match (self.random.below(5), &batch) {
            (0, _) => w.publish(&to, Bundle::new().with("a", &object).with("b", &object).with("c", &object)),
            (1, Some(batch)) => w.publish(&to, &[batch.clone(), batch.clone(), batch.clone()][..]),
            (2, Some(batch)) => w.publish(&to, batch),
            (3 | 4, Some(batch)) => {
                // A new version with the same columns, or one of them.
                let all = batch.record_batch();
                let columns: Vec<usize> =
                    (0..self.random.below(2) as usize + 1).filter(|i| *i < all.num_columns()).collect();
                let next: RecordBatch = all.project(&columns).map_err(|e| e.to_string())?;
                drop(object);
                w.publish(&from, &next)
            }
            _ => w.publish(&to, &object),
        };
        allowed(done)?;
        self.count(Count::Shared);
        match allowed(self.arena.get(&to))? {
            Some(object) => {
                self.count(Count::Checks);
                whole(&object)?;
                if self.random.below(4) == 0 {
                    self.held.push(object);
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn saw(&mut self, n: u64, version: u64, newer: bool) -> Result<(), String> {
        let seen = &mut self.seen[n as usize];
        if version < *seen || newer && version == *seen {
            return Err(format!("`n{n}` went from version {seen} to {version}"));
        }
        *seen = version;
        Ok(())
    }

    fn check(&mut self, object: &Object, n: u64) -> Result<(), String> {
        self.saw(n, object.version(), false)?;
        self.count(Count::Checks);
        whole(object)
    }

    fn read(&mut self) -> Result<(), String> {
        let (n, name) = self.name();
        if let Some(object) = allowed(self.arena.get(&name))? {
            self.check(&object, n)?;
            if self.random.below(4) == 0 {
                self.held.push(object);
            }
        }
        if self.held.len() > 8 {
            let i = self.random.below(self.held.len() as u64) as usize;
            let object = self.held.swap_remove(i);
            self.count(Count::Checks);
            whole(&object).map_err(|e| format!("changed while it was pinned: {e}"))?;
        }
        Ok(())
    }

    fn draft(&mut self) -> Result<(), String> {
        if self.drafts.len() > 2 {
            self.drafts.clear();
        }
        let words = self.words();
        let Some(w) = self.writer()? else { return Ok(()) };
        if let Some(mut draft) = allowed(w.draft_array::<u64, Ix1>(words))? {
            draft.view_mut().map_err(|e| e.to_string())?.fill(0xdead);
            self.drafts.push(draft);
        }
        Ok(())
    }

    fn join_or_leave(&mut self) -> Result<(), String> {
        if self.ephemeral.take().is_none() {
            let options = Arena::options().limit(16 * MIB).capacity(16 * MIB).keep(false);
            self.ephemeral = allowed(options.open_or_create("ephemeral"))?;
            if let Some(arena) = &self.ephemeral
                && let Some(w) = allowed(arena.writer_timeout(Duration::from_millis(200)))?
            {
                allowed(values::publish(&w, "n0", "table", 0, 300))?;
            }
        }
        Ok(())
    }

    /// Lets go of everything, after a last look at it.
    fn let_go(&mut self) -> Result<(), String> {
        for object in std::mem::take(&mut self.held) {
            self.count(Count::Checks);
            whole(&object).map_err(|e| format!("changed while it was pinned: {e}"))?;
        }
        self.drafts.clear();
        self.writers.clear();
        std::mem::take(&mut self.handed).leave()?;
        self.granted.as_mut().map_or(Ok(()), Granted::let_go)
    }

    /// A forked child may do nothing with what it inherited, and opens the arena anew.
    fn fork(&mut self) -> Result<(), String> {
        let mut alive = vec![];
        for child in std::mem::take(&mut self.children) {
            let status = waitpid(child, Some(WaitPidFlag::WNOHANG)).map_err(|e| e.to_string())?;
            if !ended_well(status)? {
                alive.push(child);
            }
        }
        self.children = alive;
        if self.children.len() > 2 {
            return Ok(());
        }
        self.count(Count::Forks);
        let parent = nix::unistd::getpid();
        // SAFETY: workers have one thread.
        match unsafe { nix::unistd::fork() }.map_err(|e| e.to_string())? {
            ForkResult::Parent { child } => self.children.push(child),
            ForkResult::Child => {
                let live = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).is_ok() && nix::unistd::getppid() == parent;
                let done = if live { self.childhood() } else { Ok(()) };
                if let Err(violation) = &done {
                    println!("VIOLATION in a forked child: {violation}");
                }
                // SAFETY: ends the process, and runs nothing of the parent's on the way.
                unsafe { libc::_exit(i32::from(done.is_err())) }
            }
        }
        Ok(())
    }

    fn childhood(&mut self) -> Result<(), String> {
        let inherited = self.arena.get("n0").err();
        if !matches!(inherited, Some(Error::Forked(_))) {
            return Err(format!("an inherited handle gave {inherited:?}"));
        }
        // Dropping what is the parent's does nothing.
        self.held.clear();
        self.drafts.clear();
        self.writers.clear();
        if let Some(granted) = &mut self.granted {
            granted.forget_inherited()?;
        }
        std::mem::take(&mut self.handed).forget_inherited()?;
        let Some(arena) = allowed(Arena::open("t"))? else { return Ok(()) };
        handed::for_a_while(&arena, &mut self.random)?;
        if let Some(mut granted) = Granted::open(&arena)? {
            for _ in 0..6 {
                granted.step(&arena, &mut self.random, &mut self.counts)?;
            }
            granted.let_go()?;
        }
        for _ in 0..3 {
            let n = self.random.below(NAMES);
            if let Some(object) = allowed(arena.get(&format!("n{n}")))? {
                whole(&object)?;
            }
            if let Some(w) = allowed(arena.writer_timeout(Duration::from_millis(100)))? {
                let seed = seed(n, None, &mut self.random);
                allowed(values::publish(&w, &format!("n{n}"), "batch", seed, 200))?;
            }
        }
        Ok(())
    }
}
