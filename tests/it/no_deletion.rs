//! Shows that damage deletes nothing: whatever the words say that decide about an arena's end, no ordinary command and no
//! process that leaves takes a kept arena's name away. Only what two words call ephemeral is cleaned up.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use faretra::{Arena, MIB, Options};

use crate::obey::forked;
use crate::support::{Dir, until};
use crate::values::Random;

const PAGE: u64 = 4096;

/// A kept arena, and its file, by which it is damaged.
struct Kept {
    dir: Dir,
    file: File,
    inode: u64,
}

impl Kept {
    fn new() -> Kept {
        let dir = Dir::new();
        let arena = Arena::options().dir(&dir.0).limit(4 * MIB).capacity(4 * MIB).create("a").expect("an arena");
        arena.writer().expect("a permit").publish("x", b"kept".as_slice()).expect("room");
        let file = File::options().read(true).write(true).open(arena.path()).expect("the file");
        let inode = file.metadata().expect("a file").ino();
        Kept { dir, file, inode }
    }

    fn options(&self) -> Options {
        Arena::options().dir(&self.dir.0)
    }

    fn word(&self, off: u64) -> u64 {
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, off).expect("read");
        u64::from_le_bytes(word)
    }

    fn write(&self, off: u64, word: u64) {
        self.file.write_all_at(&word.to_le_bytes(), off).expect("written");
    }

    /// Does all that does not ask for the arena's removal, and demands that its name leads to the same file still.
    fn is_left(&self, what: impl Fn() -> String) {
        let ask = || {
            let _ = self.options().list();
            if let Ok(seen) = self.options().observe("a") {
                let _ = (seen.names(), seen.stats(), seen.who(), seen.verify());
            }
            if let Ok(arena) = self.options().open("a") {
                let _ = (arena.names(), arena.get("x").map(drop), arena.stats(), arena.who(), arena.channels());
                let _ = arena.try_wait_for("x", 9);
                let _ = (arena.recover(), arena.trim());
                let _ = arena.end_if_alone();
            }
            let _ = self.options().spare_seat().open("a").map(drop);
            let _ = self.options().open_or_create("a").map(drop);
            let _ = self.options().keep(false).open_or_create("a").map(drop);
        };
        ask();
        let found = std::fs::metadata(self.dir.0.join("faretra.a"));
        assert_eq!(found.ok().map(|file| file.ino()), Some(self.inode), "{} deleted the arena", what());
    }

    /// As it was, it has all that it had.
    fn is_whole(&self) {
        let arena = self.options().open("a").expect("undamaged again");
        assert_eq!(arena.verify().expect("looked at"), []);
        assert_eq!(arena.get("x").expect("kept").bytes().expect("bytes"), b"kept");
    }
}

/// The words of page 1 that are used, and those of the first seats.
fn words_that_change(kept: &Kept) -> Vec<u64> {
    let mut all: Vec<u64> = (PAGE..2 * PAGE).step_by(8).filter(|off| kept.word(*off) != 0).collect();
    // The arena's own life is 0 while it is open; behind it are the others.
    all.extend((PAGE..PAGE + 40).step_by(8));
    // Seats' words come behind a guard page, and their records behind another.
    all.extend([3 * PAGE, 3 * PAGE + 8]);
    let records = (3 * PAGE + 256 * 8).next_multiple_of(PAGE) + PAGE;
    all.extend((records..records + 24 * 8).step_by(8).filter(|off| kept.word(*off) != 0));
    all.sort_unstable();
    all.dedup();
    all
}

/// Each bit of the first page, of the words of the second and of seats is another, in an arena that nobody uses.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "writes words into the arena's file")]
fn no_flipped_bit_deletes_an_arena() {
    let kept = Kept::new();
    let mut random = Random(3);
    let mut flips = 0;
    let header = (0..112).step_by(8).flat_map(|off| (0..64).map(move |bit| (off, bit)));
    let rest: Vec<_> = (112..PAGE).step_by(8).map(|off| (off, random.below(64))).collect();
    let changing = words_that_change(&kept);
    let changing = changing.iter().flat_map(|off| (0..64).map(move |bit| (*off, bit)));
    for (off, bit) in header.chain(rest).chain(changing) {
        let before = kept.word(off);
        kept.write(off, before ^ 1 << bit);
        kept.is_left(|| format!("bit {bit} of the word {before:#x} at {off:#x}"));
        kept.write(off, before);
        flips += 1;
    }
    kept.is_whole();
    eprintln!("{flips} bits flipped, none of which deleted the arena");
}

