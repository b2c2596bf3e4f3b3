//! demo: the main job with real processes, and what came of it.
//!
//! - `stage`: the processes and the arena, and that nothing of them stays.
//! - `part`: what each process does. `data`: what they agree on: names, the table and its checksum.
//! - `report`: what is printed.

mod data;
mod part;
mod report;
mod stage;

use std::ffi::OsString;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use part::part;
use report::{HandOver, Story};
use stage::{Child, Stage, number, text};

use crate::args::{Cli, Demo, Role};
use crate::failure::{Failure, Result};
use crate::out::Out;

/// Batches of the table, and hand-overs that are measured.
const BATCHES: u64 = 16;

/// The largest table that the arithmetic below is made for.
const LARGEST: u64 = 1 << 40;

/// `faretra demo`; `again` starts the command.
pub fn run(cli: &Cli, args: &Demo, again: &[OsString]) -> Result<()> {
    if args.size < 4096 || args.size > LARGEST {
        return Err(Failure::usage("--size is between 4KiB and 1TiB"));
    }
    let rows = (args.size / BATCHES / data::ROW).max(1);
    let story = tell(cli, again, args.size, rows)?;
    let mut out = Out::new();
    match cli.json {
        true => out.json(&story.json())?,
        false => story.print(&mut out)?,
    }
    out.finish()
}

/// Plays the demo. Whatever happens, the stage is empty afterwards.
fn tell(cli: &Cli, again: &[OsString], size: u64, rows: u64) -> Result<Story> {
    // Two tables' worth: the table, and room for the batches that are handed over.
    let mut stage = Stage::new(cli, again, size.saturating_mul(2) + (64 << 20), rows, BATCHES)?;
    let mut story = Story {
        arena: stage.path(),
        bytes: rows * data::ROW * BATCHES,
        rows: rows * BATCHES,
        batches: BATCHES,
        batch_bytes: rows * data::ROW,
        ..Story::default()
    };

    let mut producer = stage.start(Role::Produce)?;
    let table = producer.next()?;
    story.producer = producer.id();
    story.publish = nanos(&table, "ns")?;
    let sum = text(&table, "sum")?;

    kill_one(&mut stage, &mut story, &sum)?;
    hand_over(&mut stage, &mut producer, &mut story, rows)?;

    producer.order("remove")?;
    producer.next()?;
    producer.end()?;
    story.objects_left = stage.arena().stats()?.names;
    let violations = stage.arena().verify()?;
    story.violations = violations.iter().map(ToString::to_string).collect();
    story.left = stage.clear()?;
    match story.violations.is_empty() {
        true => Ok(story),
        false => Err(Failure::new(format!(
            "verify found broken rules after the demo: {}; please report this",
            story.violations.join("; ")
        ))),
    }
}

/// Two consumers read the table; one of them is killed while it does.
fn kill_one(stage: &mut Stage<'_>, story: &mut Story, sum: &str) -> Result<()> {
    let mut victim = stage.start(Role::Victim)?;
    victim.next()?;
    story.victim = victim.id();
    story.victim_pins = stage.pins_of(victim.id())?.unwrap_or(0);
    let mut reader = stage.start(Role::Read)?;
    story.reader = reader.id();
    // The reader is at work meanwhile.
    let died = victim.kill()?;
    story.recovery = recover(stage, died)?;
    let read = reader.next()?;
    reader.end()?;
    if text(&read, "sum")? != sum {
        return Err(Failure::new("the consumer's checksum differs from the producer's: please report this"));
    }
    story.get = nanos(&read, "get")?;
    story.read = nanos(&read, "ns")?;
    story.buffers = number(&read, "buffers")?;
    story.inside = number(&read, "inside")?;
    // After the death: the table is still there, and whole.
    let mut second = stage.start(Role::Read)?;
    let read = second.next()?;
    second.end()?;
    match text(&read, "sum")? == sum {
        true => Ok(()),
        false => Err(Failure::new("the table changed when a reader was killed: please report this")),
    }
}

/// Takes back what a dead process held, and says how long that took.
fn recover(stage: &Stage<'_>, died: u32) -> Result<Duration> {
    let begin = Instant::now();
    loop {
        // Somebody else may be quicker: whoever opens the arena recovers too.
        stage.arena().recover()?;
        if stage.pins_of(died)?.is_none() {
            return Ok(begin.elapsed());
        }
        if begin.elapsed() > data::PATIENCE {
            return Err(Failure::new(format!(
                "process {died} is dead, and the arena still lists it: please report this"
            )));
        }
        crate::signal::check()?;
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Single batches go from one process to another: through the arena, and through a pipe.
fn hand_over(stage: &mut Stage<'_>, producer: &mut Child, story: &mut Story, rows: u64) -> Result<()> {
    let (mut drafted, mut published) = (HandOver::default(), HandOver::default());
    let (mut piped, mut copied) = (HandOver::default(), HandOver::default());
    let mut consumer = stage.start(Role::Consume)?;
    consumer.next()?;
    for round in 0..BATCHES {
        // Each batch differs from all before, so that an old one would be noticed.
        for (way, times) in [("draft", &mut drafted), ("publish", &mut published)] {
            let first = (2 * round + u64::from(way == "publish")) * rows;
            producer.order(&format!("{way} {first}"))?;
            let sent = producer.next()?;
            let got = consumer.next()?;
            if text(&sent, "sum")? != text(&got, "sum")? {
                return Err(different());
            }
            times.add(number(&got, "seen")?.saturating_sub(number(&sent, "begin")?));
        }
        producer.order(&format!("memcpy {round}"))?;
        copied.add(number(&producer.next()?, "ns")?);
    }
    consumer.end()?;

    let (mut from, mut to) = stage.start_pipe()?;
    for round in 0..BATCHES {
        from.order(&format!("send {}", round * rows))?;
        let got = to.next()?;
        if got.get("equal") != Some(&Value::Bool(true)) {
            return Err(different());
        }
        piped.add(number(&got, "seen")?.saturating_sub(number(&got, "begin")?));
    }
    from.end()?;
    to.end()?;
    (story.drafted, story.published) = (drafted, published);
    (story.piped, story.copied) = (piped, copied);
    Ok(())
}

fn different() -> Failure {
    Failure::new("a batch that was handed over differs from what was sent: please report this")
}

fn nanos(report: &Value, key: &str) -> Result<Duration> {
    Ok(Duration::from_nanos(number(report, key)?))
}
