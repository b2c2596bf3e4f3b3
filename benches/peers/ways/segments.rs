//! Memory that is mapped by hand: a segment of `shared_memory` for each item, a file of Arrow's IPC format on a tmpfs for
//! each, and mmap-sync, which has two files that take turns.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use faretra::arrow::arrow_array::{RecordBatch, UInt64Array};
use faretra::arrow::arrow_buffer::Buffer;
use faretra::arrow::arrow_ipc::convert::fb_to_schema;
use faretra::arrow::arrow_ipc::reader::{FileDecoder, read_footer_length};
use faretra::arrow::arrow_ipc::root_as_footer;
use faretra::arrow::arrow_ipc::writer::FileWriter;
use faretra::arrow::arrow_schema::{DataType, Field, Schema};
use memmap2::Mmap;
use mmap_sync::instance::InstanceVersion;
use mmap_sync::synchronizer::Synchronizer;
use shared_memory::{Shmem, ShmemConf};

use super::{Pipes, Place, Stamps, Sum, Way, fill};
use crate::pair::{DEADLINE, Outcome, until};

// ------------------------------------------------------------------------------------------------------ by hand

/// A segment for each item, so that an item stays as it is while the next one is written. Its number goes through a pipe.
struct ByHand {
    pipes: Pipes,
    name: String,
    count: u64,
    words: usize,
    /// The last one that was sent: it goes when it was read.
    sent: Option<Shmem>,
}

pub fn by_hand(place: &Place) -> Outcome<Box<dyn Way>> {
    let pipes = Pipes::open(place)?;
    Ok(Box::new(ByHand { pipes, name: format!("/{}", place.name), count: 0, words: place.words, sent: None }))
}

impl Way for ByHand {
    fn give(&mut self, seed: u64, stamps: &Stamps<'_>) -> Outcome {
        self.count += 1;
        stamps.starts();
        let memory = ShmemConf::new().size(self.words * 8).os_id(format!("{}-{}", self.name, self.count)).create()?;
        // SAFETY: the segment is as long and begins with a page; nobody else knows it yet.
        fill(unsafe { std::slice::from_raw_parts_mut(memory.as_ptr().cast(), self.words) }, seed);
        stamps.sends();
        self.pipes.to.write_all(&self.count.to_ne_bytes())?;
        self.sent = Some(memory);
        Ok(())
    }

    fn take(&mut self, stamps: &Stamps<'_>) -> Outcome<Sum> {
        let mut number = [0; 8];
        self.pipes.to.read_exact(&mut number)?;
        let name = format!("{}-{}", self.name, u64::from_ne_bytes(number));
        let memory = ShmemConf::new().os_id(name).open()?;
        stamps.received();
        // SAFETY: the segment is at least as long and begins with a page; it is not written any more.
        let sum = Sum::of(unsafe { std::slice::from_raw_parts(memory.as_ptr().cast(), self.words) });
        stamps.was_read();
        Ok(sum)
    }

    fn say(&mut self) -> Outcome {
        self.pipes.say()
    }

    fn hear(&mut self) -> Outcome {
        self.pipes.hear()?;
        self.sent = None;
        Ok(())
    }
}

// --------------------------------------------------------------------------------------------------- Arrow's file

/// A file for each item, written by arrow and mapped by the reader, who finds the columns in the mapping.
struct ArrowFile {
    pipes: Pipes,
    path: String,
    schema: Arc<Schema>,
    own: Vec<u64>,
}

pub fn arrow_file(place: &Place) -> Outcome<Box<dyn Way>> {
    let schema = Arc::new(Schema::new(vec![Field::new("words", DataType::UInt64, false)]));
    let (pipes, own) = (Pipes::open(place)?, vec![0; place.words]);
    Ok(Box::new(ArrowFile { pipes, path: place.path(".arrow"), schema, own }))
}

/// The only batch of a file that is mapped, without a copy.
fn only_batch(file: &Buffer) -> Outcome<RecordBatch> {
    let trailer = file.len().checked_sub(10).ok_or("shorter than a trailer")?;
    let footer_len = read_footer_length(file[trailer..].try_into()?)?;
    let footer = root_as_footer(&file[trailer - footer_len..trailer]).map_err(|e| e.to_string())?;
    let schema = fb_to_schema(footer.schema().ok_or("no schema")?);
    let decoder = FileDecoder::new(Arc::new(schema), footer.version());
    let blocks = footer.recordBatches().ok_or("no batches")?;
    let block = blocks.get(0);
    let (from, len) = (usize::try_from(block.offset())?, usize::try_from(block.bodyLength())?);
    let len = len + usize::try_from(block.metaDataLength())?;
    Ok(decoder.read_record_batch(block, &file.slice_with_length(from, len))?.ok_or("no batch")?)
}

