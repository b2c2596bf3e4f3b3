//! Shows nothing by itself: the process that does what a test tells it, one line at a time.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use faretra::arrow::arrow_schema::{DataType, Field, Schema};
use faretra::{Arena, Batch, Bundle, Error, Object, Options, Result, Table, Writer};
use ndarray::Ix1;

use crate::calls::CallHands;
use crate::channel_puppet::ChannelHands;
use crate::feed_puppet::FeedHands;
use crate::load_once;
use crate::obey::{
    alarms, be_interruptible, become_user, close_from, end_of, forbid_call, forked, hear, number, say,
    write_where_forbidden,
};
use crate::ready_puppet::ReadyHands;
use crate::support::DEADLINE;
use crate::sync_puppet::SyncHands;
use crate::values;

/// What a puppet has in its hands.
#[derive(Default)]
struct Hands {
    arena: Option<Arena>,
    writers: Vec<Writer>,
    pins: Vec<(Object, u64)>,
    drafts: Vec<faretra::ArrayDraft<u64, Ix1>>,
    sync: SyncHands,
    channels: ChannelHands,
    feeds: FeedHands,
    calls: CallHands,
    ready: ReadyHands,
}

/// Does what it hears until there is nothing more to hear.
pub fn run() {
    let mut hands = Hands::default();
    while let Some(line) = hear() {
        let words: Vec<&str> = line.split(' ').collect();
        match hands.obey(words[0], &words[1..]) {
            Ok(done) => say(&format!("ok {done}")),
            Err(e) => {
                let variant = format!("{e:?}");
                let end = variant.find(|c: char| !c.is_alphanumeric()).unwrap_or(variant.len());
                say(&format!("err {}: {e}", &variant[..end]));
            }
        }
    }
}

/// `limit=N mode=OCTAL writers=N ephemeral untrusted trust`, in any order.
#[allow(unsafe_code, reason = "signs the contract of trust_others: these are our own processes")]
fn options(args: &[&str]) -> Options {
    args.iter().fold(Arena::options(), |o, arg| match arg.split_once('=') {
        Some(("limit", n)) => o.limit(n.parse().expect("bytes")),
        Some(("writers", n)) => o.writers(n.parse().expect("a number")),
        Some(("mode", n)) => o.mode(u32::from_str_radix(n, 8).expect("octal")),
        Some(("dir", d)) => o.dir(d),
        Some(("spin", n)) => o.spin(n.parse().expect("a number")),
        None if *arg == "ephemeral" => o.keep(false),
        None if *arg == "untrusted" => o.untrusted(true),
        // SAFETY: whoever writes these files in the tests runs this crate.
        None if *arg == "trust" => unsafe { o.trust_others() },
        _ => panic!("no option {arg}"),
    })
}

fn whole(object: &Object) -> u64 {
    values::check(object).unwrap_or_else(|wrong| panic!("`{}`: {wrong}", object.name()))
}

impl Hands {
    fn arena(&self) -> &Arena {
        self.arena.as_ref().expect("told to open an arena first")
    }

    fn writer(&mut self) -> Result<&Writer> {
        if self.writers.is_empty() {
            let writer = self.arena().writer()?;
            self.writers.push(writer);
        }
        Ok(&self.writers[0])
    }

    fn empty(&mut self) {
        self.drafts.clear();
        self.pins.clear();
        self.writers.clear();
        self.sync = SyncHands::default();
        self.channels = ChannelHands::default();
        self.feeds = FeedHands::default();
        self.calls = CallHands::default();
        self.ready = ReadyHands::default();
    }

