//! Parcels: what the queues and pipes of `faretra.multiprocessing` carry. A pickle, and its large buffers beside it.
//!
//! A parcel whose pickle is small and has no buffers beside it is an object of bytes: that pickle. Any other is a bundle. Its
//! member `__parcel__` has
//!
//! ```text
//! number of pieces | member, offset, length, kind of each | the small pieces of the pickle, one after the other
//! ```
//!
//! in 64-bit little-endian numbers; each large piece has a member of its own, which is named by its number. The *pieces of the
//! pickle* are those that the pickler wrote: what it writes in one go and is large (bytes, say) is never joined with the rest.
//! A *buffer* is pickled out of band; whoever receives it gets a map of it, which can be written (copy-on-write) if the
//! original could.
//!
//! A buffer that was received, and that nobody wrote to since, is sent on without a copy.

use std::time::Duration;

use faretra::{Bundle, Error, Kind, Object, Value};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyList, PyMemoryView, PyTuple};

use crate::arena::{Arena, text, timeout};
use crate::channel::{Lease, Receiver, Sender};
use crate::error::{Failure, run, run_plain, wait};
use crate::memory::{Foreign, Pinned};
use crate::process::let_go;
use crate::ready::{End, take};

/// From this size on a piece of the pickle has a member of its own; the pickler writes no smaller piece in one go.
const LARGE: usize = 64 << 10;
/// The member that tells what the others are.
const HEAD: &str = "__parcel__";
/// From this size on it is worth to ask whether a buffer was written to.
const SENT_ON: usize = 256 << 10;

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Pickle,
    ReadOnly,
    Writable,
}

/// Where a large piece comes from.
enum Large {
    Copied(Foreign),
    Shared(Object),
}

/// A parcel on its way in.
struct Parcel {
    /// The pickle; or the table of pieces, and the small ones.
    head: Vec<u8>,
    large: Vec<Large>,
    alone: bool,
    bytes: usize,
}

impl Parcel {
    /// `pieces` are bytes, and `buffers` are (buffer, whether it can be written).
    fn new(pieces: &Bound<'_, PyList>, buffers: Option<&Bound<'_, PyList>>) -> PyResult<Parcel> {
        let (mut table, mut small, mut large) = (vec![], vec![], vec![]);
        let mut bytes = 0;
        let buffers_len = buffers.map_or(0, |buffers| buffers.len());
        let mut list = |member: usize, offset: usize, len: usize, kind: Piece| {
            table.extend([member as u64, offset as u64, len as u64, kind as u64]);
        };
        for piece in pieces {
            let view;
            let part = match piece.cast::<PyBytes>() {
                Ok(piece) => piece.as_bytes(),
                Err(_) => {
                    view = Foreign::of_buffer(&piece)?;
                    view.bytes()
                }
            };
            bytes += part.len();
            if part.len() >= LARGE {
                large.push(Large::Copied(Foreign::of_buffer(&piece)?));
                list(large.len(), 0, part.len(), Piece::Pickle);
            } else {
                list(0, small.len(), part.len(), Piece::Pickle);
                small.extend_from_slice(part);
            }
        }
        for buffer in buffers.into_iter().flatten() {
            let (buffer, writable): (Bound<'_, PyAny>, bool) = buffer.extract()?;
            let kind = if writable { Piece::Writable } else { Piece::ReadOnly };
            let memory = Foreign::of_buffer(&buffer)?;
            let len = memory.bytes().len();
            let shared = match buffer.cast::<Pinned>() {
                Ok(pinned) if len >= SENT_ON => pinned.get().unchanged().cloned(),
                _ => None,
            };
            bytes += if shared.is_some() { 0 } else { len };
            large.push(shared.map_or(Large::Copied(memory), Large::Shared));
            list(large.len(), 0, len, kind);
        }
        let alone = large.is_empty() && buffers_len == 0;
        let head = if alone {
            small
        } else {
            let mut head = Vec::with_capacity(8 + table.len() * 8 + small.len());
            head.extend_from_slice(&(table.len() as u64 / 4).to_le_bytes());
            head.extend(table.iter().flat_map(|number| number.to_le_bytes()));
            head.extend_from_slice(&small);
            head
        };
        Ok(Parcel { head, large, alone, bytes })
    }

    fn takes_long(&self) -> bool {
        self.bytes >= LARGE
    }

    fn value(&self) -> Value<'_> {
        if self.alone {
            return self.head.as_slice().into();
        }
        let bundle = Bundle::new().with(HEAD, self.head.as_slice());
        let all = self.large.iter().enumerate().fold(bundle, |bundle, (i, part)| {
            let name = (i + 1).to_string();
            match part {
                Large::Copied(memory) => bundle.with(&name, memory.bytes()),
                Large::Shared(object) => bundle.with(&name, object),
            }
        });
        all.into()
    }
}

