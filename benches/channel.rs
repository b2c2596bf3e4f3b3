//! What it costs to hand batches over, beside what the system offers, measured in turn in the same run.
//!
//! ```text
//! cargo bench --bench channel               a few minutes
//! cargo bench --bench channel -- --quick    seconds
//! cargo bench --bench channel -- --calls    calls and replies alone
//! ```
//!
//! One process writes every byte of an item, another one reads every byte and says that it has: one item at a time, so
//! that latency is measured. `whole` is from the first byte written to the last one read; `hand-over` is from the call
//! that sends to the return of the call that receives. Rivals: a Unix socket; a pipe of 1 MiB; and, as the floor, one
//! buffer of shared memory with a bare futex, or polled. Processes are this program again, on a processor each.
#![allow(clippy::print_stdout, reason = "a bench is there to print")]
#![allow(unsafe_code, reason = "a bare futex and a plain shared mapping have no safe form")]

#[allow(dead_code, reason = "shared with `ratios`")]
#[path = "ratios/measure.rs"]
mod measure;
#[allow(dead_code, reason = "shared with `sync` and `peers`")]
#[path = "ratios/pair.rs"]
mod pair;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Instant;

use faretra::bytemuck;
use faretra::call::WithoutServer;
use faretra::{Arena, Array, KIB, MIB};
use memmap2::{Mmap, MmapMut};
use ndarray::{ArrayView1, Ix1};

use measure::{Row, load, size, time};
use pair::{
    Ends, LARGEST, Outcome, Partner, Used, WAITS, Wait, Word, Words, clock, futex_set, futex_wait, half, part,
    pin_to_processor, sum, told, until,
};

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Another process of the same measurement.
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["partner", name] => return partner(name),
        ["serves", name] => return serves(name),
        ["crowd", name, sends, bytes, count] => return crowd(name, *sends == "true", bytes.parse()?, count.parse()?),
        _ => {}
    }
    let hurry = if arguments.iter().any(|a| a == "--quick") { 10 } else { 1 };
    println!("load average before: {}", load());
    calls(hurry)?;
    if arguments.iter().any(|a| a == "--calls") {
        return Ok(());
    }
    many(hurry)?;
    let name = format!("bench-channel-{}", std::process::id());
    let here = Here::make(&name)?;
    let mut other = Partner::start(&name)?;
    let mut here = here.connect(0)?;
    to_and_fro(&mut here, &mut other, hurry)?;
    sizes(&mut here, &mut other, hurry)?;
    other.finish()?;
    println!("\nload average after: {}", load());
    Ok(())
}

// ------------------------------------------------------------------------------------------- what is measured

/// How an item goes from one process to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    InPlace,
    Copied,
    /// One buffer of shared memory, and a word that says that it is full.
    Shared,
    Socket,
    Pipe,
}

const CASES: [(Way, Wait, &str); 8] = [
    (Way::InPlace, Wait::Blocks, "channel, written in place"),
    (Way::Copied, Wait::Blocks, "channel, copied in"),
    (Way::Shared, Wait::Blocks, "shared buffer, bare futex"),
    (Way::Socket, Wait::Blocks, "Unix socket"),
    (Way::Pipe, Wait::Blocks, "pipe"),
    (Way::InPlace, Wait::Polls, "polled channel, written in place"),
    (Way::Copied, Wait::Polls, "polled channel, copied in"),
    (Way::Shared, Wait::Polls, "polled shared buffer"),
];

/// Nanoseconds of one case.
#[derive(Debug, Default)]
struct Samples {
    whole: Vec<u64>,
    hand_over: Vec<u64>,
    used: Used,
}

// ---------------------------------------------------------------------------------------------- both processes

/// The rivals' memory.
struct Floor {
    words: Words,
    path: String,
    ours: bool,
}

