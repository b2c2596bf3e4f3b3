//! Arrow IPC, message by message, from files and from what comes only once.
//!
//! arrow's own readers believe what a message says: its lengths, which they allocate; the byte order; and that
//! nothing but its header changes what it means. So every message is checked here before arrow decodes it, and
//! what it says beside its header is honoured or refused:
//!
//! - Arrow 0.17 told the compression of a body in the message's own metadata (`ARROW:experimental_compression`).
//!   Such a message is written anew, with the compression where it is today.
//! - Any other key of Arrow's own (`ARROW:...`) is refused, because nobody knows here what it changes.
//! - Big-endian data is refused.
//! - What follows the end of a stream is another stream of the same columns, or an error.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{Block, Endianness, Message, MessageHeader};
use arrow_schema::{ArrowError, SchemaRef};
use flatbuffers::InvalidFlatbuffer;
use indicatif::ProgressBar;

use super::tables::Counted;
use crate::failure::{Failure, Result, arrow_text};
use crate::{panics, signal};

mod again;
mod damage;
mod memory;

use again::{again, idle_offsets, old_compression};
use damage::{affordable, cut, parse, unreadable};
use memory::{Memory, fill};

/// Bytes of a message's metadata, or of a footer, at most.
const METADATA: u64 = 1 << 30;

/// A stream that begins without a marker (before Arrow 0.15) has a schema of fewer bytes. Text that is no stream
/// at all promises more by its first letters.
const OLD_SCHEMA: u32 = 1 << 24;

/// No compression that IPC knows makes data smaller than this part of it.
const RATIO: u64 = 1 << 16;

/// Bytes by which a buffer grows, where nobody knows yet how many really come.
const STEP: usize = 64 << 20;

/// Bytes between the last message of a file and its footer, at most: the mark of the stream's end, and padding.
const GAP: u64 = 64;

/// Bytes to whose multiples writers pad, at most.
const WIDEST: u64 = 64;

/// Record batches, and the schema of all of them.
pub struct Batches {
    /// The schema.
    pub schema: SchemaRef,
    /// The batches.
    pub batches: Box<dyn Iterator<Item = Result<RecordBatch>> + Send>,
}

/// Opens a file, whose content decides between the file and the stream layout: `.arrow` is used for both.
pub fn open(mut file: File, bar: &ProgressBar) -> Result<Batches> {
    let length = file.metadata()?.len();
    bar.set_length(length);
    let mut start = Vec::with_capacity(6);
    file.by_ref().take(6).read_to_end(&mut start)?;
    file.seek(SeekFrom::Start(0))?;
    let source = Counted::new(file, bar);
    match start.as_slice() {
        [] => Err(Failure::new("the file is empty")),
        b"ARROW1" => blocks(source, length),
        [b'F', b'E', b'A', b'1', ..] => Err(Failure::new(
            "it is a Feather version 1 file, which only old programs write: \
             write it again as version 2 (Arrow IPC) or Parquet",
        )),
        _ => Stream::of(BufReader::with_capacity(256 * 1024, source), Some(length)).begin(),
    }
}

/// Reads a stream as it comes: each batch is there when its last byte is.
pub fn stream(source: impl Read + Send + 'static) -> Result<Batches> {
    Stream::of(source, None).begin()
}

fn foreign() -> Failure {
    Failure::new("it is not Arrow IPC: neither a file nor a stream begins so")
}

/// Runs a decoder of arrow's, whose errors do not say what they are about.
fn decoded<T>(what: &str, decode: impl FnOnce() -> Result<T, ArrowError>) -> Result<T> {
    match panics::caught(decode) {
        Ok(Ok(decoded)) => Ok(decoded),
        Ok(Err(error)) => Err(cut(format!("{what} cannot be decoded ({})", arrow_text(&error)))),
        Err(_) => Err(cut(format!("{what} cannot be decoded"))),
    }
}

