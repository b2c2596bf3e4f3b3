//! A hundred processes want ten tickets. Some are killed on the way, also at the counter, with the lock in their
//! hands: ten tickets are sold all the same, no more and no less, each to one buyer.
//!
//! ```text
//! cargo run --example ticket_office
//! ```
//!
//! The office is the value of a mutex: it changes as a whole when the lock is given back, or not at all. So a
//! buyer that is killed has a ticket or has none, and whoever has the lock next finds the books in order.
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::collections::BTreeSet;
use std::error::Error;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use faretra::sync::{Event, Mutex, Reset, SharedValue};
use faretra::{Arena, MIB};
use nix::sys::signal::{SigSet, Signal};

const BUYERS: u64 = 100;
const TICKETS: usize = 10;
const KILLS: u64 = 20;
/// Nobody waits longer than that for anything.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a buyer's exit code says: this, or one of the tickets 1 to 10.
const REFUSED: i32 = 99;

/// The buyers of tickets 1 to 10 (0: not sold yet), and how many are sold.
type Books = [u64; TICKETS + 1];

/// What all processes share.
struct Office {
    arena: Arena,
    books: Mutex<Books>,
    doors: Event,
    /// Who stands at the counter, for the one who kills.
    counter: SharedValue<u64>,
    /// A bit for each buyer that was told that the one before died.
    told: SharedValue<[u64; 2]>,
}

impl Office {
    fn in_arena(arena: Arena) -> faretra::Result<Office> {
        Ok(Office {
            books: arena.mutex_with("books", [0; TICKETS + 1])?,
            doors: arena.event("doors", Reset::Manual)?,
            counter: arena.shared_value("counter", 0)?,
            told: arena.shared_value("told", [0; 2])?,
            arena,
        })
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [] => run(),
        [arena, buyer, parent] => buy(arena, buyer.parse()?, parent),
        _ => Err("run it without arguments".into()),
    }
}

/// One buyer: goes to the counter when the doors open, and ends with its ticket as exit code.
fn buy(arena: &str, me: u64, parent: &str) -> Result<ExitCode, Box<dyn Error>> {
    // Buyers go with the office, however it ends.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if nix::unistd::getppid().to_string() != parent {
        return Ok(ExitCode::FAILURE);
    }
    let office = Office::in_arena(Arena::options().keep(false).open(arena)?)?;
    office.doors.wait_timeout(DEADLINE)?;
    let mut books = office.books.lock_timeout(DEADLINE)?;
    office.counter.store(me)?;
    if books.recovered() {
        office.told.update(|mut told| {
            told[me as usize / 64] |= 1 << (me % 64);
            told
        })?;
        // Nothing to repair: the books are what they were before the dead one took the lock.
        books.mark_consistent();
    }
    let sold = books[TICKETS] as usize;
    if sold == TICKETS {
        return Ok(ExitCode::from(REFUSED as u8));
    }
    books[sold] = me;
    // Counting the money: whoever is killed here has no ticket.
    std::thread::sleep(Duration::from_millis(3));
    books[TICKETS] += 1;
    drop(books);
    Ok(ExitCode::from(sold as u8 + 1))
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let interrupted = listen()?;
    let name = format!("ticket-office-{}", std::process::id());
    // Ephemeral: it goes with the last who has it open.
    let office = Office::in_arena(Arena::options().limit(16 * MIB).keep(false).create(&name)?)?;
    let mut buyers = Buyers(vec![]);
    for me in 1..=BUYERS {
        if interrupted.load(Ordering::Relaxed) {
            return Ok(ExitCode::from(130));
        }
        let args = [name.clone(), me.to_string(), std::process::id().to_string()];
        buyers.0.push(Command::new(std::env::current_exe()?).args(args).spawn()?);
    }
    println!("{BUYERS} processes want {TICKETS} tickets");
    office.doors.set()?;

    let mut random = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos() as u64 | 1;
    for kill in 0..KILLS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_micros(random % 4000));
        // Every other one is whoever stands at the counter at this moment.
        let victim = match office.counter.load()? {
            at_counter @ 1.. if kill % 2 == 0 => at_counter,
            _ => 1 + random % BUYERS,
        };
        // One that has ended by itself is past killing: it does not count.
        buyers.0[victim as usize - 1].kill()?;
    }
    let Some(ends) = buyers.wait(&interrupted)? else { return Ok(ExitCode::from(130)) };
    report(&office, &ends)?;
    Ok(ExitCode::SUCCESS)
}

