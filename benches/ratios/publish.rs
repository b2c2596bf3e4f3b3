//! Writing: one copy in, beside memcpy of the same bytes.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use faretra::arrow::arrow_array::RecordBatch;
use faretra::arrow::arrow_array::cast::AsArray;
use faretra::arrow::arrow_array::types::Float64Type;
use faretra::{Arena, KIB, MIB, Writer};
use memmap2::MmapMut;

use crate::measure::{Table, Times, block, in_turn, size};
use crate::setting::{Outcome, Scale, arena, batch};

const COLUMNS: u64 = 4;
const SIZES: [u64; 7] = [KIB, 8 * KIB, 64 * KIB, MIB, 8 * MIB, 64 * MIB, 1024 * MIB];

/// The columns' bytes.
fn sources(batch: &RecordBatch) -> Vec<&[u8]> {
    batch.columns().iter().map(|c| c.as_primitive::<Float64Type>().values().inner().as_slice()).collect()
}

/// What everybody would do by hand: one memcpy a column.
fn copy(to: &mut [u8], from: &[&[u8]]) {
    let mut rest = to;
    for column in from {
        let (to, tail) = rest.split_at_mut(column.len());
        to.copy_from_slice(column);
        rest = tail;
    }
    std::hint::black_box(rest);
}

/// A fresh file on the tmpfs, without a name, mapped for writing.
#[allow(unsafe_code, reason = "the floor is a plain mapping")]
fn fresh(bytes: u64) -> std::io::Result<MmapMut> {
    let file: File = tempfile::tempfile_in("/dev/shm")?;
    file.set_len(bytes)?;
    // SAFETY: the file has no name, so nobody else changes it.
    unsafe { MmapMut::map_mut(&file) }
}

/// 1 KiB without columns.
fn bytes_alone(scale: Scale, table: &mut Table, writer: &Writer) -> Outcome {
    let source = [7_u8; KIB as usize];
    let mut touched = source;
    let [memcpy, ours] = in_turn(
        60 / scale.hurry,
        1000,
        [
            &mut || block(1000, || std::hint::black_box(&mut touched).copy_from_slice(std::hint::black_box(&source))),
            &mut || block(1000, || writer.publish("bytes", &source[..]).expect("room")),
        ],
    );
    writer.remove("bytes")?;
    table.ratio("publish 1 KiB of bytes, warm; floor: memcpy", &ours, &memcpy, "<= 400 ns");
    Ok(())
}

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    for bytes in SIZES.into_iter().filter(|s| *s <= scale.largest) {
        let name = size(bytes);
        let per_block = (4 * MIB / bytes).clamp(1, 1000);
        let rounds = (if bytes >= 64 * MIB { 15 } else { 60 }) / scale.hurry;
        let source = batch(bytes, COLUMNS)?;
        let from = sources(&source);

        let here = arena("publish", 4 * bytes + 256 * MIB, |o| o.warm(4 * bytes + 256 * MIB))?;
        let writer = here.writer()?;
        let mut touched = fresh(bytes)?;
        touched.fill(1);
        // A publish never writes where the last one did, because somebody may still read that.
        let mut two = [fresh(bytes)?, fresh(bytes)?];
        two.iter_mut().for_each(|memory| memory.fill(1));
        let mut turn = 0;
        let schema = source.schema();
        let rows = source.num_rows();
        let [memcpy, memcpy_in_turn, ours, drafted] = in_turn(
            rounds,
            per_block,
            [
                &mut || block(per_block, || copy(&mut touched, &from)),
                &mut || {
                    block(per_block, || {
                        turn += 1;
                        copy(&mut two[turn % 2], &from);
                    })
                },
                &mut || block(per_block, || writer.publish("x", &source).expect("room")),
                &mut || {
                    block(per_block, || {
                        let draft = writer.draft(&schema, rows).expect("room");
                        writer.publish("x", draft).expect("room")
                    })
                },
            ],
        );
        let target = match bytes {
            ..=KIB => "<= 400 ns",
            _ if bytes >= 64 * MIB => "<= 0.75 x",
            _ if bytes >= 8 * MIB => "<= 1.1 x",
            _ => "<= 1.1 x + 2 us",
        };
        table.sized(bytes, ["publish, warm", "memcpy into touched memory"], &ours, &memcpy, target);
        table.ratio(
            format!("publish {name}, warm; floor: memcpy into two touched memories in turn"),
            &ours,
            &memcpy_in_turn,
            "",
        );
        table.ratio(
            format!("draft {name} in place (not written) + publish, warm"),
            &drafted,
            &memcpy,
            "0 bytes copied",
        );
        drop((touched, two));
        if bytes == KIB {
            bytes_alone(scale, table, &writer)?;
        }

        let cold_rounds = (if bytes > 64 * MIB { 5 } else { 20 }) / scale.hurry;
        let [memcpy, ours] = in_turn(
            cold_rounds,
            1,
            [
                &mut || {
                    let mut pages = fresh(bytes).expect("room");
                    let start = Instant::now();
                    copy(&mut pages, &from);
                    start.elapsed()
                },
                &mut || {
                    writer.remove("x").expect("there");
                    here.trim().expect("trim");
                    let start = Instant::now();
                    writer.publish("x", &source).expect("room");
                    start.elapsed()
                },
            ],
        );
        table.sized(bytes, ["publish, cold", "memcpy into fresh tmpfs pages"], &ours, &memcpy, "<= 1.0 x");
    }
    Ok(())
}

