//! Inputs made of seeds by a generator: the same numbers make the same input in every process, so that who dies need not tell it.

use fastrand::Rng;

/// The most bytes of an input that is not itself a seed.
const LONGEST: usize = 1 << 16;

/// Numbers at which code turns.
const TURNS: &[u64] = &[
    0,
    1,
    2,
    7,
    8,
    16,
    31,
    32,
    63,
    64,
    127,
    128,
    255,
    256,
    4095,
    4096,
    65_535,
    65_536,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX - 7,
    u64::MAX,
];

/// The input of that number: first each seed as it is, then changed ones.
pub fn input(seeds: &[Vec<u8>], words: &[&[u8]], seed: u64, number: u64) -> Vec<u8> {
    if let Some(whole) = usize::try_from(number).ok().and_then(|number| seeds.get(number)) {
        return whole.clone();
    }
    let mut random = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
    let mut bytes = pick(&mut random, seeds).to_vec();
    // Few changes find what one check lets through, many what follows from several.
    for _ in 0..1_usize << random.u32(0..5) {
        change(&mut random, &mut bytes, seeds, words);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn pick<'a>(random: &mut Rng, seeds: &'a [Vec<u8>]) -> &'a [u8] {
    if seeds.is_empty() { &[] } else { &seeds[random.usize(..seeds.len())] }
}

/// A stretch of at most `most` of `len` bytes.
fn stretch(random: &mut Rng, len: usize, most: usize) -> std::ops::Range<usize> {
    if len == 0 {
        return 0..0;
    }
    let start = random.usize(..len);
    start..start + random.usize(1..=most.min(len - start))
}

fn change(random: &mut Rng, bytes: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&[u8]]) {
    let len = bytes.len();
    let place = random.usize(..=len);
    match random.u32(0..12) {
        0 | 1 if len > 0 => bytes[place.min(len - 1)] ^= 1 << random.u32(0..8),
        2 if len > 0 => bytes[place.min(len - 1)] = random.u8(..),
        3 if len > 0 => {
            let at = place.min(len - 1);
            bytes[at] = bytes[at].wrapping_add(random.u8(1..=16)).wrapping_sub(8);
        }
        4 | 5 => {
            let turn = TURNS[random.usize(..TURNS.len())];
            let number = if random.bool() { turn } else { turn.wrapping_neg() };
            let width = [1, 2, 4, 8][random.usize(..4)].min(len);
            let at = random.usize(..=len - width);
            let mut number = number.to_le_bytes();
            if random.u32(0..4) == 0 {
                number[..width].reverse();
            }
            bytes[at..at + width].copy_from_slice(&number[..width]);
        }
        6 => drop(bytes.drain(stretch(random, len, 64))),
        7 => {
            let copy = bytes[stretch(random, len, 256)].to_vec();
            bytes.splice(place..place, copy);
        }
        8 => {
            let copy = bytes[stretch(random, len, 64)].to_vec();
            let to = random.usize(..=len - copy.len());
            bytes[to..to + copy.len()].copy_from_slice(&copy);
        }
        9 => {
            let other = pick(random, seeds);
            let piece = other[stretch(random, other.len(), 512)].to_vec();
            let end = (place + piece.len() * random.usize(0..2)).min(len);
            bytes.splice(place..end, piece);
        }
        10 if !words.is_empty() => {
            let word = words[random.usize(..words.len())];
            let end = (place + word.len() * random.usize(0..2)).min(len);
            bytes.splice(place..end, word.iter().copied());
        }
        11 if random.u32(0..4) == 0 => bytes.truncate(place),
        _ => {
            let new: Vec<u8> = (0..random.usize(1..=16)).map(|_| random.u8(..)).collect();
            bytes.splice(place..place, new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::input;
    use std::collections::BTreeSet;

    /// The numbers say it all, and few inputs are made twice.
    #[test]
    fn inputs_follow_from_their_numbers() {
        let seeds = [b"a,b\n1,2\n".to_vec(), vec![], vec![7; 300]];
        let of = |seed, number| input(&seeds, &[b"NaN"], seed, number);
        assert_eq!([of(1, 0), of(1, 1), of(1, 2)], seeds);
        let all: BTreeSet<_> = (3..3003).map(|number| of(1, number)).collect();
        assert!(all.len() > 2500, "{}", all.len());
        assert!((3..3003).all(|number| all.contains(&of(1, number))));
        assert!((3..103).filter(|number| all.contains(&of(2, *number))).count() < 60);
        assert_eq!(input(&[], &[], 1, 0), input(&[], &[], 1, 0));
    }
}