/// The schema of a message or footer, which is little-endian as this machine is.
fn schema_of(schema: arrow_ipc::Schema<'_>) -> Result<SchemaRef> {
    if schema.endianness() != Endianness::Little {
        return Err(Failure::new(
            "it is big-endian Arrow IPC, and this machine is little-endian: \
             write it again with pyarrow or as Parquet",
        ));
    }
    Ok(Arc::new(decoded("its schema", || Ok(arrow_ipc::convert::fb_to_schema(schema)))?))
}

/// What messages mean one after the other.
#[derive(Default)]
struct Decoder {
    schema: Option<SchemaRef>,
    dictionaries: HashMap<i64, ArrayRef>,
}

impl Decoder {
    /// Takes the next message, which is a batch, or is remembered.
    fn take(&mut self, metadata: &[u8], body: &Buffer) -> Result<Option<RecordBatch>> {
        let message = parse(metadata)?;
        match old_compression(message.custom_metadata())? {
            Some(codec)
                if matches!(message.header_type(), MessageHeader::RecordBatch | MessageHeader::DictionaryBatch) =>
            {
                let metadata = again(&message, Some(codec), &[])?;
                self.decode(&parse(&metadata)?, body)
            }
            _ => self.decode(&message, body),
        }
    }

    fn decode(&mut self, message: &Message<'_>, body: &Buffer) -> Result<Option<RecordBatch>> {
        let version = message.version();
        let Some(schema) = &self.schema else {
            return Err(cut("its first message is no schema"));
        };
        match message.header_type() {
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch().ok_or_else(|| cut("a message has no header"))?;
                check_batch(&batch, body)?;
                let dictionaries = &self.dictionaries;
                let read = |batch: arrow_ipc::RecordBatch<'_>| {
                    let schema = Arc::clone(schema);
                    decoded("a batch", || read_record_batch(body, batch, schema, dictionaries, None, &version))
                        .map(Some)
                };
                let idle = idle_offsets(&batch, version, schema, body);
                if idle.is_empty() {
                    return read(batch);
                }
                let metadata = again(message, batch.compression().map(|compression| compression.codec()), &idle)?;
                read(parse(&metadata)?.header_as_record_batch().ok_or_else(|| cut("a message has no header"))?)
            }
            MessageHeader::DictionaryBatch => {
                let dictionary = message.header_as_dictionary_batch().ok_or_else(|| cut("a message has no header"))?;
                let batch = dictionary.data().ok_or_else(|| cut("a dictionary has no values"))?;
                check_batch(&batch, body)?;
                let dictionaries = &mut self.dictionaries;
                decoded("a dictionary", || read_dictionary(body, dictionary, schema, dictionaries, &version))?;
                Ok(None)
            }
            MessageHeader::NONE => Ok(None),
            other => Err(Failure::new(format!(
                "it holds a message of kind {}, which is no record batch: convert it to a table first",
                other.variant_name().unwrap_or("that is not known")
            ))),
        }
    }
}

/// Checks that the buffers lie in the body, that compressed ones do not promise more than can be, and that no
/// length is negative.
fn check_batch(batch: &arrow_ipc::RecordBatch<'_>, body: &[u8]) -> Result<()> {
    let negative = batch.length() < 0
        || batch.nodes().into_iter().flatten().any(|node| node.length() < 0 || node.null_count() < 0);
    if negative {
        return Err(cut("a batch has a negative length"));
    }
    let compressed = batch.compression().is_some();
    let mut largest = 0;
    for buffer in batch.buffers().into_iter().flatten() {
        let (offset, count) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
        let bytes = match (offset, count) {
            (Ok(offset), Ok(count)) => offset.checked_add(count).and_then(|end| body.get(offset..end)),
            _ => None,
        };
        let Some(bytes) = bytes else {
            return Err(cut(format!(
                "a buffer of {} bytes at {} is not inside its body of {}",
                buffer.length(),
                buffer.offset(),
                body.len()
            )));
        };
        if compressed && let Some(whole) = bytes.first_chunk() {
            let whole = u64::from_le_bytes(*whole);
            // All ones: this buffer is not compressed after all.
            if whole != u64::MAX && whole > (bytes.len() as u64).saturating_mul(RATIO) {
                return Err(cut(format!("{} compressed bytes say that they are {whole}", bytes.len())));
            }
            largest = largest.max(if whole == u64::MAX { 0 } else { whole });
        }
    }
    affordable(largest)
}

