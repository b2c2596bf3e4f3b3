//! The Arrow IPC messages of a batch, laid down by hand: what they say is known, where they go is
//! the root object itself, and nothing is allocated.

use crate::value::layout::StoredNode;

/// The object that a buffer lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    Root,
    /// An own part, by its index among them.
    Own(u32),
    /// A part that is held, by its index among them.
    Held(u32),
}

/// A buffer of the batch, before the object that it lies in has an offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlannedBuffer {
    /// Offset from the start of the own part, or from the end of the root's descriptor; of what is held, in the
    /// data region.
    pub at: u64,
    pub len: u64,
    /// What `len` was when places were given; a draft may use less (`Skeleton::complete`).
    pub reserved: u64,
    pub within: Within,
    /// The message that it belongs to: 0 is that of the batch, k that of dictionary k-1.
    pub group: u32,
}

/// An array of the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlannedNode {
    pub node: StoredNode,
    pub group: u32,
}

/// How many buffers the views of an array look into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataBuffers {
    pub count: u64,
    pub group: u32,
}

/// What messages are made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tables<'a> {
    pub nodes: &'a [PlannedNode],
    pub buffers: &'a [PlannedBuffer],
    /// One for each array of views.
    pub variadic: &'a [DataBuffers],
}

/// Writes integers, little-endian, one after the other.
pub(crate) struct Words<'a> {
    rest: &'a mut [u8],
}

impl<'a> Words<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Words<'a> {
        Words { rest: out }
    }

    fn take(&mut self, len: usize) -> &'a mut [u8] {
        let (taken, rest) = std::mem::take(&mut self.rest).split_at_mut(len);
        self.rest = rest;
        taken
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.take(bytes.len()).copy_from_slice(bytes);
        self
    }

    fn u16s<const N: usize>(&mut self, words: [u16; N]) -> &mut Self {
        for (to, word) in self.take(2 * N).as_chunks_mut().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        self
    }

    #[inline]
    pub(crate) fn u32s<const N: usize>(&mut self, words: [u32; N]) -> &mut Self {
        for (to, word) in self.take(4 * N).as_chunks_mut().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        self
    }

    #[inline]
    pub(crate) fn u64s<const N: usize>(&mut self, words: [u64; N]) -> &mut Self {
        for (to, word) in self.take(8 * N).as_chunks_mut().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        self
    }

    /// Zeros to the end.
    pub(crate) fn finish(self) {
        self.rest.fill(0);
    }
}

/// The IPC metadata of the batch or of one dictionary, as a flatbuffer.
///
/// arrow-ipc can encode a batch only together with its body, so the bytes are laid down here. The
/// tables and their fields are those of Arrow's Message.fbs; each vtable comes right before its
/// table, and everything is placed so that 64-bit fields fall on multiples of 8. The tests read
/// them back through arrow-ipc's verifier and decoder.
pub(crate) struct Message<'a> {
    all: Tables<'a>,
    group: u32,
    nodes: u64,
    buffers: u64,
    variadic: u64,
}

/// `Message` table with its vtable, up to the header table.
const MESSAGE_HEAD: u64 = 40;
/// `DictionaryBatch` table with its vtable.
const DICTIONARY_HEAD: u64 = 24;
/// `RecordBatch` table with its vtable.
const BATCH_HEAD: u64 = 40;
/// `MetadataVersion::V5`, `MessageHeader::DictionaryBatch`, `MessageHeader::RecordBatch`.
const V5: u16 = 4;
const DICTIONARY_BATCH: u16 = 2;
const RECORD_BATCH: u16 = 3;

impl<'a> Message<'a> {
    /// The message of the batch, where there is no other.
    pub(crate) fn of_all(all: Tables<'a>) -> Message<'a> {
        let [nodes, buffers, variadic] = [all.nodes.len(), all.buffers.len(), all.variadic.len()].map(|n| n as u64);
        Message { all, group: 0, nodes, buffers, variadic }
    }

    /// The message of one group of the tables.
    pub(crate) fn of(all: Tables<'a>, group: u32) -> Message<'a> {
        Message {
            all,
            group,
            nodes: all.nodes.iter().filter(|n| n.group == group).count() as u64,
            buffers: all.buffers.iter().filter(|b| b.group == group).count() as u64,
            variadic: all.variadic.iter().filter(|v| v.group == group).count() as u64,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        let head = if self.group == 0 { MESSAGE_HEAD } else { MESSAGE_HEAD + DICTIONARY_HEAD };
        let variadic = if self.variadic == 0 { 0 } else { 8 + 8 * self.variadic };
        head + BATCH_HEAD + (8 + 16 * self.nodes) + (8 + 16 * self.buffers) + variadic
    }

    pub(crate) fn write(
        &self,
        w: &mut Words<'_>,
        rows: u64,
        body: u64,
        id: Option<i64>,
        address: impl Fn(&PlannedBuffer) -> u64,
    ) {
        let group = self.group;
        let kind = if id.is_some() { DICTIONARY_BATCH } else { RECORD_BATCH };
        // @0 root -> 16. @4 vtable: its size, the table's size, version, header_type, header,
        // bodyLength. @16 the table.
        w.u32s([16]).u16s([12, 24, 16, 18, 4, 8]);
        // @16 back to the vtable. @20 header: the next table starts behind its vtable, which is 8
        // bytes long for a dictionary (-> 48) and 16 for a batch (-> 56).
        w.u32s([12, if id.is_some() { 28 } else { 36 }]).u64s([body]).u16s([V5, kind, 0, 0]);
        if let Some(id) = id {
            // @40 vtable: id, data (isDelta is false by its absence). @48 the table: data -> 80.
            w.u16s([8, 16, 8, 4]).u32s([8, 28]).u64s([id as u64]);
        }
        // vtable: length, nodes, buffers, compression (none), variadicBufferCounts; padded to 16.
        let variadic_field = if self.variadic == 0 { 0 } else { 20 };
        w.u16s([14, 24, 8, 4, 16, 0, variadic_field, 0]);
        // The table, t: @t+4 nodes, @t+16 buffers, @t+20 variadic: distances from the field to the
        // vector's count, which stands 4 bytes before its first entry.
        let nodes_at = 24 + 4;
        let buffers_at = nodes_at + 8 + 16 * self.nodes;
        let variadic_at = buffers_at + 8 + 16 * self.buffers;
        w.u32s([16, nodes_at as u32 - 4]).u64s([rows]);
        w.u32s([buffers_at as u32 - 16, if self.variadic == 0 { 0 } else { variadic_at as u32 - 20 }]);
        w.u32s([0, self.nodes as u32]);
        for n in self.all.nodes.iter().filter(|n| n.group == group) {
            w.u64s([n.node.len, n.node.nulls]);
        }
        w.u32s([0, self.buffers as u32]);
        for buffer in self.all.buffers.iter().filter(|b| b.group == group) {
            w.u64s([address(buffer), buffer.len]);
        }
        if self.variadic != 0 {
            w.u32s([0, self.variadic as u32]);
            for DataBuffers { count, .. } in self.all.variadic.iter().filter(|v| v.group == group) {
                w.u64s([*count]);
            }
        }
    }
}
