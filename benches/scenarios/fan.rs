//! One item for 1, 2, 4 and 8 processes, each of which reads every byte: by name, and by feed, beside one shared buffer with a futex.
#![allow(unsafe_code, reason = "a bare futex and a plain shared mapping have no safe form")]

use std::fs::{File, OpenOptions};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use faretra::bytemuck;
use faretra::channel::Contents;
use faretra::feed::{Start, WhenFull};
use faretra::{Arena, Array, Feed, KIB, MIB, Object, Writer};
use memmap2::{Mmap, MmapMut};
use ndarray::Ix1;

use crate::crew::{Crew, Told, run_name};
use crate::measure::{Along, Table, Times, size};
use crate::pair::{DEADLINE, Outcome, Word, Words, clock, half, sum};
use crate::setting::Scale;

pub const READER: &str = "fan-reader";
const LARGEST: u64 = MIB;
const READERS: [u64; 4] = [1, 2, 4, 8];
const WAYS: [Way; 3] = [Way::Shared, Way::Name, Way::Feed];

/// How an item comes to everybody.
#[derive(Clone, Copy)]
enum Way {
    /// In one buffer of shared memory. A number says which item is in it.
    Shared,
    /// As the next version of a name, which all wait for.
    Name,
    Feed,
}

/// Wakes all who sleep on a word.
fn wake(word: &AtomicU32) {
    // SAFETY: the kernel only uses the address of a word that is mapped.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// Sleeps until a word is not what it was, and returns what it is.
fn await_other(word: &AtomicU32, than: u32) -> Outcome<u32> {
    let start = clock();
    loop {
        let now = word.load(SeqCst);
        if now != than {
            return Ok(now);
        }
        if clock() - start > DEADLINE.as_nanos() as u64 {
            return Err(format!("waited {DEADLINE:?} for the other processes").into());
        }
        let slice = libc::timespec { tv_sec: 1, tv_nsec: 0 };
        // SAFETY: the word is mapped, and the kernel only reads it and the time.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, than, &raw const slice) };
    }
}

/// What lies beside the arena, and is removed with this.
struct Beside(String);

impl Drop for Beside {
    fn drop(&mut self) {
        for end in [".words", ".buffer"] {
            // It may be gone already, and nothing depends on it.
            let _ = std::fs::remove_file(format!("/dev/shm/{}{end}", self.0));
        }
    }
}

fn beside(name: &str, end: &str) -> String {
    format!("/dev/shm/{name}{end}")
}

/// The process that writes.
struct Giver {
    words: Words,
    buffer: MmapMut,
    writer: Writer,
    feed: Feed,
    readers: u64,
    items: u32,
}

impl Giver {
    /// Writes an item, gives it to all, and waits until each has summed it: the time until the last one had.
    fn give(&mut self, way: Way, words: usize) -> Outcome<Duration> {
        self.items += 1;
        let seed = u64::from(self.items);
        self.words.word(Word::Seed).store(seed, SeqCst);
        self.words.word(Word::Ready).store(0, SeqCst);
        let start = clock();
        match way {
            Way::Shared => {
                bytemuck::cast_slice_mut::<u8, u64>(&mut self.buffer[..words * 8]).fill(seed);
                let item = half(self.words.word(Word::Go));
                item.store(self.items, SeqCst);
                wake(item);
            }
            Way::Name | Way::Feed => {
                let mut draft = self.writer.draft_array::<u64, Ix1>(words)?;
                draft.view_mut()?.fill(seed);
                match way {
                    Way::Feed => self.feed.append(draft).map_err(|e| e.to_string())?,
                    _ => drop(self.writer.publish("item", draft)?),
                }
            }
        }
        let read = half(self.words.word(Word::Ready));
        let mut seen = 0;
        while u64::from(seen) < self.readers {
            seen = await_other(read, seen)?;
        }
        Ok(Duration::from_nanos(self.words.word(Word::WasRead).load(SeqCst) - start))
    }
}

/// Sums each item, and says when it had.
pub fn reader(told: &Told) -> Outcome {
    let words = Words::open(&beside(&told.name, ".words"))?;
    // SAFETY: nobody changes the file's length, and nobody writes it while this process reads.
    let buffer = unsafe { Mmap::map(&File::open(beside(&told.name, ".buffer"))?)? };
    let arena = Arena::options().keep(false).open(&told.name)?;
    let mut subscriber = arena.subscribe("feed", Start::Newest)?;
    let readers = told.more[0];
    let (mut version, mut item) = (0, half(words.word(Word::Go)).load(SeqCst));
    told.serve(|line| {
        let [way, len, count] = *line else { return Err("three numbers".into()) };
        for _ in 0..count {
            let of_object = |object: Object| -> Outcome<(u64, u64)> {
                let array: Array<u64, Ix1> = object.try_into()?;
                Ok((sum(array.as_slice().ok_or("contiguous")?), array.len() as u64))
            };
            let (sum, had) = match WAYS[way as usize] {
                Way::Shared => {
                    item = await_other(half(words.word(Word::Go)), item)?;
                    (sum(bytemuck::cast_slice(&buffer[..len as usize * 8])), len)
                }
                Way::Name => {
                    let object = arena.wait_for_timeout("item", version, DEADLINE)?;
                    version = object.version();
                    of_object(object)?
                }
                Way::Feed => of_object(subscriber.recv_timeout(DEADLINE)?)?,
            };
            if sum != words.word(Word::Seed).load(SeqCst).wrapping_mul(len) || had != len {
                return Err("not what was given".into());
            }
            words.word(Word::WasRead).fetch_max(clock(), SeqCst);
            let read = half(words.word(Word::Ready));
            if u64::from(read.fetch_add(1, SeqCst)) + 1 == readers {
                wake(read);
            }
        }
        Ok(vec![])
    })
}

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    for readers in READERS {
        let name = run_name("fan");
        let left_behind = Beside(name.clone());
        let words = Words::make(&beside(&name, ".words"))?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(beside(&name, ".buffer"))?;
        file.set_len(LARGEST)?;
        // SAFETY: nobody changes the file's length; readers read only while this process waits.
        let buffer = unsafe { MmapMut::map_mut(&file)? };
        let arena = Arena::options().limit(256 * MIB).keep(false).create(&name)?;
        let writer = arena.writer()?;
        let feed = writer.feed_with("feed", 4, WhenFull::Block, Contents::Mixed)?;
        let mut crew = Crew::start(READER, &name, readers as usize, &[readers])?;
        let mut giver = Giver { words, buffer, writer, feed, readers, items: 0 };
        for (bytes, count) in [(KIB, 400), (LARGEST, 60)] {
            let (rounds, count) = (6, count / scale.hurry as u64);
            let mut times: [Times; WAYS.len()] = Default::default();
            for round in 0..=rounds {
                for (i, (way, times)) in WAYS.iter().zip(&mut times).enumerate() {
                    crew.tell(&[i as u64, bytes / 8, count])?;
                    for nth in 0..count {
                        let time = giver.give(*way, bytes as usize / 8)?;
                        // The first waits for all to come along.
                        if round > 0 && nth > 0 {
                            times.push(time, 1);
                        }
                    }
                    crew.answers()?;
                }
            }
            let of = Along::Processes(readers);
            let [floor, named, fed] = &times;
            let size = size(bytes);
            let futex = format!("{size} in a shared buffer, futex");
            for (ours, way) in [(named, "under a name"), (fed, "by a feed")] {
                let line = format!("{size} {way}");
                let lines = [line.as_str(), if way == "by a feed" { "" } else { futex.as_str() }];
                let what = format!("{size} {way}, written and summed by {readers}; floor: shared buffer");
                table.along(what, of, lines, ours, floor, "");
            }
        }
        crew.finish()?;
        drop(left_behind);
    }
    Ok(())
}
