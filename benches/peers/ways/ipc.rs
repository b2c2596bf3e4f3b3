//! ipc-channel: bytes through its sockets, and its shared memory, of which each item gets some of its own.

use faretra::bytemuck;
use ipc_channel::ipc::{
    IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcSender, IpcSharedMemory, bytes_channel, channel,
};

use super::{Place, Stamps, Sum, Way, fill};
use crate::pair::{Outcome, until};

/// Side 1 makes all channels and gives side 0 its ends.
fn meet<T>(place: &Place, make: impl FnOnce() -> Outcome<(T, Ends)>) -> Outcome<Ends>
where
    T: serde::Serialize + for<'de> serde::Deserialize<'de> + Into<Ends>,
{
    let path = place.path(".ipc");
    if place.side == 0 {
        let (server, name) = IpcOneShotServer::<T>::new()?;
        std::fs::write(format!("{path}-"), name)?;
        std::fs::rename(format!("{path}-"), &path)?;
        return Ok(server.accept().map_err(|e| e.to_string())?.1.into());
    }
    let mut name = None;
    until("the server", || {
        name = std::fs::read_to_string(&path).ok();
        name.is_some()
    })?;
    let (theirs, ours) = make()?;
    IpcSender::connect(name.ok_or("found")?)?.send(theirs)?;
    Ok(ours)
}

enum Ends {
    BytesOut(IpcBytesSender, IpcSender<u64>, IpcReceiver<u64>),
    BytesIn(IpcBytesReceiver, IpcSender<u64>, IpcReceiver<u64>),
    SharedOut(IpcSender<IpcSharedMemory>, IpcSender<u64>, IpcReceiver<u64>),
    SharedIn(IpcReceiver<IpcSharedMemory>, IpcSender<u64>, IpcReceiver<u64>),
}

impl From<(IpcBytesSender, IpcSender<u64>, IpcReceiver<u64>)> for Ends {
    fn from((items, to, from): (IpcBytesSender, IpcSender<u64>, IpcReceiver<u64>)) -> Ends {
        Ends::BytesOut(items, to, from)
    }
}

impl From<(IpcSender<IpcSharedMemory>, IpcSender<u64>, IpcReceiver<u64>)> for Ends {
    fn from((items, to, from): (IpcSender<IpcSharedMemory>, IpcSender<u64>, IpcReceiver<u64>)) -> Ends {
        Ends::SharedOut(items, to, from)
    }
}

struct Ipc {
    ends: Ends,
    own: Vec<u64>,
}

pub fn bytes(place: &Place) -> Outcome<Box<dyn Way>> {
    let ends = meet(place, || {
        let ((out, into), (to, heard), (said, from)) = (bytes_channel()?, channel()?, channel()?);
        Ok(((out, to, from), Ends::BytesIn(into, said, heard)))
    })?;
    Ok(Box::new(Ipc { ends, own: vec![0; place.words] }))
}

pub fn shared(place: &Place) -> Outcome<Box<dyn Way>> {
    let ends = meet(place, || {
        let ((out, into), (to, heard), (said, from)) = (channel()?, channel()?, channel()?);
        Ok(((out, to, from), Ends::SharedIn(into, said, heard)))
    })?;
    Ok(Box::new(Ipc { ends, own: vec![0; place.words] }))
}

impl Way for Ipc {
    fn give(&mut self, seed: u64, stamps: &Stamps<'_>) -> Outcome {
        stamps.starts();
        fill(&mut self.own, seed);
        let bytes = bytemuck::cast_slice(&self.own);
        match &self.ends {
            Ends::BytesOut(items, ..) => {
                stamps.sends();
                items.send(bytes)?;
            }
            Ends::SharedOut(items, ..) => {
                let memory = IpcSharedMemory::from_bytes(bytes);
                stamps.sends();
                items.send(memory)?;
            }
            _ => return Err("side 0 sends".into()),
        }
        Ok(())
    }

    fn take(&mut self, stamps: &Stamps<'_>) -> Outcome<Sum> {
        let sum = match &self.ends {
            Ends::BytesIn(items, ..) => {
                let item = items.recv().map_err(|e| e.to_string())?;
                stamps.received();
                Sum::of_bytes(&item)
            }
            Ends::SharedIn(items, ..) => {
                let item = items.recv().map_err(|e| e.to_string())?;
                stamps.received();
                Sum::of_bytes(&item)
            }
            _ => return Err("side 1 receives".into()),
        };
        stamps.was_read();
        Ok(sum)
    }

    fn say(&mut self) -> Outcome {
        let (Ends::BytesOut(_, to, _) | Ends::BytesIn(_, to, _) | Ends::SharedOut(_, to, _) | Ends::SharedIn(_, to, _)) =
            &self.ends;
        Ok(to.send(8)?)
    }

    fn hear(&mut self) -> Outcome {
        let (Ends::BytesOut(.., from) | Ends::BytesIn(.., from) | Ends::SharedOut(.., from) | Ends::SharedIn(.., from)) =
            &self.ends;
        from.recv().map_err(|e| e.to_string())?;
        Ok(())
    }

    fn reserved(&self, _: &str) -> Option<u64> {
        // Its segments have no names.
        None
    }
}
