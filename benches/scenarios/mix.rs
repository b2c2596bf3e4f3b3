//! Values of 1 KiB to 64 MiB in one arena, as many between each size and its double: published over each other, and read by another
//! participant.

use std::time::Instant;

use faretra::{Arena, GIB, KIB, MIB};

use crate::crew::run_name;
use crate::measure::{Along, Table, Times};
use crate::pair::{Outcome, Used};
use crate::setting::{Random, Scale};

const LEAST: u64 = KIB;
const MOST: u64 = 64 * MIB;
const NAMES: u64 = 48;
const PAGE: u64 = 4096;

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    let here = Arena::options().limit(3 * GIB).warm(2 * GIB).keep(false).create(&run_name("mix"))?;
    let (writer, reader) = (here.writer()?, Arena::open(here.name())?);
    let name = |i: u64| format!("value-{i}");
    let source: Vec<u8> = (0..MOST).map(|i| i as u8).collect();
    let mut touched = vec![1_u8; MOST as usize];
    let mut random = Random::new(1);
    let mut live = vec![0; NAMES as usize];
    // Of values from 1, 4, 16 ... KiB up to four times as much.
    let mut times: [[Times; 2]; 8] = Default::default();
    let (mut ours_all, mut floor_all) = (0.0, 0.0);
    let operations = scale.of(800, 4000);
    let (mut faults, mut pages) = ([0; 4], [0; 4]);
    for nth in 0..operations {
        let (size, which) = (random.size(LEAST, MOST), random.below(NAMES));
        let value = &source[..size as usize];
        let start = Instant::now();
        touched[..value.len()].copy_from_slice(std::hint::black_box(value));
        std::hint::black_box(&touched);
        let floor = start.elapsed();
        let before = Used::now()?;
        let start = Instant::now();
        writer.publish(&name(which), value)?;
        let ours = start.elapsed();
        let quarter = (4 * nth / operations) as usize;
        faults[quarter] += Used::since(before)?.faults;
        pages[quarter] += size.div_ceil(PAGE);
        live[which as usize] = size;
        let object = reader.get(&name(which))?;
        let bytes = object.bytes()?;
        if bytes.len() != value.len() || bytes.iter().step_by(4096).ne(value.iter().step_by(4096)) {
            return Err("not what was published".into());
        }
        // What comes before is cold: the arena has not yet been as full as it will be.
        if nth >= operations / 4 {
            let class = (size / LEAST).ilog2() as usize / 2;
            times[class][0].push(ours, 1);
            times[class][1].push(floor, 1);
            ours_all += ours.as_secs_f64();
            floor_all += floor.as_secs_f64();
        }
    }
    for (class, [ours, floor]) in times.iter().enumerate() {
        let bytes = LEAST << (2 * class);
        let lines = ["publish, sizes mixed, from", "memcpy, sizes mixed, from"];
        table.sized(bytes, lines, ours, floor, "");
    }
    table.fact("all of them, beside memcpy of the same bytes", format!("{:.2} x", ours_all / floor_all), "");
    // Memory that is warm costs none: each page is touched once.
    for (quarter, (faults, pages)) in faults.iter().zip(pages).enumerate() {
        let what = format!("page faults a page that was published, quarter {} of the run", quarter + 1);
        table.fact(what, format!("{:.3}", *faults as f64 / pages as f64), "");
    }
    let stats = here.stats()?;
    let needed: u64 = live.iter().sum();
    let of = Along::Objects(NAMES);
    table.memory("memory in objects", of, "", stats.live, needed);
    table.memory("and with freed memory that is kept", of, "", stats.used, needed);
    here.trim()?;
    table.memory("all memory after trim()", of, "", here.stats()?.used, needed);
    Ok(())
}
