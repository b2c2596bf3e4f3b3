//! Shows nothing by itself: what processes do with the channels of an arena, with everything that they do written
//! down. Items say which they are, and whether they are whole.

use std::path::Path;
use std::time::Duration;

use faretra::channel::Contents;
use faretra::{Arena, Error, Kind, Lease, Receiver, RecvError, SendError, Sender, Value, Writer};
use ndarray::{ArrayView1, Ix1};

use crate::history::{Did, Log};
use crate::values::{self, Random};

/// Channels, by number: their names, how many items they have room for, and whether those are of any kind. The last one has
/// no bound.
pub const CHANNELS: [(&str, usize, Contents); 4] = [
    ("in", 8, Contents::Mixed),
    ("through", 4, Contents::Mixed),
    ("out", 2, Contents::OneSchema),
    ("more", usize::MAX, Contents::Mixed),
];

/// The channel without a bound.
pub const UNBOUNDED: u8 = 3;

/// Kinds of items. A channel or feed of one schema takes batches.
pub const KINDS: [&str; 5] = ["bytes", "array", "batch", "drafted-array", "drafted-batch"];

/// The sending end of a channel.
pub fn sender(w: &Writer, channel: u8) -> faretra::Result<Sender> {
    let (name, capacity, contents) = CHANNELS[usize::from(channel)];
    if channel == UNBOUNDED { w.unbounded_with(name, contents) } else { w.sender_with(name, capacity, contents) }
}

/// Makes all of them.
pub fn make_channels(w: &Writer) -> faretra::Result<()> {
    (0..CHANNELS.len() as u8).try_for_each(|channel| sender(w, channel).map(drop))
}

/// How long to wait: not at all, for a while, or for ever.
pub type Patience = Option<Duration>;

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    Sent(u64),
    Full,
    Closed {
        clean: bool,
    },
    /// The arena has no room, or there is no channel at the moment.
    NoRoom,
}

/// What was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    Item { id: u64, attempts: u64 },
    Closed { clean: bool },
    Nothing,
}

/// What is done at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Produce,
    Consume,
    All,
}

/// What one process has in its hands.
pub struct Flow {
    arena: Arena,
    log: Log,
    /// One permit for all that is sent.
    writer: Option<Writer>,
    senders: [Option<Sender>; CHANNELS.len()],
    receivers: [Option<Receiver>; CHANNELS.len()],
    /// Leases with their channels and items, oldest first.
    leases: Vec<(Lease, u8, u64)>,
}

/// `None`: an error that may happen, and does not matter.
pub fn allowed<T>(done: faretra::Result<T>) -> Result<Option<T>, String> {
    match done {
        Ok(value) => Ok(Some(value)),
        Err(Error::NoSpace { .. } | Error::NotFound { .. } | Error::TimedOut(_) | Error::Limit { .. }) => Ok(None),
        Err(e) => Err(format!("an error that should not be: {e}")),
    }
}

/// Makes an item, and offers it.
pub fn offer<T>(w: &Writer, kind: &str, words: &[u64], take: impl FnOnce(Value<'_>) -> T) -> faretra::Result<T> {
    Ok(match kind {
        "bytes" => take(bytemuck::cast_slice::<u64, u8>(words).into()),
        "array" => take(ArrayView1::from(words).into()),
        "batch" => take((&values::batch(words[0], words.len())).into()),
        "drafted-array" => {
            let mut draft = w.draft_array::<u64, Ix1>(words.len())?;
            draft.view_mut()?.assign(&ArrayView1::from(words));
            take(draft.into())
        }
        _ => take(values::drafted_batch(w, words)?.into()),
    })
}

/// Why something was not sent or appended.
pub enum Refused {
    Full,
    Closed(bool),
    Failed(Box<Error>),
}

/// Offers a value to a channel or feed; twice, if it is given back and `again`: what comes back is as good as before.
pub fn try_to<'a>(
    send: &dyn Fn(Value<'a>) -> Result<(), (Refused, Option<Value<'a>>)>,
    value: Value<'a>,
    again: bool,
) -> Result<(), Refused> {
    match send(value) {
        // What comes back is as good as before.
        Err((Refused::Full, Some(value))) if again => try_to(send, value, false),
        sent => sent.map_err(|(refused, _)| refused),
    }
}

/// What a refused send comes to, and the value.
fn not_sent(e: SendError<'_>) -> (Refused, Option<Value<'_>>) {
    match e {
        SendError::Failed(e) => (Refused::Failed(e.into()), None),
        SendError::NoSpace { value, error } => (Refused::Failed(error), Some(value)),
        SendError::Full(value) | SendError::TimedOut(value) => (Refused::Full, Some(value)),
        SendError::Closed { value, clean } => (Refused::Closed(clean), Some(value)),
        e => unreachable!("{e}"),
    }
}

/// What became of an item that was offered.
pub fn went(id: u64, done: faretra::Result<Result<(), Refused>>) -> Result<Went, String> {
    Ok(match done.unwrap_or_else(|e| Err(Refused::Failed(e.into()))) {
        Ok(()) => Went::Sent(id),
        Err(Refused::Full) => Went::Full,
        Err(Refused::Closed(clean)) => Went::Closed { clean },
        Err(Refused::Failed(e)) => allowed(Err(*e))?.unwrap_or(Went::NoRoom),
    })
}

