//! The ways that an item goes from one process to another: ours, those of other libraries, and those of the system.

mod buffer;
mod iceoryx;
mod ipc;
mod ours;
mod segments;
mod system;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::pair::{Outcome, Wait, Word, Words, clock, until};

/// What both sides of a way are told.
#[derive(Clone, Debug)]
pub struct Place {
    /// What everything of this opening is called, and nothing else.
    pub name: String,
    /// What is called so may be shared by several pairs of processes.
    pub shared: String,
    /// Which pair of processes this is, from 0.
    pub lane: usize,
    /// 0 sends, 1 receives.
    pub side: usize,
    /// How long an item is, in words of 8 bytes.
    pub words: usize,
}

impl Place {
    /// A path in shared memory.
    pub fn path(&self, end: &str) -> String {
        format!("/dev/shm/{}{end}", self.name)
    }
}

/// When things happened, told to the process that measures.
pub struct Stamps<'a>(pub &'a Words);

impl Stamps<'_> {
    fn now(&self, word: Word) {
        self.0.word(word).store(clock(), std::sync::atomic::Ordering::SeqCst);
    }

    /// Before the first byte is written, and before memory is asked for.
    pub fn starts(&self) {
        self.now(Word::Starts);
    }

    /// Before the call that sends.
    pub fn sends(&self) {
        self.now(Word::Sends);
    }

    /// After the call that receives.
    pub fn received(&self) {
        self.now(Word::Received);
    }

    /// After the last byte was read.
    pub fn was_read(&self) {
        self.now(Word::WasRead);
    }
}

/// The sum of an item's words, and how many there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    pub sum: u64,
    pub words: usize,
}

impl Sum {
    /// Of what `fill` writes.
    pub fn expected(seed: u64, words: usize) -> Sum {
        let n = words as u64;
        Sum { sum: seed.wrapping_mul(n).wrapping_add(n * n.saturating_sub(1) / 2), words }
    }

    pub fn of(words: &[u64]) -> Sum {
        Sum { sum: crate::pair::sum(words), words: words.len() }
    }

    /// Of words that may lie anywhere.
    pub fn of_bytes(bytes: &[u8]) -> Sum {
        let (words, _) = bytes.as_chunks::<8>();
        let sum = words.iter().fold(0_u64, |sum, word| sum.wrapping_add(u64::from_ne_bytes(*word)));
        Sum { sum, words: words.len() }
    }
}

/// Writes every word: none is zero, and no two are the same.
pub fn fill(words: &mut [u64], seed: u64) {
    words.iter_mut().zip(seed..).for_each(|(word, value)| *word = value);
}

