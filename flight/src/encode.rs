//! Batches as messages of Flight, whose bodies are the batches' own memory: nothing of it is copied before it goes to the
//! socket.
//!
//! A `FlightData` of arrow-flight has its body in one piece, for which every buffer of a batch would be copied, and arrow-flight
//! cuts batches by the size of what their buffers lie in, which is the arena. So the messages are made here, of the buffers that
//! arrow-ipc's `StreamEncoder` gives. What is copied all the same: headers, buffers of less than [`SMALL`] bytes, offsets of
//! text and lists in a piece that is not the first of its batch, dictionaries, and views of a batch that is cut.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_flight::FlightData;
use arrow_ipc::writer::StreamEncoder;
use arrow_schema::{ArrowError, DataType, SchemaRef};
use bytes::{BufMut, Bytes, BytesMut};
use faretra::arrow::arrow_buffer::Buffer;
use prost::Message as _;
use tonic::Status;

use crate::error::{of_arrow, told};

/// Buffers of less are gathered with what is around them.
const SMALL: usize = 4096;
/// Pieces are cut at multiples of so many rows, so that no bitmap begins inside a byte.
const ROWS: usize = 64;
/// The key of `FlightData.data_body`, which is field 1000 and has a length: a varint, as a length is.
const BODY_KEY: usize = 1000 << 3 | 2;

/// A message of a stream.
#[derive(Debug)]
pub(crate) struct Message {
    /// All but the body.
    head: FlightData,
    body: Vec<Buffer>,
    len: usize,
}

struct Owned(Buffer);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl Message {
    /// The message as gRPC has it on the wire, in pieces.
    pub(crate) fn into_frames(self) -> Result<VecDeque<Bytes>, Status> {
        let mut tail = BytesMut::new();
        if self.len > 0 {
            for number in [BODY_KEY, self.len] {
                prost::encode_length_delimiter(number, &mut tail).map_err(|e| Status::internal(e.to_string()))?;
            }
        }
        let len = self.head.encoded_len() + tail.len() + self.len;
        let len = u32::try_from(len).map_err(|_| {
            let text = format!("a message of {len} bytes is more than gRPC has: a row or a dictionary is too large");
            Status::out_of_range(text)
        })?;
        let mut frames = VecDeque::new();
        let mut gathered = BytesMut::with_capacity(SMALL);
        // Not compressed.
        gathered.put_u8(0);
        gathered.put_u32(len);
        self.head.encode(&mut gathered).map_err(|e| Status::internal(e.to_string()))?;
        gathered.extend_from_slice(&tail);
        for buffer in self.body {
            if buffer.len() < SMALL {
                gathered.extend_from_slice(buffer.as_slice());
                continue;
            }
            if !gathered.is_empty() {
                frames.push_back(gathered.split().freeze());
            }
            frames.push_back(Bytes::from_owner(Owned(buffer)));
        }
        if !gathered.is_empty() {
            frames.push_back(gathered.freeze());
        }
        Ok(frames)
    }

    /// The message as arrow-flight has it, in one piece.
    pub(crate) fn into_flight_data(self) -> FlightData {
        let mut body = BytesMut::with_capacity(self.len);
        self.body.iter().for_each(|buffer| body.extend_from_slice(buffer.as_slice()));
        FlightData { data_body: body.freeze(), ..self.head }
    }
}

/// Makes the messages of one stream.
pub(crate) struct Encoder {
    inner: StreamEncoder,
    begun: bool,
    schema: SchemaRef,
    limit: usize,
    /// Whether some column has views, whose slices keep all that they look into.
    views: bool,
}

