//! Shows nothing by itself: what a puppet does to wait for several things, and to be waited for; see `ready.rs`.

use std::os::fd::AsFd;
use std::time::Duration;

use faretra::channel::Contents;
use faretra::feed::{Start, WhenFull};
use faretra::sync::Reset;
use faretra::{Arena, Error, Feed, Lease, Pollable, Receiver, RecvError, Result, Select, Sender};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::obey::{cost, end_of, forked, limit, number, say};
use crate::support::DEADLINE;

/// What a puppet holds.
#[derive(Default)]
pub struct ReadyHands {
    sender: Option<Sender>,
    feed: Option<Feed>,
    leases: Vec<Lease>,
    watched: Option<(Receiver, Pollable)>,
}

/// The channel `jobs`, made if need be.
pub fn jobs(arena: &Arena) -> Result<Sender> {
    arena.writer()?.sender_with("jobs", 4, Contents::Mixed)
}

/// Whether a descriptor is readable within so long.
pub fn is_readable(fd: &impl AsFd, limit: Duration) -> bool {
    let timeout = PollTimeout::try_from(limit).expect("milliseconds");
    loop {
        match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout) {
            Err(nix::errno::Errno::EINTR) => {}
            ready => return ready.expect("a descriptor") == 1,
        }
    }
}

fn is_forked<T, E: std::fmt::Debug>(result: std::result::Result<T, E>) {
    let error = format!("{:?}", result.err());
    assert!(error.contains("Forked("), "{error}");
}

impl ReadyHands {
    pub fn obey(&mut self, arena: &Arena, verb: &str, args: &[&str]) -> Result<String> {
        Ok(match verb {
            "send" => {
                if self.sender.is_none() {
                    self.sender = Some(jobs(arena)?);
                }
                let sender = self.sender.as_ref().expect("made");
                sender.send(args[0].to_owned().into_bytes()).map_err(Error::from).map(|()| String::new())?
            }
            "close" => self.sender.as_ref().map_or(String::new(), |sender| {
                sender.close().expect("open");
                String::new()
            }),
            // Keeps what it receives.
            "take" => {
                let lease = arena.receiver("jobs")?.recv_timeout(DEADLINE).expect("an item");
                let text = String::from_utf8_lossy(lease.bytes()?).into_owned();
                self.leases.push(lease);
                text
            }
            "ack" => self.leases.pop().map_or(String::new(), |lease| {
                lease.ack();
                String::new()
            }),
            "feed" => {
                self.feed = Some(arena.writer()?.feed("ticks", 2, WhenFull::Block)?);
                String::new()
            }
            "append" => {
                let feed = self.feed.as_ref().expect("told to make it first");
                feed.append(args[0].to_owned().into_bytes()).map_err(Error::from).map(|()| String::new())?
            }
            // [MILLISECONDS]: waits for one of many things, and says which came and what it was.
            "select" => self.select(arena, limit(args, 0))?,
            "watch" => {
                let receiver = arena.receiver("jobs")?;
                let pollable = receiver.pollable()?;
                self.watched = Some((receiver, pollable));
                String::new()
            }
            // MILLISECONDS
            "poll" => is_readable(&self.watched.as_ref().expect("watched").1, Duration::from_millis(number(args, 0)))
                .to_string(),
            "rearm" => self.watched.as_ref().expect("watched").1.rearm()?.to_string(),
            "try" => match self.watched.as_ref().expect("watched").0.try_recv() {
                Ok(lease) => {
                    let text = String::from_utf8_lossy(lease.bytes()?).into_owned();
                    lease.ack();
                    text
                }
                Err(RecvError::Empty) => "empty".into(),
                Err(RecvError::Closed { clean }) => format!("closed clean={clean}"),
                Err(e) => e.to_string(),
            },
            // Waits for selects all the time, until it is killed.
            "storm" => {
                say("ok");
                loop {
                    self.select(arena, Some(Duration::from_millis(20))).map(drop).or_else(|e| match e {
                        Error::TimedOut(_) => Ok(()),
                        e => Err(e),
                    })?;
                }
            }
            // What it costs to wait in vain, in parts per million of a processor: for a select, and for all of this process
            // with a descriptor armed.
            "idle" => {
                let limit = Duration::from_millis(number(args, 0));
                let selecting = cost(limit, || drop(self.select(arena, Some(limit))));
                let receiver = arena.receiver("jobs")?;
                let pollable = receiver.pollable()?;
                let before = used();
                assert!(!is_readable(&pollable, limit));
                let polling = ((used() - before) * 1e6 / limit.as_micros() as f64) as u64;
                format!("{selecting} {polling}")
            }
            "fork" => {
                let name = arena.name().to_owned();
                let (receiver, pollable) = self.watched.as_ref().expect("watched");
                let child = forked(|| {
                    is_forked(pollable.rearm());
                    is_forked(pollable.is_ready());
                    is_forked(receiver.pollable());
                    is_forked(self.select(arena, Some(DEADLINE)));
                    // Anew, it has a thread and descriptors of its own.
                    let mine = Arena::open(&name).expect("a child may open anew");
                    let event = mine.event("child", Reset::Auto).expect("made");
                    let pollable = event.pollable().expect("a thread");
                    assert!(!is_readable(&pollable, Duration::from_millis(20)));
                    event.set().expect("ours");
                    assert!(is_readable(&pollable, DEADLINE));
                    0
                });
                end_of(child)
            }
            _ => panic!("no verb `r-{verb}`"),
        })
    }

    fn select(&self, arena: &Arena, limit: Option<Duration>) -> Result<String> {
        let receiver = arena.receiver("jobs")?;
        let mutex = arena.mutex_with("m", 0_u64)?;
        let (event, semaphore) = (arena.event("e", Reset::Auto)?, arena.semaphore("s", 1)?);
        let mut subscriber = match arena.subscribe("ticks", Start::Newest) {
            Err(Error::NotFound { .. }) => None,
            other => Some(other?),
        };
        let mut select = Select::new();
        let job = select.recv(&receiver);
        let lock = select.lock(&mutex);
        let permit = select.acquire(&semaphore);
        let set = select.wait(&event);
        let named = select.wait_for(arena, "x", 0)?;
        let tick = subscriber.as_ref().map(|subscriber| select.read(subscriber));
        let done = match limit {
            Some(limit) => select.select_timeout(limit)?,
            None => select.select()?,
        };
        Ok(match done.index() {
            i if i == job => match done.recv(&receiver) {
                Ok(lease) => {
                    let text = String::from_utf8_lossy(lease.bytes()?).into_owned();
                    let attempts = lease.attempts();
                    lease.ack();
                    format!("job {text} attempts={attempts}")
                }
                Err(RecvError::Closed { clean }) => format!("job closed clean={clean}"),
                Err(e) => panic!("{e}"),
            },
            i if i == lock => format!("lock recovered={}", done.lock(&mutex)?.recovered()),
            i if i == permit => format!("permit recovered={}", done.acquire(&semaphore)?.recovered()),
            i if i == set => {
                done.wait(&event)?;
                "event".into()
            }
            i if i == named => format!("name {}", done.object()?.version()),
            i if Some(i) == tick => match done.read(subscriber.as_mut().expect("registered")) {
                Ok(item) => format!("tick {}", String::from_utf8_lossy(item.bytes()?)),
                Err(e) => format!("tick {e}"),
            },
            other => unreachable!("{other}"),
        })
    }
}

fn used() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("ourselves");
    let time = usage.user_time() + usage.system_time();
    time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64
}
