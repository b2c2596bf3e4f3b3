//! Shows where schemas that differ in nothing but metadata are taken for the same, and where they are not.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, RecordBatchIterator};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use faretra::channel::Contents;
use faretra::feed::{Start, WhenFull};
use faretra::{Error, ForwardError, MIB, Value};

use crate::support::TestArena;

fn metadata(value: &str) -> HashMap<String, String> {
    HashMap::from([("unit".to_owned(), value.to_owned())])
}

/// A batch whose schema, and whose field, say this in their metadata.
fn batch(of_schema: &str, of_field: &str) -> RecordBatch {
    let field = Field::new("n", DataType::Int64, true).with_metadata(metadata(of_field));
    let schema = Schema::new_with_metadata(vec![field], metadata(of_schema));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from(vec![1, 2]))]).expect("a batch")
}

/// The batch that everything has first, and those that differ: by the schema's metadata, by a field's, by both, by having
/// none, and by whether there may be nulls.
fn batches() -> (RecordBatch, Vec<RecordBatch>) {
    let first = batch("s", "f");
    let bare = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
    let strict = Schema::new_with_metadata(
        vec![Field::new("n", DataType::Int64, false).with_metadata(metadata("f"))],
        metadata("s"),
    );
    let of = |schema: Schema| RecordBatch::try_new(Arc::new(schema), first.columns().to_vec()).expect("a batch");
    let others = vec![batch("other", "f"), batch("s", "other"), batch("other", "other"), of(bare), of(strict)];
    (first, others)
}

fn assert_mismatch<'a>(result: Result<(), impl Into<Error> + std::fmt::Debug + 'a>, what: &str) {
    let result = result.map_err(Into::into);
    assert!(matches!(result, Err(Error::Mismatch { .. })), "{what}: {result:?}");
}

/// A channel and a feed of one schema take no batch whose schema says something else in its metadata, however it comes.
#[test]
fn channels_and_feeds_compare_metadata() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let (first, others) = batches();
    let channel = w.sender("c", 8).expect("made");
    let feed = w.feed("f", 8, WhenFull::DropOldest).expect("made");
    let from = w.sender_with("from", 8, Contents::Mixed).expect("made");
    let leases = t.arena.receiver("from").expect("there");
    channel.send(&first).expect("room");
    feed.append(&first).expect("room");
    for (i, other) in others.iter().enumerate() {
        let what = format!("batch {i}");
        w.publish("other", other).expect("room");
        let read = t.arena.batch("other").expect("published");
        let reader = || RecordBatchIterator::new([Ok(other.clone())], other.schema());
        assert_mismatch(channel.send(other), &what);
        assert_mismatch(feed.append(other), &what);
        assert_mismatch(channel.send(&read), &format!("{what}, read"));
        assert_mismatch(feed.append(&read), &format!("{what}, read"));
        assert_mismatch(channel.send(Value::table(reader())), &format!("{what}, in a table"));
        assert_mismatch(channel.send_all(reader()).map(drop), &format!("{what}, of a reader"));
        let draft = w.draft(&other.schema(), 2).expect("room");
        assert_mismatch(channel.send(draft), &format!("{what}, drafted"));
        from.send(other).expect("a channel of mixed contents takes it");
        let lease = leases.recv().expect("sent");
        let failed = lease.send(&channel).expect_err("another schema");
        assert!(matches!(&failed, ForwardError::Failed { error, .. } if matches!(**error, Error::Mismatch { .. })));
        failed.into_lease().expect("given back").ack();
    }
    assert_eq!((channel.len(), feed.position()), (1, 1), "nothing of that was sent");
    // An equal schema that was made anew is the same one.
    channel.send(batch("s", "f")).expect("room");
    feed.append(batch("s", "f")).expect("room");
    let receiver = t.arena.receiver("c").expect("there");
    assert_eq!(receiver.schema().expect("known"), first.schema());
    assert_eq!(*receiver.recv().expect("sent").batch().expect("a batch"), first);
    let mut subscriber = t.arena.subscribe("f", Start::Oldest).expect("there");
    assert_eq!(
        faretra::Batch::try_from(subscriber.recv().expect("appended")).expect("a batch").schema(),
        first.schema()
    );
}

/// A table says one schema, the reader's: batches of it may say other metadata of the whole, which goes, but not of a field.
#[test]
fn a_table_has_the_metadata_of_its_reader() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let (first, others) = batches();
    let table = |batches: Vec<RecordBatch>, schema: SchemaRef| {
        w.publish("t", Value::table(RecordBatchIterator::new(batches.into_iter().map(Ok), schema)))
    };
    table(vec![first.clone(), others[0].clone()], first.schema()).expect("the fields are the same");
    let read = t.arena.table("t").expect("published");
    assert_eq!(read.schema(), first.schema());
    for i in 0..2 {
        assert_eq!(*read.batch(i).expect("a batch"), first, "batch {i}");
    }
    for (i, other) in others.iter().enumerate().skip(1) {
        let made = table(vec![first.clone(), other.clone()], first.schema());
        let same_fields = other.schema().fields() == first.schema().fields();
        assert!(same_fields == made.is_ok(), "batch {i}: {made:?}");
        assert!(made.is_ok() || matches!(made, Err(Error::Mismatch { .. })), "batch {i}: {made:?}");
    }
    // Of batches that lie in the arena, the first one says it.
    let mut published = vec![];
    for batch in [&others[0], &first, &others[0]] {
        w.publish("b", batch).expect("room");
        published.push(t.arena.batch("b").expect("published"));
    }
    w.publish("t", published.as_slice()).expect("the fields are the same");
    let read = t.arena.table("t").expect("published");
    assert_eq!((read.schema(), read.num_rows()), (others[0].schema(), 6));
    for i in 0..3 {
        assert_eq!(*read.batch(i).expect("a batch"), others[0], "batch {i}");
    }
    w.publish("b", &others[1]).expect("room");
    published.push(t.arena.batch("b").expect("published"));
    let refused = w.publish("t", published.as_slice());
    assert!(matches!(refused, Err(Error::Mismatch { .. })), "{refused:?}");
}

/// What a feed of mixed contents holds is a table only if all of it says the same schema, metadata included.
#[test]
fn a_snapshot_has_one_schema() {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let (first, others) = batches();
    let feed = w.feed_with("f", 2, WhenFull::DropOldest, Contents::Mixed).expect("made");
    for other in &others {
        feed.append(&first).expect("room");
        feed.append(other).expect("mixed contents");
        let refused = t.arena.snapshot("f").map(drop);
        assert!(matches!(refused, Err(Error::Mismatch { .. })), "{refused:?}");
    }
    feed.append(&first).expect("room");
    feed.append(batch("s", "f")).expect("room");
    let table = t.arena.snapshot("f").expect("of one schema");
    assert_eq!((table.schema(), table.num_batches()), (first.schema(), 2));
}
