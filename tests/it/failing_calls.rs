//! Shows that any system call may fail once, in any operation, for any reason: the operation succeeds or fails in words, and
//! leaves nothing behind. Every rule holds afterwards, nobody holds anything, and every byte is accounted for.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use faretra::call::WithoutServer;
use faretra::channel::Contents;
use faretra::feed::{Start, WhenFull};
use faretra::sync::Reset;
use faretra::{Arena, MIB, Options, Select};
use ndarray::Ix2;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::fault::{Faults, with_faults};
use crate::support::{Dir, skip};
use crate::system::SmallFs;
use crate::values;

/// What calls fail with.
const ERRORS: [Errno; 7] =
    [Errno::ENOSPC, Errno::ENOMEM, Errno::EINTR, Errno::EMFILE, Errno::EACCES, Errno::EAGAIN, Errno::EPERM];

/// No operation makes so many calls.
const MOST_CALLS: u64 = 2000;

const WAIT: Duration = Duration::from_millis(1);

/// Where operations are made: an arena `a`, and nothing else in the directory.
struct World {
    arena: Arena,
    dir: PathBuf,
    /// What is removed with it.
    home: Option<Dir>,
}

type Operation = (&'static str, fn(&World) -> faretra::Result<()>);

fn options(dir: &Path) -> Options {
    Arena::options().dir(dir).limit(8 * MIB).capacity(8 * MIB).writers(4).participants(7)
}

impl World {
    fn new() -> World {
        let home = Dir::new();
        let mut world = World::within(&home.0);
        world.home = Some(home);
        world
    }

    fn within(dir: &Path) -> World {
        let arena = options(dir).create("a").expect("an arena");
        let w = arena.writer().expect("a permit");
        values::publish(&w, "bytes", "bytes", 1, 200).expect("room");
        values::publish(&w, "large", "bytes", 1, 40_000).expect("room");
        values::publish(&w, "batch", "batch", 2, 20_000).expect("room");
        values::publish(&w, "table", "table", 3, 900).expect("room");
        values::publish(&w, "bundle", "bundle", 4, 900).expect("room");
        values::publish(&w, "array", "array", 5, 900).expect("room");
        drop(w);
        World { arena, dir: dir.to_owned(), home: None }
    }

    fn options(&self) -> Options {
        options(&self.dir)
    }

    /// What is wrong after an operation, whose new names are removed first. `Ok`: nothing is. Of the values that were there before it
    /// looks at each byte if `thorough`, which takes longer than all else.
    fn look(&self, live: u64, thorough: bool) -> Result<(), String> {
        let e = |what: &'static str| move |e: faretra::Error| format!("{what}: {e}");
        let kept = ["array", "batch", "bundle", "bytes", "large", "table"];
        let w = self.arena.writer_timeout(Duration::from_secs(5)).map_err(e("a permit"))?;
        for entry in self.arena.names().map_err(e("names"))? {
            if !kept.contains(&&*entry.name) {
                w.remove(&entry.name).map_err(e("remove"))?;
            }
        }
        drop(w);
        for name in kept {
            let object = self.arena.get(name).map_err(e("get"))?;
            if thorough {
                values::check(&object)?;
            }
        }
        for what in ["with freed memory still warm", "after trim"] {
            self.arena.recover().map_err(e("recover"))?;
            let found = self.arena.verify().map_err(e("verify"))?;
            if !found.is_empty() {
                return Err(format!("{what}: {found:?}"));
            }
            self.arena.trim().map_err(e("trim"))?;
        }
        let s = self.arena.stats().map_err(e("stats"))?;
        if (s.live, s.warm, s.participants, s.writers_busy, s.names) != (live, 0, 1, 0, kept.len() as u64) {
            return Err(format!("not {live} bytes and one participant: {s:?}"));
        }
        let held: Vec<_> = self.arena.who().map_err(e("who"))?;
        if held.iter().any(|h| h.pins != 0 || h.drafts != 0 || h.permits != 0 || !h.holds.is_empty()) {
            return Err(format!("something is held: {held:?}"));
        }
        // An arena of the operation's own is there as a whole or not at all.
        for file in std::fs::read_dir(&self.dir).map_err(|e| e.to_string())? {
            let file = file.map_err(|e| e.to_string())?.file_name().into_string().expect("our names");
            let name = file.strip_prefix("faretra.").ok_or_else(|| format!("a file {file}"))?;
            if name != "a" {
                match self.options().open(name) {
                    Ok(left) => drop(left),
                    // Its last participant could not take an ephemeral one's name away: who opens it does.
                    Err(faretra::Error::NotFound { .. }) if !self.dir.join(&file).exists() => continue,
                    Err(error) => return Err(format!("open what was left: {error}")),
                }
                self.options().remove(name).map_err(e("remove what was left"))?;
            }
        }
        Ok(())
    }
}

/// Every way to use an arena, each of which lets go of all that it got.
const OPERATIONS: &[Operation] = &[
    ("create", |t| t.options().create("b").map(drop)),
    ("create an ephemeral one", |t| t.options().keep(false).create("b").map(drop)),
    ("open", |t| t.options().open("a").map(drop)),
    ("open or create", |t| t.options().open_or_create("b").map(drop)),
    ("open to write", |t| t.options().open("a")?.writer()?.publish("x", "text").map(drop)),
    ("reopen", |t| t.arena.reopen().map(drop)),
    ("observe", |t| t.options().observe("a")?.stats().map(drop)),
    ("list", |t| t.options().list().map(drop)),
    ("remove", |t| {
        t.options().create("b").map(drop)?;
        t.options().remove("b")
    }),
    ("get", |t| t.arena.get("bytes")?.bytes().map(drop)),
    ("private", |t| t.arena.get("large")?.private().map(drop)),
    ("read a batch", |t| t.arena.batch("batch")?.ipc().map(drop)),
    ("read a bundle", |t| t.arena.bundle("bundle")?.get("a").map(drop)),
    ("publish bytes", |t| values::publish(&t.arena.writer()?, "x", "bytes", 9, 100).map(drop)),
    ("publish a megabyte", |t| values::publish(&t.arena.writer()?, "x", "bytes", 9, 130_000).map(drop)),
    ("publish a batch", |t| values::publish(&t.arena.writer()?, "x", "batch", 9, 20_000).map(drop)),
    ("publish a table", |t| values::publish(&t.arena.writer()?, "x", "table", 9, 30_000).map(drop)),
    ("publish a bundle", |t| values::publish(&t.arena.writer()?, "x", "bundle", 9, 3000).map(drop)),
    ("publish twice", |t| {
        let w = t.arena.writer()?;
        w.publish("x", "first")?;
        w.publish_if("x", 1, "second").map(drop)
    }),
    ("alias", |t| t.arena.writer()?.publish("x", &t.arena.get("batch")?).map(drop)),
    ("share columns", |t| t.arena.writer()?.publish("x", t.arena.batch("batch")?.record_batch()).map(drop)),
    ("draft a batch", |t| values::publish(&t.arena.writer()?, "x", "drafted-batch", 9, 3000).map(drop)),
    ("draft bytes, mapped", |t| {
        let w = t.arena.writer()?;
        let mut map = w.draft_bytes(10_000)?.into_map()?;
        w.publish("x", map.finish()?).map(drop)
    }),
    ("drop a draft", |t| t.arena.writer()?.draft_bytes(50_000).map(drop)),
    ("remove a name", |t| {
        let w = t.arena.writer()?;
        w.publish("x", "text")?;
        w.remove("x").map(drop)
    }),
    ("load once", |t| t.arena.writer()?.get_or_publish("x", || Ok("made")).map(drop)),
    ("send and receive", |t| {
        let sender = t.arena.writer()?.sender_with("c", 4, Contents::Mixed)?;
        let receiver = t.arena.receiver("c")?;
        sender.send_timeout("item", WAIT)?;
        sender.send_timeout(values::batch(3, 10_000), WAIT)?;
        receiver.recv_timeout(WAIT).map_err(told)?.ack();
        drop(receiver.recv_timeout(WAIT).map_err(told)?);
        sender.close()?;
        Ok(())
    }),
    ("send without a bound", |t| {
        let sender = t.arena.writer()?.unbounded_with("u", Contents::Mixed)?;
        for _ in 0..70 {
            sender.send_timeout("item", WAIT)?;
        }
        let receiver = receiver(t, "u")?;
        for _ in 0..68 {
            receiver.recv_timeout(WAIT).map_err(told)?.ack();
        }
        Ok(())
    }),
    ("feed", |t| {
        let feed = t.arena.writer()?.feed_with("f", 4, WhenFull::DropOldest, Contents::Mixed)?;
        let mut subscriber = t.arena.subscribe("f", Start::Oldest)?;
        feed.append_timeout("item", WAIT)?;
        subscriber.recv_timeout(WAIT).map_err(told)?;
        drop(subscriber);
        for _ in 0..6 {
            feed.append_timeout("item", WAIT)?;
        }
        feed.close()
    }),
    ("mutex", |t| t.arena.mutex_with("m", [1_u64; 3])?.lock_timeout(WAIT).map(|mut guard| guard[1] = 2)),
    ("semaphore", |t| {
        let s = t.arena.semaphore("s", 1)?;
        let permit = s.acquire_timeout(WAIT)?;
        let waited = s.acquire_timeout(WAIT).map(drop);
        drop(permit);
        waited.or_else(in_time)?;
        s.post(1)
    }),
    ("event", |t| {
        let event = t.arena.event("e", Reset::Manual)?;
        event.wait_timeout(WAIT).or_else(in_time)?;
        event.set()?;
        event.wait_timeout(WAIT)
    }),
    ("condition", |t| {
        let more = t.arena.condition("more")?;
        let waiter = more.enlist()?;
        waiter.wait_timeout(WAIT).or_else(in_time)?;
        more.notify(1)?;
        waiter.wait_timeout(WAIT)
    }),
    ("value", |t| t.arena.shared_value("v", [1_u64; 5])?.update_timeout(|v| v.map(|n| n + 1), WAIT).map(drop)),
    ("mutable array", |t| {
        let grid = t.arena.writer()?.mutable_array::<u64, Ix2>("grid", (100, 20), 4)?;
        grid.write_timeout(1, WAIT)?.view_mut()?.fill(3);
        grid.read_timeout(1, WAIT)?.view().map(drop)?;
        grid.freeze_timeout(WAIT).map(drop)
    }),
    ("shared bytes", |t| t.arena.writer()?.shared_bytes("shared", 10_000).map(drop)),
    ("wait for a name", |t| t.arena.wait_for_timeout("none", 0, WAIT).map(drop).or_else(in_time)),
    ("select", |t| {
        let (event, other) = (t.arena.event("e", Reset::Manual)?, t.arena.event("e2", Reset::Manual)?);
        let mut select = Select::new();
        select.wait(&event);
        select.wait(&other);
        select.ready_timeout(WAIT).map(drop).or_else(in_time)
    }),
    ("call", |t| {
        let w = t.arena.writer()?;
        let (server, mut client) = (w.server("s")?, w.client("s", WithoutServer::Waits)?);
        client.request("question").map_err(told)?;
        // Not replied to: a reply waits for memory as long as it takes.
        drop(server.recv_timeout(WAIT).map_err(told)?);
        client.try_reply().map_err(told).map(drop)
    }),
    ("checksums", |t| {
        let arena = t.options().checksums(true).create("b")?;
        values::publish(&arena.writer()?, "x", "batch", 9, 20_000)?;
        arena.get("x")?.verify_checksums().map(drop)
    }),
    ("grow", |t| {
        t.arena.set_limit(4 * MIB)?;
        let full = values::publish(&t.arena.writer()?, "x", "bytes", 9, 500_000);
        t.arena.set_limit(8 * MIB)?;
        full.map(drop).or_else(|e| if matches!(e, faretra::Error::NoSpace { .. }) { Ok(()) } else { Err(e) })
    }),
    ("trim", |t| t.arena.trim().map(drop)),
    ("recover", |t| t.arena.recover().map(drop)),
    ("look at everything", |t| {
        t.arena.verify_deep()?;
        t.arena.stats()?;
        t.arena.channels()?;
        t.arena.who().map(drop)
    }),
    ("end if alone", |t| {
        let arena = t.options().keep(false).create("b")?;
        arena.end_if_alone().map(drop)
    }),
];

fn receiver(t: &World, name: &str) -> faretra::Result<faretra::Receiver> {
    t.arena.receiver(name)
}

/// Why nothing was received, as the one error that operations return.
fn told(e: impl std::error::Error) -> faretra::Error {
    faretra::Error::Invalid(e.to_string())
}

/// A wait that was in vain was as it should be.
fn in_time(e: faretra::Error) -> faretra::Result<()> {
    if matches!(e, faretra::Error::TimedOut(_)) { Ok(()) } else { Err(e) }
}

/// What the sweep did.
#[derive(Default)]
struct Seen {
    failed: u64,
    /// Operations that ended in an error.
    told: u64,
    by_call: BTreeMap<i64, u64>,
    wrong: Vec<String>,
}

/// Lets each call of an operation fail with each error, one at a time.
fn sweep(faults: &Faults, (name, run): Operation, seen: &mut Seen) {
    let mut t = World::new();
    let live = t.arena.stats().expect("stats").live;
    run(&t).unwrap_or_else(|e| panic!("`{name}`, of which nothing fails: {e}"));
    t.look(live, true).unwrap_or_else(|e| panic!("`{name}`, of which nothing fails: {e}"));
    for error in ERRORS {
        for n in 1..MOST_CALLS {
            let (done, failed) = faults.failing(n, error, || catch_unwind(AssertUnwindSafe(|| run(&t))));
            let wrong = match done {
                Ok(done) => {
                    seen.told += u64::from(done.is_err());
                    // A value that a failure changed stays changed: that is seen after the last.
                    t.look(live, failed.is_none()).err()
                }
                Err(_) => Some("a panic".into()),
            };
            if let Some(wrong) = wrong {
                seen.wrong.push(format!("`{name}`, call {n} ({failed:?}) fails with {error:?}: {wrong}"));
                t = World::new();
            }
            let Some(call) = failed else { break };
            seen.failed += 1;
            *seen.by_call.entry(call).or_default() += 1;
        }
    }
}

/// Each call of each operation, each error.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "answers the system calls of Linux's back-end")]
fn every_call_fails_once() {
    let mut seen = Seen::default();
    let only = std::env::var("FARETRA_OPERATION").ok();
    let offered = with_faults(|faults| {
        for operation in OPERATIONS.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
            sweep(faults, *operation, &mut seen);
        }
    });
    if !offered {
        return skip("every_call_fails_once", "this process may not have its system calls answered by itself");
    }
    eprintln!("{} calls failed in {} operations, {} of which were told so", seen.failed, OPERATIONS.len(), seen.told);
    eprintln!("by number: {:?}", seen.by_call);
    assert!(seen.wrong.is_empty(), "{} wrong:\n{}", seen.wrong.len(), seen.wrong.join("\n"));
    assert!(only.is_some() || seen.failed > 1000);
}

