//! The one copy in, and the checksum that is taken on its way.
//!
//! An object's **checksum** is the sum, modulo 2^64, of the XXH3 hashes (Collet, 2019; 64 bits, seeded with their number)
//! of its blocks of 64 KiB, and of its length. A sum because blocks can be hashed in any order and by any thread: a copy hashes each
//! block that it covers whole, just before that is copied and so read from the cache ([`Sums::copy`]); the few others are hashed
//! when the object is sealed ([`Sums::seal`]), as is all of what was written in place.
//!
//! * S1: a hash that a copy took is forgotten when anybody may write the bytes again ([`Sums::forget`]).
//! * S2: what is summed begins behind the list of parts, which the core writes; its rules are checked by `verify`.
//! * M4: non-temporal stores are fenced before the copy returns, so the put that follows publishes them.
#![allow(unsafe_code, reason = "stores past the cache")]

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use twox_hash::XxHash3_64;

use crate::core::crew::Crew;

/// From this size on a copy goes around the cache: 0.6 to 0.8 of the time of memcpy, and the reader's
/// cache stays as it was. Below, the copy is likely to be read from the cache.
const STREAM_FROM: u64 = 8 << 20;
/// A copy that is worth a thread, in bytes: half a millisecond.
const COPY_BY_ONE: u64 = 12 << 20;
/// How far ahead of the copy the source is asked for: further than the processor's own prefetching looks.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 8 << 10;
/// What is entered in the page tables before it is copied to.
const ENTERED: usize = 1 << 20;
/// What a fault of a read enters, where the kernel has the pages: the kernel's `fault_around_bytes`, as it is by default.
const AROUND: usize = 64 << 10;

/// How bytes are copied into the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copying {
    Cached,
    AroundTheCache,
}

impl Copying {
    /// The better way for a value of so many bytes.
    pub(crate) fn of(bytes: u64) -> Copying {
        if bytes >= STREAM_FROM { Copying::AroundTheCache } else { Copying::Cached }
    }
}

/// How bytes are copied into an object, and what is learned of its checksum by it.
pub(crate) struct Filler {
    pub how: Copying,
    /// Where objects have checksums.
    pub sums: Option<Arc<Sums>>,
}

impl Filler {
    /// Copies `from` to `to`, which lies in the object and is as long.
    pub(crate) fn put(&self, to: &mut [u8], from: &[u8]) {
        self.put_by(COPY_BY_ONE, to, from);
    }

    /// Copies as [`Filler::put`] does, on this thread alone.
    pub(crate) fn put_here(&self, to: &mut [u8], from: &[u8]) {
        self.put_by(u64::MAX, to, from);
    }

    fn put_by(&self, by_one: u64, to: &mut [u8], from: &[u8]) {
        match &self.sums {
            Some(sums) => sums.copy(to, from, self.how, by_one),
            None => copy(to, from, self.how, by_one),
        }
    }
}

/// Runs `fill` on each object of several, whose longest has `longest` bytes of `of`. It is given how bytes are copied: on
/// the thread that fills the object, where several threads fill objects, and by several threads where one object is most of
/// them.
pub(crate) fn fill_all<T: Send>(
    objects: impl Iterator<Item = (T, Filler)> + Send,
    [longest, of]: [u64; 2],
    fill: impl Fn(T, &dyn Fn(&mut [u8], &[u8])) + Sync,
) {
    let crew = Crew::new(of, COPY_BY_ONE);
    if !crew.is_one() && Copying::of(of) == Copying::AroundTheCache && longest <= of / 2 {
        return crew.share_out(objects, |(object, filler)| fill(object, &|to, from| filler.put_here(to, from)));
    }
    objects.for_each(|(object, filler)| fill(object, &|to, from| filler.put(to, from)));
}

/// Copies `src` to `dst`, which have the same length. What `by_one` is to [`Crew::new`].
fn copy(dst: &mut [u8], src: &[u8], how: Copying, by_one: u64) {
    assert_eq!(dst.len(), src.len());
    if how == Copying::Cached {
        return cached(dst, src);
    }
    let crew = Crew::new(src.len() as u64, by_one);
    let part = crew.part() as usize;
    crew.share_out(dst.chunks_mut(part).zip(src.chunks(part)), |(dst, src)| around_the_cache(dst, src));
}

fn cached(dst: &mut [u8], src: &[u8]) {
    enter(dst);
    dst.copy_from_slice(src);
}

fn around_the_cache(dst: &mut [u8], src: &[u8]) {
    for (dst, src) in dst.chunks_mut(ENTERED).zip(src.chunks(ENTERED)) {
        enter(dst);
        #[cfg(target_arch = "x86_64")]
        if src.len() >= 4096 && std::arch::is_x86_feature_detected!("avx") {
            // SAFETY: AVX is there.
            unsafe { stream(dst, src) };
            continue;
        }
        dst.copy_from_slice(src);
    }
}