/// Messages one after the other.
struct Stream<R> {
    source: R,
    memory: Memory,
    /// Bytes that there are still, of a file.
    left: Option<u64>,
    decoder: Decoder,
    /// Messages that were read.
    number: u64,
    /// The mark of the end was read, or an error.
    ended: bool,
}

impl<R: Read + Send + 'static> Stream<R> {
    fn of(source: R, left: Option<u64>) -> Stream<R> {
        Stream { source, memory: Memory::default(), left, decoder: Decoder::default(), number: 0, ended: false }
    }

    fn begin(mut self) -> Result<Batches> {
        let schema = self.schema()?;
        let Some(schema) = schema else {
            return Err(Failure::new("nothing came: there is no stream of record batches"));
        };
        self.decoder.schema = Some(Arc::clone(&schema));
        Ok(Batches { schema, batches: Box::new(self) })
    }

    /// Reads the schema that a stream begins with; nothing, where there is no stream.
    fn schema(&mut self) -> Result<Option<SchemaRef>> {
        let again = self.decoder.schema.is_some();
        let foreign = || match again {
            true => Failure::new("behind the end of the stream in it there is something else: take it away"),
            false => foreign(),
        };
        let (mut size, mut marked) = (0, false);
        // Zeros behind an end mark are padding.
        while size == 0 {
            match self.word()? {
                None => return Ok(None),
                Some(word) => size = word,
            }
            marked = size == u32::MAX;
            if marked {
                size = self.word()?.ok_or_else(|| self.cut(0, 4))?;
            }
            if size == 0 && !again {
                return Err(foreign());
            }
        }
        let size = match u64::from(size) {
            size if size > METADATA || !marked && size > u64::from(OLD_SCHEMA) => return Err(foreign()),
            size if self.left.is_some_and(|left| size > left) => return Err(foreign()),
            size => size,
        };
        let metadata = self.bytes(size)?;
        let message = match arrow_ipc::root_as_message(&metadata) {
            Err(error @ (InvalidFlatbuffer::DepthLimitReached | InvalidFlatbuffer::TooManyTables)) => {
                return Err(unreadable("its schema", &error));
            }
            other => other.map_err(|_| foreign())?,
        };
        let schema = message.header_as_schema().ok_or_else(foreign)?;
        old_compression(message.custom_metadata())?;
        let body = body_length(&message);
        if body != 0 {
            return Err(cut(format!("its schema says that {body} bytes follow")));
        }
        self.number += 1;
        schema_of(schema).map(Some)
    }

    /// Reads until there is a batch.
    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(mut size) = self.word()? else {
                return Ok(None);
            };
            if size == u32::MAX {
                size = self.word()?.ok_or_else(|| self.cut(0, 4))?;
            }
            if size == 0 {
                if !self.follows()? {
                    return Ok(None);
                }
                continue;
            }
            let size = u64::from(size);
            if size > METADATA || self.left.is_some_and(|left| size > left) {
                return Err(cut(format!("message {} says that it has {size} bytes", self.number + 1)));
            }
            let metadata = self.bytes(size)?;
            let body = body_length(&parse(&metadata)?);
            if let Some(left) = self.left
                && body > left
            {
                return Err(cut(format!("a message says that {body} bytes follow, and {left} do")));
            }
            let body = self.bytes(body)?;
            self.number += 1;
            if let Some(batch) = self.decoder.take(&metadata, &body)? {
                return Ok(Some(batch));
            }
        }
    }

    /// Behind the end: another stream of the same columns goes on with this one.
    fn follows(&mut self) -> Result<bool> {
        let Some(schema) = self.schema()? else {
            return Ok(false);
        };
        if self.decoder.schema.as_ref().is_some_and(|first| first.fields() != schema.fields()) {
            return Err(Failure::new(
                "behind the end of the stream in it there is another one, of other columns: \
                 write each to a file of its own",
            ));
        }
        self.decoder.dictionaries.clear();
        Ok(true)
    }

    /// A word, unless nothing comes any more.
    fn word(&mut self) -> Result<Option<u32>> {
        let mut bytes = [0; 4];
        match fill(&mut self.source, &mut bytes)? {
            0 => Ok(None),
            4 => {
                self.left = self.left.map(|left| left.saturating_sub(4));
                Ok(Some(u32::from_le_bytes(bytes)))
            }
            some => Err(self.cut(some, 4)),
        }
    }

    fn bytes(&mut self, count: u64) -> Result<Buffer> {
        // What a file is long enough for is there; else nobody knows, and the buffer grows with what comes.
        let step = if self.left.is_some() { usize::MAX } else { STEP };
        match self.memory.read(&mut self.source, count, step)? {
            Ok(bytes) => {
                self.left = self.left.map(|left| left.saturating_sub(count));
                Ok(bytes)
            }
            Err(some) => Err(self.cut(some, count)),
        }
    }

    fn cut(&self, some: usize, count: u64) -> Failure {
        match self.left {
            Some(_) => cut("it ends too early"),
            None => Failure::new(format!(
                "the stream ends in the middle of message {}, after {some} of {count} bytes of a part of it: its \
                 producer died or was cut off",
                self.number + 1
            )),
        }
    }
}

