//! An arena whose words are damaged: whoever opens it gets values or errors of everything that it can be asked.
//!
//! The first byte of an input says which image is damaged, and how it is opened; each 12 that follow change one word of it.

use std::sync::OnceLock;
use std::time::Duration;

use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use faretra::channel::Contents;
use faretra::feed::{Start, WhenFull};
use faretra::sync::Reset;
use faretra::{Arena, Kind, Object, Options, Value, Writer};
use ndarray::Ix1;

use super::image::Image;
use crate::place::dir;

/// How long is waited for what does not come.
const PATIENCE: Duration = Duration::from_millis(5);

/// Rows of a batch that are looked at, from either end.
const LOOKED_AT: usize = 40;

pub fn run(bytes: &[u8]) {
    static IMAGES: OnceLock<[Image; 2]> = OnceLock::new();
    let images = IMAGES.get_or_init(|| Image::both(dir()));
    let Some((how, damage)) = bytes.split_first() else { return };
    let path = dir().join("faretra.damaged");
    images[usize::from(how & 1)].damaged(&path, damage);
    let options = Arena::options().dir(dir()).untrusted(how & 2 != 0);
    // What verifies a damaged arena looks several times, and waits in between: rarely, so that the rest is tried often.
    let verify = how >> 3;
    observe(&options, verify == 30);
    if let Ok(arena) = options.open("damaged") {
        // Half of the time it is settled first, and in any case at the end.
        if how & 4 != 0 {
            let _ = arena.recover();
        }
        read(&arena);
        let _ = (arena.stats(), arena.who(), arena.channels());
        match verify {
            29 => drop(arena.verify()),
            31 => drop(arena.verify_deep()),
            _ => {}
        }
        if let Ok(writer) = arena.writer_timeout(PATIENCE) {
            write(&arena, &writer);
            flow(&arena, &writer);
        }
        locks(&arena);
        let _ = (arena.recover(), arena.trim(), arena.set_limit(4 << 20));
    }
    let _ = options.remove("damaged");
    let _ = std::fs::remove_file(&path);
}

fn observe(options: &Options, verify: bool) {
    if let Ok(seen) = options.observe("damaged") {
        let _ = (seen.names(), seen.stats(), seen.who(), seen.channels());
        if verify {
            let _ = seen.verify();
        }
    }
    let _ = options.list();
}

/// Names are told by the arena, but those that we know are asked for too.
fn read(arena: &Arena) {
    const KNOWN: [&str; 10] =
        ["bytes", "array", "grid", "records", "batch", "large", "table", "bundle", "shared", "frozen"];
    let listed: Vec<String> = arena.names().into_iter().flatten().take(40).map(|entry| entry.name).collect();
    for name in KNOWN.into_iter().chain(listed.iter().map(String::as_str)) {
        if let Ok(object) = arena.get(name) {
            look(&object, 3);
        }
        let _ = arena.try_wait_for(name, 1);
    }
    let _ = arena.wait_for_timeout("bytes", 7, Duration::ZERO);
}

/// Everything that an object shows.
fn look(object: &Object, deep: u32) {
    let _ = (object.name().len(), object.rows(), object.nbytes(), object.published(), object.version());
    let _ = (object.schema(), object.null_count(0), object.column_nbytes(1), object.array_info());
    let _ = object.column::<i32>("n").map(|column| column.iter().fold(0_i32, |all, n| all ^ n));
    if let Ok(projected) = object.project(&[0, 2]) {
        cells(&projected);
    }
    match object.kind() {
        Kind::Bytes => drop(object.bytes().map(|bytes| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>())),
        Kind::Array => {
            let _ = object
                .dyn_array()
                .map(|array| (array.bytes().iter().map(|byte| u64::from(*byte)).sum::<u64>(), array.strides()));
            let _ = object.array::<u64, Ix1>().map(|array| array.iter().fold(0, |sum, n| sum ^ n));
        }
        Kind::Batch => {
            if let Ok(batch) = object.batch() {
                cells(&batch);
                let _ = batch.ipc();
            }
        }
        Kind::Table => {
            if let Ok(table) = object.table() {
                let _ = (table.num_rows(), table.schema());
                table.reader().take(10).flatten().for_each(|batch| cells(&batch));
                let _ = table.batch_object(1);
            }
        }
        Kind::Bundle if deep > 0 => {
            if let Ok(bundle) = object.bundle() {
                for name in bundle.names().take(10) {
                    if let Ok(item) = bundle.get(name) {
                        look(&item, deep - 1);
                    }
                }
            }
        }
        _ => {}
    }
}

