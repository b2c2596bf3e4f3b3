//! The driver that needs no tool: a child process runs one input after the other, and may die, hang or run out of memory of it.
//!
//! Inputs follow from numbers (`mutate`). The child writes each number down before it runs the input; when it dies, or stays too long at
//! one number, the parent makes that input again, saves it, and starts a child that goes on behind it.

use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;

use crate::mutate;
use crate::place::DIR;
use crate::targets::Target;

/// How a target is driven.
#[derive(Clone, Debug)]
pub struct Drive {
    /// The program that runs [`obey`] in a child.
    pub program: PathBuf,
    /// Folders of seeds, by the targets' names.
    pub seeds: PathBuf,
    /// Where inputs are saved that are findings.
    pub findings: PathBuf,
    /// Inputs follow from this number.
    pub seed: u64,
    /// When it ends.
    pub time: Duration,
    /// The most inputs that are run.
    pub inputs: u64,
    /// How long one input may take.
    pub deadline: Duration,
    /// The most bytes of private memory that the child may have.
    pub memory: u64,
}

/// What a target was driven to.
#[derive(Debug)]
pub struct Finding {
    /// Where its input was saved.
    pub input: PathBuf,
    /// How the child ended.
    pub end: End,
    /// The last of what it said.
    pub said: String,
}

/// How a child ended that should not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It panicked, or left by itself.
    Exited(i32),
    /// A signal ended it; 6 (SIGABRT) also where there was no memory.
    Killed(i32),
    /// It was at one input for too long.
    Hung,
}

impl Display for End {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exited(101) => write!(to, "it panicked"),
            End::Exited(code) => write!(to, "it ended with exit code {code}"),
            End::Killed(signal) => write!(to, "signal {signal} ended it"),
            End::Hung => write!(to, "it hung"),
        }
    }
}

impl Finding {
    /// What findings of the same fault have in common: what was said, without numbers.
    pub fn fault(&self) -> String {
        let kept = self.said.lines().rev().take(6).flat_map(str::chars).filter(|c| !c.is_ascii_digit());
        format!("{} {}", self.end, kept.collect::<String>())
    }
}

impl Display for Finding {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.said.trim_end();
        let last: Vec<&str> = said.lines().rev().take(6).collect();
        write!(to, "{}: {}", self.input.display(), self.end)?;
        last.iter().rev().try_for_each(|line| write!(to, "\n    {line}"))
    }
}

/// The most findings of a target before it is given up: one fault is found again and again.
const ENOUGH: usize = 10;

/// The arguments by which the program knows that it is a child: this, and what [`obey`] reads.
pub const CHILD: &str = "child";

/// A directory for a child, removed at the end, with whatever a child that died left in it.
struct Place(PathBuf);

impl Place {
    fn new() -> io::Result<Place> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/dev/shm/faretra-fuzz-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        Ok(Place(dir))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The seeds of a target, in the order of their files' names.
pub fn seeds(folder: &Path, target: &Target) -> io::Result<Vec<Vec<u8>>> {
    let mut files = match std::fs::read_dir(folder.join(target.seeds)) {
        Ok(files) => files.map(|file| file.map(|file| file.path())).collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => vec![],
        Err(error) => return Err(error),
    };
    files.sort();
    files.iter().map(std::fs::read).collect()
}

/// Drives a target; returns how many inputs it got, and what was found.
pub fn drive(drive: &Drive, target: &Target) -> io::Result<(u64, Vec<Finding>)> {
    let seeds_of_target = seeds(&drive.seeds, target)?;
    let end = Instant::now() + drive.time;
    let (mut number, mut findings) = (0, vec![]);
    while findings.len() < ENOUGH && number < drive.inputs && Instant::now() < end {
        let place = Place::new()?;
        let range = format!("{} {number} {}", drive.seed, drive.inputs);
        let mut arguments = vec![target.name.to_owned(), drive.seeds.display().to_string()];
        arguments.extend(range.split(' ').map(str::to_owned));
        let mut watched = Watched::start(drive, &place, &arguments)?;
        match watched.watch(drive.deadline, end)? {
            Watch::Done(at) => number = at,
            Watch::Ended(at, how) => {
                let bytes = mutate::input(&seeds_of_target, target.words, drive.seed, at);
                findings.push(save(drive, target, &bytes, at, how, watched.said()?)?);
                number = at + 1;
            }
        }
    }
    Ok((number, findings))
}

/// Runs one input in a child; returns how the child ended if it should not have, and what it said.
pub fn once(drive: &Drive, target: &Target, input: &Path) -> io::Result<Option<(End, String)>> {
    let place = Place::new()?;
    let arguments = [target.name.to_owned(), input.display().to_string()];
    let mut watched = Watched::start(drive, &place, &arguments)?;
    match watched.watch(drive.deadline, Instant::now() + drive.deadline * 2)? {
        Watch::Done(_) => Ok(None),
        Watch::Ended(_, how) => Ok(Some((how, watched.said()?))),
    }
}

fn save(drive: &Drive, target: &Target, bytes: &[u8], number: u64, end: End, said: String) -> io::Result<Finding> {
    std::fs::create_dir_all(&drive.findings)?;
    let input = drive.findings.join(format!("{}-{}-{number}", target.name, drive.seed));
    std::fs::write(&input, bytes)?;
    std::fs::write(input.with_extension("txt"), format!("{end}\n{said}"))?;
    Ok(Finding { input, end, said })
}

enum Watch {
    /// It ran all inputs below this number, and was ended.
    Done(u64),
    /// It ended at this one.
    Ended(u64, End),
}

/// A child, and the files that it writes.
struct Watched {
    child: Child,
    numbers: File,
    errors: File,
}

impl Watched {
    fn start(drive: &Drive, place: &Place, arguments: &[String]) -> io::Result<Watched> {
        let file =
            |name: &str| File::options().read(true).write(true).create(true).truncate(true).open(place.0.join(name));
        let (numbers, errors) = (file("numbers")?, file("errors")?);
        let mut command = Command::new(&drive.program);
        command.arg(CHILD).arg(drive.memory.to_string()).arg(place.0.join("numbers")).args(arguments);
        command.env(DIR, place.0.join("arenas")).env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors.try_clone()?).process_group(0);
        Ok(Watched { child: command.spawn()?, numbers, errors })
    }

