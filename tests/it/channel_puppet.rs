//! Shows nothing by itself: what a puppet does with channels, by their numbers; see `flow.rs`.

use std::path::Path;
use std::time::{Duration, Instant};

use faretra::{Arena, Error, RecvError, Result};

use crate::flow::{Flow, Got, Part, Went};
use crate::obey::{cost, end_of, forked, limit, number, say, until_stopped};
use crate::support::DEADLINE;
use crate::values::Random;

/// What a puppet holds.
#[derive(Default)]
pub struct ChannelHands {
    flow: Option<Flow>,
}

fn channel(args: &[&str], i: usize) -> u8 {
    number(args, i) as u8
}

fn kind(channel: u8) -> &'static str {
    if channel == 2 { "drafted-batch" } else { "array" }
}

fn went(went: Went) -> String {
    match went {
        Went::Sent(id) => format!("sent {id}"),
        Went::Full => "full".into(),
        Went::Closed { clean } => format!("closed clean={clean}"),
        Went::NoRoom => "no room".into(),
    }
}

fn got(got: Got) -> String {
    match got {
        Got::Item { id, attempts } => format!("{id} attempts={attempts}"),
        Got::Closed { clean } => format!("closed clean={clean}"),
        Got::Nothing => "nothing".into(),
    }
}

impl ChannelHands {
    fn flow(&mut self) -> &mut Flow {
        self.flow.as_mut().expect("told to begin first")
    }

    pub fn obey(&mut self, arena: &Arena, verb: &str, args: &[&str]) -> Result<String> {
        Ok(self.try_obey(arena, verb, args).unwrap_or_else(|violation| panic!("`c-{verb}`: {violation}")))
    }