impl<R: Read + Send + 'static> Iterator for Stream<R> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.batch().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

fn body_length(message: &Message<'_>) -> u64 {
    u64::try_from(message.bodyLength()).unwrap_or(u64::MAX)
}

/// The batches of a file, in the order of its footer.
struct Blocks {
    source: Counted,
    memory: Memory,
    decoder: Decoder,
    length: u64,
    batches: std::vec::IntoIter<Block>,
}

fn blocks(mut source: Counted, length: u64) -> Result<Batches> {
    let memory = Memory::default();
    let tail = |source: &mut Counted, before: u64, count: u64| {
        source.seek(SeekFrom::Start(before))?;
        memory.read(source, count, usize::MAX)?.map_err(|_| cut("it ends too early"))
    };
    let missing = || cut("its footer is missing");
    if length < 8 + 10 {
        return Err(missing());
    }
    let end = tail(&mut source, length - 10, 10)?;
    let Some((size, b"ARROW1")) = end.split_first_chunk::<4>() else {
        return Err(missing());
    };
    let size = u64::from(u32::from_le_bytes(*size));
    if size > METADATA || size + 18 > length {
        return Err(cut(format!("its footer says that it has {size} bytes")));
    }
    let footer = tail(&mut source, length - 10 - size, size)?;
    let footer = arrow_ipc::root_as_footer(&footer).map_err(|error| unreadable("its footer", &error))?;
    old_compression(footer.custom_metadata())?;
    let schema = schema_of(footer.schema().ok_or_else(|| cut("its footer has no schema"))?)?;
    let dictionaries: Vec<Block> = footer.dictionaries().into_iter().flatten().copied().collect();
    let batches: Vec<Block> = footer.recordBatches().into_iter().flatten().copied().collect();
    let mut last = schema_end(&tail(&mut source, 0, length.min(WIDEST + 8))?);
    for block in dictionaries.iter().chain(&batches) {
        last = last.max(place(block, length)?.2);
    }
    let gap = (length - 10 - size).saturating_sub(last);
    if gap > GAP {
        return Err(Failure::new(format!(
            "its footer leaves out {gap} bytes before it: there may be more than one file in it, one behind the \
             other; take them apart"
        )));
    }
    let decoder = Decoder { schema: Some(Arc::clone(&schema)), dictionaries: HashMap::new() };
    let mut blocks = Blocks { source, memory, decoder, length, batches: batches.into_iter() };
    for block in dictionaries {
        signal::check()?;
        blocks.read(&block)?;
    }
    Ok(Batches { schema, batches: Box::new(blocks) })
}

