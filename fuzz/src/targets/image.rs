//! Images of arenas with everything in them, as kept by those who left and by those who were killed, and damage done to copies.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use arrow_array::types::Int8Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, FixedSizeListArray, Float64Array, Int32Array, LargeStringArray,
    ListArray, RecordBatch, StringArray, StringViewArray, StructArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema};
use faretra::channel::Contents;
use faretra::feed::{Start, WhenFull};
use faretra::sync::Reset;
use faretra::{Arena, Bundle, DType, DynArrayView, MIB, Order, Value, Writer};
use ndarray::{Array2, ArrayView1, Ix1};
use nix::unistd::{Whence, lseek};

/// What of an arena's file is in memory.
pub struct Image {
    size: u64,
    pieces: Vec<(u64, Vec<u8>)>,
    /// Where words lie that are not zero, but for the bytes of large values.
    full: Vec<u64>,
}

/// How often a word of a payload is left out, so that those of the control region are a match for them.
const PAYLOAD: usize = 4;

/// Rows of the large batches: their columns are objects of their own.
const ROWS: i32 = 9000;

fn batch(rows: i32) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter((0..rows).map(|row| (row % 5 != 1).then_some(row))));
    let text = |row: i32| (row % 7 != 2).then(|| format!("a text of row {row}"));
    let list = (0..rows).map(|row| (row % 3 != 0).then(|| (0..row % 4).map(Some)));
    let dictionary: DictionaryArray<Int8Type> =
        (0..rows).map(|row| (row % 4 != 0).then_some(["a", "b", "c"][row as usize % 3])).collect();
    let points = StructArray::from(vec![
        (
            Arc::new(Field::new("x", DataType::Float64, true)),
            Arc::new(Float64Array::from_iter((0..rows).map(f64::from))) as ArrayRef,
        ),
        (
            Arc::new(Field::new("y", DataType::LargeUtf8, true)),
            Arc::new((0..rows).map(text).collect::<LargeStringArray>()) as ArrayRef,
        ),
    ]);
    let pairs = FixedSizeListArray::new(
        Arc::new(Field::new("item", DataType::Int32, true)),
        2,
        Arc::new(Int32Array::from_iter_values(0..2 * rows)),
        None,
    );
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", numbers),
        ("t", Arc::new((0..rows).map(text).collect::<StringArray>())),
        ("v", Arc::new((0..rows).map(text).collect::<StringViewArray>())),
        ("l", Arc::new(ListArray::from_iter_primitive::<arrow_array::types::Int32Type, _, _>(list))),
        ("k", Arc::new(dictionary)),
        ("s", Arc::new(points)),
        ("b", Arc::new((0..rows).map(|row| (row % 6 != 0).then_some(row % 2 == 0)).collect::<BooleanArray>())),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values((0..rows).map(i64::from)).with_timezone("+02:00"))),
        ("p", Arc::new(pairs)),
    ];
    let field = |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, column)| column).collect()).expect("valid")
}

fn values(arena: &Arena, writer: &Writer) -> faretra::Result<()> {
    writer.publish("bytes", &[7_u8; 300][..])?;
    let numbers: Vec<u64> = (0..20_000).collect();
    writer.publish("array", ArrayView1::from(&numbers))?;
    writer.publish("grid", Array2::<f32>::ones((3, 4)).view())?;
    let records: DType = "[('a', '<i4'), ('b', '|S3', (2, 3))]".parse()?;
    writer.publish("records", DynArrayView::from_bytes(records, &[5], Order::C, vec![b'x'; 5 * 22])?)?;
    let small = batch(20);
    writer.publish("batch", &small)?;
    writer.publish("large", batch(ROWS))?;
    writer.publish("table", Value::batches(small.schema(), vec![small.clone(), batch(7), batch(0)]))?;
    writer.publish(
        "bundle",
        Bundle::new().with("a", ArrayView1::from(&numbers[..9])).with("b", &small).with("c", &b"x"[..]),
    )?;
    let large = arena.batch("large")?;
    writer.publish("alias", &large)?;
    writer.publish("shared", large.record_batch().slice(8, ROWS as usize - 8))?;
    writer.publish("replaced", &small)?;
    writer.publish("replaced", &b"again"[..])?;
    writer.publish("removed", &small)?;
    writer.remove("removed")?;
    Ok(())
}