impl Encoder {
    /// An encoder, and the message that comes first. Messages have `limit` bytes, unless one row or a dictionary has more.
    pub(crate) fn new(schema: &SchemaRef, limit: usize) -> Result<(Encoder, Message), Status> {
        let views = schema.fields().iter().any(|field| is_view(field.data_type()));
        // The schema comes with the first batch, of which there need not be any, or alone at the end.
        let alone = StreamEncoder::try_new(schema).and_then(StreamEncoder::finish).map_err(|e| of_arrow(&e))?;
        let first = parse(alone)?.pop_front().ok_or_else(|| Status::internal("the encoder gave no schema"))?;
        let inner = StreamEncoder::try_new(schema).map_err(|e| of_arrow(&e))?;
        Ok((Encoder { inner, begun: false, schema: schema.clone(), limit, views }, first))
    }

    /// The columns of every batch.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The messages of some rows: dictionaries, and the batch last.
    fn encode(&mut self, rows: &RecordBatch) -> Result<(VecDeque<Message>, Message), Status> {
        let mut messages = parse(self.inner.encode(rows).map_err(|e| of_arrow(&e))?)?;
        if !std::mem::replace(&mut self.begun, true) {
            messages.pop_front();
        }
        let batch = messages.pop_back().ok_or_else(|| Status::internal("the encoder gave no message"))?;
        Ok((messages, batch))
    }

    /// Begins with a batch.
    pub(crate) fn start(&mut self, batch: RecordBatch) -> Result<Pieces, Status> {
        let (mut ready, all) = self.encode(&batch)?;
        let (whole, rows) = (all.len, batch.num_rows());
        if whole <= self.limit || rows < 2 {
            ready.push_back(all);
            return Ok(Pieces { batch, ready, at: rows, step: rows, whole });
        }
        let step = cut((rows as u128 * self.limit as u128 / whole as u128) as usize);
        Ok(Pieces { batch, ready, at: 0, step, whole })
    }

    /// The next message of a batch.
    pub(crate) fn next(&mut self, pieces: &mut Pieces) -> Result<Option<Message>, Status> {
        if let Some(message) = pieces.ready.pop_front() {
            return Ok(Some(message));
        }
        let left = pieces.batch.num_rows() - pieces.at;
        if left == 0 {
            return Ok(None);
        }
        let mut step = pieces.step.min(left);
        loop {
            let (dictionaries, mut piece) = self.piece(&pieces.batch.slice(pieces.at, step))?;
            pieces.ready.extend(dictionaries);
            // Rows are of different sizes; some arrays do not become less when they are cut.
            let shrinks = piece.len < pieces.whole / 16 * 15;
            if piece.len > self.limit && step > 1 && shrinks {
                step = cut(step / 2);
                continue;
            }
            if !shrinks && step < left {
                step = left;
                let (dictionaries, rest) = self.piece(&pieces.batch.slice(pieces.at, step))?;
                pieces.ready.extend(dictionaries);
                piece = rest;
            }
            pieces.at += step;
            pieces.ready.push_back(piece);
            return Ok(pieces.ready.pop_front());
        }
    }

    /// Some rows, which look into no more than they show.
    fn piece(&mut self, rows: &RecordBatch) -> Result<(VecDeque<Message>, Message), Status> {
        match self.views {
            true => self.encode(&compact(rows, &self.schema).map_err(|e| of_arrow(&e))?),
            false => self.encode(rows),
        }
    }
}

/// A batch on its way.
pub(crate) struct Pieces {
    batch: RecordBatch,
    ready: VecDeque<Message>,
    at: usize,
    step: usize,
    whole: usize,
}

fn cut(rows: usize) -> usize {
    if rows > ROWS { rows / ROWS * ROWS } else { rows.max(1) }
}

fn is_view(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8View | DataType::BinaryView)
}

/// The rows with views into no more than they show.
fn compact(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let column = |column: &ArrayRef| -> ArrayRef {
        match column.data_type() {
            DataType::Utf8View => Arc::new(column.as_string_view().gc()),
            DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
            _ => Arc::clone(column),
        }
    };
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), rows.columns().iter().map(column).collect(), &options)
}