/// Each of those bits is another while somebody takes part, who then leaves.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "writes words into the arena's file")]
fn nobody_who_leaves_deletes_a_damaged_arena() {
    let kept = Kept::new();
    for off in words_that_change(&kept) {
        for bit in 0..64 {
            let arena = kept.options().open("a").expect("undamaged");
            let before = kept.word(off);
            kept.write(off, before ^ 1 << bit);
            drop(arena);
            let found = std::fs::metadata(kept.dir.0.join("faretra.a"));
            assert_eq!(found.ok().map(|f| f.ino()), Some(kept.inode), "bit {bit} of {before:#x} at {off:#x}");
            // What the leaving one changed stays: a seat's word.
            if kept.word(off) == before ^ 1 << bit || off < 3 * PAGE {
                kept.write(off, before);
            }
            if off >= 3 * PAGE {
                // Whatever the damage made of the seat: free.
                kept.write(3 * PAGE, 0);
            }
        }
    }
    kept.is_whole();
}

/// Zeros, ones and anything else over all of either page.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "writes words into the arena's file")]
fn no_scribbled_page_deletes_an_arena() {
    let kept = Kept::new();
    let mut random = Random(5);
    for round in 0..40 {
        for page in [0, PAGE] {
            let words = (page..page + PAGE).step_by(8);
            let before: Vec<u64> = words.clone().map(|off| kept.word(off)).collect();
            for off in words.clone() {
                let word = match round {
                    0 => 0,
                    1 => u64::MAX,
                    2 => 1 << 62,
                    3 => 1 << 63,
                    _ if random.below(8) == 0 => random.below(u64::MAX),
                    _ => kept.word(off),
                };
                kept.write(off, word);
            }
            kept.is_left(|| format!("round {round} over page {page:#x}"));
            words.zip(before).for_each(|(off, word)| kept.write(off, word));
        }
    }
    kept.is_whole();
}

/// What is wrong with these words is told by `verify`, an impossible end is made good by who opens the arena, and removing
/// a damaged arena removes it.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "writes words into the arena's file")]
fn a_damaged_end_is_told_and_made_good() {
    let kept = Kept::new();
    let (life, again) = (PAGE, PAGE + 24);
    kept.write(again, u64::from_le_bytes(*b"EPHEMERA"));
    let seen = kept.options().observe("a").expect("readable").verify().expect("looked at");
    assert!(seen.len() == 1 && seen[0].what.contains("said twice"), "{seen:?}");
    assert!(kept.options().list().expect("list")[0].keep);
    for word in [1 << 62, 77, 1 << 63 | 40_000 << 32] {
        kept.write(life, word);
        drop(kept.options().open("a").expect("it has its name"));
        assert_eq!(kept.word(life), 0, "open again");
    }
    // While somebody takes part, too: who removes it is not told that it is gone because a word says so.
    let arena = kept.options().open("a").expect("open");
    kept.write(life, 1 << 62);
    kept.options().remove("a").expect("removed");
    assert!(!kept.dir.0.join("faretra.a").exists());
    assert_eq!(arena.get("x").expect("there").bytes().expect("bytes"), b"kept");
}

fn abandoned(dir: &Path) -> std::path::PathBuf {
    let child = forked(|| {
        let arena = Arena::options().dir(dir).limit(4 * MIB).capacity(4 * MIB).keep(false).create("e");
        std::mem::forget(arena.expect("an arena"));
        0
    });
    nix::sys::wait::waitpid(child, None).expect("our child");
    let path = dir.join("faretra.e");
    assert!(path.exists());
    path
}

/// An ephemeral arena of the dead is cleaned up, by a list and by an open; if one of its two words is damaged, it stays until
/// it is removed.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "writes words into the arena's file")]
fn an_ephemeral_arena_is_still_cleaned_up() {
    let dir = Dir::new();
    let options = || Arena::options().dir(&dir.0);
    let path = abandoned(&dir.0);
    until("the dead to be found", || options().list().expect("list").is_empty().then_some(()));
    assert!(!path.exists());
    let path = abandoned(&dir.0);
    until("the dead to be found", || options().open("e").is_err().then_some(()));
    assert!(!path.exists());
    let path = abandoned(&dir.0);
    let file = File::options().read(true).write(true).open(&path).expect("the file");
    file.write_all_at(&[0], PAGE + 24).expect("written");
    assert!(options().list().expect("list")[0].keep);
    let arena = options().open("e").expect("it stays");
    assert!(matches!(arena.get("x"), Err(faretra::Error::NotFound { .. })));
    assert!(matches!(arena.wait_for_timeout("x", 0, Duration::from_millis(1)), Err(faretra::Error::TimedOut(_))));
    drop(arena);
    assert!(path.exists());
    options().remove("e").expect("removed");
    assert!(!path.exists());
}