/// Ends that contradict the books are errors.
fn report(office: &Office, ends: &[Option<i32>]) -> Result<(), Box<dyn Error>> {
    let books = *office.books.lock_timeout(DEADLINE)?;
    let sold = &books[..books[TICKETS] as usize];
    let owners: BTreeSet<u64> = sold.iter().copied().collect();
    let (mut refused, mut killed) = (0, vec![]);
    for (me, end) in (1..).zip(ends) {
        match end {
            None => killed.push(me),
            Some(REFUSED) => refused += 1,
            Some(ticket) if sold.get(*ticket as usize - 1) == Some(&me) => {}
            Some(code) => return Err(format!("buyer {me} ended with {code}, the books say {books:?}").into()),
        }
    }
    for (ticket, owner) in (1..).zip(sold) {
        let note = if killed.contains(owner) { ", who was killed with it in the pocket" } else { "" };
        println!("ticket {ticket:>2}: buyer {owner}{note}");
    }
    let told = office.told.load()?;
    let told: Vec<u64> = (1..=BUYERS).filter(|me| told[*me as usize / 64] >> (me % 64) & 1 == 1).collect();
    let with = killed.iter().filter(|me| owners.contains(me)).count();
    println!("sold {}, refused {refused}, killed {} ({with} of them had a ticket)", sold.len(), killed.len());
    println!("told that the one before died at the counter: {told:?}");
    let with_tickets = ends.len() - refused - killed.len() + with;
    if sold.len() != TICKETS || owners.len() != TICKETS || with_tickets != TICKETS {
        return Err(format!("that is not {TICKETS} tickets, each with one owner: {books:?}").into());
    }
    office.arena.recover()?;
    match office.arena.verify()?.as_slice() {
        [] => Ok(()),
        wrong => Err(format!("{wrong:?}").into()),
    }
}

/// Killed and reaped at the end, whatever that is.
struct Buyers(Vec<Child>);

impl Buyers {
    /// How each ended: its exit code, or killed. `None`: interrupted.
    fn wait(&mut self, interrupted: &AtomicBool) -> Result<Option<Vec<Option<i32>>>, Box<dyn Error>> {
        let start = Instant::now();
        let mut ends = vec![];
        for (me, buyer) in (1..).zip(&mut self.0) {
            let end = loop {
                if let Some(end) = buyer.try_wait()? {
                    break end;
                }
                if interrupted.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                if start.elapsed() > DEADLINE {
                    return Err(format!("buyer {me} does not come back").into());
                }
                std::thread::sleep(Duration::from_millis(1));
            };
            if end.signal().is_some_and(|signal| signal != Signal::SIGKILL as i32) {
                return Err(format!("buyer {me} ended with {end}").into());
            }
            ends.push(end.code());
        }
        Ok(Some(ends))
    }
}

impl Drop for Buyers {
    fn drop(&mut self) {
        for buyer in &mut self.0 {
            // They are killed or have ended: either way there is something to reap.
            let _ = buyer.kill();
            let _ = buyer.wait();
        }
    }
}

/// Whether somebody pressed Ctrl-C: a signal that ended us at once would leave the arena to the next `faretra ls`.
fn listen() -> Result<Arc<AtomicBool>, Box<dyn Error>> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // In this thread and those that come from it: only the one below hears them.
    signals.thread_block()?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            flag.store(true, Ordering::Relaxed);
        }
    });
    Ok(interrupted)
}
