//! The floors: one buffer of shared memory that both sides have mapped, with a bare futex or a polled word that says that
//! it is full; and a copy into it by one process alone.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;

use faretra::bytemuck;
use memmap2::MmapRaw;

use super::{Place, Stamps, Sum, Way, fill};
use crate::pair::{Outcome, Wait, Word, Words, futex_set, futex_wait, half, until};

struct Buffer {
    map: MmapRaw,
    bells: Words,
    wait: Wait,
    side: usize,
    words: usize,
}

pub fn futex(place: &Place) -> Outcome<Box<dyn Way>> {
    Ok(Box::new(Buffer::open(place, Wait::Sleeps)?))
}

pub fn polled(place: &Place) -> Outcome<Box<dyn Way>> {
    Ok(Box::new(Buffer::open(place, Wait::Polls)?))
}

impl Buffer {
    fn open(place: &Place, wait: Wait) -> Outcome<Buffer> {
        let (buffer, bells) = (place.path(".buffer"), place.path(".bells"));
        let bells = match place.side {
            0 => {
                let file = OpenOptions::new().read(true).write(true).create_new(true).open(&buffer)?;
                file.set_len(place.words as u64 * 8)?;
                Words::make(&bells)?
            }
            _ => {
                // It has its length before it is seen by the reader, who looks for the second file.
                until("the buffer", || Path::new(&bells).metadata().is_ok_and(|data| data.len() > 0))?;
                Words::open(&bells)?
            }
        };
        let file = OpenOptions::new().read(true).write(true).open(&buffer)?;
        Ok(Buffer { map: MmapRaw::map_raw(&file)?, bells, wait, side: place.side, words: place.words })
    }

    fn set(&self, word: Word) {
        let word = half(self.bells.word(word));
        match self.wait {
            Wait::Polls => word.store(1, SeqCst),
            _ => futex_set(word),
        }
    }

    fn wait(&self, word: Word) {
        let word = half(self.bells.word(word));
        match self.wait {
            Wait::Polls => {
                while word.swap(0, SeqCst) == 0 {
                    std::hint::spin_loop();
                }
            }
            _ => futex_wait(word),
        }
    }
}

impl Way for Buffer {
    fn give(&mut self, seed: u64, stamps: &Stamps<'_>) -> Outcome {
        stamps.starts();
        // SAFETY: the mapping is as long and aligned; side 1 reads only between the two words, while this side waits.
        let words = unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast::<u64>(), self.words) };
        fill(words, seed);
        stamps.sends();
        self.set(Word::To);
        Ok(())
    }

    fn take(&mut self, stamps: &Stamps<'_>) -> Outcome<Sum> {
        self.wait(Word::To);
        stamps.received();
        // SAFETY: the mapping is as long and aligned; side 0 writes only after this side has said that it has read.
        let words = unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<u64>(), self.words) };
        let sum = Sum::of(words);
        stamps.was_read();
        Ok(sum)
    }

    fn say(&mut self) -> Outcome {
        self.set(if self.side == 0 { Word::To } else { Word::Fro });
        Ok(())
    }

    fn hear(&mut self) -> Outcome {
        self.wait(if self.side == 0 { Word::Fro } else { Word::To });
        Ok(())
    }
}

/// Side 0 copies, and nobody reads: what memory itself takes.
struct Memcpy {
    from: Vec<u64>,
    to: MmapRaw,
}

pub fn memcpy(place: &Place) -> Outcome<Box<dyn Way>> {
    let path = place.path(".copy");
    if place.side == 0 {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        file.set_len(place.words as u64 * 8)?;
    }
    until("the file", || Path::new(&path).metadata().is_ok_and(|data| data.len() == place.words as u64 * 8))?;
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    let mut from = vec![0; place.words];
    fill(&mut from, 1);
    Ok(Box::new(Memcpy { from, to: MmapRaw::map_raw(&file)? }))
}

impl Way for Memcpy {
    fn give(&mut self, seed: u64, stamps: &Stamps<'_>) -> Outcome {
        self.from[0] = seed;
        stamps.starts();
        stamps.sends();
        let bytes: &[u8] = bytemuck::cast_slice(&self.from);
        // SAFETY: the mapping is as long, and nobody else uses the file.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.to.as_mut_ptr(), bytes.len()) };
        std::hint::black_box(self.to.as_mut_ptr());
        stamps.received();
        stamps.was_read();
        Ok(())
    }

    fn take(&mut self, _: &Stamps<'_>) -> Outcome<Sum> {
        Err("nobody reads what is copied".into())
    }

    fn say(&mut self) -> Outcome {
        Err("one process has nobody to talk to".into())
    }

    fn hear(&mut self) -> Outcome {
        Err("one process has nobody to listen to".into())
    }
}