    fn try_obey(&mut self, arena: &Arena, verb: &str, args: &[&str]) -> Result<String, String> {
        let mut done = String::new();
        match verb {
            // FILE: of the history.
            "begin" => self.flow = Some(Flow::new(arena, Path::new(args[0]))?),
            // CHANNEL send|receive
            "join" if args[1] == "send" => drop(self.flow().sender(channel(args, 0))?.expect("room")),
            "join" => drop(self.flow().receiver(channel(args, 0))?.expect("made")),
            "leave" => self.flow().leave_end(channel(args, 0), args[1] == "send"),
            "end" => self.flow.take().map_or(Ok(()), Flow::leave)?,
            "close" => self.flow().sender(channel(args, 0))?.expect("room").close().map_err(|e| e.to_string())?,
            // CHANNEL WORDS [MILLISECONDS]
            "send" => {
                let (to, words) = (channel(args, 0), number(args, 1) as usize);
                done = went(self.flow().send(to, kind(to), words, limit(args, 2))?);
            }
            // CHANNEL [MILLISECONDS]
            "take" => done = got(self.flow().receive(channel(args, 0), limit(args, 1))?),
            // The oldest lease.
            "ack" => done = self.flow().ack(0)?.to_string(),
            "refuse" => done = self.flow().refuse(0).to_string(),
            // TO [MILLISECONDS]
            "forward" => done = self.flow().forward(0, channel(args, 0), limit(args, 1))?.unwrap_or_default(),
            // CHANNEL [MILLISECONDS]
            "schema" => {
                let from = self.flow().receiver(channel(args, 0))?.expect("made");
                done = match limit(args, 1).map_or_else(|| from.schema(), |t| from.schema_timeout(t)) {
                    Ok(schema) => schema.fields().iter().map(|f| format!("{}:{} ", f.name(), f.data_type())).collect(),
                    Err(RecvError::TimedOut) => "nothing".into(),
                    Err(e) => e.to_string(),
                };
            }
            // CHANNEL KIND WORDS
            "send-kind" => {
                let words = number(args, 2) as usize;
                done = went(self.flow().send(channel(args, 0), args[1], words, Some(DEADLINE))?);
            }
            // CHANNEL WORDS: sends until nobody may any more.
            "produce" => {
                let (to, words) = (channel(args, 0), number(args, 1) as usize);
                self.flow().sender(to)?;
                say("ok");
                loop {
                    match self.flow().send(to, kind(to), words, None)? {
                        Went::Closed { clean: true } => break,
                        // Another receiver may come.
                        Went::Closed { clean: false } => std::thread::sleep(Duration::from_millis(1)),
                        _ => {}
                    }
                }
            }
            // CHANNEL: receives until it is closed for good.
            "consume" => {
                let from = channel(args, 0);
                self.flow().receiver(from)?;
                say("ok");
                let mut received = 0_u64;
                loop {
                    match self.flow().receive(from, None)? {
                        Got::Item { .. } => drop(self.flow().ack(0)?),
                        Got::Closed { clean: true } => break,
                        _ => std::thread::sleep(Duration::from_millis(1)),
                    }
                    received += 1;
                }
                done = received.to_string();
            }
            // FROM TO: sends on until the first is closed for good.
            "relay" => {
                let (from, to) = (channel(args, 0), channel(args, 1));
                self.flow().sender(to)?;
                self.flow().receiver(from)?;
                say("ok");
                loop {
                    match self.flow().receive(from, None)? {
                        Got::Item { .. } => {
                            while self.flow().forward(0, to, None)?.is_some() {
                                std::thread::sleep(Duration::from_millis(1));
                            }
                        }
                        Got::Closed { clean: true } => break,
                        _ => std::thread::sleep(Duration::from_millis(1)),
                    }
                }
            }
            // PART SEED: everything at random, until something is named `stop`.
            "flow" => {
                let part = match args[0] {
                    "produce" => Part::Produce,
                    "consume" => Part::Consume,
                    _ => Part::All,
                };
                let mut random = Random(number(args, 1));
                until_stopped(arena, || self.flow().step(&mut random, part, 2000).map(drop))?;
            }
            // ROUNDS 0|1: one sends to channel 0 and receives from 1, the other the other way round.
            "rounds" => {
                let (mine, other) = (channel(args, 1), 1 - channel(args, 1));
                for round in 0..number(args, 0) {
                    if mine == 0 || round > 0 {
                        let sent = self.flow().send(mine, "bytes", 4, Some(DEADLINE))?;
                        assert!(matches!(sent, Went::Sent(_)), "{sent:?}");
                    }
                    let got = self.flow().receive(other, Some(DEADLINE))?;
                    assert!(matches!(got, Got::Item { attempts: 0, .. }), "{got:?}");
                    self.flow().ack(0)?;
                }
                if mine == 1 {
                    self.flow().send(1, "bytes", 4, Some(DEADLINE))?;
                }
            }
            "idle" => done = self.idle(Duration::from_millis(number(args, 0)))?,
            "fork" => done = self.fork(),
            _ => return Err(format!("no verb {args:?}")),
        }
        Ok(done)
    }

    /// Waits in vain for an item of channel 0 and for room in channel 2, which is full: parts per million of a
    /// processor that each used.
    fn idle(&mut self, limit: Duration) -> Result<String, String> {
        let mut costs = vec![];
        for sends in [false, true] {
            let mut waited = Ok(false);
            let start = Instant::now();
            let cost = cost(limit, || {
                waited = match sends {
                    false => self.flow().receive(0, Some(limit)).map(|got| got == Got::Nothing),
                    true => self.flow().send(2, "drafted-batch", 4, Some(limit)).map(|went| went == Went::Full),
                };
            });
            assert!(waited? && start.elapsed() >= limit);
            costs.push(cost.to_string());
        }
        Ok(costs.join(" "))
    }

    /// What a forked child may and may not do with what it inherited.
    fn fork(&mut self) -> String {
        let mut flow = self.flow.take();
        assert!(flow.is_some(), "told to begin first");
        let child = forked(|| {
            let Some(mut inherited) = flow.take() else { return 1 };
            if let Ok(Some(sender)) = inherited.sender(1) {
                assert!(matches!(sender.send(b"x".as_slice()), Err(faretra::SendError::Failed(Error::Forked(_)))));
                assert_eq!(sender.len(), 0);
            }
            i32::from(inherited.forget_inherited().is_err())
        });
        self.flow = flow;
        end_of(child)
    }
}
