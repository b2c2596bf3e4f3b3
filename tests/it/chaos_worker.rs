//! Shows nothing by itself: what a process does in an arena whose words somebody else damages meanwhile. Each operation may
//! fail; each ends, in time, without a signal and without a panic.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use faretra::channel::Contents;
use faretra::feed::{Start, WhenFull};
use faretra::sync::Reset;
use faretra::{Arena, Kind, Object, Options, Select, Value};
use ndarray::{Ix1, Ix2};
use nix::sys::resource::{Resource, setrlimit};

use crate::arrow_types::samples::{batch_of, every_type};
use crate::obey::{hear, number, say};
use crate::value_damage::read_every_cell;
use crate::values::{self, KINDS, Random};

/// What workers do, one each.
pub const TRADES: [&str; 8] = ["read", "publish", "send", "receive", "feed", "lock", "wait", "look after"];

/// No operation takes that long: each waits for a fraction of a second at most.
const BOUND: Duration = Duration::from_secs(10);

/// Bytes of private memory that a worker may have: an allocation by a damaged length is far more.
const MEMORY: u64 = 1 << 29;

/// How long an operation waits.
const WAIT: Duration = Duration::from_millis(15);

/// What this worker does now, and since when.
static DOING: Mutex<Option<(&'static str, Instant)>> = Mutex::new(None);

fn doing() -> std::sync::MutexGuard<'static, Option<(&'static str, Instant)>> {
    DOING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What a worker's operations came to.
struct Tally {
    done: u64,
    failed: u64,
    damaged: u64,
}

impl Tally {
    /// Runs an operation that may fail in words.
    fn op<T, E: std::error::Error>(&mut self, what: &'static str, f: impl FnOnce() -> Result<T, E>) -> Option<T> {
        *doing() = Some((what, Instant::now()));
        let done = f();
        *doing() = Some(("leave an operation", Instant::now()));
        self.done += 1;
        match done {
            Ok(value) => Some(value),
            Err(e) => {
                self.failed += 1;
                self.damaged += u64::from(e.to_string().contains("damage"));
                None
            }
        }
    }
}

/// A worker's life: the trade, the directory, a seed and how long, line by line.
pub fn run() {
    setrlimit(Resource::RLIMIT_DATA, MEMORY, MEMORY).expect("less memory");
    std::panic::set_hook(Box::new(|panic| {
        say(&format!("found: panic in `{}`: {panic}", doing().map_or("nothing", |(what, _)| what)));
    }));
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(Duration::from_millis(100));
            if let Some((what, since)) = *doing()
                && since.elapsed() > BOUND
            {
                say(&format!("found: `{what}` takes more than {BOUND:?}"));
                std::process::exit(3);
            }
        }
    });
    while let Some(line) = hear() {
        let words: Vec<&str> = line.split(' ').collect();
        let (trade, dir) = (number(&words, 0) as usize, PathBuf::from(words[1]));
        let mut random = Random(number(&words, 2));
        let end = Instant::now() + Duration::from_millis(number(&words, 3));
        let mut tally = Tally { done: 0, failed: 0, damaged: 0 };
        while Instant::now() < end {
            visit(TRADES[trade], &dir, end, &mut random, &mut tally);
        }
        *doing() = None;
        say(&format!("done {} {} {}", tally.done, tally.failed, tally.damaged));
    }
}

fn options(dir: &Path, random: &mut Random) -> Options {
    Arena::options().dir(dir).untrusted(random.below(2) == 0)
}

/// What everybody uses. Returns how the arena is made.
pub fn furnish(dir: &Path) -> faretra::Result<Arena> {
    const MIB: u64 = faretra::MIB;
    let arena = Arena::options().dir(dir).limit(8 * MIB).capacity(8 * MIB).writers(6).create("a")?;
    let w = arena.writer()?;
    for (i, kind) in KINDS.iter().enumerate() {
        values::publish(&w, &format!("n{i}"), kind, i as u64, 30 + 4000 * (i % 3))?;
    }
    w.publish(EVERY, batch_of(every_type(60)))?;
    w.sender_with("c", 16, Contents::Mixed)?;
    w.unbounded_with("u", Contents::Mixed)?;
    w.feed_with("f", 8, WhenFull::DropOldest, Contents::Mixed)?;
    w.mutable_array::<u64, Ix2>("grid", (64, 16), 4)?;
    arena.mutex("m")?;
    arena.mutex_with("mv", [1_u64; 4])?;
    arena.semaphore_with("s", 2, 4)?;
    arena.event("e", Reset::Auto)?;
    arena.condition("more")?;
    arena.shared_value("v", [7_u64; 3])?;
    arena.shared_value("v8", 7_u64)?;
    drop(w);
    Ok(arena)
}