/// Enters pages that are in memory in the page tables of this process, many at a time: memory that another process has
/// touched is new to this one.
///
/// A fault of a write enters one page. A fault of a read enters those around it too, and as pages that can be written,
/// because a tmpfs does not ask to be told of the first write. The faults are a fifth of the time then that memcpy takes with
/// a fault for each page; MADV_POPULATE_WRITE takes two thirds of it. A read of what is entered already costs nothing beside
/// the copy.
fn enter(bytes: &[u8]) {
    if bytes.len() < AROUND {
        return;
    }
    let first = bytes.as_ptr().align_offset(AROUND).min(bytes.len());
    let each = bytes[first..].iter().step_by(AROUND);
    bytes.first().into_iter().chain(each).for_each(|byte| {
        std::hint::black_box(*byte);
    });
}

/// # Safety
///
/// The processor has AVX.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn stream(dst: &mut [u8], src: &[u8]) {
    use std::arch::x86_64::{__m256i, _MM_HINT_T0, _mm_prefetch, _mm_sfence, _mm256_loadu_si256, _mm256_stream_si256};
    assert_eq!(dst.len(), src.len());
    let head = dst.as_ptr().align_offset(64).min(dst.len());
    dst[..head].copy_from_slice(&src[..head]);
    let (to, from) = (&mut dst[head..], &src[head..]);
    let (lines, tail) = to.as_chunks_mut::<64>();
    let (sources, rest) = from.as_chunks::<64>();
    for (to, from) in lines.iter_mut().zip(sources) {
        let (to, from) = (to.as_mut_ptr().cast::<__m256i>(), from.as_ptr().cast::<__m256i>());
        // A hint, which may name any address, so that it reads nothing.
        #[allow(unused_unsafe, reason = "the intrinsic is safe in newer compilers")]
        // SAFETY: as said.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(from.cast::<i8>().wrapping_add(AHEAD));
        }
        for half in 0..2 {
            // SAFETY: the first or second 32 bytes of 64, of any alignment.
            let value = unsafe { _mm256_loadu_si256(from.wrapping_add(half)) };
            // SAFETY: as above, and 32-aligned because `head` made the first one so.
            unsafe { _mm256_stream_si256(to.wrapping_add(half), value) };
        }
    }
    tail.copy_from_slice(rest);
    _mm_sfence(); // M4
}

/// What is hashed at a time, and summed up.
const BLOCK: usize = 64 << 10;

/// The hash of block `number`, never 0.
fn hash(block: &[u8], number: usize) -> u64 {
    XxHash3_64::oneshot_with_seed(number as u64, block).max(1)
}

/// The checksum of some bytes that no table tells the sum of: of a column that lies in its batch's root.
pub(crate) fn hash_of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> u64 {
    pieces.enumerate().fold(0, |sum, (i, piece)| sum.wrapping_add(hash(piece, i)))
}

/// The checksum of a whole object, from `front` on (S2). Never 0.
pub(crate) fn sum_of(object: &[u8], front: usize) -> u64 {
    total(object, front, object.len(), |_| 0)
}

/// The sum over an object's blocks, of which `known` tells some hashes (0: not this one's), and about `unknown` bytes are to be
/// hashed. Never 0.
fn total(object: &[u8], front: usize, unknown: usize, known: impl Fn(usize) -> u64 + Sync) -> u64 {
    let sum = AtomicU64::new(object.len() as u64);
    let blocks = object.chunks(BLOCK).enumerate();
    Crew::new(unknown as u64, SUM_BY_ONE).share_out(blocks, |(i, block)| {
        let from = front.saturating_sub(i * BLOCK).min(block.len());
        let add = match known(i) {
            known if known != 0 && from == 0 => known,
            _ => hash(&block[from..], i),
        };
        sum.fetch_add(add, Relaxed);
    });
    sum.into_inner().max(1)
}

/// A sum that is worth a thread, in bytes.
const SUM_BY_ONE: u64 = 24 << 20;

/// A block that is copied, where from, where its hash goes, and its number.
type Block<'a> = (((&'a mut [u8], &'a [u8]), &'a AtomicU64), usize);

/// The hashes of an object's blocks that were taken so far, while it is written.
#[derive(Debug)]
pub(crate) struct Sums {
    /// Address of the object's first byte.
    base: usize,
    /// 0: not known. The last block may be short.
    blocks: Box<[AtomicU64]>,
}

impl Sums {
    pub(crate) fn new(base: *const u8, len: usize) -> Sums {
        let blocks = std::iter::repeat_with(|| AtomicU64::new(0)).take(len.div_ceil(BLOCK)).collect();
        Sums { base: base.addr(), blocks }
    }

    /// S1.
    pub(crate) fn forget(&self) {
        self.blocks.iter().for_each(|block| block.store(0, Relaxed));
    }