/// What a parcel is to Python: the pickle as bytes; or its pieces, and its buffers.
fn opened<'py>(py: Python<'py>, object: &Object) -> PyResult<Bound<'py, PyAny>> {
    if object.kind() == Kind::Bytes {
        let pickle = run(py, || object.bytes().map_err(Failure::from))?;
        return Ok(PyBytes::new(py, pickle).into_any());
    }
    let_go();
    let name = object.name();
    let damaged = |what: &str| Failure::from(Error::Damaged(format!("the parcel `{name}` {what}"))).raise(py);
    let bundle = run(py, || object.bundle())?;
    let head = run(py, || bundle.get(HEAD))?;
    let bytes = run(py, || head.bytes())?;
    let (count, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| damaged("is too short"))?;
    let count = u64::from_le_bytes(*count);
    if count > (rest.len() / 32) as u64 {
        return Err(damaged(&format!("has no room for its {count} pieces")));
    }
    let (table, small) = rest.split_at(count as usize * 32);
    let (pieces, buffers) = (PyList::empty(py), PyList::empty(py));
    for entry in table.as_chunks::<8>().0.as_chunks::<4>().0 {
        let [member, offset, len, kind] = entry.map(u64::from_le_bytes);
        if member == 0 {
            let end = offset.checked_add(len).and_then(|end| small.get(offset as usize..end as usize));
            pieces.append(PyBytes::new(py, end.ok_or_else(|| damaged("has a piece that ends nowhere"))?))?;
            continue;
        }
        let part = run(py, || bundle.get(&member.to_string()))?;
        let whole = run(py, || part.bytes().map(<[u8]>::len))?;
        if len != whole as u64 {
            return Err(damaged("has a piece of another length"));
        }
        let read_only = || Bound::new(py, run(py, || Pinned::bytes(part.clone(), 0..whole))?);
        if kind == Piece::Pickle as u64 {
            pieces.append(PyMemoryView::from(read_only()?.as_any())?)?;
        } else if kind == Piece::ReadOnly as u64 {
            buffers.append(read_only()?)?;
        } else {
            buffers.append(writable(py, &part)?)?;
        }
    }
    Ok(PyTuple::new(py, [pieces, buffers])?.into_any())
}

/// A private map; or a copy, if the process has as many maps as it can have.
fn writable<'py>(py: Python<'py>, part: &Object) -> PyResult<Bound<'py, PyAny>> {
    match run_plain(py, || part.private())? {
        Ok(map) => Ok(Bound::new(py, Pinned::private(map, part))?.into_any()),
        Err(Error::Os { .. }) => Ok(PyByteArray::new(py, run(py, || part.bytes())?).into_any()),
        Err(error) => Err(Failure::from(error).raise(py)),
    }
}

/// Sends a parcel: pieces of a pickle, and (buffer, whether it can be written) of each buffer.
#[pyfunction]
#[pyo3(signature = (sender, pieces, buffers=None, timeout=None))]
pub fn _send_parcel(
    py: Python<'_>,
    sender: &Bound<'_, Sender>,
    pieces: &Bound<'_, PyList>,
    buffers: Option<&Bound<'_, PyList>>,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let limit = self::timeout(timeout)?;
    let end: &End<faretra::Sender> = &sender.get().end;
    let to = end.get(py)?;
    let parcel = Parcel::new(pieces, buffers)?;
    let about = |failure: Failure| failure.about(|| end.what());
    if !parcel.takes_long() {
        let sent = run(py, || match to.try_send(parcel.value()).map_err(Failure::from) {
            Ok(()) => Ok(true),
            Err(failure) if limit == Some(Duration::ZERO) => Err(about(failure)),
            Err(Failure::Full | Failure::Library(Error::NoSpace { .. })) => Ok(false),
            Err(failure) => Err(about(failure)),
        })?;
        if sent {
            end.descriptor.follow(py);
            return Ok(());
        }
    }
    let sent = wait(py, || {
        let value = parcel.value();
        let sent = match limit {
            None => to.send(value),
            Some(Duration::ZERO) => to.try_send(value),
            Some(limit) => to.send_timeout(value, limit),
        };
        sent.map_err(|error| about(Failure::from(error)))
    });
    end.descriptor.follow(py);
    sent
}

