//! The memory that messages are read into.
//!
//! Fresh memory costs more than what is read into it: each page is entered and zeroed. So what a large message was read into is used
//! again for the next one, once nobody has a part of the batch any more; it is one mapping that waits, at most.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_buffer::{Buffer, MutableBuffer};
use bytes::Bytes;
use memmap2::{Advice, MmapMut};

use super::damage::affordable;
use crate::failure::Result;

/// So many bytes are memory of their own.
const FRESH: usize = 4 << 20;

/// What messages of one file or stream are read into.
#[derive(Default)]
pub struct Memory {
    spare: Arc<Mutex<Option<MmapMut>>>,
}

/// A mapping whose first bytes are a message; it waits for the next message when the last part of this one is dropped.
struct Lent {
    memory: Option<MmapMut>,
    length: usize,
    spare: Arc<Mutex<Option<MmapMut>>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.memory.as_deref().map_or(&[], |memory| &memory[..self.length])
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let larger = |memory: &MmapMut| spare.as_ref().is_none_or(|other| other.len() < memory.len());
        if let Some(memory) = self.memory.take().filter(larger) {
            *spare = Some(memory);
        }
    }
}

impl Memory {
    /// Reads so many bytes into memory that is aligned for any values, or tells how many came. Of more than `step` bytes nobody knows
    /// yet whether they come: the memory grows with what does.
    pub fn read(&self, source: &mut impl Read, count: u64, step: usize) -> Result<Result<Buffer, usize>> {
        let whole = usize::try_from(count).unwrap_or(usize::MAX);
        affordable(count.min(step as u64))?;
        if (FRESH..=step).contains(&whole) {
            let mut memory = self.take(whole)?;
            let came = fill(source, &mut memory[..whole])?;
            let lent = Lent { memory: Some(memory), length: whole, spare: Arc::clone(&self.spare) };
            return Ok(if came < whole { Err(came) } else { Ok(Buffer::from(Bytes::from_owner(lent))) });
        }
        let mut bytes = MutableBuffer::from_len_zeroed(whole.min(step));
        let mut begin = 0;
        while begin < whole {
            let more = bytes.len() - begin;
            let came = fill(source, &mut bytes[begin..])?;
            if came < more {
                return Ok(Err(begin + came));
            }
            begin = bytes.len();
            let more = (whole - begin).min(step.max(begin));
            affordable((begin + more) as u64)?;
            bytes.resize(begin + more, 0);
        }
        Ok(Ok(bytes.into()))
    }

    /// The mapping that waits, if it is large enough and not four times too large; a fresh one otherwise.
    fn take(&self, length: usize) -> io::Result<MmapMut> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        match spare.take().filter(|memory| (length..=length.saturating_mul(4)).contains(&memory.len())) {
            Some(memory) => Ok(memory),
            None => {
                // Zeros that nobody has to write, in few pages where the system has huge ones.
                let fresh = MmapMut::map_anon(length)?;
                let _ = fresh.advise(Advice::HugePage);
                Ok(fresh)
            }
        }
    }
}

/// Reads until the bytes are full or nothing comes any more; gives how many came.
pub fn fill(source: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < bytes.len() {
        match source.read(&mut bytes[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows that memory is used again only when nobody has a part of what was read into it, and that the next message is all that is
    /// seen of it.
    #[test]
    fn memory_is_used_again_when_nobody_has_it() {
        let memory = Memory::default();
        let read =
            |with: u8, length: usize| memory.read(&mut io::repeat(with), length as u64, usize::MAX).unwrap().unwrap();
        let first = read(1, 2 * FRESH);
        let (at, part) = (first.as_ptr(), first.slice_with_length(FRESH, 8));
        drop(first);
        let second = read(2, 2 * FRESH);
        assert_ne!(second.as_ptr(), at, "somebody has a part of it");
        assert_eq!(part.as_slice(), [1; 8]);
        drop(second);
        drop(part);
        // Both wait, and one of them is kept.
        let third = read(3, FRESH);
        assert_eq!(third.as_slice(), vec![3; FRESH]);
        let fourth = read(4, FRESH);
        assert_ne!(fourth.as_ptr(), third.as_ptr());
        assert_eq!(third.as_slice(), vec![3; FRESH]);
        drop(fourth);
        assert_eq!(memory.take(100 * FRESH).unwrap().len(), 100 * FRESH);
    }
}