/// Does all of it, and calls `now` while everything is in its hands.
fn filled(arena: &Arena, now: impl FnOnce()) -> faretra::Result<()> {
    let writer = arena.writer()?;
    values(arena, &writer)?;
    let small = batch(20);
    let jobs = writer.sender_with("jobs", 4, Contents::Mixed)?;
    let batches = writer.sender("batches", 3)?;
    let many = writer.unbounded_with("many", Contents::Mixed)?;
    let from = arena.receiver("jobs")?;
    let all = arena.receiver("many")?;
    let mut leases = vec![];
    for item in 0..3_u8 {
        jobs.send(&[item; 40][..])?;
        batches.send(&small)?;
        many.send(&[item; 40][..])?;
    }
    leases.push(from.recv().expect("sent"));
    drop(from.recv().expect("sent"));
    leases.push(all.recv().expect("sent"));
    all.recv().expect("sent").ack();
    let ticks = writer.feed_with("ticks", 3, WhenFull::DropOldest, Contents::Mixed)?;
    for item in 0..5_u8 {
        ticks.append(&[item; 40][..])?;
    }
    let mut reader = arena.subscribe("ticks", Start::Oldest)?;
    let item = reader.try_recv().expect("appended");
    let mutex = arena.mutex_with("mutex", [1_u64, 2])?;
    let guard = mutex.lock()?;
    let semaphore = arena.semaphore("semaphore", 3)?;
    let permit = semaphore.acquire()?;
    let event = arena.event("event", Reset::Manual)?;
    event.set()?;
    let condition = arena.condition("condition")?;
    let waiter = condition.enlist()?;
    let value = arena.shared_value("value", [5_u64; 4])?;
    value.store([6; 4])?;
    let grid = writer.mutable_array::<f64, Ix1>("grid-of-many", 64, 4)?;
    let rows = grid.write(1)?;
    let frozen = writer.mutable_array::<u8, Ix1>("frozen", 64, 2)?;
    frozen.freeze()?;
    let shared = writer.shared_bytes("shared-bytes", 100)?;
    let server = writer.server("service")?;
    let draft = writer.draft_bytes(5000)?;
    let pinned = arena.get("replaced")?;
    now();
    drop((draft, pinned, server, shared, rows, frozen, waiter, permit, guard, item, leases));
    Ok(())
}

impl Image {
    /// An arena that was closed, and one of which all processes were killed while they had something of everything.
    pub fn both(dir: &Path) -> [Image; 2] {
        let options = Arena::options().dir(dir).limit(8 * MIB).capacity(8 * MIB).writers(3);
        let arena = options.create("image").expect("an arena");
        let path = arena.path().to_owned();
        let mut killed = None;
        filled(&arena, || killed = Some(Image::of(&path))).expect("room for everything");
        drop(arena);
        let closed = Image::of(&path);
        options.remove("image").expect("nobody has it");
        [closed, killed.expect("it was called")]
    }

    fn of(path: &Path) -> Image {
        let file = File::open(path).expect("the arena's file");
        let size = file.metadata().expect("its size").len();
        let (mut pieces, mut full) = (vec![], vec![]);
        let mut at = 0;
        while let Ok(from) = lseek(&file, at, Whence::SeekData) {
            let to = lseek(&file, from, Whence::SeekHole).expect("a hole at the end");
            let mut bytes = vec![0; (to - from) as usize];
            file.read_exact_at(&mut bytes, from as u64).expect("what was seen");
            for (i, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
                // The first 8 pages of a piece are what the control region and small objects have.
                if *word != [0; 8] && (i < 8 * 512 || i.is_multiple_of(PAYLOAD)) {
                    full.push(from as u64 + 8 * i as u64);
                }
            }
            pieces.push((from as u64, bytes));
            at = to;
        }
        Image { size, pieces, full }
    }

    /// Writes a file like it, damaged as the bytes say: each 12 of them change one word.
    pub fn damaged(&self, path: &Path, damage: &[u8]) {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path).expect("a file");
        file.set_len(self.size).expect("a sparse file");
        for (at, bytes) in &self.pieces {
            file.write_all_at(bytes, *at).expect("room");
        }
        for change in damage.as_chunks::<12>().0 {
            let [how, a, b, c, value @ ..] = *change;
            let place = usize::from_le_bytes([a, b, c, 0, 0, 0, 0, 0]);
            let at = match how & 0xc0 {
                // A word of the pages that are in memory, which may be zero.
                0xc0 => {
                    let (start, bytes) = &self.pieces[place % self.pieces.len()];
                    start + (place / self.pieces.len() * 8 % bytes.len()) as u64
                }
                _ => self.full[place % self.full.len()],
            };
            let mut word = [0; 8];
            file.read_exact_at(&mut word, at).expect("within the file");
            let (word, value) = (u64::from_le_bytes(word), u64::from_le_bytes(value));
            let changed = match how & 0x0f {
                0..4 => word ^ 1 << (value & 63),
                4 => value,
                5 => word.wrapping_add(value & 0xff),
                6 => word.wrapping_sub(value & 0xff),
                7 => 0,
                8 => u64::MAX,
                9 => word ^ value,
                // What another word says.
                10 | 11 => {
                    let mut other = [0; 8];
                    file.read_exact_at(&mut other, self.full[value as usize % self.full.len()])
                        .expect("within the file");
                    u64::from_le_bytes(other)
                }
                12 => word & !0xffff | value & 0xffff,
                13 => word & !0xffff_ffff | value & 0xffff_ffff,
                14 => word << (value & 63),
                _ => word.rotate_right(value as u32 & 63),
            };
            file.write_all_at(&changed.to_le_bytes(), at).expect("written");
        }
    }
}