    fn number(&self) -> u64 {
        let mut word = [0; 8];
        // A child that did not get so far has written nothing.
        self.numbers.read_exact_at(&mut word, 0).map_or(0, |()| u64::from_le_bytes(word))
    }

    /// Waits until the child ends, hangs, or `end` comes.
    fn watch(&mut self, deadline: Duration, end: Instant) -> io::Result<Watch> {
        let (mut last, mut since) = (None, Instant::now());
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(match status.success() {
                    true => Watch::Done(self.number()),
                    false => Watch::Ended(self.number(), how(status)),
                });
            }
            let now = Some(self.number());
            if now != last {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() > deadline {
                return Ok(Watch::Ended(self.number(), End::Hung));
            }
            if Instant::now() >= end {
                return Ok(Watch::Done(self.number()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The last of what it said on standard error.
    fn said(&mut self) -> io::Result<String> {
        const MOST: u64 = 4096;
        let length = self.errors.metadata()?.len();
        self.errors.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
        let mut bytes = vec![];
        self.errors.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn how(status: ExitStatus) -> End {
    match (status.signal(), status.code()) {
        (Some(signal), _) => End::Killed(signal),
        (None, code) => End::Exited(code.unwrap_or(-1)),
    }
}

/// A child's half: `MEMORY NUMBERS TARGET`, then `SEEDS SEED FROM TO`, or `FILE`.
pub fn obey(arguments: &[String], find: fn(&str) -> Option<&'static Target>) -> Result<(), String> {
    let [memory, numbers, name, rest @ ..] = arguments else { return Err("too few arguments".to_owned()) };
    let target = find(name).ok_or("no such target")?;
    let number = |text: &String| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let told = |error: io::Error| error.to_string();
    set_pdeathsig(Signal::SIGKILL).map_err(|error| error.to_string())?;
    let memory = number(memory)?;
    // Of what is not shared: an arena's memory has a limit of its own, and its address space costs nothing.
    setrlimit(Resource::RLIMIT_DATA, memory, memory).map_err(|error| error.to_string())?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(|error| error.to_string())?;
    match rest {
        [seeds_folder, seed, from, to] => {
            let numbers = File::options().write(true).open(numbers).map_err(told)?;
            let seeds = seeds(Path::new(seeds_folder), target).map_err(told)?;
            let (seed, from, to) = (number(seed)?, number(from)?, number(to)?);
            for at in from..to {
                numbers.write_all_at(&at.to_le_bytes(), 0).map_err(told)?;
                (target.run)(&mutate::input(&seeds, target.words, seed, at));
            }
            numbers.write_all_at(&to.to_le_bytes(), 0).map_err(told)
        }
        [file] => {
            (target.run)(&std::fs::read(file).map_err(told)?);
            Ok(())
        }
        _ => Err("too few arguments".to_owned()),
    }
}
