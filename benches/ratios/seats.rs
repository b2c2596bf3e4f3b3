//! What participants cost: an arena with room for many of them, and an arena where so many take part and pin.

use std::time::{Duration, Instant};

use faretra::{Arena, GIB};

use crate::measure::{Table, Times, block, in_turn, size};
use crate::setting::{Outcome, Scale, arena};

/// Bytes of this process's page tables, and of its addresses.
fn mapped(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    line.and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}

fn opened(name: &str) -> Duration {
    let start = Instant::now();
    let arena = Arena::open(name).expect("the arena");
    let time = start.elapsed();
    drop(arena);
    time
}

/// So many seats are taken: to take one, those that are taken are looked at.
const MOST_OPENED: u32 = 1024;

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    let rounds = 60 / scale.hurry;
    let mut alone: Option<[Times; 2]> = None;
    for seats in [255, 1024, 4095_u32] {
        let before = [mapped("VmPTE:"), mapped("VmSize:")];
        let here = arena(&format!("seats-{seats}"), GIB, |o| o.participants(seats))?;
        let used = here.stats()?.used;
        table.fact(format!("{seats} seats, nobody else there: memory of the arena"), size(used), "");
        let writer = here.writer()?;
        writer.publish("pinned", &[1_u8; 200][..])?;
        writer.publish("name", &[1_u8; 200][..])?;
        const N: u64 = 1000;
        let publish = || block(N, || writer.publish("name", &[7_u8; 200][..]).expect("room")).div_f64(N as f64);
        let few = in_turn(rounds, 1, [&mut || opened(here.name()), &mut || publish()]);
        let floor = alone.get_or_insert_with(|| few.clone()).clone();
        table.ratio(format!("{seats} seats, nobody else there: open; floor: 255 seats"), &few[0], &floor[0], "");
        table.ratio(format!("{seats} seats, nobody else there: publish over a name"), &few[1], &floor[1], "");
        if seats > MOST_OPENED {
            continue;
        }
        let tables = mapped("VmPTE:");
        let others: Vec<Arena> = (2..seats).map(|_| Arena::open(here.name())).collect::<Result<_, _>>()?;
        let pins: Vec<_> = others.iter().map(|other| other.get("pinned")).collect::<Result<_, _>>()?;
        let many = in_turn(rounds, 1, [&mut || opened(here.name()), &mut || publish()]);
        let there = others.len() + 1;
        table.ratio(format!("{there} take part, each pins in one zone: open"), &many[0], &few[0], "");
        table.ratio(format!("{there} take part, each pins in one zone: publish over a name"), &many[1], &few[1], "");
        let each = (here.stats()?.used - used) / others.len() as u64;
        table.fact("memory of the arena for each that takes part and pins", size(each), "");
        let now = [mapped("VmPTE:"), mapped("VmSize:")];
        table.fact("page tables of a process that looks at all rows of pins", size(now[0].saturating_sub(tables)), "");
        let addresses = now[1].saturating_sub(before[1]) / GIB;
        table.fact("addresses of a process, to write", format!("{addresses} GiB"), "");
        let recovered = in_turn(rounds, 1, [&mut || block(1, || here.recover().expect("sound"))]);
        table.plain(format!("{there} take part: recover(), nobody died"), &recovered[0], "");
        drop(pins);
    }
    Ok(())
}
