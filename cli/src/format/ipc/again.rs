//! Messages of Arrow IPC that are written anew before arrow decodes them, because arrow's reader does not take them as they
//! are: the compression that Arrow 0.17 told beside the header, and the offsets of no rows that pyarrow writes.

use arrow_ipc::{
    BodyCompression, BodyCompressionArgs, BodyCompressionMethod, CompressionType, DictionaryBatch, DictionaryBatchArgs,
    KeyValue, Message, MessageArgs, MessageHeader, MetadataVersion, RecordBatchArgs,
};
use arrow_schema::{DataType, Schema, UnionMode};
use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, Vector, WIPOffset};

use super::damage::cut;
use crate::failure::{Failure, Result};

/// The key by which Arrow 0.17 told the compression of a body.
const OLD_COMPRESSION: &str = "ARROW:experimental_compression";

type Metadata<'a> = Vector<'a, ForwardsUOffset<KeyValue<'a>>>;

/// The compression that is told beside the header, of a message as Arrow 0.17 wrote them. Refuses other keys that
/// are Arrow's own; those of users change nothing.
pub fn old_compression(metadata: Option<Metadata<'_>>) -> Result<Option<CompressionType>> {
    let mut compression = None;
    for pair in metadata.into_iter().flatten() {
        let (key, value) = (pair.key().unwrap_or_default(), pair.value().unwrap_or_default());
        compression = match (key, value.to_ascii_lowercase().as_str()) {
            (OLD_COMPRESSION, "uncompressed") => None,
            (OLD_COMPRESSION, "lz4" | "lz4_frame") => Some(CompressionType::LZ4_FRAME),
            (OLD_COMPRESSION, "zstd") => Some(CompressionType::ZSTD),
            (key, _) if key.starts_with("ARROW:") => {
                return Err(Failure::new(format!(
                    "a message in it says {key} = {value:?}, which this program does not know: \
                     write it again with a newer program"
                )));
            }
            _ => compression,
        };
    }
    Ok(compression)
}

/// The message of a batch again, with the compression of its body in its header, and only those buffers that are kept.
pub fn again(message: &Message<'_>, codec: Option<CompressionType>, drop: &[usize]) -> Result<Vec<u8>> {
    let mut out = FlatBufferBuilder::new();
    let (kind, header) = match message.header_type() {
        MessageHeader::RecordBatch => {
            let batch = message.header_as_record_batch().ok_or_else(|| cut("a message has no header"))?;
            (MessageHeader::RecordBatch, batch_again(&mut out, &batch, codec, drop).as_union_value())
        }
        _ => {
            let dictionary = message.header_as_dictionary_batch().ok_or_else(|| cut("a message has no header"))?;
            let batch = dictionary.data().ok_or_else(|| cut("a dictionary has no values"))?;
            let data = Some(batch_again(&mut out, &batch, codec, drop));
            let args = DictionaryBatchArgs { id: dictionary.id(), data, isDelta: dictionary.isDelta() };
            (MessageHeader::DictionaryBatch, DictionaryBatch::create(&mut out, &args).as_union_value())
        }
    };
    let message = Message::create(
        &mut out,
        &MessageArgs {
            version: message.version(),
            header_type: kind,
            header: Some(header),
            bodyLength: message.bodyLength(),
            custom_metadata: None,
        },
    );
    out.finish(message, None);
    Ok(out.finished_data().to_vec())
}

fn batch_again<'a>(
    out: &mut FlatBufferBuilder<'a>,
    batch: &arrow_ipc::RecordBatch<'_>,
    codec: Option<CompressionType>,
    drop: &[usize],
) -> WIPOffset<arrow_ipc::RecordBatch<'a>> {
    let nodes: Vec<_> = batch.nodes().into_iter().flatten().copied().collect();
    let mut buffers: Vec<_> = batch.buffers().into_iter().flatten().copied().collect();
    for index in drop {
        buffers[*index] = arrow_ipc::Buffer::new(buffers[*index].offset(), 0);
    }
    let nodes = Some(out.create_vector(&nodes));
    let buffers = Some(out.create_vector(&buffers));
    let method = BodyCompressionMethod::BUFFER;
    let compression = codec.map(|codec| BodyCompression::create(out, &BodyCompressionArgs { codec, method }));
    let views: Option<Vec<i64>> = batch.variadicBufferCounts().map(|counts| counts.iter().collect());
    let args = RecordBatchArgs {
        length: batch.length(),
        nodes,
        buffers,
        compression,
        variadicBufferCounts: views.map(|views| out.create_vector(&views)),
    };
    arrow_ipc::RecordBatch::create(out, &args)
}