/// Opens the arena, works for a while, and leaves it.
fn visit(trade: &str, dir: &Path, end: Instant, random: &mut Random, tally: &mut Tally) {
    let how = options(dir, random);
    let Some(arena) = tally.op("open", || how.open("a")) else {
        // Damage may have made an end of it for those who come.
        std::thread::sleep(Duration::from_millis(2));
        return;
    };
    let stay = Instant::now() + Duration::from_millis(random.below(400));
    while Instant::now() < end.min(stay) {
        match trade {
            "read" => read(&arena, random, tally),
            "publish" => publish(&arena, random, tally),
            "send" => send(&arena, random, tally),
            "receive" => receive(&arena, random, tally),
            "feed" => feed(&arena, random, tally),
            "lock" => lock(&arena, random, tally),
            "wait" => wait(&arena, random, tally),
            _ => look_after(&arena, dir, random, tally),
        }
    }
    tally.op("leave", || {
        drop(arena);
        Ok::<(), faretra::Error>(())
    });
}

/// What has a column of each type of Arrow.
const EVERY: &str = "every";

fn a_name(random: &mut Random) -> String {
    if random.below(5) == 0 {
        return EVERY.to_owned();
    }
    format!("n{}", random.below(KINDS.len() as u64))
}

/// Reads as much of an object as the library vouches for while others change its bytes: of an arena that was opened as
/// untrusted all, otherwise everything but text.
fn look(object: &Object) -> faretra::Result<u64> {
    let sum = |words: &[u64]| words.iter().fold(0_u64, |sum, word| sum.wrapping_add(*word));
    Ok(match object.kind() {
        Kind::Bytes => object.bytes()?.iter().map(|byte| u64::from(*byte)).sum(),
        Kind::Array => {
            let dynamic = object.dyn_array()?;
            object.private().map(drop)?;
            let array = object.array::<u64, Ix1>()?;
            sum(array.as_slice().unwrap_or_default()) + dynamic.bytes().len() as u64
        }
        Kind::Batch => {
            let batch = object.batch()?;
            if object.is_untrusted() {
                read_every_cell(&batch);
            }
            let column = batch.column::<u64>("w")?;
            batch.ipc().map(drop)?;
            sum(column.as_slice().unwrap_or_default()) + batch.num_rows() as u64
        }
        Kind::Table => {
            let table = object.table()?;
            let mut rows = 0;
            for i in 0..table.num_batches() {
                let batch = table.batch(i)?;
                if object.is_untrusted() {
                    read_every_cell(&batch);
                }
                rows += batch.num_rows() as u64;
            }
            rows
        }
        Kind::Bundle => {
            let bundle = object.bundle()?;
            let mut all = 0;
            for name in bundle.names() {
                all += look(&bundle.get(name)?)? & 0xffff;
            }
            all
        }
        _ => 0,
    })
}

fn read(arena: &Arena, random: &mut Random, tally: &mut Tally) {
    let name = a_name(random);
    if let Some(object) = tally.op("get", || arena.get(&name)) {
        tally.op("look", || look(&object));
    }
    if random.below(20) == 0 {
        for entry in tally.op("names", || arena.names()).unwrap_or_default() {
            if let Some(object) = tally.op("get", || arena.get(&entry.name)) {
                tally.op("look", || look(&object));
            }
        }
    }
}