    /// Copies `src` to `dst`, which lies in the object and is as long, and takes the hashes of the blocks that it covers.
    fn copy(&self, dst: &mut [u8], src: &[u8], how: Copying, by_one: u64) {
        assert_eq!(dst.len(), src.len());
        let from = dst.as_ptr().addr() - self.base;
        let first = from.div_ceil(BLOCK);
        let whole = ((from + dst.len()) / BLOCK).saturating_sub(first);
        if whole == 0 {
            return copy(dst, src, how, by_one);
        }
        let head = first * BLOCK - from;
        let (dst, src) = (dst.split_at_mut(head), src.split_at(head));
        copy(dst.0, src.0, how, by_one);
        let (dst, src) = (dst.1.split_at_mut(whole * BLOCK), src.1.split_at(whole * BLOCK));
        let blocks = dst.0.chunks_mut(BLOCK).zip(src.0.chunks(BLOCK)).zip(&self.blocks[first..]).zip(first..);
        let one = |(((dst, src), sum), number): Block<'_>| {
            sum.store(hash(src, number), Relaxed);
            match how {
                Copying::Cached => cached(dst, src),
                Copying::AroundTheCache => around_the_cache(dst, src),
            }
        };
        match how {
            Copying::Cached => blocks.for_each(one),
            Copying::AroundTheCache => Crew::new((whole * BLOCK) as u64, by_one).share_out(blocks, one),
        }
        copy(dst.1, src.1, how, by_one);
    }

    /// The checksum of the object, which is as it will stay: as [`sum_of`] finds it.
    pub(crate) fn seal(&self, object: &[u8], front: usize) -> u64 {
        let unknown = self.blocks.iter().filter(|known| known.load(Relaxed) == 0).count() * BLOCK;
        total(object, front, unknown, |i| self.blocks[i].load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The streaming copy copies every byte, whatever the alignment of either side.
    #[test]
    fn streaming_copies_everything() {
        let src: Vec<u8> = (0..20_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
        for (from, to, len) in [(0, 0, 20_000), (1, 3, 19_000), (7, 31, 4096), (5, 0, 4097), (0, 1, 100)] {
            let mut dst = vec![0xAA; 20_100];
            copy(&mut dst[to..to + len], &src[from..from + len], Copying::AroundTheCache, COPY_BY_ONE);
            assert!(dst[..to].iter().all(|b| *b == 0xAA));
            assert_eq!(dst[to..to + len], src[from..from + len]);
            assert!(dst[to + len..].iter().all(|b| *b == 0xAA));
        }
    }

    /// Whatever was copied by which way and in which pieces, or written in place: the sum is that of the bytes.
    #[test]
    fn a_sealed_sum_is_the_sum_of_the_bytes() {
        let src: Vec<u8> = (0..9 * BLOCK as u32 + 77).map(|i| ((i * 31) >> 3) as u8).collect();
        for how in [Copying::Cached, Copying::AroundTheCache] {
            for (front, cuts) in
                [(0, vec![0]), (64, vec![64]), (64, vec![64, 100, 70_000, 7 * BLOCK + 1]), (0, vec![BLOCK])]
            {
                let mut dst = vec![0xAA; src.len()];
                let sums = Sums::new(dst.as_ptr(), dst.len());
                let ends = cuts.iter().skip(1).copied().chain([dst.len()]);
                for (from, to) in cuts.iter().copied().zip(ends) {
                    sums.copy(&mut dst[from..to], &src[from..to], how, COPY_BY_ONE);
                }
                assert_eq!(dst[cuts[0]..], src[cuts[0]..]);
                assert_eq!(sums.seal(&dst, front), sum_of(&dst, front));
                // Written again.
                dst[5 * BLOCK + 3] ^= 1;
                sums.forget();
                assert_eq!(sums.seal(&dst, front), sum_of(&dst, front));
            }
        }
    }

    /// Each byte behind the list of parts counts, where it stands, and how many there are.
    #[test]
    fn every_byte_counts() {
        let object = vec![7; 2 * BLOCK + 10];
        let sum = sum_of(&object, 64);
        for at in [64, BLOCK - 1, BLOCK, 2 * BLOCK + 9] {
            let mut other = object.clone();
            other[at] ^= 0x10;
            assert_ne!(sum_of(&other, 64), sum, "{at}");
        }
        let mut same = object.clone();
        same[63] ^= 1;
        assert_eq!(sum_of(&same, 64), sum);
        assert_ne!(sum_of(&object[..2 * BLOCK + 9], 64), sum);
        // Two equal changes of two blocks, or two blocks in each other's place, do not cancel out.
        let mut two = object.clone();
        (two[BLOCK + 5], two[5 + 64]) = (8, 8);
        assert_ne!(sum_of(&two, 0), sum_of(&object, 0));
        let mut one = object.clone();
        one[BLOCK..2 * BLOCK].fill(8);
        let mut other = object.clone();
        other[..BLOCK].fill(8);
        assert_ne!(sum_of(&one, 0), sum_of(&other, 0));
        assert_ne!(sum_of(&[], 0), 0);
    }
}