impl Flow {
    /// With a history of its own in this file.
    pub fn new(arena: &Arena, history: &Path) -> Result<Flow, String> {
        let log = Log::open(history).map_err(|e| format!("{}: {e}", history.display()))?;
        Ok(Flow {
            arena: arena.clone(),
            log,
            writer: None,
            senders: Default::default(),
            receivers: Default::default(),
            leases: vec![],
        })
    }

    fn writer(&mut self) -> Result<Option<Writer>, String> {
        if self.writer.is_none() {
            self.writer = allowed(self.arena.writer_timeout(Duration::from_secs(2)))?;
        }
        Ok(self.writer.clone())
    }

    /// The sending end, taken if it was not. `None`: there is no permit, or no room for the channel.
    pub fn sender(&mut self, channel: u8) -> Result<Option<Sender>, String> {
        let at = usize::from(channel);
        if self.senders[at].is_none()
            && let Some(w) = self.writer()?
        {
            self.senders[at] = allowed(sender(&w, channel))?;
        }
        Ok(self.senders[at].clone())
    }

    /// The receiving end, taken if it was not. `None`: there is no such channel.
    pub fn receiver(&mut self, channel: u8) -> Result<Option<Receiver>, String> {
        let at = usize::from(channel);
        if self.receivers[at].is_none() {
            self.receivers[at] = allowed(self.arena.receiver(CHANNELS[at].0))?;
        }
        Ok(self.receivers[at].clone())
    }

    /// Leaves an end, but for the leases that are out.
    pub fn leave_end(&mut self, channel: u8, sends: bool) {
        let at = usize::from(channel);
        if sends {
            self.senders[at] = None;
        } else {
            self.receivers[at] = None;
        }
    }

    fn has_many(&mut self, channel: u8) -> Result<bool, String> {
        Ok(channel == UNBOUNDED && self.sender(channel)?.is_some_and(|to| to.len() > 20))
    }

    /// Sends an item of so many words.
    pub fn send(&mut self, channel: u8, kind: &str, words: usize, patience: Patience) -> Result<Went, String> {
        let Some(to) = self.sender(channel)? else { return Ok(Went::NoRoom) };
        let Some(w) = self.writer()? else { return Ok(Went::NoRoom) };
        let id = self.log.new_item();
        let words = values::payload(id, words);
        self.log.did(Did::Send, channel, id);
        let done = offer(&w, kind, &words, |value| {
            let send = |value| match patience {
                Some(Duration::ZERO) => to.try_send(value),
                Some(limit) => to.send_timeout(value, limit),
                None => to.send(value),
            };
            let send = |value| send(value).map_err(not_sent);
            try_to(&send, value, id.is_multiple_of(2))
        });
        let went = went(id, done)?;
        let did = if went == Went::Sent(id) { Did::Sent } else { Did::NotSent };
        self.log.did(did, channel, id);
        Ok(went)
    }

    /// Receives an item, checks that it is whole, and keeps the lease.
    pub fn receive(&mut self, channel: u8, patience: Patience) -> Result<Got, String> {
        let Some(from) = self.receiver(channel)? else { return Ok(Got::Nothing) };
        let lease = match patience {
            Some(Duration::ZERO) => from.try_recv(),
            Some(limit) => from.recv_timeout(limit),
            None => from.recv(),
        };
        let lease = match lease {
            Ok(lease) => lease,
            Err(RecvError::Empty | RecvError::TimedOut) => return Ok(Got::Nothing),
            Err(RecvError::Closed { clean }) => {
                if clean {
                    self.log.did(Did::Closed, channel, 0);
                }
                return Ok(Got::Closed { clean });
            }
            Err(RecvError::Failed(e)) => return allowed(Err(e)).map(|none| none.unwrap_or(Got::Nothing)),
            Err(e) => return Err(e.to_string()),
        };
        let (id, attempts) = (values::check(&lease)?, lease.attempts());
        self.log.did_at(Did::Received, channel, id, attempts);
        self.leases.push((lease, channel, id));
        Ok(Got::Item { id, attempts })
    }

    /// Acknowledges one of the leases; what was read stays for a last look.
    pub fn ack(&mut self, index: usize) -> Result<u64, String> {
        let (lease, channel, id) = self.leases.remove(index);
        let object = (*lease).clone();
        self.log.did(Did::Ack, channel, id);
        lease.ack();
        self.log.did(Did::Acked, channel, id);
        match values::check(&object)? {
            same if same == id => Ok(id),
            other => Err(format!("item {id:x} became {other:x} while it was kept")),
        }
    }

    /// Gives one of the leases back.
    pub fn refuse(&mut self, index: usize) -> u64 {
        let (lease, channel, id) = self.leases.remove(index);
        self.log.did(Did::Refuse, channel, id);
        drop(lease);
        id
    }

