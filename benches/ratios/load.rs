//! `get_or_publish` by 16 processes at once, with makers that are killed, beside one process alone that makes the value.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use faretra::{Arena, MIB};

use crate::measure::{Table, Times, block, in_turn};
use crate::setting::{Outcome, Scale, arena};

/// The argument that makes this program one of those that ask.
pub const ASKER: &str = "--asker";
const ASKERS: usize = 16;
/// How long a value takes to make.
const MAKING: Duration = Duration::from_millis(20);

/// For each name that it reads, asks for the value and says what came of it. A maker says so, and goes on when it is told.
pub fn asker(arena: &str) -> Outcome {
    let arena = Arena::open(arena)?;
    let writer = arena.writer()?;
    let mut lines = std::io::stdin().lines();
    while let Some(name) = lines.next() {
        let made = writer.get_or_publish(&name?, || {
            println!("makes");
            std::io::stdout().flush().expect("somebody reads");
            lines.next().expect("a word").expect("a word");
            std::thread::sleep(MAKING);
            Ok::<_, faretra::Error>(vec![7_u8; MIB as usize])
        })?;
        println!("{}", made.version());
        std::io::stdout().flush()?;
    }
    Ok(())
}

struct Asker {
    process: Child,
    to: ChildStdin,
}

fn start(arena: &Arena, said: &std::sync::mpsc::Sender<(usize, String)>, index: usize) -> Asker {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let process = command.args([ASKER, arena.name()]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut process = process.expect("a child");
    let from: BufReader<ChildStdout> = BufReader::new(process.stdout.take().expect("piped"));
    let said = said.clone();
    std::thread::spawn(move || {
        for line in from.lines().map_while(Result::ok) {
            // Nobody listens any more when the section is over.
            let _ = said.send((index, line));
        }
    });
    let to = process.stdin.take().expect("piped");
    Asker { process, to }
}

/// Lets all ask for `name`, kills the first `kills` makers, and waits until the others have the value.
fn race(all: &mut [Asker], here: &Arena, name: &str, kills: usize, talk: &Talk) -> Duration {
    let started = Instant::now();
    for asker in all.iter_mut() {
        writeln!(asker.to, "{name}").expect("it reads");
    }
    let (mut made, mut answers) = (0, vec![]);
    while answers.len() < all.len() - kills {
        let (index, line) = talk.1.recv_timeout(Duration::from_secs(60)).expect("somebody says something");
        if line != "makes" {
            answers.push(line);
            continue;
        }
        made += 1;
        if made <= kills {
            all[index].process.kill().expect("killed");
            all[index].process.wait().expect("reaped");
        } else {
            writeln!(all[index].to, "go on").expect("it reads");
        }
    }
    let time = started.elapsed();
    assert_eq!(made, kills + 1, "made once while a maker lives");
    assert!(answers.iter().all(|version| *version == answers[0]), "everybody gets the one value: {answers:?}");
    for (index, asker) in all.iter_mut().enumerate() {
        if !matches!(asker.process.try_wait(), Ok(None)) {
            *asker = start(here, &talk.0, index);
        }
    }
    time
}

type Talk = (std::sync::mpsc::Sender<(usize, String)>, std::sync::mpsc::Receiver<(usize, String)>);

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    let here = arena("load", 256 * MIB, |o| o.writers(32))?;
    let writer = here.writer()?;
    let talk: Talk = std::sync::mpsc::channel();
    let mut all: Vec<Asker> = (0..ASKERS).map(|index| start(&here, &talk.0, index)).collect();
    let mut numbers = 0..;
    let mut name = || format!("value-{}", numbers.next().expect("endless"));
    let mut times = [const { Vec::new() }; 4];
    for round in 0..=(20 / scale.hurry) {
        let this = name();
        let started = Instant::now();
        let made = writer.get_or_publish(&this, || {
            std::thread::sleep(MAKING);
            Ok::<_, faretra::Error>(vec![7_u8; MIB as usize])
        })?;
        let mut now = vec![started.elapsed()];
        drop(made);
        writer.remove(&this)?;
        for kills in [0, 1, 3] {
            let this = name();
            now.push(race(&mut all, &here, &this, kills, &talk));
            writer.remove(&this)?;
        }
        if round > 0 {
            times.iter_mut().zip(now).for_each(|(times, time)| times.push(time));
        }
    }
    let [alone, raced, one, three] = times.map(|all| {
        let mut times = Times::default();
        all.into_iter().for_each(|time| times.push(time, 1));
        times
    });
    table.ratio(format!("{ASKERS} processes ask at once; floor: one makes it, 20 ms"), &raced, &alone, "");
    table.ratio("the same, the first maker is killed: made twice, one after the other", &one, &alone, "");
    table.ratio("the same, the first three makers are killed: made four times", &three, &alone, "");
    for mut asker in all {
        drop(asker.to);
        asker.process.wait()?;
    }
    writer.publish("there", &[7_u8; 200][..])?;
    const N: u64 = 1000;
    let [there, get] = in_turn(
        200 / scale.hurry,
        N,
        [
            &mut || block(N, || writer.get_or_publish("there", || Ok::<_, faretra::Error>("not made")).expect("there")),
            &mut || block(N, || here.get("there").expect("there")),
        ],
    );
    table.ratio("get_or_publish of what is there; floor: get", &there, &get, "");
    assert_eq!(here.verify()?, [], "the arena is sound");
    Ok(())
}