impl Drop for Floor {
    fn drop(&mut self) {
        if self.ours {
            for end in ["", ".buffer", ".socket", ".to", ".fro"] {
                // It may be gone already, and nothing depends on it.
                let _ = std::fs::remove_file(format!("{}{end}", self.path));
            }
        }
    }
}

impl Floor {
    fn make(name: &str) -> Outcome<Floor> {
        let path = format!("/dev/shm/{name}");
        let words = Words::make(&path)?;
        File::create_new(format!("{path}.buffer"))?.set_len(LARGEST)?;
        for end in [".to", ".fro"] {
            nix::unistd::mkfifo(format!("{path}{end}").as_str(), nix::sys::stat::Mode::S_IRWXU)?;
        }
        Ok(Floor { words, path, ours: true })
    }

    fn open(name: &str) -> Outcome<Floor> {
        let path = format!("/dev/shm/{name}");
        Ok(Floor { words: Words::open(&path)?, path, ours: false })
    }

    fn word(&self, word: Word) -> &AtomicU64 {
        self.words.word(word)
    }

    fn half(&self, word: Word) -> &AtomicU32 {
        half(self.word(word))
    }

    /// Both open the pipes in the same order, as each open waits for the other.
    fn pipes(&self, side: usize) -> Outcome<(File, File)> {
        let to = OpenOptions::new().read(side == 1).write(side == 0).open(format!("{}.to", self.path))?;
        let fro = OpenOptions::new().read(side == 0).write(side == 1).open(format!("{}.fro", self.path))?;
        // SAFETY: sets a size; a smaller pipe is no error.
        unsafe { libc::fcntl(to.as_raw_fd(), libc::F_SETPIPE_SZ, MIB as libc::c_int) };
        Ok((to, fro))
    }
}

fn signal(word: &AtomicU32, wait: Wait) {
    match wait {
        Wait::Polls => word.store(1, SeqCst),
        _ => futex_set(word),
    }
}

fn await_signal(word: &AtomicU32, wait: Wait) {
    match wait {
        Wait::Polls => {
            while word.swap(0, SeqCst) == 0 {
                std::hint::spin_loop();
            }
        }
        _ => futex_wait(word),
    }
}

/// One of the two processes.
struct Here {
    floor: Floor,
    name: String,
}

struct Connected {
    floor: Floor,
    ends: Vec<Ends>,
    socket: UnixStream,
    to: File,
    fro: File,
    /// What is copied from, or to.
    own: Vec<u64>,
    shared: Shared,
}

enum Shared {
    Writes(MmapMut),
    Reads(Mmap),
}

impl Here {
    fn make(name: &str) -> Outcome<Here> {
        Ok(Here { floor: Floor::make(name)?, name: name.to_owned() })
    }

    fn connect(self, side: usize) -> Outcome<Connected> {
        let Here { floor, name } = self;
        pin_to_processor(side)?;
        let socket = format!("{}.socket", floor.path);
        let socket = match side {
            0 => {
                let listener = UnixListener::bind(&socket)?;
                floor.word(Word::Ready).store(1, SeqCst);
                listener.accept()?.0
            }
            _ => {
                until("the socket", || floor.word(Word::Ready).load(SeqCst) == 1)?;
                UnixStream::connect(&socket)?
            }
        };
        let ends = WAITS.iter().map(|wait| Ends::of(&name, *wait, side)).collect::<Outcome<Vec<Ends>>>()?;
        let (to, fro) = floor.pipes(side)?;
        let buffer = OpenOptions::new().read(true).write(true).open(format!("{}.buffer", floor.path))?;
        let shared = match side {
            // SAFETY: nobody changes the file's length; side 1 reads only while side 0 waits.
            0 => Shared::Writes(unsafe { MmapMut::map_mut(&buffer)? }),
            // SAFETY: the same.
            _ => Shared::Reads(unsafe { Mmap::map(&buffer)? }),
        };
        Ok(Connected { ends, socket, to, fro, shared, floor, own: vec![0; LARGEST as usize / 8] })
    }
}

