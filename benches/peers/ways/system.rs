//! What the system has: a pipe, a Unix socket, a POSIX message queue. All copy an item in and out.

use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};

use faretra::{MIB, bytemuck};
use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_close, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::Mode;

use super::{Pipes, Place, Stamps, Sum, Way, fill};
use crate::pair::{Outcome, until};

// --------------------------------------------------------------------------------------------------------- pipe

struct Pipe {
    pipes: Pipes,
    own: Vec<u64>,
}

/// With the largest buffer that an unprivileged user may have.
pub fn pipe(place: &Place) -> Outcome<Box<dyn Way>> {
    let pipes = Pipes::open(place)?;
    // SAFETY: sets a size; a smaller pipe is no error.
    unsafe { libc::fcntl(pipes.to.as_raw_fd(), libc::F_SETPIPE_SZ, MIB as libc::c_int) };
    Ok(Box::new(Pipe { pipes, own: vec![0; place.words] }))
}

impl Way for Pipe {
    fn give(&mut self, seed: u64, stamps: &Stamps<'_>) -> Outcome {
        stamps.starts();
        fill(&mut self.own, seed);
        stamps.sends();
        Ok(self.pipes.to.write_all(bytemuck::cast_slice(&self.own))?)
    }

    fn take(&mut self, stamps: &Stamps<'_>) -> Outcome<Sum> {
        self.pipes.to.read_exact(bytemuck::cast_slice_mut(&mut self.own))?;
        stamps.received();
        let sum = Sum::of(&self.own);
        stamps.was_read();
        Ok(sum)
    }

    fn say(&mut self) -> Outcome {
        self.pipes.say()
    }

    fn hear(&mut self) -> Outcome {
        self.pipes.hear()
    }

    fn reserved(&self, _: &str) -> Option<u64> {
        // SAFETY: asks for a size.
        let size = unsafe { libc::fcntl(self.pipes.to.as_raw_fd(), libc::F_GETPIPE_SZ) };
        u64::try_from(size).ok()
    }
}

// ------------------------------------------------------------------------------------------------------- socket

struct Socket {
    stream: UnixStream,
    own: Vec<u64>,
}

pub fn socket(place: &Place) -> Outcome<Box<dyn Way>> {
    let path = place.path(".socket");
    let stream = match place.side {
        0 => UnixListener::bind(&path)?.accept()?.0,
        _ => {
            let mut stream = None;
            until("the socket", || {
                stream = UnixStream::connect(&path).ok();
                stream.is_some()
            })?;
            stream.ok_or("connected")?
        }
    };
    Ok(Box::new(Socket { stream, own: vec![0; place.words] }))
}

impl Way for Socket {
    fn give(&mut self, seed: u64, stamps: &Stamps<'_>) -> Outcome {
        stamps.starts();
        fill(&mut self.own, seed);
        stamps.sends();
        Ok(self.stream.write_all(bytemuck::cast_slice(&self.own))?)
    }

    fn take(&mut self, stamps: &Stamps<'_>) -> Outcome<Sum> {
        self.stream.read_exact(bytemuck::cast_slice_mut(&mut self.own))?;
        stamps.received();
        let sum = Sum::of(&self.own);
        stamps.was_read();
        Ok(sum)
    }

    fn say(&mut self) -> Outcome {
        Ok(self.stream.write_all(&[1])?)
    }

    fn hear(&mut self) -> Outcome {
        Ok(self.stream.read_exact(&mut [0])?)
    }

    fn reserved(&self, _: &str) -> Option<u64> {
        // What one side sends lies in its own send buffer until it is read.
        getsockopt(&self.stream, sockopt::SndBuf).ok().map(|bytes| bytes as u64)
    }
}

// -------------------------------------------------------------------------------------------------------- queue

/// Bytes of a message that only says something, on the way back.
const BACK: usize = 8;

/// Messages as long, and as many, as an unprivileged user may have: an item is cut into them.
struct Queue {
    to: Option<MqdT>,
    fro: Option<MqdT>,
    /// Until one side sends: then both are there.
    names: Vec<CString>,
    longest: usize,
    side: usize,
    own: Vec<u64>,
    reserved: u64,
}

