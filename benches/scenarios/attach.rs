//! To attach: an open in a process that has the arena open anyway, and in a new process, by what is in the arena, beside a file that is
//! mapped by hand.
#![allow(unsafe_code, reason = "the floor is a plain mapping")]

use std::fs::File;
use std::time::{Duration, Instant};

use faretra::{Arena, GIB, MIB};
use memmap2::Mmap;

use crate::crew::{Member, Told, run_name};
use crate::measure::{Along, Table, Times, block, in_turn};
use crate::pair::Outcome;
use crate::setting::Scale;

pub const VISITOR: &str = "attach-visitor";

/// In a new process: the time of an open and a first get, and of a mapping by hand and a first look.
pub fn visitor(told: &Told) -> Outcome {
    let by_hand = || mapped(&format!("/dev/shm/{}.plain", told.name));
    // Each is the first thing of its kind here; which one is first in the process changes from one to the next.
    let (first, mapping) = if told.index.is_multiple_of(2) {
        let first = visit(&told.name)?;
        (first, by_hand()?)
    } else {
        let mapping = by_hand()?;
        (visit(&told.name)?, mapping)
    };
    told.serve(|_| Ok(vec![first.as_nanos() as u64, mapping.as_nanos() as u64]))
}

fn visit(name: &str) -> Outcome<Duration> {
    let start = Instant::now();
    let arena = Arena::open(name)?;
    std::hint::black_box(arena.get("object-7")?.bytes()?[0]);
    Ok(start.elapsed())
}

/// A file mapped, looked at, and let go.
fn mapped(path: &str) -> Outcome<Duration> {
    let start = Instant::now();
    // SAFETY: nobody changes the file.
    let map = unsafe { Mmap::map(&File::open(path)?)? };
    std::hint::black_box(map[0]);
    drop(map);
    Ok(start.elapsed())
}

/// Removes the plain file.
struct Plain(String);

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    let most = scale.of(100_000, 1_000_000);
    for count in [1_000, 100_000, 1_000_000_u64].into_iter().filter(|count| *count <= most) {
        let name = run_name("attach");
        let here = Arena::options().limit(3 * GIB).keep(false).create(&name)?;
        let writer = here.writer()?;
        for i in 0..count {
            writer.publish(&format!("object-{i}"), &[1_u8; 200][..])?;
        }
        let plain = Plain(format!("/dev/shm/{name}.plain"));
        std::fs::write(&plain.0, vec![1_u8; MIB as usize])?;
        let [floor, open] = in_turn(
            100 / scale.hurry,
            1,
            [&mut || mapped(&plain.0).expect("a map"), &mut || {
                let start = Instant::now();
                let arena = Arena::open(&name).expect("the arena");
                let time = start.elapsed();
                drop(arena);
                time
            }],
        );
        let (mut first, mut first_floor) = (Times::default(), Times::default());
        for round in 0..=40 / scale.hurry {
            let mut visitor = Member::start(VISITOR, &name, round, &[])?;
            visitor.tell(&[])?;
            let [ours, by_hand] = visitor.answer()?[..] else { return Err("two numbers".into()) };
            visitor.finish()?;
            if round > 0 {
                first.push(Duration::from_nanos(ours), 1);
                first_floor.push(Duration::from_nanos(by_hand), 1);
            }
        }
        let of = Along::Objects(count);
        let floor_line = "open + mmap + first byte of a file";
        let what = format!("{count} objects: open, once more in one process; floor: a file mapped");
        table.along(what, of, ["open once more", floor_line], &open, &floor, "");
        let what = format!("{count} objects: open + get in a new process; floor: a file mapped in a new process");
        table.along(what, of, ["open + get, new process", ""], &first, &first_floor, "");
    }
    let [created] = in_turn(
        100 / scale.hurry,
        1,
        [&mut || block(1, || Arena::options().keep(false).create(&run_name("made")).expect("room"))],
    );
    table.plain("create an arena, and drop it", &created, "");
    Ok(())
}
