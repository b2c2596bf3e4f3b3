//! What arrow's IPC readers believe without looking: lengths that no file has, and the byte
//! order of a stream. Looked at beforehand, because a length of 32 GiB in a damaged file of one
//! page would otherwise be allocated, which ends the process.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use arrow_ipc::{Endianness, Message, MessageHeader, RecordBatch};

use crate::failure::{Failure, Result};
use crate::signal;

/// Metadata of a message, or a footer, is never larger.
pub const METADATA: u64 = 1 << 30;

/// No compression that IPC knows makes data smaller than this part of it.
const RATIO: u64 = 1 << 16;

/// Which of the two layouts a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// With a footer: `ARROW1` at both ends.
    File,
    /// Messages one after the other.
    Stream,
}

/// Finds the layout and checks every length in it. Leaves the file at its beginning.
pub fn check(file: &mut File) -> Result<Layout> {
    let length = file.metadata()?.len();
    let mut start = [0; 6];
    let short = length < 8;
    if !short {
        file.read_exact(&mut start)?;
    }
    let layout = match &start {
        _ if length == 0 => return Err(Failure::new("the file is empty")),
        b"ARROW1" => {
            check_file(file, length)?;
            Layout::File
        }
        [b'F', b'E', b'A', b'1', ..] => {
            return Err(Failure::new(
                "it is a Feather version 1 file, which only old programs write: \
                 write it again as version 2 (Arrow IPC) or Parquet",
            ));
        }
        _ if short => return Err(foreign()),
        _ => {
            check_stream(file, length)?;
            Layout::Stream
        }
    };
    file.seek(SeekFrom::Start(0))?;
    Ok(layout)
}

/// That it is something else.
pub fn foreign() -> Failure {
    Failure::new("it is not Arrow IPC: neither a file nor a stream begins so")
}

/// That it is damaged.
pub fn cut(what: &str) -> Failure {
    Failure::new(format!("the Arrow IPC file is cut or damaged: {what}"))
}

fn bytes_at(file: &mut (impl Read + Seek), at: u64, count: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.by_ref().take(count).read_to_end(&mut bytes)?;
    match bytes.len() as u64 == count {
        true => Ok(bytes),
        false => Err(cut("it ends too early")),
    }
}

fn word_at(file: &mut (impl Read + Seek), at: u64) -> Result<u32> {
    let bytes = bytes_at(file, at, 4)?;
    Ok(bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte)))
}

fn check_file(file: &mut File, length: u64) -> Result<()> {
    if length < 8 + 10 || bytes_at(file, length - 6, 6)? != b"ARROW1" {
        return Err(cut("its footer is missing"));
    }
    let size = u64::from(word_at(file, length - 10)?);
    if size > METADATA || size + 18 > length {
        return Err(cut(&format!("its footer says that it has {size} bytes")));
    }
    let footer = bytes_at(file, length - 10 - size, size)?;
    let footer =
        arrow_ipc::root_as_footer(&footer).map_err(|error| cut(&format!("its footer cannot be read ({error})")))?;
    let blocks = footer.dictionaries().into_iter().chain(footer.recordBatches());
    for block in blocks.flatten() {
        signal::check()?;
        let (Ok(at), Ok(metadata), Ok(body)) =
            (u64::try_from(block.offset()), u64::try_from(block.metaDataLength()), u64::try_from(block.bodyLength()))
        else {
            return Err(cut("a block has a negative length"));
        };
        let end = at.checked_add(metadata).and_then(|at| at.checked_add(body));
        if metadata < 8 || end.is_none_or(|end| end > length) {
            return Err(cut(&format!(
                "a block of {metadata} and {body} bytes at {at} is not inside its {length} bytes"
            )));
        }
        let message = bytes_at(file, at, metadata)?;
        let prefix = if message[..4] == [0xff; 4] { 8 } else { 4 };
        let message = parse(&message[prefix..])?;
        check_body(file, &message, at + metadata, body)?;
    }
    Ok(())
}

fn parse(bytes: &[u8]) -> Result<Message<'_>> {
    arrow_ipc::root_as_message(bytes).map_err(|error| cut(&format!("a message cannot be read ({error})")))
}

/// Checks every length in so many bytes of a stream.
pub fn check_stream(file: &mut (impl Read + Seek), length: u64) -> Result<()> {
    let mut at = 0;
    while at < length {
        signal::check()?;
        let first = at == 0;
        let mut size = word_at(file, at)?;
        at += 4;
        if size == u32::MAX {
            size = word_at(file, at)?;
            at += 4;
        }
        if size == 0 && !first {
            // The end; what follows is somebody else's.
            return Ok(());
        }
        let size = u64::from(size);
        if size == 0 || size > METADATA || at + size > length {
            return Err(match first {
                true => foreign(),
                false => cut(&format!("a message says that it has {size} bytes")),
            });
        }
        let metadata = bytes_at(file, at, size)?;
        at += size;
        let message = match first {
            true => arrow_ipc::root_as_message(&metadata).map_err(|_| foreign())?,
            false => parse(&metadata)?,
        };
        if first {
            let schema = message.header_as_schema().ok_or_else(foreign)?;
            if schema.endianness() != Endianness::Little {
                return Err(Failure::new(
                    "it is big-endian Arrow IPC, and this machine is little-endian: \
                     write it again with pyarrow or as Parquet",
                ));
            }
        }
        let body = u64::try_from(message.bodyLength()).unwrap_or(u64::MAX);
        if body > length - at {
            return Err(cut(&format!("a message says that {body} bytes follow, and {} do", length - at)));
        }
        check_body(file, &message, at, body)?;
        at += body;
    }
    Ok(())
}

/// The buffers lie in the body, and compressed ones do not promise more than can be.
fn check_body(file: &mut (impl Read + Seek), message: &Message<'_>, at: u64, body: u64) -> Result<()> {
    let batch: Option<RecordBatch<'_>> = match message.header_type() {
        MessageHeader::RecordBatch => message.header_as_record_batch(),
        MessageHeader::DictionaryBatch => message.header_as_dictionary_batch().and_then(|batch| batch.data()),
        _ => None,
    };
    let Some(batch) = batch else {
        return Ok(());
    };
    let compressed = batch.compression().is_some();
    for buffer in batch.buffers().into_iter().flatten() {
        let offset = u64::try_from(buffer.offset()).unwrap_or(u64::MAX);
        let count = u64::try_from(buffer.length()).unwrap_or(u64::MAX);
        if offset.checked_add(count).is_none_or(|end| end > body) {
            return Err(cut(&format!("a buffer of {count} bytes at {offset} is not inside its body of {body}")));
        }
        if compressed && count >= 8 {
            let low = u64::from(word_at(file, at + offset)?);
            let high = u64::from(word_at(file, at + offset + 4)?);
            let whole = high << 32 | low;
            // All ones: this buffer is not compressed after all.
            if whole != u64::MAX && whole > count.saturating_mul(RATIO) {
                return Err(cut(&format!("{count} compressed bytes say that they are {whole}")));
            }
        }
    }
    Ok(())
}