/// Which buffers of a batch are offsets of no rows that are not zero: pyarrow writes the offset at which a slice of no
/// rows begins, and arrow's reader looks for values there. Stops where the nodes or buffers of a batch end too early,
/// which arrow's reader has the words for.
pub fn idle_offsets(
    batch: &arrow_ipc::RecordBatch<'_>,
    version: MetadataVersion,
    schema: &Schema,
    body: &[u8],
) -> Vec<usize> {
    struct Walk<'a> {
        rows: Vec<i64>,
        buffers: Vec<arrow_ipc::Buffer>,
        views: std::vec::IntoIter<i64>,
        old_unions: bool,
        /// Whether these bytes are offsets that say something.
        loud: &'a dyn Fn(&arrow_ipc::Buffer) -> bool,
        node: usize,
        buffer: usize,
        found: Vec<usize>,
    }
    impl Walk<'_> {
        fn field(&mut self, kind: &DataType) -> Option<()> {
            let rows = *self.rows.get(self.node)?;
            self.node += 1;
            let (offsets, buffers) = match kind {
                DataType::Null | DataType::RunEndEncoded(..) => (false, 0),
                DataType::Struct(_) | DataType::FixedSizeList(..) => (false, 1),
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => (true, 3),
                DataType::List(_) | DataType::LargeList(_) | DataType::Map(..) => (true, 2),
                DataType::ListView(_) | DataType::LargeListView(_) => (false, 3),
                DataType::Utf8View | DataType::BinaryView => {
                    (false, usize::try_from(self.views.next()?).ok()?.checked_add(2)?)
                }
                DataType::Union(_, mode) => {
                    (false, 1 + usize::from(*mode == UnionMode::Dense) + usize::from(self.old_unions))
                }
                _ => (false, 2),
            };
            if offsets && rows == 0 && (self.loud)(self.buffers.get(self.buffer + 1)?) {
                self.found.push(self.buffer + 1);
            }
            self.buffer = self.buffer.checked_add(buffers)?;
            match kind {
                DataType::List(item)
                | DataType::LargeList(item)
                | DataType::ListView(item)
                | DataType::LargeListView(item)
                | DataType::FixedSizeList(item, _)
                | DataType::Map(item, _) => self.field(item.data_type()),
                DataType::Struct(fields) => fields.iter().try_for_each(|field| self.field(field.data_type())),
                DataType::Union(fields, _) => fields.iter().try_for_each(|(_, field)| self.field(field.data_type())),
                DataType::RunEndEncoded(ends, values) => {
                    self.field(ends.data_type())?;
                    self.field(values.data_type())
                }
                _ => Some(()),
            }
        }
    }
    let compressed = batch.compression().is_some();
    let bytes = |buffer: &arrow_ipc::Buffer| {
        let from = usize::try_from(buffer.offset()).ok()?;
        body.get(from..from.checked_add(usize::try_from(buffer.length()).ok()?)?)
    };
    let loud = |buffer: &arrow_ipc::Buffer| {
        buffer.length() > 0 && (compressed || bytes(buffer).is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0)))
    };
    let mut walk = Walk {
        rows: batch.nodes().into_iter().flatten().map(arrow_ipc::FieldNode::length).collect(),
        buffers: batch.buffers().into_iter().flatten().copied().collect(),
        views: batch.variadicBufferCounts().map_or_else(Vec::new, |counts| counts.iter().collect()).into_iter(),
        old_unions: version < MetadataVersion::V5,
        loud: &loud,
        node: 0,
        buffer: 0,
        found: Vec::new(),
    };
    if !walk.rows.contains(&0) {
        return Vec::new();
    }
    // What was found before it ended too early is right all the same.
    let _ = schema.fields().iter().try_for_each(|field| walk.field(field.data_type()));
    walk.found
}
