//! What channels and feeds are like: the tables of `stat`, and the one that `send` and `recv` ask for. And their end.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use faretra::channel::Contents;
use faretra::feed::WhenFull;
use faretra::{Arena, ChannelInfo, Error, Kind, Sender, Writer};
use serde_json::{Value, json};

use crate::args::{Cli, Close};
use crate::failure::{Failure, Result};
use crate::out::{Grid, Out, Side};
use crate::{open, size};

/// A wait of that long is worth to be told.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// The channel of this name, if there is one. Something else of this name is an error.
pub fn find(arena: &Arena, name: &str) -> Result<Option<ChannelInfo>> {
    let named = |found: &ChannelInfo| found.name == name && found.kind == Kind::Channel;
    if let Some(found) = arena.channels()?.into_iter().find(named) {
        return Ok(Some(found));
    }
    match arena.get(name) {
        Err(Error::NotFound { .. }) => Ok(None),
        // Made since.
        Ok(object) if object.kind() == Kind::Channel => find(arena, name),
        Ok(object) => Err(other_kind(arena, name, object.kind())),
        Err(error) => Err(error.into()),
    }
}

/// The failure of taking a name for a channel's that another kind of object has.
pub fn other_kind(arena: &Arena, name: &str, kind: Kind) -> Failure {
    let instead = look_instead(arena.name(), name, kind);
    Failure::new(format!("`{name}` is a {kind}, not a channel: use another name, or `faretra {instead}`"))
}

/// The command that shows what an object of this kind holds.
pub fn look_instead(arena: &str, name: &str, kind: Kind) -> String {
    match kind {
        Kind::Channel => format!("recv {arena} {name}"),
        Kind::Feed => format!("cat {arena} {name} --follow"),
        Kind::Mutex | Kind::Semaphore | Kind::Event | Kind::Value | Kind::MutableArray | Kind::Condition => {
            format!("who {arena}")
        }
        _ => format!("cat {arena} {name}"),
    }
}