/// The argument that makes this program one that comes new to an arena's memory, and says what that takes.
pub const NEWCOMER: &str = "--newcomer";

/// Looks at what is published, publishes as much, and prints how many nanoseconds it took: memcpy of as many bytes, the
/// first look and a later one, the first publish and one into memory that it has written before.
pub fn come_new(arena: &str) -> Outcome {
    let source = batch(NEW_BYTES, COLUMNS)?;
    let from = sources(&source);
    let mut touched = vec![1_u8; NEW_BYTES as usize];
    let mut copies: Vec<Duration> = (0..5).map(|_| block(1, || copy(&mut touched, &from))).collect();
    copies.sort();
    let arena = Arena::open(arena)?;
    let looks = [look(&arena)?, look(&arena)?];
    let writer = arena.writer()?;
    let publish = || block(1, || writer.publish("x", &source).expect("room"));
    let publishes = [publish(), publish(), publish()];
    let times = [copies[2], looks[0], looks[1], publishes[0], publishes[2]];
    println!("{}", times.map(|time| time.as_nanos().to_string()).join(" "));
    Ok(())
}

/// Reads every line of the columns.
fn look(arena: &Arena) -> faretra::Result<Duration> {
    let batch = arena.batch("x")?;
    Ok(block(1, || {
        for column in sources(&batch) {
            std::hint::black_box(column.iter().step_by(64).fold(0_u8, |a, b| a ^ b));
        }
    }))
}

const NEW_BYTES: u64 = 64 * MIB;

/// What it costs a process to come new to memory that others have touched.
pub fn newcomer(scale: Scale, table: &mut Table) -> Outcome {
    let source = batch(NEW_BYTES, COLUMNS)?;
    let here = arena("newcomer", 8 * NEW_BYTES, |o| o.warm(8 * NEW_BYTES))?;
    let warmer = here.writer()?;
    for _ in 0..3 {
        warmer.publish("x", &source)?;
    }
    let mut times: [Times; 5] = std::array::from_fn(|_| Times::default());
    for _ in 0..(24 / scale.hurry) {
        let me = std::env::current_exe()?;
        let told = Command::new(me).args([NEWCOMER, here.name()]).stderr(Stdio::inherit()).output()?;
        let told: Vec<u64> =
            String::from_utf8(told.stdout)?.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        assert_eq!(told.len(), times.len(), "a newcomer says all of its times");
        times.iter_mut().zip(told).for_each(|(times, nanos)| times.push(Duration::from_nanos(nanos), 1));
    }
    let [memcpy, first_look, later_look, first, later] = times;
    table.ratio("first publish of a new process, 64 MiB into warm memory; floor: memcpy", &first, &memcpy, "<= 1.2 x");
    table.ratio("its third, into memory that it has written; floor: memcpy", &later, &memcpy, "<= 0.75 x");
    table.ratio(
        "a new process's first look at every line of 64 MiB; floor: a later look",
        &first_look,
        &later_look,
        "",
    );
    Ok(())
}

/// What a checksum of each object adds to a publish, and what it takes to compare them.
pub fn checksums(scale: Scale, table: &mut Table) -> Outcome {
    for bytes in SIZES.into_iter().filter(|s| *s <= scale.largest) {
        let per_block = (4 * MIB / bytes).clamp(1, 1000);
        let rounds = (if bytes >= 64 * MIB { 15 } else { 60 }) / scale.hurry;
        let source = batch(bytes, COLUMNS)?;
        let from = sources(&source);
        let limit = 4 * bytes + 256 * MIB;
        let plain = arena("plain", limit, |o| o.warm(limit))?;
        let kept = arena("checksums", limit, |o| o.warm(limit).checksums(true))?;
        let writers = [plain.writer()?, kept.writer()?];
        let mut touched = vec![1; bytes as usize];
        let [without, with, compare, memcpy] = in_turn(
            rounds,
            per_block,
            [
                &mut || block(per_block, || writers[0].publish("x", &source).expect("room")),
                &mut || block(per_block, || writers[1].publish("x", &source).expect("room")),
                &mut || {
                    let object = kept.get("x").expect("published");
                    block(per_block, || object.verify_checksums().expect("unchanged"))
                },
                &mut || block(per_block, || copy(&mut touched, &from)),
            ],
        );
        let name = size(bytes);
        table.ratio(format!("publish {name} with checksums; floor: without"), &with, &without, "");
        table.ratio(format!("compare the checksums of {name}; floor: memcpy"), &compare, &memcpy, "");
    }
    Ok(())
}
