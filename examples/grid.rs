//! Processes fill the rows of one shared array. One is killed in the middle of a partition and replaced: whoever
//! gets the partition next is told, does it again, and says that it is consistent. Then the array is frozen.
//!
//! ```text
//! cargo run --example grid
//! ```
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::error::Error;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use faretra::{Arena, MIB, MutableArray};
use ndarray::{Array2, Axis, Ix2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const ROWS: usize = 240;
const COLUMNS: usize = 320;
const PARTITIONS: usize = 12;
const WORKERS: usize = 3;
const DEADLINE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [] => run(),
        [arena, worker, parent] => work(arena, worker, parent),
        _ => Err("run it without arguments".into()),
    }
}

/// Row and column to the number of steps until the point is known to leave the Mandelbrot set.
fn steps(row: usize, column: usize) -> u16 {
    let (x0, y0) = (column as f64 / COLUMNS as f64 * 3.2 - 2.3, row as f64 / ROWS as f64 * 2.4 - 1.2);
    let (mut x, mut y) = (0.0_f64, 0.0_f64);
    let leaves = (0..200).find(|_| {
        (x, y) = (x * x - y * y + x0, 2.0 * x * y + y0);
        x * x + y * y > 4.0
    });
    leaves.unwrap_or(200)
}

/// Where a worker is, for those who watch it: the partition plus one, and rows that are done of it; 0: nowhere.
fn place(partition: usize, rows: usize) -> u64 {
    (partition as u64 + 1) << 32 | rows as u64
}

/// Fills what is not filled, until everything is.
fn work(arena: &str, worker: &str, parent: &str) -> Result<(), Box<dyn Error>> {
    // Workers go with their parent, however it ends.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if nix::unistd::getppid().to_string() != parent {
        return Ok(());
    }
    let arena = Arena::options().keep(false).open(arena)?;
    let grid: MutableArray<u16, Ix2> = arena.mutable_array("grid")?;
    let done = arena.shared_value("done", 0_u64)?;
    let at = arena.shared_value(&format!("at-{worker}"), 0_u64)?;
    loop {
        let mut busy = 0;
        for partition in 0..PARTITIONS {
            let Some(mut rows) = grid.try_write(partition)? else {
                busy += 1;
                continue;
            };
            if rows.recovered() {
                println!("worker {worker}: partition {partition} was left half written, I do it again");
            } else if done.load()? >> partition & 1 == 1 {
                continue;
            }
            let first = rows.rows().start;
            for (i, mut row) in rows.view_mut()?.axis_iter_mut(Axis(0)).enumerate() {
                row.indexed_iter_mut().for_each(|(column, value)| *value = steps(first + i, column));
                at.store(place(partition, i + 1))?;
                // So that there is something to be seen, and a middle to be killed in.
                std::thread::sleep(Duration::from_millis(2));
            }
            at.store(0)?;
            rows.mark_consistent();
            done.update(|done| done | 1 << partition)?;
        }
        if busy == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let name = format!("grid-{}", std::process::id());
    let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
    let grid: MutableArray<u16, Ix2> = arena.writer()?.mutable_array("grid", (ROWS, COLUMNS), PARTITIONS)?;
    let start = |worker: usize| -> Result<Child, Box<dyn Error>> {
        let args = [name.clone(), worker.to_string(), std::process::id().to_string()];
        Ok(Command::new(std::env::current_exe()?).args(args).spawn()?)
    };
    let mut workers = Workers((0..WORKERS).map(start).collect::<Result<_, _>>()?);
    println!("{WORKERS} processes fill {ROWS} x {COLUMNS} elements in {PARTITIONS} partitions");

    let victim = &mut workers.0[0];
    let (partition, rows) = kill_in_the_middle(&arena, victim)?;
    println!("worker 0 is killed with {rows} of {} rows of partition {partition} done", ROWS / PARTITIONS);
    *victim = start(WORKERS)?;
    workers.wait()?;

    // Nothing is copied: from here on it is an array like any other, and nobody can write it.
    let frozen = grid.freeze_timeout(DEADLINE)?;
    let own = Array2::from_shape_fn((ROWS, COLUMNS), |(row, column)| steps(row, column));
    if frozen.view() != own {
        return Err("the array is not what it should be".into());
    }
    for row in (0..ROWS).step_by(ROWS / 24) {
        let shade = |column| match frozen[[row, column]] {
            ..4 => ' ',
            4..7 => '.',
            7..12 => ':',
            12..30 => '+',
            30..200 => '*',
            _ => '#',
        };
        println!("{}", (0..COLUMNS).step_by(COLUMNS / 80).map(shade).collect::<String>());
    }
    println!("frozen, and all {} elements are right", frozen.len());
    arena.recover()?;
    match arena.verify()?.as_slice() {
        [] => Ok(()),
        wrong => Err(format!("{wrong:?}").into()),
    }
}

/// Kills worker 0 where it has written a part of a partition. Says where that was.
fn kill_in_the_middle(arena: &Arena, worker: &mut Child) -> Result<(u64, u64), Box<dyn Error>> {
    let at = arena.shared_value("at-0", 0_u64)?;
    let pid = Pid::from_raw(worker.id() as i32);
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        let now = at.load()?;
        let (partition, rows) = (now >> 32, now & 0xffff_ffff);
        if partition != 0 && (2..ROWS as u64 / PARTITIONS as u64 - 2).contains(&rows) {
            // It may be elsewhere by now: it is looked at again while it stands.
            kill(pid, Signal::SIGSTOP)?;
            std::thread::sleep(Duration::from_millis(20));
            if at.load()? >> 32 == partition && at.load()? & 0xffff_ffff < ROWS as u64 / PARTITIONS as u64 {
                let rows = at.load()? & 0xffff_ffff;
                worker.kill()?;
                worker.wait()?;
                return Ok((partition - 1, rows));
            }
            kill(pid, Signal::SIGCONT)?;
        }
        if let Some(end) = worker.try_wait()? {
            return Err(format!("worker 0 ended with {end} before it could be killed").into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err("worker 0 does nothing".into())
}

/// Killed and reaped at the end, whatever that is.
struct Workers(Vec<Child>);

impl Workers {
    fn wait(&mut self) -> Result<(), Box<dyn Error>> {
        let start = Instant::now();
        for worker in &mut self.0 {
            let end = loop {
                match worker.try_wait()? {
                    Some(end) => break end,
                    None if start.elapsed() > DEADLINE => return Err("a worker does not come to an end".into()),
                    None => std::thread::sleep(Duration::from_millis(2)),
                }
            };
            if !end.success() {
                return Err(format!("a worker ended with {end}").into());
            }
        }
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.0 {
            // They are killed or have ended: either way there is something to reap.
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}
