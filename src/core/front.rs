//! The first page of a segment: what it is, whichever system keeps it.
//!
//! It is *parsed into* a [`Geometry`], then trusted: magic, version, features, numbers, their checksum and the segment's size
//! are checked once, when it is opened.
//!
//! * G1: the first page never changes after the segment has its name.

use std::sync::atomic::Ordering::Relaxed;

use crate::core::geometry::{Geometry, HEAD_WORDS, PAGE, Params, SEAT_WORDS, SUMS_FEATURE, Sums, header};
use crate::core::mem::Mem;
use crate::core::word::Stay;

/// `faretra` and a line break, so that a text-mode copy is noticed.
pub const MAGIC: u64 = u64::from_le_bytes(*b"faretra\n");
/// Version of the layout. Another version is refused: this one does not convert.
pub const VERSION: u64 = 6;
/// Features that this version knows.
const KNOWN_INCOMPATIBLE: u64 = SUMS_FEATURE;
const PARAM_COUNT: usize = 7;
/// Bytes of the first page that say something.
pub const BYTES: usize = header::CHECKSUM as usize + 8;

#[cfg(not(target_endian = "little"))]
compile_error!("the segment's format is little-endian");

/// What a new segment has in memory from the beginning: offsets and lengths.
pub fn first_ranges(geo: &Geometry) -> [(u64, u64); 6] {
    [
        (0, 2 * PAGE),
        (geo.seat_words, geo.params.seats * 8),
        (geo.seats, geo.params.seats * SEAT_WORDS * 8),
        (geo.permits, geo.params.permits * 8),
        (geo.buckets, geo.params.buckets * 8),
        (geo.heads, geo.zones.len() as u64 * HEAD_WORDS * 8),
    ]
}

/// Writes the first page, and what the second says once more.
pub fn write(mem: &impl Mem, geo: &Geometry) {
    let put = |off, value| mem.store(off, value, Relaxed);
    put(header::MAGIC, MAGIC);
    put(header::VERSION, VERSION);
    put(header::COMPATIBLE, 0);
    put(header::INCOMPATIBLE, if geo.params.sums == Sums::Kept { SUMS_FEATURE } else { 0 });
    for (i, value) in params_words(&geo.params).into_iter().enumerate() {
        put(header::PARAMS + i as u64 * 8, value);
    }
    put(header::TOTAL, geo.total);
    put(header::STAY, geo.params.stay.word());
    put(header::STAY_AGAIN, geo.params.stay.word());
    put(header::CHECKSUM, checksum(|off| mem.load(off, Relaxed)));
}

/// Reads and checks the first page. On error: what is wrong with it.
pub fn parse(word: impl Fn(u64) -> u64) -> Result<Geometry, String> {
    if word(header::MAGIC) != MAGIC {
        return Err("it does not begin like an arena; it is somebody else's file".into());
    }
    if word(header::VERSION) != VERSION {
        let found = word(header::VERSION);
        return Err(format!(
            "its format is version {found}, this program reads version {VERSION}; make a new arena beside it and put the data there"
        ));
    }
    let unknown = word(header::INCOMPATIBLE) & !KNOWN_INCOMPATIBLE;
    if unknown != 0 {
        return Err(format!("it uses features that this version does not know ({unknown:#x}); use a newer version"));
    }
    if word(header::CHECKSUM) != checksum(&word) {
        return Err("its header is damaged: the checksum differs".into());
    }
    let p = |i: u64| word(header::PARAMS + i * 8);
    let stay = Stay::of(word(header::STAY)).ok_or("its header is damaged: it does not say how long the arena stays")?;
    let params = Params {
        capacity: p(0),
        seats: p(1),
        permits: p(2),
        buckets: p(3),
        max_slots: p(4),
        shared: p(5),
        shared_top: p(6),
        stay,
        sums: if word(header::INCOMPATIBLE) & SUMS_FEATURE == 0 { Sums::None } else { Sums::Kept },
    };
    let geo = Geometry::new(params).map_err(|e| format!("its header is damaged: {e}"))?;
    if geo.total != word(header::TOTAL) {
        return Err(cut(word(header::TOTAL), geo.total));
    }
    Ok(geo)
}

/// What is wrong with a segment that has another size than its numbers say.
pub fn cut(size: u64, total: u64) -> String {
    format!("it has {size} bytes where {total} belong: it was cut or grown by another program")
}

fn params_words(p: &Params) -> [u64; PARAM_COUNT] {
    [p.capacity, p.seats, p.permits, p.buckets, p.max_slots, p.shared, p.shared_top]
}

/// FNV-1a over the header's words before it.
fn checksum(word: impl Fn(u64) -> u64) -> u64 {
    let words = (0..header::CHECKSUM).step_by(8).map(word);
    words.fold(0xcbf2_9ce4_8422_2325, |h, w| (h ^ w).wrapping_mul(0x100_0000_01b3).rotate_left(17))
}
