//! What the verbs do with an arena whose words were damaged: they say so, and delete nothing.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use crate::support::Lab;

/// Where the words lie that say how long an arena stays, and whether it has ended.
const STAY: u64 = 96;
const LIFE: u64 = 4096;
const STAY_AGAIN: u64 = 4120;

/// Every verb that does not remove, on an arena whose end is damaged: its file is there afterwards, and `rm` removes it.
#[test]
fn no_verb_removes_a_damaged_arena() {
    let lab = Lab::with_arena();
    lab.ok(["put", "a", "x", &lab.write("x.csv", "n\n1\n2\n")]);
    let file = File::options().read(true).write(true).open(lab.path("faretra.a")).unwrap();
    let inode = file.metadata().unwrap().ino();
    let words = [STAY, STAY_AGAIN, LIFE].map(|off| {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, off).unwrap();
        (off, u64::from_le_bytes(word))
    });
    let damaged = [0, u64::MAX, 1 << 62, 1 << 63, u64::from_le_bytes(*b"EPHEMERA")];
    for (off, word) in words {
        for other in damaged.into_iter().chain((0..64).step_by(21).map(|bit| word ^ 1 << bit)) {
            file.write_all_at(&other.to_le_bytes(), off).unwrap();
            for verb in ["ls", "who", "recover", "trim", "verify", "stat", "ls"] {
                let arena = (verb != "ls").then_some("a");
                let outcome = lab.run([verb].into_iter().chain(arena));
                assert!(matches!(outcome.status.code(), Some(0 | 1)), "{verb}: {outcome:?}");
                let found = std::fs::metadata(lab.path("faretra.a")).map(|found| found.ino());
                assert_eq!(found.ok(), Some(inode), "{verb}, {other:#x} at {off}: {outcome:?}");
            }
            // An impossible life was made good by the first who opened it.
            file.write_all_at(&word.to_le_bytes(), off).unwrap();
        }
    }
    assert!(lab.ok(["cat", "a", "x"]).contains('2'));
    file.write_all_at(&(1_u64 << 62).to_le_bytes(), LIFE).unwrap();
    lab.ok(["rm", "a"]);
    assert!(!lab.path("faretra.a").exists());
}