/// `faretra close`
pub fn close(cli: &Cli, args: &Close) -> Result<()> {
    let arena = open::open(cli, &args.arena)?;
    let writer = open::writer(&arena)?;
    let before = loop {
        let Some(found) = arena.channels()?.into_iter().find(|found| found.name == args.name) else {
            let (kind, look) = match arena.get(&args.name)?.kind() {
                // Made since.
                Kind::Channel | Kind::Feed => continue,
                kind => (kind, look_instead(&args.arena, &args.name, kind)),
            };
            return Err(Failure::new(format!(
                "`{}` is a {kind}, which nobody waits for the end of: see `faretra {look}`",
                args.name
            )));
        };
        let contents = if found.mixed { Contents::Mixed } else { Contents::OneSchema };
        let closed = match found.kind {
            Kind::Feed => {
                let capacity = found.capacity.unwrap_or_default() as usize;
                writer.feed_with(&args.name, capacity, WhenFull::DropOldest, contents).and_then(|feed| feed.close())
            }
            _ => sending_end(&writer, &args.name, found.capacity, contents).and_then(|sender| sender.close()),
        };
        match closed {
            Ok(()) => break found,
            // Removed and made since.
            Err(Error::Mismatch { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let mut out = Out::new();
    if cli.json {
        out.json(&json!({
            "arena": args.arena,
            "name": args.name,
            "kind": before.kind.to_string(),
            "depth": before.depth,
            "closed_before": before.closed,
        }))?;
    } else {
        let left = match before.kind {
            Kind::Feed => format!("it keeps {}", size::plural(before.depth, "item")),
            _ => format!("{} to be received", size::plural(before.depth + before.returned, "item")),
        };
        let when = if before.closed { "was closed before" } else { "is closed" };
        out.line(format!("{}: the {} {when}; {left}", args.name, before.kind))?;
    }
    out.finish()
}

/// Looks whether a name still is the channel or feed that was opened under it: one that was removed
/// lives on for those who have it, but nobody comes to it any more.
pub struct Named {
    arena: Arena,
    name: String,
    kind: Kind,
    version: Option<u64>,
    looked: Instant,
}

impl Named {
    /// Looks at the name as it is now, to be compared from now on.
    pub fn new(arena: &Arena, name: &str, kind: Kind) -> Result<Named> {
        let version = Self::version(arena, name)?;
        Ok(Named { arena: arena.clone(), name: name.to_owned(), kind, version, looked: Instant::now() })
    }

    fn version(arena: &Arena, name: &str) -> Result<Option<u64>> {
        match arena.get(name) {
            Ok(object) => Ok(Some(object.version())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Fails if the channel or feed was removed; looks now and then only.
    pub fn check(&mut self) -> Result<()> {
        if self.due() { self.look() } else { Ok(()) }
    }

    /// Returns whether it is time to look again. The caller is to look then.
    pub fn due(&mut self) -> bool {
        let due = self.looked.elapsed() >= PATIENCE;
        if due {
            self.looked = Instant::now();
        }
        due
    }

    /// Fails if the channel or feed was removed.
    pub fn look(&self) -> Result<()> {
        if !self.arena.path().exists() {
            return Err(Failure::new(format!(
                "arena `{}` was removed meanwhile, with what was in {} `{}`{}",
                self.arena.name(),
                self.kind,
                self.name,
                self.again(" in another one")
            )));
        }
        match Self::version(&self.arena, &self.name)? == self.version {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "{} `{}` was removed from arena `{}` meanwhile, with what was in it{}",
                self.kind,
                self.name,
                self.arena.name(),
                self.again("")
            ))),
        }
    }

    /// What can be done about a removal: a feed's items are not the reader's to append.
    fn again(&self, place: &str) -> String {
        match self.kind {
            Kind::Feed => String::new(),
            _ => format!(": send it again{place}"),
        }
    }
}

/// How many items are sent a second, from one look to the next.
#[derive(Debug, Default)]
pub struct Rates {
    before: HashMap<String, u64>,
    at: Option<Instant>,
}

impl Rates {
    /// Returns how many items a second each channel was sent since the last look, if it was there then.
    pub fn of(&mut self, channels: &[ChannelInfo]) -> HashMap<String, f64> {
        let now = Instant::now();
        let seconds = self.at.map(|at| now.duration_since(at).as_secs_f64()).filter(|seconds| *seconds > 0.0);
        let rate = |channel: &ChannelInfo| {
            // A lower count is of another channel of that name.
            let sent = channel.sent.checked_sub(*self.before.get(&channel.name)?)?;
            Some((channel.name.clone(), sent as f64 / seconds?))
        };
        let rates = channels.iter().filter_map(rate).collect();
        self.before = channels.iter().map(|channel| (channel.name.clone(), channel.sent)).collect();
        self.at = Some(now);
        rates
    }
}

/// A sending end of a channel, which has a bound or none.
pub fn sending_end(writer: &Writer, name: &str, capacity: Option<u64>, contents: Contents) -> faretra::Result<Sender> {
    match capacity {
        Some(capacity) => writer.sender_with(name, capacity as usize, contents),
        None => writer.unbounded_with(name, contents),
    }
}

/// Channels and feeds for programs.
pub fn json(channels: &[ChannelInfo], rates: &HashMap<String, f64>) -> Value {
    let channel = |channel: &ChannelInfo| {
        json!({
            "name": channel.name,
            "kind": channel.kind.to_string(),
            "capacity": channel.capacity,
            "depth": channel.depth,
            "sent": channel.sent,
            "sent_per_second": rates.get(&channel.name),
            "senders": channel.senders,
            "receivers": channel.receivers,
            "leased": channel.leased,
            "returned": channel.returned,
            "blocked": channel.blocked,
            "closed": channel.closed,
            "mixed": channel.mixed,
        })
    };
    channels.iter().map(channel).collect()
}

/// Channels and feeds for people, as far as there are any.
pub fn print(all: &[ChannelInfo], rates: Option<&HashMap<String, f64>>, out: &mut Out) -> Result<()> {
    let (feeds, channels): (Vec<_>, Vec<_>) = all.iter().partition(|channel| channel.kind == Kind::Feed);
    let captions = ["CHANNEL", "DEPTH", "SENT", "SENDERS", "RECEIVERS", "LEASED", "RETURNED", "BLOCKED"];
    print_some(&channels, &captions, rates, out)?;
    print_some(&feeds, &["FEED", "ITEMS", "APPENDED", "PRODUCERS", "SUBSCRIBERS", "BLOCKED"], rates, out)
}

fn print_some(
    channels: &[&ChannelInfo],
    captions: &[&str],
    rates: Option<&HashMap<String, f64>>,
    out: &mut Out,
) -> Result<()> {
    if channels.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let mut columns: Vec<(&str, Side)> = captions.iter().map(|caption| (*caption, Side::Right)).collect();
    columns[0].1 = Side::Left;
    if rates.is_some() {
        columns.insert(3, ("PER S", Side::Right));
    }
    columns.push(("", Side::Left));
    let mut grid = Grid::new(&columns);
    for channel in channels {
        let mut row = vec![
            channel.name.clone(),
            match channel.capacity {
                Some(capacity) => format!("{}/{}", size::count(channel.depth), size::count(capacity)),
                None => size::count(channel.depth),
            },
            size::count(channel.sent),
        ];
        if let Some(rates) = rates {
            row.push(rates.get(&channel.name).map_or_else(|| "-".to_owned(), |rate| rate_text(*rate)));
        }
        row.extend([channel.senders.len(), channel.receivers.len()].map(|count| size::count(count as u64)));
        if channel.kind != Kind::Feed {
            row.extend([channel.leased, channel.returned].map(size::count));
        }
        row.push(size::count(channel.blocked.len() as u64));
        row.push(match (channel.closed, channel.mixed) {
            (true, _) => "closed".to_owned(),
            (false, true) => "open, mixed".to_owned(),
            (false, false) => "open".to_owned(),
        });
        grid.row(row);
    }
    grid.print(out, 2)
}

fn rate_text(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        _ if rate < 10.0 => format!("{rate:.1}"),
        _ => size::count(rate.round() as u64),
    }
}
