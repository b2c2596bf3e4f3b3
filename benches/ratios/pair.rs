//! Processes that hand something to each other: their words, their clock, what they use, how they wait, and the channels
//! between them.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use faretra::channel::Contents;
use faretra::{Arena, Lease, MIB, Receiver, RecvError, Sender, Writer};
use memmap2::{MmapOptions, MmapRaw};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

pub const DEADLINE: Duration = Duration::from_secs(60);
pub const LARGEST: u64 = 64 * MIB;
/// For those who poll: so often that they never sleep.
pub const NO_SLEEP: u32 = 1 << 30;

/// How one waits for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// As most programs do: a short spin, then sleep.
    Blocks,
    /// Sleeps at once.
    Sleeps,
    Polls,
}

pub const WAITS: [Wait; 3] = [Wait::Blocks, Wait::Sleeps, Wait::Polls];

/// What both processes used. A partner prints it as one line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    pub cpu_us: u64,
    /// Page faults that the kernel served from memory.
    pub faults: u64,
    /// Those for which it read.
    pub major: u64,
}

impl std::fmt::Display for Used {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.cpu_us, self.faults, self.major)
    }
}

impl Used {
    pub fn now() -> Outcome<Used> {
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let cpu_us = (usage.user_time() + usage.system_time()).num_microseconds() as u64;
        Ok(Used { cpu_us, faults: usage.minor_page_faults() as u64, major: usage.major_page_faults() as u64 })
    }

    pub fn since(before: Used) -> Outcome<Used> {
        let now = Used::now()?;
        Ok(Used {
            cpu_us: now.cpu_us - before.cpu_us,
            faults: now.faults - before.faults,
            major: now.major - before.major,
        })
    }

    pub fn add(&mut self, other: Used) {
        self.cpu_us += other.cpu_us;
        self.faults += other.faults;
        self.major += other.major;
    }
}

pub fn part(samples: &[u64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let index = (sorted.len().saturating_sub(1) as f64 * part).round() as usize;
    sorted.get(index).map_or(f64::NAN, |ns| *ns as f64)
}

/// Words of shared memory, each on a cache line of its own.
#[derive(Clone, Copy)]
pub enum Word {
    Starts,
    Sends,
    Received,
    WasRead,
    Seed,
    To,
    Fro,
    Go,
    Ready,
}

/// One page that both processes write: of the run's own file.
pub struct Words(MmapRaw);

impl Words {
    pub fn make(path: &str) -> Outcome<Words> {
        File::create_new(path)?.set_len(4096)?;
        Words::open(path)
    }

    pub fn open(path: &str) -> Outcome<Words> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Words(MmapOptions::new().len(4096).map_raw(&file)?))
    }

    pub fn word(&self, word: Word) -> &AtomicU64 {
        let at = self.0.as_mut_ptr().wrapping_add(word as usize * 64).cast();
        // SAFETY: inside the mapping, aligned, lives as long as `self`; all processes use it as this atomic.
        unsafe { AtomicU64::from_ptr(at) }
    }
}

/// The low half of a word of which only the half is used: what a futex is.
pub fn half(word: &AtomicU64) -> &AtomicU32 {
    // SAFETY: a part of the word, as aligned as it is, for as long as it lives.
    unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) }
}

/// Sets a word and wakes who sleeps on it.
pub fn futex_set(word: &AtomicU32) {
    word.store(1, SeqCst);
    // SAFETY: the kernel only uses the address of a word that is mapped.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

/// Sleeps until a word is set, and takes it back.
pub fn futex_wait(word: &AtomicU32) {
    while word.swap(0, SeqCst) == 0 {
        let forever = std::ptr::null::<libc::timespec>();
        // SAFETY: the word is mapped, and the kernel only reads it.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, 0, forever) };
    }
}

/// Nanoseconds of a clock that all processes share.
pub fn clock() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes `now`.
    let read = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    assert_eq!(read, 0);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The ends of a pair of channels, which wait in one way.
pub struct Ends {
    pub writer: Writer,
    pub to: Sender,
    from: Receiver,
    wait: Wait,
}

impl Ends {
    /// Of side 0 or 1, in an arena of its own for each way to wait.
    pub fn of(name: &str, wait: Wait, side: usize) -> Outcome<Ends> {
        let arena = Ends::arena(name, wait)?;
        let writer = arena.writer()?;
        let channel = |i: usize| writer.sender_with(["to", "fro"][i], 4, Contents::Mixed);
        let (to, other) = (channel(side)?, channel(1 - side)?);
        let from = arena.receiver(["to", "fro"][1 - side])?;
        drop(other);
        Ok(Ends { to, from, wait, writer })
    }

    pub fn arena(name: &str, wait: Wait) -> faretra::Result<Arena> {
        let options = Arena::options().limit(8 * LARGEST).keep(false);
        let options = match wait {
            Wait::Blocks => options,
            Wait::Sleeps => options.spin(0),
            Wait::Polls => options.spin(NO_SLEEP),
        };
        options.open_or_create(&format!("{name}-{wait:?}").to_lowercase())
    }

    pub fn receive(&self) -> Outcome<Lease> {
        match self.wait {
            Wait::Polls => loop {
                match self.from.try_recv() {
                    Err(RecvError::Empty) => std::hint::spin_loop(),
                    other => return Ok(other?),
                }
            },
            _ => Ok(self.from.recv()?),
        }
    }

    pub fn say(&self) -> Outcome {
        self.to.send(b"8 bytes!".as_slice()).map_err(|e| e.to_string())?;
        Ok(())
    }

    pub fn hear(&self) -> Outcome {
        self.receive()?.ack();
        Ok(())
    }
}

/// Each of the two processes has a processor of its own, if there are two: moving about is not what is measured.
pub fn pin_to_processor(side: usize) -> Outcome {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    let this = nix::unistd::Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let all: Vec<usize> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
    let mut one = CpuSet::new();
    one.set(all[side % all.len()])?;
    Ok(sched_setaffinity(this, &one)?)
}

pub fn until(what: &str, mut look: impl FnMut() -> bool) -> Outcome {
    let start = Instant::now();
    while !look() {
        if start.elapsed() > DEADLINE {
            return Err(format!("waited {DEADLINE:?} for {what}").into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

pub fn sum(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

/// What a process printed that was told once what to do and has ended.
pub fn told(child: &mut Child) -> Outcome<String> {
    let mut text = String::new();
    child.stdout.take().ok_or("piped")?.read_to_string(&mut text)?;
    match child.wait()?.success() {
        true => Ok(text),
        false => Err(format!("one of the crowd failed: {text}").into()),
    }
}

/// The other process: told what comes, it does its part, and says what that used.
pub struct Partner {
    process: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Drop for Partner {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Partner {
    pub fn start(name: &str) -> Outcome<Partner> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["partner", name]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let answers = BufReader::new(process.stdout.take().ok_or("piped")?);
        Ok(Partner { process, answers })
    }

    /// Lets it end by itself, so that its arenas go.
    pub fn finish(mut self) -> Outcome {
        drop(self.process.stdin.take());
        match self.process.wait()?.success() {
            true => Ok(()),
            false => Err("the partner failed".into()),
        }
    }

    pub fn tell(&mut self, numbers: &[usize]) -> Outcome {
        let line = numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
        writeln!(self.process.stdin.as_mut().ok_or("piped")?, "{line}")?;
        Ok(())
    }

    pub fn answer(&mut self) -> Outcome<Used> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let numbers: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [cpu_us, faults, major] = numbers[..] else { return Err(format!("the partner said {line:?}").into()) };
        Ok(Used { cpu_us, faults, major })
    }
}