impl Connected {
    /// Side 0: writes, sends, and waits until it was read. `elsewhere`: words of its own that it writes before.
    fn give(&mut self, way: Way, wait: Wait, words: usize, elsewhere: usize, seed: u64) -> Outcome {
        self.own[..elsewhere].fill(seed);
        let floor = &self.floor;
        let ends = &self.ends[wait as usize];
        let sends = || floor.word(Word::Sends).store(clock(), SeqCst);
        floor.word(Word::Seed).store(seed, SeqCst);
        floor.word(Word::Starts).store(clock(), SeqCst);
        let own = &mut self.own[..words];
        match way {
            Way::InPlace => {
                let mut draft = ends.writer.draft_array::<u64, Ix1>(words)?;
                draft.view_mut()?.fill(seed);
                sends();
                ends.to.send(draft).map_err(|e| e.to_string())?;
            }
            Way::Copied => {
                own.fill(seed);
                sends();
                ends.to.send(ArrayView1::from(&*own)).map_err(|e| e.to_string())?;
            }
            Way::Shared => {
                let Shared::Writes(map) = &mut self.shared else { return Err("side 0 writes".into()) };
                bytemuck::cast_slice_mut(&mut map[..words * 8]).fill(seed);
                sends();
                signal(floor.half(Word::To), wait);
            }
            Way::Socket | Way::Pipe => {
                own.fill(seed);
                sends();
                match way {
                    Way::Socket => self.socket.write_all(bytemuck::cast_slice(own))?,
                    _ => self.to.write_all(bytemuck::cast_slice(own))?,
                }
            }
        }
        let mut byte = [0];
        match way {
            Way::InPlace | Way::Copied => ends.hear()?,
            Way::Shared => await_signal(floor.half(Word::Fro), wait),
            Way::Socket => self.socket.read_exact(&mut byte)?,
            Way::Pipe => self.fro.read_exact(&mut byte)?,
        }
        Ok(())
    }

    /// Side 1: receives, reads, and says so. `elsewhere`: words of its own that it reads before that.
    fn get(&mut self, way: Way, wait: Wait, words: usize, elsewhere: usize) -> Outcome {
        let floor = &self.floor;
        let ends = &self.ends[wait as usize];
        let received = || floor.word(Word::Received).store(clock(), SeqCst);
        let own = &mut self.own[..words];
        let (sum, len) = match way {
            Way::InPlace | Way::Copied => {
                let lease = ends.receive()?;
                received();
                let array: Array<u64, Ix1> = (*lease).clone().try_into()?;
                let summed = (sum(array.as_slice().ok_or("contiguous")?), array.len());
                floor.word(Word::WasRead).store(clock(), SeqCst);
                drop(array);
                lease.ack();
                summed
            }
            Way::Shared => {
                await_signal(floor.half(Word::To), wait);
                received();
                let Shared::Reads(map) = &self.shared else { return Err("side 1 reads".into()) };
                (sum(bytemuck::cast_slice(&map[..words * 8])), words)
            }
            Way::Socket | Way::Pipe => {
                match way {
                    Way::Socket => self.socket.read_exact(bytemuck::cast_slice_mut(own))?,
                    _ => self.to.read_exact(bytemuck::cast_slice_mut(own))?,
                }
                received();
                (sum(own), words)
            }
        };
        if !matches!(way, Way::InPlace | Way::Copied) {
            floor.word(Word::WasRead).store(clock(), SeqCst);
        }
        if sum != floor.word(Word::Seed).load(SeqCst).wrapping_mul(words as u64) || len != words {
            return Err(format!("{way:?}: not what was sent").into());
        }
        std::hint::black_box(self::sum(&self.own[..elsewhere]));
        match way {
            Way::InPlace | Way::Copied => ends.say()?,
            Way::Shared => signal(floor.half(Word::Fro), wait),
            Way::Socket => self.socket.write_all(&[1])?,
            Way::Pipe => self.fro.write_all(&[1])?,
        }
        Ok(())
    }