/// Receives a parcel, and acknowledges it: the pickle as bytes, or a list of its pieces and one of its buffers.
#[pyfunction]
#[pyo3(signature = (receiver, timeout=None))]
pub fn _recv_parcel<'py>(
    py: Python<'py>,
    receiver: &Bound<'py, Receiver>,
    timeout: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let limit = self::timeout(timeout)?;
    let end: &End<faretra::Receiver> = &receiver.get().end;
    let from = end.get(py)?;
    let lease = take(
        py,
        limit,
        || end.what(),
        |limit| match limit {
            None => from.recv(),
            Some(limit) if limit.is_zero() => from.try_recv(),
            Some(limit) => from.recv_timeout(limit),
        },
    )?;
    let made = opened(py, &lease);
    if made.is_ok() {
        run(py, || {
            lease.ack();
            Ok::<(), Failure>(())
        })?;
    }
    end.descriptor.follow(py);
    made
}

/// The parcel that a lease is of, as `_recv_parcel` returns it. The lease goes on, and what is opened outlives it.
#[pyfunction]
pub fn _open_parcel<'py>(py: Python<'py>, lease: &Bound<'py, Lease>) -> PyResult<Bound<'py, PyAny>> {
    opened(py, &lease.get().object(py)?)
}

/// Puts a parcel under a name.
#[pyfunction]
#[pyo3(signature = (arena, name, pieces, buffers=None))]
pub fn _post(
    py: Python<'_>,
    arena: &Bound<'_, Arena>,
    name: &Bound<'_, PyAny>,
    pieces: &Bound<'_, PyList>,
    buffers: Option<&Bound<'_, PyList>>,
) -> PyResult<()> {
    let (writer, name) = (arena.get().writer(py)?, text(name)?);
    let parcel = Parcel::new(pieces, buffers)?;
    if parcel.takes_long() {
        wait(py, || writer.publish(name, parcel.value()))?;
    } else {
        run(py, || writer.publish(name, parcel.value()))?;
    }
    Ok(())
}

/// Takes the parcel of a name, as `_recv_parcel` returns it, and removes the name.
#[pyfunction]
pub fn _collect<'py>(
    py: Python<'py>,
    arena: &Bound<'py, Arena>,
    name: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let (handle, name) = (arena.get().get(py)?, text(name)?);
    let object = run(py, || handle.get(name))?;
    let made = opened(py, &object)?;
    drop(object);
    let writer = arena.get().writer(py)?;
    run(py, || writer.remove(name))?;
    Ok(made)
}

/// A receiver of the channel `name`, and a sender of it. Each fails when nobody is at the other end, or not. With `make`, the
/// channel is made.
#[pyfunction]
#[pyo3(signature = (arena, name, capacity, make))]
pub fn _attach_ends(
    py: Python<'_>,
    arena: &Bound<'_, Arena>,
    name: &Bound<'_, PyAny>,
    capacity: Option<i64>,
    make: bool,
) -> PyResult<(Receiver, Sender)> {
    if make {
        let sender = Sender::open(py, arena, name, capacity, true, "fail")?;
        let receiver = Receiver::open(py, arena, name, false, None, "fail")?;
        return Ok((receiver, sender));
    }
    let receiver = Receiver::open(py, arena, name, false, None, "fail")?;
    let writer = arena.get().writer(py)?;
    let from = receiver.end.get(py)?;
    let sender = run(py, || from.sender(&writer))?;
    Ok((receiver, Sender::of(text(name)?, sender, writer)))
}

/// How many processes can send to a channel, and how many can receive from it.
#[pyfunction]
pub fn _peers(py: Python<'_>, receiver: &Bound<'_, Receiver>) -> PyResult<(usize, usize)> {
    let receiver = receiver.get().end.get(py)?;
    let peers = run(py, || receiver.peers())?;
    Ok((peers.senders, peers.receivers))
}

/// How many items were sent to a channel.
#[pyfunction]
pub fn _sent(py: Python<'_>, receiver: &Bound<'_, Receiver>) -> PyResult<u64> {
    Ok(receiver.get().end.get(py)?.sent())
}

/// Whether there is an item to be received, or none comes any more.
#[pyfunction]
pub fn _is_ready(py: Python<'_>, receiver: &Bound<'_, Receiver>) -> PyResult<bool> {
    let receiver = receiver.get().end.get(py)?;
    run(py, || receiver.is_ready())
}
