//! Costs by the number of participants: processes that have the arena open, and pin an object each.

use std::time::{Duration, Instant};

use faretra::{Arena, GIB};

use crate::crew::{Crew, Member, Told, run_name};
use crate::measure::{Along, Table, Times, block, in_turn};
use crate::pair::Outcome;
use crate::setting::Scale;

pub const MEMBER: &str = "seats-member";

/// Takes part and pins, until it is told to end.
pub fn member(told: &Told) -> Outcome {
    let arena = Arena::options().keep(false).open(&told.name)?;
    let pin = arena.get("pinned")?;
    told.serve(|_| Ok(vec![]))?;
    drop(pin);
    Ok(())
}

/// An arena with something in it.
fn arena(purpose: &str) -> Outcome<Arena> {
    let arena = Arena::options().limit(GIB).participants(300).keep(false).create(&run_name(purpose))?;
    let writer = arena.writer()?;
    for name in ["pinned", "name"] {
        writer.publish(name, &[1_u8; 200][..])?;
    }
    Ok(arena)
}

fn opened(arena: &Arena) -> Duration {
    let start = Instant::now();
    let opened = Arena::open(arena.name()).expect("the arena");
    let time = start.elapsed();
    drop(opened);
    time
}

/// Kills one of them, and starts another one after `timed`.
fn after_a_death(arena: &Arena, crew: &mut Crew, timed: impl Fn(&Arena) -> Duration) -> Outcome<Duration> {
    crew.0.pop().ok_or("somebody")?.kill()?;
    let time = timed(arena);
    crew.0.push(Member::start(MEMBER, arena.name(), 0, &[])?);
    Ok(time)
}

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    let few = arena("few")?;
    let mut one = Crew::start(MEMBER, few.name(), 1, &[])?;
    let few_writer = few.writer()?;
    let many = arena("many")?;
    let writer = many.writer()?;
    let mut crew = Crew(vec![]);
    // Short enough to be over before another program gets the processor.
    const N: u64 = 200;
    let get = |arena: &Arena| block(N, || arena.get("name").expect("published")).div_f64(N as f64);
    let publish = |writer: &faretra::Writer| {
        block(N, || writer.publish("name", &[7_u8; 200][..]).expect("room")).div_f64(N as f64)
    };
    for members in scale.of(vec![8, 64, 254], vec![8, 16, 32, 64, 128, 254]) {
        let more = Crew::start(MEMBER, many.name(), members - crew.0.len(), &[])?;
        crew.0.extend(more.0);
        let [get_few, get_many, publish_few, publish_many, open_few, open_many, sweep_few, sweep_many] = in_turn(
            60 / scale.hurry,
            1,
            [
                &mut || get(&few),
                &mut || get(&many),
                &mut || publish(&few_writer),
                &mut || publish(&writer),
                &mut || opened(&few),
                &mut || opened(&many),
                &mut || block(1, || few.recover().expect("sound")),
                &mut || block(1, || many.recover().expect("sound")),
            ],
        );
        let of = Along::Processes(members as u64);
        let mut add = |what: &str, ours: &Times, floor: &Times| {
            table.along(format!("{members} take part: {what}; floor: one does"), of, [what, ""], ours, floor, "");
        };
        add("get + drop", &get_many, &get_few);
        add("publish 200 B over a name", &publish_many, &publish_few);
        add("open", &open_many, &open_few);
        add("recover(), nobody died", &sweep_many, &sweep_few);
        let (mut ours, mut floor) = (Times::default(), Times::default());
        for round in 0..=20 / scale.hurry {
            let alone = after_a_death(&few, &mut one, opened)?;
            let among = after_a_death(&many, &mut crew, opened)?;
            if round > 0 {
                floor.push(alone, 1);
                ours.push(among, 1);
            }
        }
        add("open after one was killed", &ours, &floor);
        let metadata = many.stats()?.metadata;
        table.memory(format!("{members} take part: metadata"), of, "metadata of the arena", metadata, None);
    }
    for arena in [&few, &many] {
        if !arena.verify()?.is_empty() {
            return Err("the arena is not sound".into());
        }
    }
    crew.finish()?;
    one.finish()
}
