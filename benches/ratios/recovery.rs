//! A process that pins and drafts much is killed: how long does it take to settle what it left?

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use faretra::{Arena, GIB, KIB};
use ndarray::Ix1;

use crate::measure::{Table, in_turn};
use crate::setting::{Outcome, Scale, arena};

/// The argument that makes this program the one that is killed.
pub const VICTIM: &str = "--victim";
const PINS: usize = 1000;
const DRAFTS: usize = 100;

/// Pins and drafts, says so, and stays until it is killed or its parent is gone.
pub fn victim(arena: &str) -> Outcome {
    let arena = Arena::open(arena)?;
    let pins: Result<Vec<_>, _> = (0..PINS).map(|i| arena.get(&name(i))).collect();
    let writer = arena.writer()?;
    let drafts: Result<Vec<_>, _> = (0..DRAFTS).map(|_| writer.draft_array::<u8, Ix1>(64 * KIB as usize)).collect();
    let kept = (pins?, drafts?);
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().lines().for_each(drop);
    drop(kept);
    Ok(())
}

fn name(i: usize) -> String {
    format!("object-{i}")
}

/// Starts a victim, kills it, and waits until the kernel has let go of all it had.
fn kill_one(arena: &Arena) {
    let me = std::env::current_exe().expect("this program");
    let mut command = Command::new(me);
    let child = command.args([VICTIM, arena.name()]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("a child");
    let mut line = String::new();
    let out = child.stdout.take().expect("piped");
    BufReader::new(out).read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n", "the victim has what it should hold");
    child.kill().expect("killed");
    child.wait().expect("reaped");
}

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    for count in [PINS as u64, 100_000, 1_000_000].into_iter().filter(|n| *n <= scale.names) {
        let here = arena("recovery", 3 * GIB, |o| o)?;
        let writer = here.writer()?;
        for i in 0..count as usize {
            writer.publish(&name(i), &[1_u8; 200][..])?;
        }
        let open = || -> Duration {
            let start = Instant::now();
            let arena = Arena::open(here.name()).expect("the arena");
            let time = start.elapsed();
            drop(arena);
            time
        };
        let rounds = if count > 100_000 { 5 } else { 20 } / scale.hurry;
        let [quiet, opened, recovered] = in_turn(
            rounds,
            1,
            [
                &mut || open(),
                &mut || {
                    kill_one(&here);
                    open()
                },
                &mut || {
                    kill_one(&here);
                    let start = Instant::now();
                    let done = here.recover().expect("recovery");
                    let time = start.elapsed();
                    assert_eq!((done.participants, done.objects, done.permits), (1, DRAFTS as u64, 1));
                    time
                },
            ],
        );
        assert_eq!(here.verify()?, [], "the arena is sound");
        table.plain(format!("{count} objects: open, nobody died"), &quiet, "");
        table.ratio(
            format!("{count} objects: open after a death with {PINS} pins, {DRAFTS} drafts; floor: nobody died"),
            &opened,
            &quiet,
            "<= 10 ms",
        );
        table.plain(format!("{count} objects: recover() after the same death"), &recovered, "<= 10 ms");
    }
    Ok(())
}
