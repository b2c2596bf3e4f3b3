//! An Arrow IPC stream that is read from a pipe as it comes: each message is complete and checked
//! before arrow sees it, and its batch is there when its last byte is.

use std::io::{self, Cursor, Read};

use super::pipe::Pipe;
use super::read::{self, Tables};
use super::{Format, ipc_check};
use crate::failure::{Failure, Result};

/// A stream that begins without a marker (before Arrow 0.15) has a schema of fewer bytes. Text that
/// is no stream at all promises more by its first letters, and is not waited for.
const OLD_SCHEMA: u32 = 1 << 24;

/// Opens what a pipe brings as Arrow IPC; a file begins at its end and is read when all of it came.
pub fn open(mut pipe: Pipe, options: &read::Options, bar: &indicatif::ProgressBar) -> Result<Tables> {
    match pipe.peek(6)? {
        [] => Err(Failure::new("nothing came: there is no stream of record batches")),
        b"ARROW1" => read::tables(pipe.spool()?, Format::Arrow, options, bar),
        _ => {
            let messages = Messages { pipe, schema: Vec::new(), message: Vec::new(), at: 0, number: 0 };
            read::stream(messages)
        }
    }
}

/// The bytes of the messages, each of which is whole. What begins again with the same schema is
/// one stream.
struct Messages {
    pipe: Pipe,
    /// The first message.
    schema: Vec<u8>,
    /// The schema, which says how messages are checked, and the message that is read.
    message: Vec<u8>,
    at: usize,
    number: u64,
}

impl Read for Messages {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.message.len() {
            match self.next() {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(Failure::Failed(text) | Failure::Usage(text) | Failure::Interrupted(text)) => {
                    return Err(io::Error::other(text));
                }
            }
        }
        let count = (&self.message[self.at..]).read(buffer)?;
        self.at += count;
        Ok(count)
    }
}

impl Messages {
    /// Reads one more message. False at the end.
    fn next(&mut self) -> Result<bool> {
        self.message.clear();
        self.message.extend_from_slice(&self.schema);
        self.at = self.message.len();
        let begin = self.at;
        let mut size = match self.word()? {
            None => return Ok(false),
            Some(size) => size,
        };
        let marked = size == u32::MAX;
        if marked {
            size = self.word()?.ok_or_else(|| self.cut(0, 4))?;
        }
        if self.schema.is_empty() && (size == 0 || size > ipc_check::METADATA as u32 || !marked && size > OLD_SCHEMA) {
            return Err(ipc_check::foreign());
        }
        if size == 0 {
            return self.again();
        }
        if u64::from(size) > ipc_check::METADATA {
            return Err(ipc_check::cut(&format!("message {} says that it has {size} bytes", self.number + 1)));
        }
        let metadata = self.message.len();
        self.take(u64::from(size))?;
        let body = match arrow_ipc::root_as_message(&self.message[metadata..]) {
            Ok(message) => u64::try_from(message.bodyLength()).unwrap_or(u64::MAX),
            // The check has the words for it.
            Err(_) => 0,
        };
        self.take(body)?;
        ipc_check::check_stream(&mut Cursor::new(&self.message), self.message.len() as u64)?;
        self.number += 1;
        if self.schema.is_empty() {
            self.schema = self.message[begin..].to_vec();
        }
        Ok(true)
    }

    /// Behind the end of the stream: another one with the same columns goes on with it.
    fn again(&mut self) -> Result<bool> {
        let mut next = Vec::new();
        self.pipe.by_ref().take(self.schema.len() as u64).read_to_end(&mut next)?;
        if next.is_empty() {
            return Ok(false);
        }
        if next != self.schema {
            return Err(Failure::new(
                "behind the end of the stream there is something else, or a stream of other columns: send it with \
                 another command",
            ));
        }
        self.message.clear();
        self.at = 0;
        Ok(true)
    }

    /// A word, unless nothing comes any more.
    fn word(&mut self) -> Result<Option<u32>> {
        let begin = self.message.len();
        self.pipe.by_ref().take(4).read_to_end(&mut self.message)?;
        match self.message[begin..] {
            [a, b, c, d] => Ok(Some(u32::from_le_bytes([a, b, c, d]))),
            [] => Ok(None),
            ref some => Err(self.cut(some.len(), 4)),
        }
    }

    /// Grows with what comes, never by what a message says.
    fn take(&mut self, count: u64) -> Result<()> {
        let begin = self.message.len();
        self.pipe.by_ref().take(count).read_to_end(&mut self.message)?;
        match self.message.len() - begin {
            all if all as u64 == count => Ok(()),
            some => Err(self.cut(some, count)),
        }
    }

    fn cut(&self, some: usize, count: u64) -> Failure {
        Failure::new(format!(
            "the stream ends in the middle of message {}, after {some} of {count} bytes of a part of it: its producer \
             died or was cut off",
            self.number + 1
        ))
    }
}