    /// Sends one of the items on. `Some`: why not; the lease still is there.
    pub fn forward(&mut self, index: usize, to: u8, patience: Patience) -> Result<Option<String>, String> {
        let Some(sender) = self.sender(to)? else { return Ok(Some("no room".into())) };
        let (lease, channel, id) = self.leases.remove(index);
        self.log.did(Did::Forward, to, id);
        let done = match patience {
            Some(limit) => lease.send_timeout(&sender, limit),
            None => lease.send(&sender),
        };
        match done {
            Ok(()) => {
                self.log.did(Did::Forwarded, to, id);
                Ok(None)
            }
            Err(e) => {
                let why = e.to_string();
                let lease = e.into_lease().ok_or_else(|| format!("item {id:x}: its lease is gone: {why}"))?;
                self.log.did(Did::NotForwarded, to, id);
                self.leases.insert(index, (lease, channel, id));
                Ok(Some(why))
            }
        }
    }

    /// One thing at random. Returns how many items that were sent, received and acknowledged.
    pub fn step(&mut self, random: &mut Random, part: Part, words: usize) -> Result<[u64; 3], String> {
        let channel = random.below(CHANNELS.len() as u64) as u8;
        let patience = Some(Duration::from_micros([0, 500, 3000][random.below(3) as usize]));
        let one_schema = CHANNELS[usize::from(channel)].2 == Contents::OneSchema;
        match random.below(100) {
            0..2 => self.leave_end(channel, random.below(2) == 0),
            // What has no bound of its own has one here: others need the memory.
            2..45 if part != Part::Consume && !self.has_many(channel)? => {
                let kind = if one_schema { "batch" } else { KINDS[random.below(KINDS.len() as u64) as usize] };
                let words = random.below(words as u64) as usize;
                let went = self.send(channel, kind, words, patience)?;
                return Ok([u64::from(matches!(went, Went::Sent(_))), 0, 0]);
            }
            45..72 if part != Part::Produce && self.leases.len() < 4 => {
                let got = self.receive(channel, patience)?;
                return Ok([0, u64::from(matches!(got, Got::Item { .. })), 0]);
            }
            72.. if !self.leases.is_empty() => {
                let index = random.below(self.leases.len() as u64) as usize;
                let next = self.leases[index].1 + 1;
                match random.below(10) {
                    0..2 => drop(self.refuse(index)),
                    2..5 if usize::from(next) < CHANNELS.len() => drop(self.forward(index, next, patience)?),
                    _ => {
                        self.ack(index)?;
                        return Ok([0, 0, 1]);
                    }
                }
            }
            _ => {}
        }
        Ok([0; 3])
    }

    /// Lets go of everything in good order; nothing more is written down.
    pub fn leave(mut self) -> Result<(), String> {
        while !self.leases.is_empty() {
            self.refuse(0);
        }
        self.senders = Default::default();
        self.receivers = Default::default();
        self.writer = None;
        self.log.did(Did::Leave, 0, 0);
        Ok(())
    }

    /// Receives and acknowledges everything there is; then closes the channels, and demands that they say so.
    /// Nobody else may use them any more.
    pub fn drain(mut self) -> Result<(), String> {
        for channel in 0..CHANNELS.len() as u8 {
            let Some(to) = self.sender(channel)? else { return Err("no room for a channel".into()) };
            to.close().map_err(|e| e.to_string())?;
            loop {
                match self.receive(channel, Some(Duration::from_secs(20)))? {
                    Got::Item { .. } => drop(self.ack(0)?),
                    Got::Closed { clean: true } => break,
                    got => return Err(format!("channel {channel} is closed, and gave {got:?}")),
                }
            }
            let late = to.try_send(b"late".as_slice());
            if !matches!(late, Err(SendError::Closed { clean: true, .. })) {
                return Err(format!("channel {channel} is closed, and said {late:?} to a sender"));
            }
        }
        let left = self.arena.channels().map_err(|e| e.to_string())?;
        let left: Vec<_> = left.into_iter().filter(|c| c.kind == Kind::Channel).collect();
        match left.iter().find(|c| (c.depth, c.leased, c.returned) != (0, 0, 0)) {
            Some(left) => Err(format!("a channel is drained, and has something left: {left:?}")),
            None => self.leave(),
        }
    }

    /// In a forked child: what the parent holds is the parent's, and goes nowhere.
    pub fn forget_inherited(mut self) -> Result<(), String> {
        let e = |what: &str| Err(format!("an inherited {what} does not say that it is"));
        for to in self.senders.iter().flatten() {
            if !matches!(to.try_send(b"x".as_slice()), Err(SendError::Failed(Error::Forked(_)))) {
                return e("sender");
            }
            if !matches!(to.close(), Err(Error::Forked(_))) {
                return e("sender");
            }
        }
        for from in self.receivers.iter().flatten() {
            if !matches!(from.try_recv(), Err(RecvError::Failed(Error::Forked(_)))) || !from.is_empty() {
                return e("receiver");
            }
        }
        // One is acknowledged, the others dropped: neither does anything.
        if let Some((lease, ..)) = self.leases.pop() {
            lease.ack();
        }
        Ok(())
    }
}
