//! How the bytes of one stored buffer come from those of the source: as they are, or changed on the way.

use std::ops::Deref;

use arrow_buffer::Buffer;

/// How bytes are copied into the arena: plain, or past the caches for large pieces.
pub(crate) type CopyBytes<'a> = &'a dyn Fn(&mut [u8], &[u8]);

/// Bytes that are copied: those of a plain column are lent by the batch; what was taken apart as
/// `ArrayData` has only its buffers left to live from.
pub(crate) enum Source<'a> {
    Lent(&'a [u8]),
    Kept(Buffer),
}

impl Deref for Source<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Source::Lent(bytes) => bytes,
            Source::Kept(buffer) => buffer,
        }
    }
}

/// How the bytes of one stored buffer come from the source.
pub(crate) enum Piece<'a> {
    /// Nothing, or `len` zeros.
    Zeros,
    /// As they are.
    Bytes(Source<'a>),
    /// `len` bits from bit `from` on.
    Bits { bits: Source<'a>, from: usize, len: usize },
    /// Offsets less the first one.
    Offsets { offsets: Source<'a>, width: usize, first: u64 },
    /// Offsets of list views, less `base`; 0 where the list is empty.
    ListViews { offsets: Buffer, sizes: Buffer, width: usize, base: u64 },
    /// Views into buffers that were cut by `bases` at the front.
    Views { views: Buffer, bases: Vec<u32> },
    /// Offsets of a dense union, less the base of the row's child.
    Dense { ids: Buffer, offsets: Buffer, bases: Box<[u32; 128]> },
    /// Run ends less `skip`, at most `len`.
    Runs { ends: Buffer, width: usize, skip: u64, len: u64 },
}

/// The unsigned integer `i` of a buffer of integers of `width` bytes; 0 beyond its end.
pub(crate) fn word_at(bytes: &[u8], width: usize, i: usize) -> u64 {
    let mut word = [0; 8];
    if let Some(b) = bytes.get(i * width..(i + 1) * width) {
        word[..width].copy_from_slice(b);
    }
    u64::from_le_bytes(word)
}

/// Maps the words of `from` into `out`. The compiler turns the two widths into vector loops.
fn map_words(out: &mut [u8], from: &[u8], width: usize, f32: impl Fn(u32) -> u32, f64: impl Fn(u64) -> u64) {
    if width == 4 {
        for (out, b) in out.as_chunks_mut::<4>().0.iter_mut().zip(from.as_chunks::<4>().0) {
            *out = f32(u32::from_le_bytes(*b)).to_le_bytes();
        }
    } else {
        for (out, b) in out.as_chunks_mut::<8>().0.iter_mut().zip(from.as_chunks::<8>().0) {
            *out = f64(u64::from_le_bytes(*b)).to_le_bytes();
        }
    }
}

impl Piece<'_> {
    /// Writes the stored buffer.
    #[inline]
    pub(crate) fn write(&self, out: &mut [u8], copy: CopyBytes<'_>) {
        match self {
            Piece::Zeros => out.fill(0),
            Piece::Bytes(bytes) => copy(out, bytes),
            Piece::Bits { bits, from, len } => write_bits(out, bits, *from, *len, copy),
            Piece::Offsets { offsets, width, first } => {
                let first = *first;
                map_words(out, offsets, *width, |o| o.wrapping_sub(first as u32), |o| o.wrapping_sub(first));
            }
            Piece::ListViews { offsets, sizes, width, base } => {
                for (i, out) in out.chunks_exact_mut(*width).enumerate() {
                    let empty = word_at(sizes, *width, i) == 0;
                    let at = if empty { 0 } else { word_at(offsets, *width, i).wrapping_sub(*base) };
                    out.copy_from_slice(&at.to_le_bytes()[..*width]);
                }
            }
            Piece::Views { views, bases } => {
                for (out, view) in out.as_chunks_mut::<16>().0.iter_mut().zip(views.as_chunks::<16>().0) {
                    let view = u128::from_le_bytes(*view);
                    let moved = match ViewOf::word(view) {
                        None => view,
                        Some(ViewOf { buffer, at, .. }) => {
                            let base = bases.get(buffer).copied().unwrap_or(0);
                            view & !(u128::from(u32::MAX) << 96) | u128::from(at.wrapping_sub(base)) << 96
                        }
                    };
                    *out = moved.to_le_bytes();
                }
            }
            Piece::Dense { ids, offsets, bases } => {
                let offsets = offsets.as_chunks::<4>().0;
                for ((out, at), &id) in out.as_chunks_mut::<4>().0.iter_mut().zip(offsets).zip(ids.as_slice()) {
                    let base = bases.get(usize::from(id)).copied().unwrap_or(0);
                    *out = u32::from_le_bytes(*at).wrapping_sub(base).to_le_bytes();
                }
            }
            Piece::Runs { ends, width, skip, len } => {
                for (i, out) in out.chunks_exact_mut(*width).enumerate() {
                    let end = word_at(ends, *width, i).saturating_sub(*skip).min(*len);
                    out.copy_from_slice(&end.to_le_bytes()[..*width]);
                }
            }
        }
    }
}

/// A view that looks into a buffer.
pub(crate) struct ViewOf {
    pub len: u32,
    pub buffer: usize,
    pub at: u32,
}

impl ViewOf {
    /// `None`: up to 12 bytes a view has in itself.
    #[inline]
    pub(crate) fn word(view: u128) -> Option<ViewOf> {
        let len = view as u32;
        (len > 12).then_some(ViewOf { len, buffer: (view >> 64) as u32 as usize, at: (view >> 96) as u32 })
    }
}

fn write_bits(out: &mut [u8], bits: &[u8], from: usize, len: usize, copy: CopyBytes<'_>) {
    let shift = from % 8;
    let source = bits.get(from / 8..).unwrap_or_default();
    if shift == 0 {
        copy(out, source.get(..out.len()).unwrap_or_default());
    } else {
        // Eight output bytes need nine input bytes; the end goes byte by byte.
        let mut i = 0;
        while let (Some(to), Some(b)) = (out.get_mut(i..i + 8), source.get(i..i + 9)) {
            let low = u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
            let word = low >> shift | u64::from(b[8]) << (64 - shift);
            to.copy_from_slice(&word.to_le_bytes());
            i += 8;
        }
        for (i, to) in out.iter_mut().enumerate().skip(i) {
            let low = source.get(i).copied().unwrap_or(0) >> shift;
            *to = low | source.get(i + 1).copied().unwrap_or(0) << (8 - shift);
        }
    }
    if let (Some(last), 1..) = (out.last_mut(), len % 8) {
        *last &= (1 << (len % 8)) - 1;
    }
}