/// One side of a way.
pub trait Way {
    /// Side 0 writes an item and sends it. What is asked for, written and sent lies between `starts` and the return.
    fn give(&mut self, seed: u64, stamps: &Stamps<'_>) -> Outcome;

    /// Side 1 receives an item, sums it up and lets go of it.
    fn take(&mut self, stamps: &Stamps<'_>) -> Outcome<Sum>;

    /// Sends something as small as can be to the other side.
    fn say(&mut self) -> Outcome;

    /// Waits for that.
    fn hear(&mut self) -> Outcome;

    /// Bytes of memory that are kept for items: what the files of the opening called `name` occupy, unless the way says
    /// otherwise. None if it cannot be seen.
    fn reserved(&self, name: &str) -> Option<u64> {
        Some(occupied(name))
    }
}

/// A way as the benches list it.
pub struct Case {
    pub name: &'static str,
    /// Never sleeps. Compared with the others that do not.
    pub polls: bool,
    /// The system's memory and its waits alone: what the others stand on.
    pub floor: bool,
    /// Done by side 0 alone.
    pub alone: bool,
    pub open: fn(&Place) -> Outcome<Box<dyn Way>>,
    /// Why it cannot be measured here.
    pub missing: fn() -> Option<String>,
}

const fn case(name: &'static str, polls: bool, open: fn(&Place) -> Outcome<Box<dyn Way>>) -> Case {
    Case { name, polls, floor: false, alone: false, open, missing: || None }
}

pub const POLLED: &str = "faretra, polled";
pub const BLOCKING: &str = "faretra, spins, then sleeps";
pub const ICEORYX_POLLED: &str = "iceoryx2 publish/subscribe, polled";
pub const ICEORYX_EVENT: &str = "iceoryx2 publish/subscribe and event";
pub const EVENT: &str = "iceoryx2 event, no item";
pub const WORD: &str = "shared buffer, polled word";
pub const FUTEX: &str = "shared buffer, bare futex";
pub const SOCKET: &str = "Unix socket";

/// All of them, in the order in which they take turns.
pub const CASES: &[Case] = &[
    Case { floor: true, alone: true, ..case("memcpy into shared memory", true, buffer::memcpy) },
    Case { floor: true, ..case(WORD, true, buffer::polled) },
    case(POLLED, true, |place| ours::open(place, Wait::Polls, ours::Write::InPlace)),
    case(ICEORYX_POLLED, true, |place| iceoryx::publish(place, Wait::Polls)),
    case("iceoryx2 request/response, polled", true, |place| iceoryx::request(place, Wait::Polls)),
    case("mmap-sync, polled", true, segments::mmap_sync),
    Case { floor: true, ..case(FUTEX, false, buffer::futex) },
    case(BLOCKING, false, |place| ours::open(place, Wait::Blocks, ours::Write::InPlace)),
    case("faretra, sleeps at once", false, |place| ours::open(place, Wait::Sleeps, ours::Write::InPlace)),
    case("faretra, copied in", false, |place| ours::open(place, Wait::Blocks, ours::Write::Copied)),
    case(ICEORYX_EVENT, false, |place| iceoryx::publish(place, Wait::Sleeps)),
    case("iceoryx2 request/response and event", false, |place| iceoryx::request(place, Wait::Sleeps)),
    case("pipe", false, system::pipe),
    case(SOCKET, false, system::socket),
    Case { missing: system::no_queues, ..case("POSIX message queue", false, system::queue) },
    case("ipc-channel, bytes", false, ipc::bytes),
    case("ipc-channel, shared memory", false, ipc::shared),
    case("shared_memory by hand, a pipe", false, segments::by_hand),
    case("Arrow IPC file on tmpfs, a pipe", false, segments::arrow_file),
];

/// What goes there and back without an item, besides the ways of [`CASES`].
pub const BARE: &[Case] = &[case(EVENT, false, iceoryx::event)];

/// Bytes of memory that files of this name occupy in shared memory.
fn occupied(name: &str) -> u64 {
    fn of(path: &Path) -> u64 {
        // What goes away meanwhile occupies nothing.
        let Ok(data) = path.symlink_metadata() else { return 0 };
        let inside = || path.read_dir().into_iter().flatten().flatten().map(|entry| of(&entry.path())).sum::<u64>();
        data.blocks() * 512 + if data.is_dir() { inside() } else { 0 }
    }
    let all = Path::new("/dev/shm").read_dir().into_iter().flatten().flatten();
    all.filter(|entry| entry.file_name().to_string_lossy().contains(name)).map(|entry| of(&entry.path())).sum()
}

/// A pipe each way. Either side opens both ends of each, which waits for nobody: a side whose partner is dead would wait for ever.
pub struct Pipes {
    pub to: File,
    pub fro: File,
    side: usize,
}

impl Pipes {
    pub fn open(place: &Place) -> Outcome<Pipes> {
        let paths = [".to", ".fro"].map(|end| place.path(end));
        if place.side == 0 {
            for path in paths.iter().rev() {
                nix::unistd::mkfifo(path.as_str(), nix::sys::stat::Mode::S_IRWXU)?;
            }
        }
        until("the pipes", || Path::new(&paths[0]).exists())?;
        let [to, fro] = paths.map(|path| OpenOptions::new().read(true).write(true).open(path));
        Ok(Pipes { to: to?, fro: fro?, side: place.side })
    }

    pub fn say(&mut self) -> Outcome {
        let out = if self.side == 0 { &mut self.to } else { &mut self.fro };
        Ok(out.write_all(&[1])?)
    }

    pub fn hear(&mut self) -> Outcome {
        let from = if self.side == 0 { &mut self.fro } else { &mut self.to };
        Ok(from.read_exact(&mut [0])?)
    }
}
