//! A channel of arrays, one each way.

use faretra::channel::Contents;
use faretra::{Arena, Array, Lease, Receiver, RecvError, Sender, Writer};
use ndarray::{ArrayView1, Ix1};

use super::{Place, Stamps, Sum, Way, fill};
use crate::pair::{LARGEST, NO_SLEEP, Outcome, Wait};

/// How an item comes into the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// It is written there.
    InPlace,
    /// It is written elsewhere, and copied once.
    Copied,
}

struct Ours {
    writer: Writer,
    to: Sender,
    from: Receiver,
    wait: Wait,
    words: usize,
    /// What is copied, if it is.
    own: Option<Vec<u64>>,
}

/// All pairs of processes meet in one arena, and have channels of their own.
pub fn open(place: &Place, wait: Wait, write: Write) -> Outcome<Box<dyn Way>> {
    let options = Arena::options().limit(8 * LARGEST).writers(64).keep(false);
    let options = match wait {
        Wait::Blocks => options,
        Wait::Sleeps => options.spin(0),
        Wait::Polls => options.spin(NO_SLEEP),
    };
    let arena = options.open_or_create(&place.shared)?;
    let writer = arena.writer()?;
    let channel = |way: &str| writer.sender_with(&format!("{way}-{}", place.lane), 4, Contents::Mixed);
    let (mut out, mut back) = ("to", "fro");
    if place.side == 1 {
        (out, back) = (back, out);
    }
    let (to, other) = (channel(out)?, channel(back)?);
    let from = arena.receiver(&format!("{back}-{}", place.lane))?;
    drop(other);
    let own = (write == Write::Copied).then(|| vec![0; place.words]);
    Ok(Box::new(Ours { writer, to, from, wait, words: place.words, own }))
}

impl Ours {
    fn receive(&self) -> Outcome<Lease> {
        match self.wait {
            Wait::Polls => loop {
                match self.from.try_recv() {
                    Err(RecvError::Empty) => std::hint::spin_loop(),
                    other => return Ok(other?),
                }
            },
            _ => Ok(self.from.recv()?),
        }
    }
}

impl Way for Ours {
    fn give(&mut self, seed: u64, stamps: &Stamps<'_>) -> Outcome {
        stamps.starts();
        if let Some(own) = &mut self.own {
            fill(own, seed);
            stamps.sends();
            self.to.send(ArrayView1::from(&**own)).map_err(|e| e.to_string())?;
        } else {
            let mut draft = self.writer.draft_array::<u64, Ix1>(self.words)?;
            fill(draft.view_mut()?.as_slice_mut().ok_or("contiguous")?, seed);
            stamps.sends();
            self.to.send(draft).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn take(&mut self, stamps: &Stamps<'_>) -> Outcome<Sum> {
        let lease = self.receive()?;
        stamps.received();
        let array: Array<u64, Ix1> = (*lease).clone().try_into()?;
        let sum = Sum::of(array.as_slice().ok_or("contiguous")?);
        stamps.was_read();
        drop(array);
        lease.ack();
        Ok(sum)
    }

    fn say(&mut self) -> Outcome {
        self.to.send(b"8 bytes!".as_slice()).map_err(|e| e.to_string())?;
        Ok(())
    }

    fn hear(&mut self) -> Outcome {
        self.receive()?.ack();
        Ok(())
    }
}