    /// An empty item there and back.
    fn turn(&self, bare: bool, wait: Wait, side: usize) -> Outcome {
        let ends = &self.ends[wait as usize];
        let (to, fro) = (self.floor.half(Word::To), self.floor.half(Word::Fro));
        match (bare, side) {
            (false, 0) => {
                ends.say()?;
                ends.hear()?;
            }
            (false, _) => {
                ends.hear()?;
                ends.say()?;
            }
            (true, 0) => {
                signal(to, wait);
                await_signal(fro, wait);
            }
            (true, _) => {
                await_signal(to, wait);
                signal(fro, wait);
            }
        }
        Ok(())
    }
}

// --------------------------------------------------------------------------------------------- the other process

/// What an empty item is, among the cases: there and back, through a channel or bare.
const TURN: usize = 100;

fn partner(name: &str) -> Outcome {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let mut here = Here { floor: Floor::open(name)?, name: name.to_owned() }.connect(1)?;
    for line in std::io::stdin().lines() {
        let numbers: Vec<usize> = line?.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [case, which, words, elsewhere, count] = numbers[..] else { return Err("five numbers".into()) };
        let before = Used::now()?;
        for _ in 0..count {
            match case {
                TURN => here.turn(words == 1, WAITS[which], 1)?,
                _ => here.get(CASES[case].0, CASES[case].1, words, elsewhere)?,
            }
        }
        let used = Used::since(before)?;
        println!("{used}");
    }
    Ok(())
}

// --------------------------------------------------------------------------------------------------- the tables

/// Empty items there and back, beside a bare futex.
fn to_and_fro(here: &mut Connected, other: &mut Partner, hurry: usize) -> Outcome {
    println!("measuring there and back ...");
    let (rounds, count) = (20 / hurry.min(4), 2000 / hurry);
    let mut samples: [[Samples; 2]; 3] = Default::default();
    for round in 0..=rounds {
        for (which, wait) in WAITS.iter().enumerate() {
            for bare in [false, true] {
                other.tell(&[TURN, which, bare.into(), 0, count])?;
                let (before, mut times) = (Used::now()?, vec![]);
                for _ in 0..count {
                    let start = clock();
                    here.turn(bare, *wait, 0)?;
                    times.push(clock() - start);
                }
                let mut used = Used::since(before)?;
                used.add(other.answer()?);
                if round > 0 {
                    let samples = &mut samples[which][usize::from(bare)];
                    // The first waits for the other to come along.
                    samples.whole.extend(&times[1..]);
                    samples.used.add(used);
                }
            }
        }
    }
    println!("\n### an item of 8 bytes there and back, beside a bare futex or polled word\n");
    println!("| waits | p50 | p99 | p99.9 | CPU | bare p50 | p99 | CPU | ratio p50 | target |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (wait, [ours, bare]) in WAITS.iter().zip(&samples) {
        let cpu = |s: &Samples| time(s.used.cpu_us as f64 * 1e3 / s.whole.len() as f64);
        let (p50, floor) = (part(&ours.whole, 0.5), part(&bare.whole, 0.5));
        let target = if *wait == Wait::Blocks { "<= 1.2 x" } else { "" };
        Row {
            section: "an item of 8 bytes there and back, beside a bare futex or polled word".into(),
            what: format!("{wait:?}"),
            p50: Some(p50),
            p99: Some(part(&ours.whole, 0.99)),
            floor: Some(floor),
            spread: Some((part(&bare.whole, 0.9) - part(&bare.whole, 0.1)) / floor),
            ratio: Some(p50 / floor),
            target: target.into(),
            ..Row::default()
        }
        .tell();
        println!(
            "| {wait:?} | {} | {} | {} | {} | {} | {} | {} | {:.2} | {target} |",
            time(p50),
            time(part(&ours.whole, 0.99)),
            time(part(&ours.whole, 0.999)),
            cpu(ours),
            time(floor),
            time(part(&bare.whole, 0.99)),
            cpu(bare),
            p50 / floor
        );
    }
    Ok(())
}