fn limit(what: &str) -> Option<i64> {
    std::fs::read_to_string(format!("/proc/sys/fs/mqueue/{what}")).ok()?.trim().parse().ok()
}

/// How many messages, of how many bytes.
fn limits() -> (i64, i64) {
    (limit("msg_max").unwrap_or(10), limit("msgsize_max").unwrap_or(8192))
}

fn open_queue(name: &CString, flags: MQ_OFlag, (messages, bytes): (i64, i64)) -> nix::Result<MqdT> {
    let attributes = MqAttr::new(0, messages, bytes, 0);
    mq_open(name.as_c_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR, Some(&attributes))
}

/// Why there are none, if there are none.
pub fn no_queues() -> Option<String> {
    let name = CString::new(format!("/bench-peers-{}", std::process::id())).ok()?;
    match open_queue(&name, MQ_OFlag::O_CREAT | MQ_OFlag::O_RDWR, limits()) {
        Ok(queue) => {
            // It was empty, and has served its purpose.
            let _ = mq_close(queue);
            let _ = mq_unlink(name.as_c_str());
            None
        }
        Err(error) => Some(format!("mq_open: {error}")),
    }
}

pub fn queue(place: &Place) -> Outcome<Box<dyn Way>> {
    let [to, fro] = ["to", "fro"].map(|way| CString::new(format!("/{}-{way}", place.name)));
    let names = vec![to?, fro?];
    let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_RDWR;
    let (messages, longest) = limits();
    Ok(Box::new(Queue {
        to: Some(open_queue(&names[0], flags, (messages, longest))?),
        // A user may have 800 KiB of queues (RLIMIT_MSGQUEUE): the way back has room for what is said there.
        fro: Some(open_queue(&names[1], flags, (1, BACK as i64))?),
        names,
        longest: usize::try_from(longest)?,
        side: place.side,
        own: vec![0; place.words],
        reserved: u64::try_from(messages * longest)?,
    }))
}

impl Queue {
    /// Once both sides have them open, the queues need no names, and go with their processes, whatever becomes of these.
    fn forget_names(&mut self) {
        for name in self.names.drain(..) {
            // The other side may have done it.
            let _ = mq_unlink(name.as_c_str());
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.forget_names();
        for queue in [self.to.take(), self.fro.take()].into_iter().flatten() {
            // Nothing can be done about one that does not close.
            let _ = mq_close(queue);
        }
    }
}

impl Way for Queue {
    fn give(&mut self, seed: u64, stamps: &Stamps<'_>) -> Outcome {
        self.forget_names();
        stamps.starts();
        fill(&mut self.own, seed);
        stamps.sends();
        let queue = self.to.as_ref().ok_or("open")?;
        for part in bytemuck::cast_slice::<u64, u8>(&self.own).chunks(self.longest) {
            mq_send(queue, part, 1)?;
        }
        Ok(())
    }

    fn take(&mut self, stamps: &Stamps<'_>) -> Outcome<Sum> {
        let queue = self.to.as_ref().ok_or("open")?;
        let mut last = vec![0; self.longest];
        for part in bytemuck::cast_slice_mut::<u64, u8>(&mut self.own).chunks_mut(self.longest) {
            // A queue wants room for its longest message, whatever comes.
            if part.len() == self.longest {
                mq_receive(queue, part, &mut 0)?;
            } else {
                let came = mq_receive(queue, &mut last, &mut 0)?;
                part.copy_from_slice(last.get(..came).filter(|came| came.len() == part.len()).ok_or("a part")?);
            }
        }
        stamps.received();
        let sum = Sum::of(&self.own);
        stamps.was_read();
        Ok(sum)
    }

    fn say(&mut self) -> Outcome {
        self.forget_names();
        let queue = if self.side == 0 { &self.to } else { &self.fro };
        Ok(mq_send(queue.as_ref().ok_or("open")?, &[1], 1)?)
    }

    fn hear(&mut self) -> Outcome {
        let (queue, longest) = if self.side == 0 { (&self.fro, BACK) } else { (&self.to, self.longest) };
        mq_receive(queue.as_ref().ok_or("open")?, &mut vec![0; longest], &mut 0)?;
        Ok(())
    }

    fn reserved(&self, _: &str) -> Option<u64> {
        Some(self.reserved)
    }
}