/// Takes what arrow-ipc gives for a file's stream apart: a mark and a length, a header, a body, each padded.
fn parse(buffers: Vec<Buffer>) -> Result<VecDeque<Message>, Status> {
    let broken = || Status::internal("arrow-ipc gave something else than messages");
    let mut messages = VecDeque::new();
    let mut buffers = buffers.into_iter();
    while let Some(prefix) = buffers.next() {
        if prefix.is_empty() {
            continue;
        }
        let len = prefix.as_slice().get(4..8).and_then(|len| <[u8; 4]>::try_from(len).ok()).ok_or_else(broken)?;
        let len = i32::from_le_bytes(len) as usize;
        if len == 0 {
            // The end of a stream.
            break;
        }
        let header = buffers.next().ok_or_else(broken)?;
        let mut padded = header.len();
        while padded < len {
            padded += buffers.next().ok_or_else(broken)?.len();
        }
        let parsed = arrow_ipc::root_as_message(header.as_slice());
        let told_len = parsed.map_err(|e| told(tonic::Code::Internal, e))?.bodyLength();
        let body_len = usize::try_from(told_len).map_err(|_| broken())?;
        let (mut body, mut len) = (vec![], 0);
        while len < body_len {
            let buffer = buffers.next().ok_or_else(broken)?;
            len += buffer.len();
            body.extend((!buffer.is_empty()).then_some(buffer));
        }
        if padded < header.len() || len != body_len {
            return Err(broken());
        }
        let head = FlightData { data_header: Bytes::from_owner(Owned(header)), ..FlightData::default() };
        messages.push_back(Message { head, body, len });
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int64Array, StringArray};
    use faretra::{Arena, MIB};

    /// Shows that what goes to the socket of a batch in an arena is the arena's own memory, whole and in pieces, and that no
    /// piece is larger than asked for.
    #[test]
    fn frames_are_the_memory_of_the_arena() {
        let name = format!("flight-encode-{}", std::process::id());
        let arena = Arena::options().limit(64 * MIB).keep(false).create(&name).expect("an arena");
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..500_000));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..500_000).map(|i| format!("text {i}"))));
        let given = RecordBatch::try_from_iter([("id", ids), ("text", texts)]).expect("valid");
        arena.writer().and_then(|writer| writer.publish("t", &given)).expect("published");
        let batch = arena.batch("t").expect("a batch").record_batch().clone();
        let (id, text) = (batch.column(0).to_data(), batch.column(1).to_data());
        let lies = |frame: &Bytes| {
            [&id.buffers()[0], &text.buffers()[0], &text.buffers()[1]].iter().any(|buffer| {
                let (buffer, frame) = (buffer.as_slice().as_ptr_range(), frame.as_ptr_range());
                buffer.start <= frame.start && frame.end <= buffer.end
            })
        };
        for limit in [usize::MAX, 1 << 20] {
            let (mut encoder, _) = Encoder::new(&batch.schema(), limit).expect("an encoder");
            let mut pieces = encoder.start(batch.clone()).expect("started");
            let (mut own, mut copied, mut messages) = (0, 0, 0);
            while let Some(message) = encoder.next(&mut pieces).expect("encoded") {
                messages += 1;
                assert!(message.len <= limit, "{} bytes", message.len);
                for frame in message.into_frames().expect("framed") {
                    *(if lies(&frame) { &mut own } else { &mut copied }) += frame.len();
                }
            }
            // Numbers and text lie there; offsets of texts do in the first piece.
            let least = id.buffers()[0].len() + text.buffers()[1].len();
            assert!(own >= least, "{limit}: {own} of {least}");
            match limit {
                usize::MAX => assert!(messages == 1 && copied < 2 * SMALL, "{copied} bytes are copied"),
                _ => assert!(
                    messages >= 11 && copied <= text.buffers()[0].len() + messages * 3 * SMALL,
                    "{messages}: {copied}"
                ),
            }
        }
    }
}
