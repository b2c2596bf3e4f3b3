//! Private writable views beside copies of the same bytes: made, with 1 % of the pages written, and with all.

use std::time::Instant;

use faretra::MIB;
use ndarray::{Ix1, arr1};

use crate::measure::{Table, in_turn, size};
use crate::setting::{Outcome, Scale, arena};

const PAGE: usize = 4096;

/// Bytes that this process has of its own, which no other process shows.
fn own_bytes() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    line.and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}

/// Writes one byte in every page in so many.
fn write(bytes: &mut [u8], every: usize) {
    for page in bytes.chunks_mut(PAGE * every) {
        page[7] = page[7].wrapping_add(1);
    }
}

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    let here = arena("private", scale.largest + 256 * MIB, |o| o)?;
    let writer = here.writer()?;
    let mut draft = writer.draft_bytes(scale.largest as usize)?;
    draft.bytes_mut()?.fill(1);
    writer.publish("large", draft)?;
    let object = here.get("large")?;
    let bytes = object.bytes()?;

    let copied = |every: usize| {
        let start = Instant::now();
        let mut copy = bytes.to_vec();
        if every > 0 {
            write(&mut copy, every);
        }
        std::hint::black_box(&copy);
        start.elapsed()
    };
    let mapped = |every: usize| {
        let start = Instant::now();
        let mut private = object.private().expect("a map");
        if every > 0 {
            write(&mut private, every);
        }
        std::hint::black_box(&private);
        start.elapsed()
    };
    let [copy, copy_some, map, map_some, map_all] = in_turn(
        12 / scale.hurry,
        1,
        [&mut || copied(0), &mut || copied(100), &mut || mapped(0), &mut || mapped(100), &mut || mapped(1)],
    );
    let all = size(scale.largest);
    table.ratio(format!("private view of {all}"), &map, &copy, "");
    table.ratio(format!("private view of {all}, 1 % of its pages written"), &map_some, &copy_some, "");
    table.ratio(format!("private view of {all}, all pages written"), &map_all, &copy, "");

    let before = own_bytes();
    let mut private = object.private()?;
    write(&mut private, 100);
    let of_view = own_bytes().saturating_sub(before);
    let mut copy = bytes.to_vec();
    write(&mut copy, 100);
    let of_copy = own_bytes().saturating_sub(before + of_view);
    table.fact("memory of the view, 1 % of its pages written", size(of_view), "1 % of the copy's");
    table.fact("memory of the copy", size(of_copy), "");
    drop((private, copy));

    writer.publish("small", arr1(&[1.0_f64; 512]))?;
    let small = here.array::<f64, Ix1>("small")?;
    let [copy, map] = in_turn(
        400 / scale.hurry,
        1,
        [&mut || crate::measure::block(1, || small.to_owned()), &mut || {
            crate::measure::block(1, || small.private().expect("a map"))
        }],
    );
    table.ratio("private view of 4 KiB", &map, &copy, "");
    Ok(())
}