    fn obey(&mut self, verb: &str, args: &[&str]) -> Result<String> {
        let done = |done: String| Ok(done);
        match verb {
            "nothing" => {}
            "create" => {
                self.empty();
                self.arena = Some(options(&args[1..]).create(args[0])?);
            }
            "open" => {
                self.empty();
                self.arena = Some(options(&args[1..]).open(args[0])?);
            }
            "list" => {
                let all = options(args).list()?;
                let problem = |a: &faretra::ArenaInfo| a.problem.as_ref().map_or(String::new(), |p| format!("({p})"));
                let line = |a: &faretra::ArenaInfo| format!("{}:{}{} ", a.name, a.participants, problem(a));
                return done(all.iter().map(line).collect());
            }
            "close" => {
                self.empty();
                self.arena = None;
            }
            "writer" => {
                let writer = match args {
                    [] => self.arena().writer()?,
                    _ => self.arena().writer_timeout(Duration::from_millis(number(args, 0)))?,
                };
                let recovered = writer.recovered();
                self.writers.push(writer);
                return done(format!("recovered={recovered}"));
            }
            "release" => self.writers.clear(),
            // NAME [MILLIS]
            "load" => {
                let timeout = args.get(1).map(|_| Duration::from_millis(number(args, 1)));
                return load_once::load(self.writer()?, args[0], timeout);
            }
            // KIND NAME SEED WORDS
            "publish" => {
                let (seed, words) = (number(args, 2), number(args, 3) as usize);
                let version = values::publish(self.writer()?, args[1], args[0], seed, words)?;
                return done(version.to_string());
            }
            "remove" => return done(self.writer()?.remove(args[0])?.to_string()),
            // Pins: KIND SEED VERSION
            "get" => {
                let object = self.arena().get(args[0])?;
                let seed = whole(&object);
                let answer = format!("{} {seed} {}", object.kind(), object.version());
                self.pins.push((object, seed));
                return done(answer);
            }
            // What is pinned is what it was.
            "check" => {
                for (object, seed) in &self.pins {
                    assert_eq!(whole(object), *seed, "`{}` changed under its pin", object.name());
                }
                return done(self.pins.len().to_string());
            }
            "unpin" => self.pins.clear(),
            "draft" => {
                let words = number(args, 0) as usize;
                let mut draft = self.writer()?.draft_array::<u64, Ix1>(words)?;
                draft.view_mut()?.fill(7);
                self.drafts.push(draft);
            }
            "wait_for" => {
                let object =
                    self.arena().wait_for_timeout(args[0], number(args, 1), Duration::from_millis(number(args, 2)))?;
                return done(format!("{} {}", whole(&object), object.version()));
            }
            // ROUNDS
            "echo" => {
                for round in 1..=number(args, 0) {
                    self.arena().wait_for_timeout("ping", round - 1, DEADLINE)?;
                    self.writer()?.publish("pong", round.to_string().as_str())?;
                }
            }
            // A child that lives for as long as the directory of arenas is there, whatever becomes of us.
            "leave_a_child" => {
                let dir = std::env::var_os("FARETRA_DIR").expect("set by who started us");
                forked(|| {
                    let start = Instant::now();
                    while Path::new(&dir).exists() && start.elapsed() < DEADLINE {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    0
                });
            }
            "recover" => {
                let r = self.arena().recover()?;
                return done(format!("{} {} {}", r.participants, r.objects, r.permits));
            }
            "trim" => return done(self.arena().trim()?.to_string()),
            "verify" => {
                let all = self.arena().verify()?;
                return done(all.iter().map(|v| format!("{v}; ")).collect());
            }
            "participants" => return done(self.arena().stats()?.participants.to_string()),
            "who" => {
                let all = self.arena().who()?;
                let line = |h: &faretra::Holder| format!("{}:alive={}:stopped={} ", h.pid, h.alive, h.stopped);
                return done(all.iter().map(line).collect());
            }
            // Reads NAME again and again: N times, or (0) until there is something named `stop`.
            "read" => return self.read(args[0], number(args, 1)),
            // Publishes KIND NAME SEED WORDS for ever, after saying that it begins.
            "storm" => {
                let words = values::payload(number(args, 2), number(args, 3) as usize);
                self.writer()?;
                say("ok");
                loop {
                    values::publish_words(self.writer()?, args[1], args[0], &words)?;
                }
            }
            // Everything in turn, for ever or until something named `stop`: seeds from SEED on.
            "work" => return self.work(number(args, 0)),
            "join_and_leave" => return self.join_and_leave(args[0], number(args, 1)),
            "alarms" => return done(alarms(number(args, 0) as u32).to_string()),
            "interruptible" => return done(be_interruptible().to_string()),
            "vain" => return done(crate::interrupts::wait_in_vain(self.arena(), args[0])),
            // CALL ERROR [ARGUMENT VALUE]
            "forbid" => {
                let only = (args.len() > 2).then(|| (number(args, 2) as usize, number(args, 3) as u32));
                forbid_call(number(args, 0) as i64, number(args, 1) as i32, only);
            }
            "closefrom" => close_from(number(args, 0) as u32),
            "open_files" => {
                for _ in 0..number(args, 0) {
                    std::mem::forget(std::fs::File::open("/dev/null").expect("a file"));
                }
            }
            "fork" => return self.fork(args[0]),
            "user" => become_user(args),
            // Looks without taking part: what is published, who takes part, what is wrong.
            "observe" => {
                let seen = options(&args[1..]).observe(args[0])?;
                let names: String = seen.names()?.iter().map(|e| format!("{}:{} ", e.name, e.version)).collect();
                let alive = seen.who()?.iter().filter(|holder| holder.alive).count();
                return done(format!("{names}alive={alive} wrong={}", seen.verify()?.len()));
            }
            "rm" => options(&args[1..]).remove(args[0])?,
            "write_into" => {
                let object = self.arena().get(args[0])?;
                write_where_forbidden(object.bytes()?.as_ptr());
            }
            "show-values" => return crate::damaged_values::show_all(self.arena(), args[0]),
            "arrow_types" => return crate::arrow_types::check_all(self.arena()),
            _ => {
                let arena = self.arena.as_ref().expect("told to open an arena first");
                return match verb.split_at_checked(2) {
                    Some(("c-", verb)) => self.channels.obey(arena, verb, args),
                    Some(("f-", verb)) => self.feeds.obey(arena, verb, args),
                    Some(("r-", verb)) => self.calls.obey(arena, verb, args),
                    Some(("w-", verb)) => self.ready.obey(arena, verb, args),
                    _ => self.sync.obey(arena, verb, args),
                };
            }
        }
        done(String::new())
    }

    fn read(&mut self, name: &str, times: u64) -> Result<String> {
        let mut reads = 0_u64;
        let mut last = 0;
        while times == 0 || reads < times {
            let object = match self.arena().get(name) {
                Err(Error::NotFound { .. }) if times == 0 => continue,
                other => other?,
            };
            let version = object.version();
            assert!(version >= last, "version {version} of `{name}` after {last}");
            if times == 0 {
                whole(&object);
                if self.arena().get("stop").is_ok() {
                    break;
                }
            }
            last = version;
            reads += 1;
        }
        Ok(reads.to_string())
    }

    fn work(&mut self, seed: u64) -> Result<String> {
        let mut random = values::Random(seed);
        let mut rounds = 0_u64;
        self.empty();
        while self.arena().get("stop").is_err() {
            let name = format!("w{}", random.below(3));
            let kind = values::KINDS[random.below(7) as usize];
            let writer = self.arena().writer()?;
            values::publish(&writer, &name, kind, random.next(), 100 + random.below(30_000) as usize)?;
            drop(writer);
            if let Ok(object) = self.arena().get(&name) {
                whole(&object);
            }
            match random.below(8) {
                0 => drop(self.arena().writer()?.remove(&name)?),
                1 => drop(self.arena().recover()?),
                2 => drop(self.arena().trim()?),
                _ => {}
            }
            rounds += 1;
        }
        Ok(rounds.to_string())
    }

    /// Opens or makes an ephemeral arena and leaves it, many times.
    fn join_and_leave(&mut self, name: &str, times: u64) -> Result<String> {
        let mut not_found = 0_u64;
        for i in 0..times {
            let options = Arena::options().limit(faretra::MIB).keep(false);
            let opened = if i % 3 == 0 { options.open(name) } else { options.open_or_create(name) };
            match opened {
                Ok(arena) => drop(arena.names()?),
                Err(Error::NotFound { .. }) => not_found += 1,
                Err(e) => return Err(e),
            }
        }
        Ok(not_found.to_string())
    }

    /// What a forked child may and may not do.
    fn fork(&mut self, name: &str) -> Result<String> {
        let options = Arena::options();
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::UInt64, false)]));
        let mut columns = self.writer()?.draft(&schema, 1000)?;
        let table = self.arena().table("n3")?;
        let (rows, batches) = (table.num_rows(), table.num_batches());
        let batch = self.arena().batch("n2")?;
        let seed = whole(batch.object());
        let mut taken = std::mem::take(self);
        let child = forked(|| {
            let arena = taken.arena.as_ref().expect("open");
            let forked = |e: Option<Error>| assert!(matches!(e, Some(Error::Forked(_))), "{e:?}");
            forked(arena.get(name).err());
            forked(arena.writer().err());
            forked(arena.stats().err());
            forked(arena.recover().err());
            forked(arena.trim().err());
            forked(arena.verify().err());
            forked(arena.names().err());
            forked(arena.who().err());
            forked(arena.set_limit(1).err());
            forked(arena.wait_for_timeout(name, 0, Duration::from_secs(5)).err());
            for writer in &taken.writers {
                forked(writer.publish("from-the-child", &b"x"[..]).err());
                forked(writer.remove(name).err());
                forked(writer.draft_array::<u64, Ix1>(4).err());
            }
            for draft in &mut taken.drafts {
                forked(draft.view_mut().err());
            }
            forked(columns.column_mut::<u64>("x").err());
            // Objects answer nothing or Forked. What the parent had read from them stays readable.
            for (object, _) in &taken.pins {
                assert_eq!((object.version(), object.rows(), object.nbytes()), (0, 0, 0));
                let read = Batch::try_from(object.clone()).err().or(Table::try_from(object.clone()).err());
                assert!(matches!(read, Some(Error::Forked(_) | Error::Mismatch { .. })), "{read:?}");
                assert!(object.bytes().is_err());
            }
            assert_eq!(arena.limit(), 0);
            assert_eq!(*batch.record_batch(), values::batch(seed, batch.num_rows()));
            forked(table.batch(0).err());
            assert_eq!((table.num_rows(), table.num_batches()), (rows, batches));
            assert!(table.reader().all(|batch| batch.is_err()) && table.reader().count() as u64 == batches);
            let mine = options.open(arena.name()).expect("a child may open anew");
            whole(&mine.get(name).expect("published"));
            let w = mine.writer().expect("a permit");
            values::publish(&w, "from-the-child", "bytes", 1, 100).expect("room");
            // The parent's pin is not the child's: its objects cannot be shared, but their values copied.
            forked(w.publish("again", batch.object()).err());
            forked(w.publish("again", std::slice::from_ref(&batch)).err());
            forked(w.publish("again", Bundle::new().with("b", &batch)).err());
            w.publish("again", batch.record_batch()).expect("room");
            assert_eq!(whole(&mine.get("again").expect("published")), seed);
            w.remove("again").expect("remove");
            drop(w);
            drop(mine);
            // Dropping the parent's handles does nothing.
            drop(std::mem::take(&mut taken));
            0
        });
        *self = taken;
        Ok(end_of(child))
    }
}
