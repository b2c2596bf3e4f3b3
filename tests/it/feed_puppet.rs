//! Shows nothing by itself: what a puppet does with feeds, by their numbers; see `feed_flow.rs`.

use std::path::Path;
use std::time::Duration;

use faretra::feed::Start;
use faretra::{Arena, Result};

use crate::feed_flow::{FeedFlow, Got, Part};
use crate::flow::Went;
use crate::obey::{end_of, forked, limit, number, say, until_stopped};
use crate::values::Random;

/// What a puppet holds.
#[derive(Default)]
pub struct FeedHands {
    flow: Option<FeedFlow>,
}

fn feed(args: &[&str]) -> u8 {
    number(args, 0) as u8
}

fn got(got: Got) -> String {
    match got {
        Got::Item(id) => id.to_string(),
        Got::Lagged(missed) => format!("missed {missed}"),
        Got::Closed { clean } => format!("closed clean={clean}"),
        Got::Nothing => "nothing".into(),
    }
}

impl FeedHands {
    fn flow(&mut self) -> &mut FeedFlow {
        self.flow.as_mut().expect("told to begin first")
    }

    pub fn obey(&mut self, arena: &Arena, verb: &str, args: &[&str]) -> Result<String> {
        Ok(self.try_obey(arena, verb, args).unwrap_or_else(|violation| panic!("`f-{verb}`: {violation}")))
    }

    fn try_obey(&mut self, arena: &Arena, verb: &str, args: &[&str]) -> Result<String, String> {
        let mut done = String::new();
        match verb {
            // FILE: of the history.
            "begin" => self.flow = Some(FeedFlow::new(arena, Path::new(args[0]))?),
            "end" => self.flow.take().map_or(Ok(()), FeedFlow::leave)?,
            // FEED
            "join" => drop(self.flow().producer(feed(args))?.expect("room")),
            "leave" => self.flow().leave_end(feed(args)),
            "close" => assert!(self.flow().close(feed(args))?, "no room"),
            // FEED oldest|newest
            "subscribe" => {
                let start = if args[1] == "oldest" { Start::Oldest } else { Start::Newest };
                assert!(self.flow().subscribe(feed(args), start)?, "no room");
            }
            "unsubscribe" => self.flow().unsubscribe(feed(args)),
            // FEED WORDS [MILLISECONDS]
            "append" => {
                let words = number(args, 1) as usize;
                done = match self.flow().append(feed(args), "batch", words, limit(args, 2))? {
                    Went::Sent(id) => id.to_string(),
                    other => format!("{other:?}"),
                };
            }
            // FEED [MILLISECONDS]
            "next" => done = got(self.flow().next(feed(args), limit(args, 1))?),
            // FEED WORDS: appends until the feed is closed.
            "produce" => {
                let words = number(args, 1) as usize;
                self.flow().producer(feed(args))?;
                say("ok");
                while self.flow().append(feed(args), "batch", words, None)? != (Went::Closed { clean: true }) {}
            }
            // FEED: reads until the feed is closed.
            "follow" => {
                assert!(self.flow().subscribe(feed(args), Start::Oldest)?, "no room");
                say("ok");
                loop {
                    match self.flow().next(feed(args), None)? {
                        Got::Closed { clean: true } => break,
                        // Another producer may come.
                        Got::Closed { clean: false } => std::thread::sleep(Duration::from_millis(1)),
                        _ => {}
                    }
                }
            }
            // PART SEED: everything at random, until something is named `stop`.
            "flow" => {
                let part = match args[0] {
                    "produce" => Part::Produce,
                    "subscribe" => Part::Subscribe,
                    _ => Part::All,
                };
                let mut random = Random(number(args, 1));
                until_stopped(arena, || self.flow().step(&mut random, part, 1000).map(drop))?;
            }
            "fork" => {
                let mut flow = self.flow.take();
                assert!(flow.is_some(), "told to begin first");
                let child = forked(|| {
                    let Some(inherited) = flow.take() else { return 1 };
                    i32::from(inherited.forget_inherited().is_err())
                });
                self.flow = flow;
                done = end_of(child);
            }
            _ => return Err(format!("no verb {args:?}")),
        }
        Ok(done)
    }
}