/// Where the first message of a file ends, which is its schema: behind the mark of the file, padded to 8 bytes or up to [`WIDEST`].
fn schema_end(start: &[u8]) -> u64 {
    let word =
        |at: usize| start.get(at..at + 4).map_or(0, |word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let at = (8..=WIDEST as usize).step_by(8).find(|at| word(*at) != 0).unwrap_or(8);
    match word(at) {
        u32::MAX => at as u64 + 8 + u64::from(word(at + 4)),
        // A length without a mark before it, as until Arrow 0.15.
        size => at as u64 + 4 + u64::from(size),
    }
}

/// Where a block begins, how long its metadata is, and where it ends: inside the file.
fn place(block: &Block, length: u64) -> Result<(u64, u64, u64)> {
    let (Ok(at), Ok(metadata), Ok(body)) =
        (u64::try_from(block.offset()), u64::try_from(block.metaDataLength()), u64::try_from(block.bodyLength()))
    else {
        return Err(cut("a block has a negative length"));
    };
    let end = at.checked_add(metadata).and_then(|at| at.checked_add(body));
    match end {
        Some(end) if metadata >= 8 && end <= length => Ok((at, metadata, end)),
        _ => Err(cut(format!("a block of {metadata} and {body} bytes at {at} is not inside its {length} bytes"))),
    }
}

impl Blocks {
    fn read(&mut self, block: &Block) -> Result<Option<RecordBatch>> {
        let (at, size, end) = place(block, self.length)?;
        self.source.seek(SeekFrom::Start(at))?;
        let short = |_| cut("it ends too early");
        let metadata = self.memory.read(&mut self.source, size, usize::MAX)?.map_err(short)?;
        let body = self.memory.read(&mut self.source, end - at - size, usize::MAX)?.map_err(short)?;
        let prefix = if metadata[..4] == [0xff; 4] { 8 } else { 4 };
        self.decoder.take(&metadata[prefix..], &body)
    }
}

impl Iterator for Blocks {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let block = self.batches.next()?;
            match self.read(&block) {
                Ok(None) => {}
                Ok(Some(batch)) => return Some(Ok(batch)),
                Err(error) => {
                    self.batches = Vec::new().into_iter();
                    return Some(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow_array::{Array, ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, StringViewArray, UnionArray};
    use arrow_ipc::writer::{
        DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, StreamWriter,
    };
    use arrow_ipc::{
        CompressionType, KeyValue, KeyValueArgs, Message, MessageArgs, MessageHeader, MetadataVersion, RecordBatchArgs,
    };
    use arrow_schema::{DataType, Field, Schema, UnionFields};
    use flatbuffers::FlatBufferBuilder;

    use super::{Decoder, again, parse, stream};
    use crate::failure::Result;

    fn batch() -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..500));
        RecordBatch::try_from_iter([("a", column)]).unwrap()
    }

    /// The batch as Arrow 0.17 wrote it: nothing in the header tells of the compression, but this pair beside it.
    fn old(key: &str, value: &str, compression: Option<CompressionType>) -> Result<Option<RecordBatch>> {
        let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
        let (_, encoded) = IpcDataGenerator::default()
            .encode(&batch(), &mut DictionaryTracker::new(false), &options, &mut IpcWriteContext::default())
            .unwrap();
        let EncodedData { ipc_message, arrow_data } = encoded;
        let message = parse(&ipc_message).unwrap();
        let written = message.header_as_record_batch().unwrap();
        let mut out = FlatBufferBuilder::new();
        let nodes: Vec<_> = written.nodes().unwrap().iter().copied().collect();
        let buffers: Vec<_> = written.buffers().unwrap().iter().copied().collect();
        let (nodes, buffers) = (Some(out.create_vector(&nodes)), Some(out.create_vector(&buffers)));
        let args = RecordBatchArgs { length: written.length(), nodes, buffers, ..RecordBatchArgs::default() };
        let header = arrow_ipc::RecordBatch::create(&mut out, &args);
        let (key, value) = (Some(out.create_string(key)), Some(out.create_string(value)));
        let pair = KeyValue::create(&mut out, &KeyValueArgs { key, value });
        let custom_metadata = Some(out.create_vector(&[pair]));
        let args = MessageArgs {
            version: MetadataVersion::V4,
            header_type: message.header_type(),
            header: Some(header.as_union_value()),
            bodyLength: message.bodyLength(),
            custom_metadata,
        };
        let message = Message::create(&mut out, &args);
        out.finish(message, None);
        let mut decoder = Decoder { schema: Some(batch().schema()), dictionaries: HashMap::new() };
        decoder.take(out.finished_data(), &arrow_data.into())
    }

    #[test]
    fn compression_that_is_told_beside_the_header_is_honoured() {
        for (name, codec) in [("LZ4", CompressionType::LZ4_FRAME), ("zstd", CompressionType::ZSTD)] {
            let read = old("ARROW:experimental_compression", name, Some(codec)).unwrap();
            assert_eq!(read, Some(batch()), "{name}");
        }
        assert_eq!(old("ARROW:experimental_compression", "uncompressed", None).unwrap(), Some(batch()));
    }

    #[test]
    fn other_keys_of_arrow_are_refused_and_those_of_users_are_not() {
        let refused = |key, value| old(key, value, None).unwrap_err().into_text();
        assert!(refused("ARROW:experimental_compression", "brotli").contains("brotli"));
        assert!(refused("ARROW:something_new", "1").contains("ARROW:something_new"));
        assert_eq!(old("mine", "1", None).unwrap(), Some(batch()));
    }

    #[test]
    fn offsets_of_no_rows_are_read_whatever_they_are() {
        // As pyarrow writes a slice of no rows: its one offset is where the slice begins. At the top, and in a list.
        let list = |item: DataType| DataType::new_list(item, true);
        let one: &[(i64, &[u8])] = &[(0, &[]), (4, &[2, 0, 0, 0]), (0, &[]), (0, &[])];
        let two: &[(i64, &[u8])] = &[(0, &[]), (8, &[0; 8]), (0, &[]), (4, &[2, 0, 0, 0]), (0, &[]), (0, &[])];
        let cases = [(list(DataType::Int32), 0, one), (list(list(DataType::Int32)), 1, two)];
        for (kind, rows, parts) in cases {
            let schema = Arc::new(Schema::new(vec![Field::new("l", kind, true)]));
            let mut body: Vec<u8> = Vec::new();
            let mut buffers = Vec::new();
            for (length, bytes) in parts {
                buffers.push(arrow_ipc::Buffer::new(body.len() as i64, *length));
                body.extend(*bytes);
                body.resize(body.len().next_multiple_of(8), 0);
            }
            let mut nodes = vec![arrow_ipc::FieldNode::new(0, 0); buffers.len() / 2];
            nodes[0] = arrow_ipc::FieldNode::new(rows, 0);
            let mut out = FlatBufferBuilder::new();
            let (nodes, buffers) = (Some(out.create_vector(&nodes)), Some(out.create_vector(&buffers)));
            let args = RecordBatchArgs { length: rows, nodes, buffers, ..RecordBatchArgs::default() };
            let header = arrow_ipc::RecordBatch::create(&mut out, &args);
            let args = MessageArgs {
                version: MetadataVersion::V5,
                header_type: MessageHeader::RecordBatch,
                header: Some(header.as_union_value()),
                bodyLength: body.len() as i64,
                custom_metadata: None,
            };
            let message = Message::create(&mut out, &args);
            out.finish(message, None);
            let mut decoder = Decoder { schema: Some(Arc::clone(&schema)), dictionaries: HashMap::new() };
            let read = decoder.take(out.finished_data(), &body.into()).unwrap().unwrap();
            assert_eq!(read.num_rows(), rows as usize);
            assert_eq!(read.column(0).to_data().child_data()[0].len(), 0);
        }
    }

    #[test]
    fn views_beside_offsets_of_no_rows_keep_their_buffers() {
        // The counts of the views' buffers stand beside those that are written anew.
        let text: ArrayRef = Arc::new(StringViewArray::from(vec!["longer than twelve bytes", "short"]));
        let none = ListArray::new_null(Arc::new(Field::new_list_field(DataType::Utf8, true)), 2);
        let batch = RecordBatch::try_from_iter([("v", text), ("l", Arc::new(none) as ArrayRef)]).unwrap();
        for codec in [None, Some(CompressionType::ZSTD)] {
            let options = IpcWriteOptions::default().try_with_compression(codec).unwrap();
            let (_, encoded) = IpcDataGenerator::default()
                .encode(&batch, &mut DictionaryTracker::new(false), &options, &mut IpcWriteContext::default())
                .unwrap();
            let message = parse(&encoded.ipc_message).unwrap();
            // Buffer 6 is the offsets of the list's text, of which there is none.
            let again = again(&message, codec, &[6]).unwrap();
            let mut decoder = Decoder { schema: Some(batch.schema()), dictionaries: HashMap::new() };
            assert_eq!(decoder.take(&again, &encoded.arrow_data.into()).unwrap(), Some(batch.clone()), "{codec:?}");
        }
    }

    #[test]
    fn messages_of_version_4_are_read_unions_too() {
        // In version 4, a union has a validity buffer, which later versions do not have.
        let fields = UnionFields::try_new(
            [0, 1],
            [Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)],
        );
        let children: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![7, 8])), Arc::new(StringArray::from(vec!["x"]))];
        let union = UnionArray::try_new(fields.unwrap(), vec![0, 1, 0].into(), Some(vec![0, 0, 1].into()), children);
        let empty: ArrayRef = Arc::new(StringArray::from(vec!["", "", ""]));
        let batch = RecordBatch::try_from_iter([("u", Arc::new(union.unwrap()) as ArrayRef), ("e", empty)]).unwrap();
        for version in [MetadataVersion::V4, MetadataVersion::V5] {
            let options = IpcWriteOptions::try_new(8, false, version).unwrap();
            let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
            writer.write(&batch).unwrap();
            writer.write(&batch.slice(0, 0)).unwrap();
            let read = stream(std::io::Cursor::new(writer.into_inner().unwrap())).unwrap();
            let read: Vec<_> = read.batches.collect::<Result<Vec<_>>>().unwrap();
            assert_eq!(read, [batch.clone(), batch.slice(0, 0)], "{version:?}");
        }
    }

    #[test]
    fn damaged_compressed_bodies_are_read_or_refused_in_words() {
        for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
            let options = IpcWriteOptions::default().try_with_compression(Some(codec)).unwrap();
            let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch().schema(), options).unwrap();
            writer.write(&batch()).unwrap();
            let whole = writer.into_inner().unwrap();
            let mut refused = 0;
            for at in 0..whole.len() {
                for change in [0x01, 0x80, 0xff] {
                    let mut bytes = whole.clone();
                    bytes[at] ^= change;
                    let read =
                        stream(std::io::Cursor::new(bytes)).and_then(|read| read.batches.collect::<Result<Vec<_>>>());
                    let Err(failure) = read else { continue };
                    let text = failure.into_text();
                    assert!(text.contains(' ') && !text.contains("unwrap()"), "{at} {change}: {text}");
                    refused += 1;
                }
            }
            assert!(refused > 100, "{codec:?}: {refused}");
        }
    }

    #[test]
    fn a_stream_that_is_cut_is_told_wherever_that_is() {
        let mut writer = StreamWriter::try_new(Vec::new(), &batch().schema()).unwrap();
        writer.write(&batch()).unwrap();
        let bytes = writer.into_inner().unwrap();
        let end = bytes.len() - 8;
        for at in (1..end).step_by(37) {
            let bytes = bytes[..at].to_vec();
            let rows = stream(std::io::Cursor::new(bytes)).and_then(|read| read.batches.collect::<Result<Vec<_>>>());
            // Between two messages it ends as old streams do, without a mark.
            assert!(rows.as_ref().map_or(true, |batches| batches.is_empty()), "{at}: {rows:?}");
        }
        // Behind the last message, with its mark or without.
        for bytes in [&bytes[..end], &bytes] {
            let read = stream(std::io::Cursor::new(bytes.to_vec())).unwrap();
            assert_eq!(read.batches.collect::<Result<Vec<_>>>().unwrap(), [batch()]);
        }
    }
}