/// Looks at cells as a program that prints them does.
fn cells(batch: &RecordBatch) {
    let options = FormatOptions::default();
    for column in batch.columns() {
        let Ok(formatter) = ArrayFormatter::try_new(column.as_ref(), &options) else { continue };
        let rows = column.len();
        for row in (0..rows).take(LOOKED_AT).chain((0..rows).rev().take(LOOKED_AT)) {
            let _ = formatter.value(row).try_to_string();
        }
    }
}

fn write(arena: &Arena, writer: &Writer) {
    let _ = writer.publish("bytes", &[1_u8; 5000][..]);
    let _ = writer.publish("fresh", &[1_u8; 50][..]);
    let _ = writer.publish_if("batch", 1, &b"x"[..]);
    for name in ["large", "table", "bundle", "alias"] {
        if let Ok(object) = arena.get(name) {
            let _ = writer.publish("again", &object);
            if let Ok(batch) = object.batch() {
                let _ = writer.publish("again", batch.record_batch());
            }
            if let Ok(table) = object.table() {
                let _ = writer.publish("again", Value::table(table.reader()));
            }
        }
    }
    if let Ok(mut draft) = writer.draft_bytes(70_000) {
        if let Ok(bytes) = draft.bytes_mut() {
            bytes.fill(9);
        }
        let _ = writer.publish("draft", draft);
    }
    for name in ["alias", "removed", "replaced", "table", "jobs-that-are-not"] {
        let _ = writer.remove(name);
    }
}

fn flow(arena: &Arena, writer: &Writer) {
    for (channel, unbounded) in [("jobs", false), ("many", true), ("batches", false)] {
        let sender = match unbounded {
            true => writer.unbounded_with(channel, Contents::Mixed),
            false => writer.sender_with(channel, 4, Contents::Mixed),
        };
        if let Ok(sender) = &sender {
            let _ = (sender.len(), sender.capacity(), sender.try_send(&b"item"[..]).is_ok());
        }
        let Ok(receiver) = arena.receiver(channel) else { continue };
        let _ = (receiver.len(), receiver.peers(), receiver.is_ready(), receiver.try_schema());
        for turn in 0..6 {
            let Ok(lease) = receiver.try_recv() else { break };
            look(&lease, 1);
            match (turn % 3, &sender) {
                (0, _) => lease.ack(),
                (1, Ok(sender)) => drop(lease.try_send(sender)),
                _ => drop(lease),
            }
        }
        if let Ok(sender) = &sender {
            let _ = sender.close();
        }
        let _ = receiver.recv_timeout(PATIENCE);
    }
    if let Ok(feed) = writer.feed_with("ticks", 3, WhenFull::DropOldest, Contents::Mixed) {
        let _ = (feed.position(), feed.try_append(&b"item"[..]).is_ok());
    }
    for start in [Start::Oldest, Start::Newest, Start::Position(3)] {
        let Ok(mut subscriber) = arena.subscribe("ticks", start) else { continue };
        for _ in 0..6 {
            match subscriber.try_recv() {
                Ok(object) => look(&object, 1),
                Err(_) => continue,
            }
        }
    }
    if let Ok(Some(object)) = arena.latest("ticks") {
        look(&object, 1);
    }
    let _ = arena.snapshot("ticks").map(|table| table.num_rows());
    if let Ok(server) = writer.server("service") {
        let _ = server.try_recv();
    }
}

fn locks(arena: &Arena) {
    if let Ok(mutex) = arena.mutex_with("mutex", [1_u64, 2]) {
        let _ = (mutex.is_locked(), mutex.try_lock().map(|guard| guard.map(|guard| guard[0])));
    }
    if let Ok(semaphore) = arena.semaphore("semaphore", 3) {
        let _ = (semaphore.available(), semaphore.try_acquire().map(drop), semaphore.release());
    }
    if let Ok(event) = arena.event("event", Reset::Manual) {
        let _ = (event.is_set(), event.try_wait(), event.reset(), event.set());
    }
    if let Ok(condition) = arena.condition("condition") {
        let _ = (condition.waiting(), condition.notify(1), condition.lost());
        if let Ok(waiter) = condition.enlist() {
            let _ = waiter.try_wait();
        }
    }
    if let Ok(value) = arena.shared_value("value", [5_u64; 4]) {
        let _ = (value.load(), value.try_store([1; 4]), value.try_update(|old| old.map(|n| n.wrapping_add(1))));
    }
    if let Ok(grid) = arena.mutable_array::<f64, Ix1>("grid-of-many") {
        let _ = grid.try_read(0).map(|rows| rows.map(|rows| rows.view().map(|view| view.sum())));
        let _ = grid.try_write(2).map(|rows| rows.map(|mut rows| rows.view_mut().map(|mut view| view.fill(1.0))));
        let _ = grid.try_freeze().map(|array| array.map(|array| array.sum()));
    }
    let _ = arena.shared_bytes("shared-bytes").map(|bytes| bytes.len());
}