/// Runs every operation in a world of its own that lacks something, which `within` takes away for as long as the operation
/// runs, in steps, until the operation works. Returns how many ran, and how many of them failed.
fn lacking(
    what: &str,
    steps: u64,
    mut world: impl FnMut() -> World,
    within: impl Fn(&World, u64, &dyn Fn()),
) -> [u64; 2] {
    let (mut ran, mut failed, mut wrong) = (0, 0, vec![]);
    for (name, run) in OPERATIONS {
        let mut t = world();
        let live = t.arena.stats().expect("stats").live;
        for step in 0..steps {
            let done = std::cell::Cell::new(None);
            within(&t, step, &|| done.set(Some(catch_unwind(AssertUnwindSafe(|| run(&t))))));
            let found = match done.into_inner() {
                Some(Ok(done)) => {
                    failed += u64::from(done.is_err());
                    t.look(live, true).err()
                }
                _ => Some("a panic".into()),
            };
            ran += 1;
            if let Some(found) = found {
                wrong.push(format!("`{name}`, {what}, step {step}: {found}"));
                drop(t);
                t = world();
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    [ran, failed]
}

/// Every operation with so and so many descriptors left, none included; then without memory that may be locked, with small
/// files, and with next to no address space.
#[test]
#[cfg_attr(
    all(feature = "portable", not(feature = "proof")),
    ignore = "the crates below give up, or are ended, where Linux's back-end has an error"
)]
fn small_limits_of_the_process() {
    let under = |resource: Resource, soft: u64, run: &dyn Fn()| {
        let (before, hard) = getrlimit(resource).expect("our limits");
        setrlimit(resource, soft, hard).expect("lower");
        run();
        setrlimit(resource, before, hard).expect("as before");
    };
    let used = || std::fs::read_dir("/proc/self/fd").expect("ours").count() as u64 - 1;
    let few = lacking("few descriptors", 7, World::new, |_, step, run| {
        under(Resource::RLIMIT_NOFILE, used() + step, run);
    });
    let none = lacking("no locked memory", 1, World::new, |_, _, run| under(Resource::RLIMIT_MEMLOCK, 0, run));
    let short = lacking("short files", 1, World::new, |_, _, run| under(Resource::RLIMIT_FSIZE, 1 << 20, run));
    // The address space that is used already, and a little more: what an arena maps does not fit.
    let tight = lacking("no address space", 3, World::new, |_, step, run| {
        let pages = std::fs::read_to_string("/proc/self/statm").expect("ours");
        let pages: u64 = pages.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
        under(Resource::RLIMIT_AS, pages * 4096 + (64 << 20 << (6 * step)), run);
    });
    eprintln!("[operations, of which failed]: descriptors {few:?}, MEMLOCK {none:?}, FSIZE {short:?}, AS {tight:?}");
    assert!(few[1] > 0 && short[1] > 0 && tight[1] > 0);
}

/// Every operation on a tmpfs that somebody else has filled but for a few pages, from none on.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "memory is not committed before it is touched")]
fn somebody_else_fills_the_file_system() {
    let test = "somebody_else_fills_the_file_system";
    let Some(fs) = SmallFs::new(test, 6 * MIB) else { return };
    let world = || {
        let _ = std::fs::remove_file(fs.path().join("faretra.a"));
        World::within(fs.path())
    };
    let seen = lacking("a full file system", 24, world, |t, step, run| {
        let path = fs.path().join("filler");
        let file = std::fs::File::create(&path).expect("a file");
        let (free, keep) = (t.options().room().expect("room").free, step * step * 4096);
        if free > keep {
            let room = FallocateFlags::empty();
            fallocate(&file, room, 0, (free - keep) as i64).expect("the rest");
        }
        run();
        drop(file);
        std::fs::remove_file(path).expect("removed");
    });
    eprintln!("[operations, of which failed]: {seen:?}");
    assert!(seen[1] > 100);
}
