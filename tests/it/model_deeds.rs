//! Shows nothing by itself: what a process does that is killed while a model is compared with an arena; see `model.rs`.

use std::fmt::{self, Display};

use faretra::channel::{Contents, WhenDeserted};
use faretra::feed::WhenFull;
use faretra::{Arena, Lease, Result, Sender, Writer};

use crate::obey::{hear, say};
use crate::values::{self, KINDS};

/// The channels, and how many items each has room for.
pub const CHANNELS: [(&str, Option<usize>); 3] = [("c0", Some(2)), ("c1", Some(5)), ("many", None)];
pub const FEED: &str = "feed";
pub const FEED_CAPACITY: usize = 3;

/// A sending end of a channel, which is made if there is none.
pub fn sender(writer: &Writer, channel: usize) -> Result<Sender> {
    let (name, capacity) = CHANNELS[channel];
    let mut sender = match capacity {
        Some(capacity) => writer.sender_with(name, capacity, Contents::Mixed)?,
        None => writer.unbounded_with(name, Contents::Mixed)?,
    };
    sender.set_when_deserted(WhenDeserted::Block);
    Ok(sender)
}

/// What a process that may be killed does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Publish { name: usize, kind: usize, item: u64 },
    Remove { name: usize },
    Send { channel: usize, item: u64 },
    Take { channel: usize },
    TakeAndAck { channel: usize },
    Forward { from: usize, to: usize },
    Append { item: u64 },
}

impl Deed {
    /// This deed, with that item.
    pub fn with(self, item: u64) -> Deed {
        match self {
            Deed::Publish { name, kind, .. } => Deed::Publish { name, kind, item },
            Deed::Send { channel, .. } => Deed::Send { channel, item },
            Deed::Append { .. } => Deed::Append { item },
            other => other,
        }
    }

    fn parse(line: &str) -> Deed {
        let (verb, rest) = line.split_once(' ').expect("a verb");
        let numbers: Vec<u64> = rest.split(' ').map(|n| n.parse().expect("a number")).collect();
        let at = |i: usize| numbers[i] as usize;
        match verb {
            "publish" => Deed::Publish { name: at(0), kind: at(1), item: numbers[2] },
            "remove" => Deed::Remove { name: at(0) },
            "send" => Deed::Send { channel: at(0), item: numbers[1] },
            "take" => Deed::Take { channel: at(0) },
            "take-and-ack" => Deed::TakeAndAck { channel: at(0) },
            "forward" => Deed::Forward { from: at(0), to: at(1) },
            "append" => Deed::Append { item: numbers[0] },
            _ => panic!("no deed `{line}`"),
        }
    }
}

/// As a line that the child reads.
impl Display for Deed {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Deed::Publish { name, kind, item } => write!(to, "publish {name} {kind} {item}"),
            Deed::Remove { name } => write!(to, "remove {name}"),
            Deed::Send { channel, item } => write!(to, "send {channel} {item}"),
            Deed::Take { channel } => write!(to, "take {channel}"),
            Deed::TakeAndAck { channel } => write!(to, "take-and-ack {channel}"),
            Deed::Forward { from, to: other } => write!(to, "forward {from} {other}"),
            Deed::Append { item } => write!(to, "append {item}"),
        }
    }
}

/// What such a process has in its hands.
#[derive(Default)]
pub struct Hands {
    leases: Vec<Lease>,
}

impl Hands {
    /// Does what it hears.
    pub fn obey_all(&mut self) {
        let arena = Arena::options().open("t").expect("the arena");
        while let Some(line) = hear() {
            let done = self.obey(&arena, Deed::parse(&line)).expect("it can be done, or not now");
            say(&format!("ok {done}"));
        }
    }

    fn obey(&mut self, arena: &Arena, deed: Deed) -> Result<String> {
        let writer = arena.writer()?;
        Ok(match deed {
            Deed::Publish { name, kind, item } => {
                values::publish(&writer, &format!("n{name}"), KINDS[kind], item, 4000)?.to_string()
            }
            Deed::Remove { name } => writer.remove(&format!("n{name}"))?.to_string(),
            Deed::Send { channel, item } => {
                let words = values::payload(item, 3000);
                let bytes: &[u8] = bytemuck::cast_slice(&words);
                sender(&writer, channel)?.try_send(bytes).is_ok().to_string()
            }
            Deed::Take { channel } | Deed::TakeAndAck { channel } | Deed::Forward { from: channel, .. } => {
                let mut receiver = arena.receiver(CHANNELS[channel].0)?;
                receiver.set_when_deserted(WhenDeserted::Block);
                let Ok(lease) = receiver.try_recv() else { return Ok("nothing".to_owned()) };
                let item = values::check(&lease).expect("whole");
                match deed {
                    Deed::TakeAndAck { .. } => lease.ack(),
                    Deed::Forward { to, .. } => drop(lease.try_send(&sender(&writer, to)?)),
                    _ => self.leases.push(lease),
                }
                item.to_string()
            }
            Deed::Append { item } => {
                let feed = writer.feed_with(FEED, FEED_CAPACITY, WhenFull::DropOldest, Contents::Mixed)?;
                let words = values::payload(item, 40);
                let bytes: &[u8] = bytemuck::cast_slice(&words);
                feed.try_append(bytes).is_ok().to_string()
            }
        })
    }
}