/// What is handed over: how many bytes, after how many elsewhere, how often.
const SIZES: [(u64, u64, usize); 6] = [
    (KIB, 0, 20_000),
    (64 * KIB, 0, 10_000),
    (MIB, 0, 2000),
    (8 * MIB, 0, 300),
    (64 * MIB, 0, 60),
    // As long a pause, and caches as cold, as with 64 MiB.
    (KIB, 64 * MIB, 60),
];

fn sizes(here: &mut Connected, other: &mut Partner, hurry: usize) -> Outcome {
    let rounds = 5;
    let mut hand_overs = vec![];
    for (bytes, elsewhere, count) in SIZES {
        let after = if elsewhere == 0 { String::new() } else { format!(" after {} elsewhere", size(elsewhere)) };
        let what = format!("{}{after}", size(bytes));
        println!("measuring {what} ...");
        let (words, elsewhere) = (bytes as usize / 8, elsewhere as usize / 8);
        let count = (count / rounds / hurry).max(3);
        let mut samples: [Samples; CASES.len()] = Default::default();
        for round in 0..=rounds {
            for (case, (way, wait, _)) in CASES.iter().enumerate() {
                other.tell(&[case, 0, words, elsewhere, count])?;
                let before = Used::now()?;
                let samples = &mut samples[case];
                for i in 0..count {
                    here.give(*way, *wait, words, elsewhere, i as u64 + 1)?;
                    let at = |word| here.floor.word(word).load(SeqCst);
                    if round > 0 {
                        samples.whole.push(at(Word::WasRead) - at(Word::Starts));
                        samples.hand_over.push(at(Word::Received) - at(Word::Sends));
                    }
                }
                let mut used = Used::since(before)?;
                used.add(other.answer()?);
                if round > 0 {
                    samples.used.add(used);
                }
            }
        }
        println!("\n### {what}: from the first byte written to the last one read, {} times\n", rounds * count);
        println!("| way | whole p50 | p99 | p99.9 | hand-over p50 | p99 | CPU | faults per item | whole / in place |");
        println!("|---|---|---|---|---|---|---|---|---|");
        let base = part(&samples[0].whole, 0.5);
        for ((.., name), s) in CASES.iter().zip(&samples) {
            Row {
                section: "from the first byte written to the last one read".into(),
                what: format!("{what}: {name}"),
                sized: (elsewhere == 0).then(|| (bytes, (*name).into())),
                p50: Some(part(&s.whole, 0.5)),
                p99: Some(part(&s.whole, 0.99)),
                ..Row::default()
            }
            .tell();
            let items = s.whole.len() as f64;
            println!(
                "| {name} | {} | {} | {} | {} | {} | {} | {:.2} | {:.2} |",
                time(part(&s.whole, 0.5)),
                time(part(&s.whole, 0.99)),
                time(part(&s.whole, 0.999)),
                time(part(&s.hand_over, 0.5)),
                time(part(&s.hand_over, 0.99)),
                time(s.used.cpu_us as f64 * 1e3 / items),
                s.used.faults as f64 / items,
                part(&s.whole, 0.5) / base,
            );
        }
        hand_overs.push([0, 2, 5, 7].map(|case| part(&samples[case].hand_over, 0.5)));
    }
    let [small, .., large, cold] = &hand_overs[..] else { return Ok(()) };
    println!("\n### hand-over: 64 MiB beside 1 KiB, and beside 1 KiB after 64 MiB elsewhere\n");
    println!("| way | 64 MiB | 1 KiB | ratio | target | 1 KiB after | ratio |\n|---|---|---|---|---|---|---|");
    let ways = ["channel, written in place", "bare futex", "polled channel, written in place", "polled word"];
    for (i, way) in ways.iter().enumerate() {
        let target = if i % 2 == 0 { "<= 2 x" } else { "" };
        let (large, small, cold) = (large[i], small[i], cold[i]);
        Row {
            section: "hand-over: 64 MiB beside 1 KiB".into(),
            what: (*way).into(),
            p50: Some(large),
            floor: Some(small),
            ratio: Some(large / small),
            target: target.into(),
            ..Row::default()
        }
        .tell();
        let ratios = (large / small, large / cold);
        let times = (time(large), time(small), time(cold));
        println!("| {way} | {} | {} | {:.2} | {target} | {} | {:.2} |", times.0, times.1, ratios.0, times.2, ratios.1);
    }
    Ok(())
}