fn publish(arena: &Arena, random: &mut Random, tally: &mut Tally) {
    let Some(w) = tally.op("writer", || arena.writer_timeout(WAIT)) else { return };
    let (name, kind) = (a_name(random), KINDS[random.below(KINDS.len() as u64) as usize]);
    let words = 20 + random.below(6000) as usize;
    if name == EVERY {
        tally.op("publish every type", || w.publish(EVERY, batch_of(every_type(60))));
        return;
    }
    match random.below(8) {
        0 => drop(tally.op("remove", || w.remove(&name))),
        1 => drop(tally.op("publish if", || w.publish_if(&name, 1, b"if".as_slice()))),
        2 => {
            if let Some(object) = tally.op("get", || arena.get(&a_name(random))) {
                tally.op("alias", || w.publish(&name, &object));
            }
        }
        3 => drop(tally.op("draft bytes", || {
            let mut draft = w.draft_bytes(words)?;
            draft.bytes_mut()?.fill(7);
            w.publish(&name, draft)
        })),
        4 => drop(tally.op("load once", || {
            w.get_or_publish_timeout(&format!("once{}", random.below(4)), WAIT, || Ok::<_, faretra::Error>("made"))
        })),
        _ => drop(tally.op("publish", || values::publish(&w, &name, kind, 9, words))),
    }
}

fn send(arena: &Arena, random: &mut Random, tally: &mut Tally) {
    let Some(w) = tally.op("writer", || arena.writer_timeout(WAIT)) else { return };
    let unbounded = random.below(2) == 0;
    let sender = tally.op("sender", || match unbounded {
        true => w.unbounded_with("u", Contents::Mixed),
        false => w.sender_with("c", 16, Contents::Mixed),
    });
    let Some(sender) = sender else { return };
    for _ in 0..random.below(20) {
        let item = values::batch(3, 10 + random.below(300) as usize);
        tally.op("send", || sender.send_timeout(Value::from(&item), WAIT).map_err(faretra::Error::from));
        let _ = (sender.len(), sender.capacity());
    }
}

fn receive(arena: &Arena, random: &mut Random, tally: &mut Tally) {
    let name = if random.below(2) == 0 { "u" } else { "c" };
    let Some(receiver) = tally.op("receiver", || arena.receiver(name)) else { return };
    for _ in 0..random.below(20) {
        let Some(lease) = tally.op("receive", || receiver.recv_timeout(WAIT)) else { continue };
        tally.op("look at an item", || look(&lease));
        match random.below(4) {
            0 => drop(lease),
            _ => lease.ack(),
        }
    }
    tally.op("peers", || receiver.peers().map(drop));
    let _ = (receiver.len(), receiver.sent(), receiver.is_ready());
}

fn feed(arena: &Arena, random: &mut Random, tally: &mut Tally) {
    let Some(mut subscriber) = tally.op("subscribe", || arena.subscribe("f", Start::Oldest)) else { return };
    if let Some(w) = tally.op("writer", || arena.writer_timeout(WAIT)) {
        let made = tally.op("feed", || w.feed_with("f", 8, WhenFull::DropOldest, Contents::Mixed));
        if let Some(feed) = made {
            for _ in 0..random.below(12) {
                let item = values::batch(3, 10 + random.below(300) as usize);
                tally.op("append", || feed.append_timeout(Value::from(&item), WAIT).map_err(faretra::Error::from));
            }
        }
    }
    for _ in 0..random.below(12) {
        if let Some(object) = tally.op("receive of a feed", || subscriber.recv_timeout(WAIT)) {
            tally.op("look at an item", || look(&object));
        }
    }
    tally.op("snapshot", || arena.snapshot("f").map(drop));
    tally.op("latest", || arena.latest("f").map(drop));
}

