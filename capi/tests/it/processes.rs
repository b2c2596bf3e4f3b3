//! Shows that processes in C and in Rust work on one arena, and that a killed one in C holds nobody up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use faretra::channel::WhenDeserted;
use faretra::sync::Reset;
use faretra::{KIB, MIB, RecvError};

use crate::support::{Checks, DEADLINE, Lab};

fn numbers(first: i64, rows: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + rows));
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}

/// Batches go from one process in C to another one, which reads them where they lie.
#[test]
fn two_processes_in_c_exchange_batches() {
    let lab = Lab::new();
    let Some(producer) = lab.compile("gcc", "producer.c", Checks::None) else { return };
    let Some(consumer) = lab.compile("gcc", "consumer.c", Checks::None) else { return };
    let consumer = lab.start(&consumer, &["pair"]);
    let producer = lab.start(&producer, &["pair", "50", "20000"]);
    assert_eq!(consumer.finish(), format!("1000000 rows, sum {}\n", 999_999_i64 * 500_000));
    producer.finish();
    assert!(!lab.path("faretra.pair").exists());
}

/// A process in C sends, this one in Rust receives.
#[test]
fn a_producer_in_c_has_a_consumer_in_rust() {
    let lab = Lab::new();
    let Some(producer) = lab.compile("gcc", "producer.c", Checks::None) else { return };
    let arena = lab.options().keep(false).create("mixed").unwrap();
    let producer = lab.start(&producer, &["mixed", "10", "30000"]);
    let mut receiver = arena.receiver_timeout("numbers", DEADLINE).unwrap();
    receiver.set_when_deserted(WhenDeserted::Block);
    let mut next = 0;
    loop {
        match receiver.recv_timeout(DEADLINE) {
            Ok(lease) => {
                let batch = lease.batch().unwrap();
                assert_eq!(batch.schema().field(0).name(), "id");
                for id in batch.record_batch().column(0).as_primitive::<Int64Type>().values() {
                    assert_eq!(*id, next);
                    next += 1;
                }
                lease.ack();
            }
            Err(RecvError::Closed { clean: true }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(next, 300_000);
    arena.event("all read", Reset::Manual).unwrap().set().unwrap();
    producer.finish();
    assert_eq!(arena.verify().unwrap(), []);
}

/// This process in Rust sends, one in C receives.
#[test]
fn a_producer_in_rust_has_a_consumer_in_c() {
    let lab = Lab::new();
    let Some(consumer) = lab.compile("gcc", "consumer.c", Checks::None) else { return };
    let arena = lab.options().keep(false).create("mixed").unwrap();
    let consumer = lab.start(&consumer, &["mixed"]);
    let mut sender = arena.writer().unwrap().sender("numbers", 4).unwrap();
    sender.set_when_deserted(WhenDeserted::Block);
    for i in 0..10 {
        sender.send_timeout(numbers(i * 1000, 1000), DEADLINE).unwrap();
    }
    sender.close().unwrap();
    assert_eq!(consumer.finish(), format!("10000 rows, sum {}\n", 9999_i64 * 5000));
    assert_eq!(arena.verify().unwrap(), []);
}

/// What a killed process in C held comes back: pins, an item, a lock, a permit, a draft.
#[test]
fn a_killed_process_in_c_holds_nothing() {
    let lab = Lab::new();
    let Some(holder) = lab.compile("gcc", "holder.c", Checks::None) else { return };
    let arena = lab.options().keep(false).create("held").unwrap();
    let writer = arena.writer().unwrap();
    writer.publish("pinned", numbers(0, 100_000)).unwrap();
    let jobs = writer.sender("jobs", 1).unwrap();
    jobs.send("a job").unwrap();
    let mut receiver = arena.receiver("jobs").unwrap();
    receiver.set_when_deserted(WhenDeserted::Block);

    let mut holder = lab.start(&holder, &["held"]);
    assert_eq!(holder.line(), "held");
    let others =
        |arena: &faretra::Arena| arena.who().unwrap().into_iter().filter(|who| !who.this_process).collect::<Vec<_>>();
    let [who] = &others(&arena)[..] else { panic!("{:?}", arena.who()) };
    assert!(who.pins > 0 && who.draft_bytes >= MIB && who.permits == 1, "{who:?}");
    assert!(writer.remove("pinned").unwrap());
    let held = arena.stats().unwrap().live;
    assert!(held > 800_000 + MIB, "the batch and the draft are held: {held}");
    let lock = arena.mutex("lock").unwrap();
    assert!(lock.try_lock().unwrap().is_none());
    assert!(matches!(receiver.try_recv(), Err(RecvError::Empty)));

    holder.kill();
    let start = Instant::now();
    let lease = receiver.recv_timeout(DEADLINE).unwrap();
    assert_eq!((lease.bytes().unwrap(), lease.attempts()), (&b"a job"[..], 1));
    lease.ack();
    assert!(lock.lock_timeout(DEADLINE).unwrap().recovered());
    assert!(arena.semaphore("permits", 1).unwrap().acquire_timeout(DEADLINE).unwrap().recovered());
    while !others(&arena).is_empty() {
        assert!(start.elapsed() < DEADLINE, "{:?}", arena.who());
        arena.recover().unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    let left = arena.stats().unwrap();
    assert!(left.live < 16 * KIB, "{left:?}");
    assert_eq!(arena.verify().unwrap(), []);
}