// ------------------------------------------------------------------------------------------------- many to many

/// Small items between many processes.
fn many(hurry: usize) -> Outcome {
    println!("\nmeasuring many to many ...");
    let mut rows = vec![];
    for bytes in [64, 1024] {
        for (senders, receivers) in [(1, 1), (4, 1), (1, 4), (4, 4)] {
            let mut runs = vec![];
            for _ in 0..3 {
                runs.push(run_crowd(senders, receivers, bytes, 200_000 / hurry / senders)?);
            }
            runs.sort_by(|a, b| f64::total_cmp(&a.0, &b.0));
            let (per_second, cpu) = runs[1];
            Row {
                section: "small items a second, senders x receivers".into(),
                what: format!("{bytes} B, {senders} x {receivers}"),
                value: Some(per_second),
                unit: "items/s".into(),
                ..Row::default()
            }
            .tell();
            rows.push(format!("| {bytes} B | {senders} x {receivers} | {per_second:.0} | {} |", time(cpu * 1e3)));
        }
    }
    println!("\n### small items, copied in, sent and acknowledged one by one; the middle one of 3 runs\n");
    println!("| item | senders x receivers | items/s | CPU per item |\n|---|---|---|---|");
    for row in rows {
        println!("{row}");
    }
    Ok(())
}

/// Where a server's socket is.
fn socket_of(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("{name}.socket"))
}

/// A call of 8 bytes and its reply, beside the same over a Unix socket, in turn.
fn calls(hurry: usize) -> Outcome {
    println!("\nmeasuring calls ...");
    let name = format!("bench-calls-{}", std::process::id());
    let arena = Arena::options().limit(64 * MIB).keep(false).create(&name)?;
    let listener = UnixListener::bind(socket_of(&name))?;
    let mut command = Command::new(std::env::current_exe()?);
    let mut server = command.args(["serves", &name]).spawn()?;
    let (mut socket, _) = listener.accept()?;
    std::fs::remove_file(socket_of(&name))?;
    let mut client = arena.writer()?.client("echo", WithoutServer::Waits)?;
    let (mut ours, mut theirs) = (vec![], vec![]);
    for round in 0..=10 {
        for n in 0..(4000 / hurry) as u64 {
            let (start, mut back) = (clock(), [0; 8]);
            socket.write_all(&n.to_le_bytes())?;
            socket.read_exact(&mut back)?;
            let between = clock();
            let reply = client.call(&n.to_le_bytes()[..])?;
            assert_eq!((reply.bytes()?, u64::from_le_bytes(back)), (&n.to_le_bytes()[..], n));
            // The first waits for the other to come along.
            if round > 0 {
                theirs.push(between - start);
                ours.push(clock() - between);
            }
        }
    }
    client.close().expect("open");
    drop(socket);
    server.wait()?;
    println!("\n### a call of 8 bytes and its reply, blocking, beside a Unix socket\n");
    println!("| what | p50 | p99 | ratio p50 |\n|---|---|---|---|");
    for (what, times) in [("call and reply", &ours), ("socket", &theirs)] {
        let (p50, floor) = (part(times, 0.5), part(&theirs, 0.5));
        Row {
            section: "a call of 8 bytes and its reply".into(),
            what: what.into(),
            p50: Some(p50),
            p99: Some(part(times, 0.99)),
            floor: Some(floor),
            spread: Some((part(&theirs, 0.9) - part(&theirs, 0.1)) / floor),
            ratio: Some(p50 / floor),
            ..Row::default()
        }
        .tell();
        println!("| {what} | {} | {} | {:.2} |", time(p50), time(part(times, 0.99)), p50 / floor);
    }
    Ok(())
}