fn lock(arena: &Arena, random: &mut Random, tally: &mut Tally) {
    match random.below(8) {
        0 => {
            let Some(mutex) = tally.op("mutex", || arena.mutex("m")) else { return };
            tally.op("lock", || mutex.lock_timeout(WAIT).map(drop));
        }
        1 => {
            let Some(mutex) = tally.op("mutex", || arena.mutex_with("mv", [1_u64; 4])) else { return };
            tally.op("lock", || mutex.lock_timeout(WAIT).map(|mut guard| guard[0] = guard[0].wrapping_add(1)));
        }
        2 => {
            let Some(s) = tally.op("semaphore", || arena.open_semaphore("s")) else { return };
            tally.op("acquire", || s.acquire_timeout(WAIT).map(drop));
            tally.op("post", || s.post(1));
            tally.op("available", || s.available());
        }
        3 => {
            let Some(e) = tally.op("event", || arena.open_event("e")) else { return };
            tally.op("set", || e.set());
            tally.op("wait for an event", || e.wait_timeout(WAIT));
        }
        4 => {
            let Some(more) = tally.op("condition", || arena.condition("more")) else { return };
            let waiter = tally.op("enlist", || more.enlist());
            tally.op("notify", || more.notify(2));
            if let Some(waiter) = waiter {
                tally.op("wait at a condition", || waiter.wait_timeout(WAIT));
                waiter.leave();
            }
            tally.op("lost", || more.lost());
        }
        5 => {
            let Some(v) = tally.op("value", || arena.shared_value("v", [7_u64; 3])) else { return };
            tally.op("load", || v.load());
            tally.op("store", || v.store_timeout([8; 3], WAIT));
            tally.op("update", || v.update_timeout(|old| old.map(|n| n.wrapping_add(1)), WAIT));
        }
        6 => {
            let Some(v) = tally.op("value", || arena.shared_value("v8", 7_u64)) else { return };
            tally.op("update", || v.update_timeout(|n| n.wrapping_add(1), WAIT));
        }
        _ => {
            let Some(grid) = tally.op("grid", || arena.mutable_array::<u64, Ix2>("grid")) else { return };
            let partition = random.below(grid.partitions() as u64) as usize;
            tally.op("write rows", || {
                let mut rows = grid.write_timeout(partition, WAIT)?;
                rows.view_mut()?.fill(3);
                Ok::<_, faretra::Error>(())
            });
            tally.op("read rows", || grid.read_timeout(partition, WAIT)?.view().map(|view| view.len()));
        }
    }
}

fn wait(arena: &Arena, random: &mut Random, tally: &mut Tally) {
    let name = a_name(random);
    tally.op("wait for a name", || arena.wait_for_timeout(&name, random.below(1 << 20), WAIT).map(drop));
    let mut select = Select::new();
    if let Some(receiver) = tally.op("receiver", || arena.receiver("c")) {
        select.recv(&receiver);
    }
    if let Some(event) = tally.op("event", || arena.open_event("e")) {
        select.wait(&event);
    }
    if let Some(subscriber) = tally.op("subscribe", || arena.subscribe("f", Start::Newest)) {
        select.read(&subscriber);
    }
    if let Some(s) = tally.op("semaphore", || arena.open_semaphore("s")) {
        select.acquire(&s);
    }
    tally.op("select", || select.ready_timeout(WAIT));
    if let Some(pollable) = tally.op("pollable", || arena.pollable(&name, 1 << 30)) {
        std::thread::sleep(Duration::from_millis(random.below(5)));
        tally.op("poll", || pollable.rearm());
    }
}

fn look_after(arena: &Arena, dir: &Path, random: &mut Random, tally: &mut Tally) {
    match random.below(12) {
        0 => drop(tally.op("verify", || arena.verify())),
        1 => drop(tally.op("verify deep", || arena.verify_deep())),
        2 => drop(tally.op("recover", || arena.recover())),
        3 => drop(tally.op("trim", || arena.trim())),
        4 => drop(tally.op("stats", || arena.stats())),
        5 => drop(tally.op("who", || arena.who())),
        6 => drop(tally.op("channels", || arena.channels())),
        7 => drop(tally.op("list", || Arena::options().dir(dir).list())),
        8 => drop(tally.op("reopen", || arena.reopen())),
        9 => drop(tally.op("end if alone", || arena.end_if_alone())),
        10 => {
            let seen = tally.op("observe", || Arena::options().dir(dir).observe("a"));
            if let Some(seen) = seen {
                tally.op("observed names", || seen.names());
                tally.op("observed stats", || seen.stats());
                tally.op("observed who", || seen.who());
                tally.op("observed rules", || seen.verify());
            }
        }
        _ => drop(tally.op("names", || arena.names())),
    }
}