impl Way for ArrowFile {
    fn give(&mut self, seed: u64, stamps: &Stamps<'_>) -> Outcome {
        stamps.starts();
        fill(&mut self.own, seed);
        let column = Arc::new(UInt64Array::from(std::mem::take(&mut self.own)));
        let batch = RecordBatch::try_new(self.schema.clone(), vec![column.clone()])?;
        let mut writer = FileWriter::try_new(File::create(&self.path)?, &self.schema)?;
        writer.write(&batch)?;
        writer.finish()?;
        stamps.sends();
        self.pipes.to.write_all(&[1])?;
        // The memory is used again.
        drop(batch);
        let column = Arc::into_inner(column).ok_or("the writer keeps nothing")?;
        self.own = column.into_parts().1.into();
        Ok(())
    }

    fn take(&mut self, stamps: &Stamps<'_>) -> Outcome<Sum> {
        self.pipes.to.read_exact(&mut [0])?;
        // SAFETY: the file is not written before this side has said that it has read it.
        let map = unsafe { Mmap::map(&File::open(&self.path)?)? };
        let (start, len) = (NonNull::from(&*map).cast(), map.len());
        // SAFETY: the mapping stays where it is for as long as its owner, which the buffer keeps.
        let file = unsafe { Buffer::from_custom_allocation(start, len, Arc::new(map)) };
        let batch = only_batch(&file)?;
        let column = batch.column(0).as_any().downcast_ref::<UInt64Array>().ok_or("words")?;
        stamps.received();
        let sum = Sum::of(column.values());
        stamps.was_read();
        Ok(sum)
    }

    fn say(&mut self) -> Outcome {
        self.pipes.say()
    }

    fn hear(&mut self) -> Outcome {
        self.pipes.hear()
    }
}

// ------------------------------------------------------------------------------------------------------ mmap-sync

/// The newest value, which readers look for; there is nothing to sleep on.
struct MmapSync {
    items: Newest,
    to: Newest,
    fro: Newest,
    side: usize,
    own: Vec<u64>,
}

struct Newest {
    at: Synchronizer,
    seen: Option<InstanceVersion>,
}

/// How long a writer waits for readers of what it overwrites.
const GRACE: Duration = Duration::from_secs(5);

/// Who opens a state whose length is not set yet makes it anew (2.0.4), and a version that is written meanwhile is lost. So
/// each side first writes what it will write later, and then says so; the other one opens it after that.
pub fn mmap_sync(place: &Place) -> Outcome<Box<dyn Way>> {
    let newest = |end: &str| Newest { at: Synchronizer::new(&OsString::from(place.path(end))), seen: None };
    let (mut items, mut to, mut fro) = (newest(".items"), newest(".to"), newest(".fro"));
    if place.side == 0 {
        items.at.write(&Vec::<u64>::new(), GRACE)?;
        to.at.write(&8_u64, GRACE)?;
    } else {
        fro.at.write(&8_u64, GRACE)?;
    }
    let ready = |side: usize| place.path(&format!(".ready{side}"));
    File::create(ready(place.side))?;
    until("the other side", || Path::new(&ready(1 - place.side)).exists())?;
    if place.side == 0 {
        fro.wait()?;
    } else {
        items.wait()?;
        to.wait()?;
    }
    Ok(Box::new(MmapSync { items, to, fro, side: place.side, own: vec![0; place.words] }))
}

impl Newest {
    /// Until there is one that was not seen.
    fn wait(&mut self) -> Outcome {
        let start = Instant::now();
        for spins in 1_u32.. {
            let version = self.at.version()?;
            if Some(version) != self.seen {
                self.seen = Some(version);
                break;
            }
            if spins % (1 << 20) == 0 && start.elapsed() > DEADLINE {
                return Err(format!("waited {DEADLINE:?} for a new version").into());
            }
            std::hint::spin_loop();
        }
        Ok(())
    }
}

impl Way for MmapSync {
    fn give(&mut self, seed: u64, stamps: &Stamps<'_>) -> Outcome {
        stamps.starts();
        fill(&mut self.own, seed);
        stamps.sends();
        self.items.at.write(&self.own, GRACE)?;
        Ok(())
    }

    fn take(&mut self, stamps: &Stamps<'_>) -> Outcome<Sum> {
        self.items.wait()?;
        // SAFETY: what is there was written by the other side as the same type.
        let item = unsafe { self.items.at.read::<Vec<u64>>(false)? };
        stamps.received();
        let sum = Sum::of(item.as_slice());
        stamps.was_read();
        Ok(sum)
    }

    fn say(&mut self) -> Outcome {
        let out = if self.side == 0 { &mut self.to } else { &mut self.fro };
        out.at.write(&8_u64, GRACE)?;
        Ok(())
    }

    fn hear(&mut self) -> Outcome {
        if self.side == 0 { self.fro.wait() } else { self.to.wait() }
    }
}
