//! A process that pins, or drafts, is killed: what it takes to settle that, by how much it held.

use std::time::Instant;

use faretra::{Arena, GIB, KIB};
use ndarray::Ix1;

use crate::crew::{Member, Told, run_name};
use crate::measure::{Along, Table, Times};
use crate::pair::Outcome;
use crate::setting::Scale;

pub const VICTIM: &str = "recovery-victim";

fn name(i: u64) -> String {
    format!("object-{i}")
}

/// Pins and drafts, and waits for its death.
pub fn victim(told: &Told) -> Outcome {
    let [pins, drafts, ..] = told.more[..] else { return Err("two numbers".into()) };
    let arena = Arena::options().keep(false).open(&told.name)?;
    let pins = (0..pins).map(|i| arena.get(&name(i))).collect::<Result<Vec<_>, _>>()?;
    let writer = arena.writer()?;
    let draft = |_| writer.draft_array::<u8, Ix1>(4 * KIB as usize);
    let drafts = (0..drafts).map(draft).collect::<Result<Vec<_>, _>>()?;
    told.serve(|_| Ok(vec![]))?;
    drop((pins, drafts));
    Ok(())
}

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    let most = scale.of(10_000, 100_000);
    let here = Arena::options().limit(3 * GIB).keep(false).create(&run_name("recovery"))?;
    let writer = here.writer()?;
    for i in 0..most {
        writer.publish(&name(i), &[1_u8; 200][..])?;
    }
    let live = here.stats()?.live;
    // Kills a process that holds so much: the times of an open then, and of a sweep after another death.
    let killed = |pins: u64, drafts: u64| -> Outcome<[std::time::Duration; 2]> {
        let victim = || Member::start(VICTIM, here.name(), 0, &[pins, drafts])?.kill();
        victim()?;
        let start = Instant::now();
        let opened = Arena::open(here.name())?;
        let open = start.elapsed();
        drop(opened);
        victim()?;
        let start = Instant::now();
        let done = here.recover()?;
        let sweep = start.elapsed();
        if (done.participants, done.objects) != (1, drafts) || here.stats()?.live != live {
            return Err(format!("something did not come back: {done:?}").into());
        }
        Ok([open, sweep])
    };
    for (what, numbers) in
        [("pins", [10, 100, 1_000, 10_000, 100_000]), ("drafts of 4 KiB", [10, 100, 1_000, 10_000, 20_000])]
    {
        for number in numbers.into_iter().filter(|number| *number <= most) {
            let (pins, drafts) = if what == "pins" { (number, 0) } else { (0, number) };
            let mut times: [Times; 4] = Default::default();
            for round in 0..=20 / scale.hurry {
                let [open_none, sweep_none] = killed(0, 0)?;
                let [open, sweep] = killed(pins, drafts)?;
                if round > 0 {
                    let all = [open, open_none, sweep, sweep_none];
                    times.iter_mut().zip(all).for_each(|(times, time)| times.push(time, 1));
                }
            }
            let [open, open_none, sweep, sweep_none] = times;
            let of = Along::Objects(number);
            let mut add = |which: &str, ours: &Times, floor: &Times, target: &str| {
                let way = format!("{which} after a death with so many {what}");
                let row = format!("{which} after a death with {number} {what}; floor: with none");
                table.along(row, of, [&way, ""], ours, floor, target);
            };
            // Beyond the kernel's own teardown, which was waited for.
            let target = if number <= 1000 { "<= 10 ms" } else { "" };
            add("open", &open, &open_none, target);
            add("recover()", &sweep, &sweep_none, "");
        }
    }
    if !here.verify()?.is_empty() {
        return Err("the arena is not sound".into());
    }
    Ok(())
}