/// Says everything again that it is told, by calls and through a socket.
fn serves(name: &str) -> Outcome {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let server = Arena::options().keep(false).open(name)?.writer()?.server("echo")?;
    let mut socket = UnixStream::connect(socket_of(name))?;
    std::thread::spawn(move || {
        let mut said = [0; 8];
        while socket.read_exact(&mut said).and_then(|()| socket.write_all(&said)).is_ok() {}
    });
    server.serve(|request| Ok::<_, faretra::Error>(request.bytes()?.to_vec()))?;
    Ok(())
}

/// Items in a second, and microseconds of processors for each.
fn run_crowd(senders: usize, receivers: usize, bytes: usize, count: usize) -> Outcome<(f64, f64)> {
    let name = format!("bench-crowd-{}", std::process::id());
    let floor = Floor::make(&name)?;
    let arena = Arena::options().limit(64 * MIB).keep(false).create(&name)?;
    let jobs = arena.writer()?.sender("jobs", 256)?;
    let start = |sends: bool| -> Outcome<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["crowd", &name, &sends.to_string(), &bytes.to_string(), &count.to_string()]);
        Ok(command.stdout(Stdio::piped()).spawn()?)
    };
    let mut receiving = (0..receivers).map(|_| start(false)).collect::<Outcome<Vec<Child>>>()?;
    let mut sending = (0..senders).map(|_| start(true)).collect::<Outcome<Vec<Child>>>()?;
    let all = (senders + receivers) as u64;
    until("the crowd", || floor.word(Word::Ready).load(SeqCst) == all)?;
    let began = Instant::now();
    floor.word(Word::Go).store(1, SeqCst);
    let mut cpu = 0.0;
    let mut finish = |child: &mut Child| -> Outcome {
        cpu += told(child)?.trim().parse::<f64>()?;
        Ok(())
    };
    sending.iter_mut().try_for_each(&mut finish)?;
    jobs.close().expect("open");
    receiving.iter_mut().try_for_each(&mut finish)?;
    let items = (senders * count) as f64;
    Ok((items / began.elapsed().as_secs_f64(), cpu / items))
}

fn crowd(name: &str, sends: bool, bytes: usize, count: usize) -> Outcome {
    let floor = Floor::open(name)?;
    let arena = Arena::options().keep(false).open(name)?;
    let (sender, receiver) = match sends {
        true => (Some(arena.writer()?.sender("jobs", 256)?), None),
        false => (None, Some(arena.receiver("jobs")?)),
    };
    floor.word(Word::Ready).fetch_add(1, SeqCst);
    until("the start", || floor.word(Word::Go).load(SeqCst) == 1)?;
    let before = Used::now()?;
    let mut item = vec![7_u8; bytes];
    if let Some(to) = sender {
        for i in 0..count {
            item.fill(i as u8);
            to.send(item.as_slice()).map_err(|e| e.to_string())?;
        }
    }
    if let Some(from) = receiver {
        let mut sum = 0_u64;
        for object in from.iter() {
            sum += object?.bytes()?.iter().map(|b| u64::from(*b)).sum::<u64>();
        }
        std::hint::black_box(sum);
    }
    println!("{}", Used::since(before)?.cpu_us);
    Ok(())
}
