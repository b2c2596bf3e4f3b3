//! Writing: one copy in, beside memcpy of the same bytes.

use std::fs::File;
use std::time::{Duration, Instant};

use faretra::arrow::arrow_array::RecordBatch;
use faretra::arrow::arrow_array::cast::AsArray;
use faretra::arrow::arrow_array::types::Float64Type;
use faretra::{Arena, KIB, MIB};
use memmap2::MmapMut;

use crate::measure::{Table, block, in_turn, size};
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
        let schema = source.schema();
        let rows = source.num_rows();
        let [memcpy, ours, drafted] = in_turn(
            rounds,
            per_block,
            [
                &mut || block(per_block, || copy(&mut touched, &from)),
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
            format!("draft {name} in place (not written) + publish, warm"),
            &drafted,
            &memcpy,
            "0 bytes copied",
        );
        drop(touched);

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

/// What it costs to come new to memory that others have touched.
pub fn newcomer(scale: Scale, table: &mut Table) -> Outcome {
    let bytes = 64 * MIB;
    let source = batch(bytes, COLUMNS)?;
    let from = sources(&source);
    let here = arena("newcomer", 8 * bytes, |o| o.warm(8 * bytes))?;
    let warmer = here.writer()?;
    let mut touched = vec![1_u8; bytes as usize];
    for _ in 0..3 {
        warmer.publish("x", &source)?;
    }
    let new = || Arena::open(here.name()).expect("the arena");
    let rounds = 12 / scale.hurry;
    let sum = |arena: &Arena| -> Duration {
        let batch = arena.batch("x").expect("published");
        let start = Instant::now();
        for column in sources(&batch) {
            std::hint::black_box(column.iter().step_by(64).fold(0_u8, |a, b| a ^ b));
        }
        start.elapsed()
    };
    let reader = new();
    let [memcpy, used, first, read, first_read] = in_turn(
        rounds,
        1,
        [
            &mut || block(1, || copy(&mut touched, &from)),
            &mut || block(1, || warmer.publish("x", &source).expect("room")),
            &mut || {
                let arena = new();
                let writer = arena.writer().expect("a permit");
                block(1, || writer.publish("x", &source).expect("room"))
            },
            &mut || sum(&reader),
            &mut || sum(&new()),
        ],
    );
    table.ratio("publish 64 MiB into warm memory; floor: memcpy", &used, &memcpy, "<= 0.75 x");
    table.ratio("the same, the first of a new participant", &first, &memcpy, "<= 1.2 x");
    table.ratio("a new reader's first look at every line of 64 MiB; floor: a later look", &first_read, &read, "");
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
