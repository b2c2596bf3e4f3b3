//! Shows what programs rely on in errors: kinds with stable names, messages in the crate's own terms, and that errors,
//! handles and owned values go from thread to thread.

use std::collections::BTreeSet;
use std::time::Duration;

use faretra::arrow::arrow_array::RecordBatch;
use faretra::arrow::arrow_schema::ArrowError;
use faretra::{Arena, Bound, Bundle, Counted, Error, MIB, Missing, Object, Value};
use ndarray::{Array2, Ix2, ShapeBuilder, s};

use crate::support::TestArena;
use crate::values;

/// One error of each kind.
fn all() -> Vec<Error> {
    let missing = |what| Error::NotFound { what, name: "n".into(), within: "w".into(), detail: String::new() };
    let no_space =
        |bound| Error::NoSpace { asked: 4096, free: 17, bound, of: 1024, largest_holders: Default::default() };
    vec![
        Error::Invalid("a name".into()),
        missing(Missing::Arena),
        missing(Missing::Object),
        missing(Missing::Column),
        missing(Missing::Member),
        missing(Missing::Schema),
        Error::AlreadyExists { name: "n".into(), path: "/p".into() },
        Error::Conflict { name: "n".into(), expected: 1, found: 2 },
        no_space(Bound::Limit),
        no_space(Bound::FileSystem),
        no_space(Bound::Kernel),
        Error::TooLarge { what: "bytes of a name", asked: 201, most: 200, hint: "choose a shorter name" },
        Error::Limit { what: Counted::Participants, limit: 255 },
        Error::Limit { what: Counted::Objects, limit: 4 },
        Error::Limit { what: Counted::Subscribers, limit: 64 },
        Error::TimedOut(Duration::from_millis(5)),
        Error::NotSent("the channel is full"),
        Error::Mismatch { name: "n".into(), expected: "batch".into(), found: "array".into() },
        Error::NotAnArena { path: "/p".into(), reason: "it has 3 bytes".into() },
        Error::Damaged("a word".into()),
        Error::Untrusted { path: "/p".into(), reason: "its owner is user 1".into() },
        Error::Forked(7),
        Error::Os { action: "open", path: "/p".into(), source: std::io::ErrorKind::PermissionDenied.into() },
        Error::Arrow(ArrowError::DivideByZero),
    ]
}

/// Each kind has a name of its own, in snake case; the message is the fact and the advice, on one line, and speaks of the
/// crate and not of the command.
#[test]
fn kinds_have_names_and_messages() {
    let codes: BTreeSet<&str> = all().iter().map(Error::code).collect();
    let expected = [
        "already_exists",
        "arrow",
        "conflict",
        "damaged",
        "forked",
        "invalid",
        "limit",
        "mismatch",
        "no_space",
        "not_an_arena",
        "not_found",
        "not_sent",
        "os",
        "timed_out",
        "too_large",
        "untrusted",
    ];
    assert_eq!(codes, BTreeSet::from(expected));
    for error in all() {
        let text = error.to_string();
        let halves = error.fact() + &error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
        assert_eq!(text, halves);
        assert!(!text.contains('\n') && !text.contains("faretra "), "{text}");
    }
    let says = |error: &Error, parts: &[&str]| {
        let text = error.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    };
    let all = all();
    says(&all[1], &["no arena named `n` in w", "Options::create"]);
    says(&all[2], &["no object named `n` in arena `w`", "Arena::names"]);
    says(&all[8], &["no room for 4096 bytes: 17 bytes free of the limit of 1024 bytes", "Arena::set_limit"]);
    says(&all[9], &["17 bytes free of the file system of 1024 bytes", "Options::dir"]);
    says(&all[11], &["201 bytes of a name are too many: 200 are the most", "shorter"]);
    says(&all[12], &["participants: all 255 are in use", "Arena::who"]);
}

/// What is larger than this arena can have is another kind than what all are in use of.
#[test]
fn too_large_is_not_all_in_use() {
    let t = TestArena::with(|o| o.capacity(MIB).limit(MIB));
    let bytes = vec![0_u8; 3 << 20];
    let writer = t.arena.writer().expect("a permit");
    let refused = writer.publish("x", bytes.as_slice()).expect_err("three times the capacity");
    assert!(matches!(refused, Error::TooLarge { asked, most, .. } if asked == 3 << 20 && most == MIB), "{refused:?}");
}

/// `?` takes errors out of a function that returns any error, with their kind still to be had.
#[test]
fn errors_go_through_question_marks() {
    fn fails() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Arena::open("no-such-arena-anywhere")?;
        Ok(())
    }
    let error = fails().expect_err("there is none");
    let error = error.downcast_ref::<Error>().expect("ours");
    assert_eq!(error.code(), "not_found");
    // As a reader of arrow has it, and back.
    let arrow = ArrowError::from(Error::Forked(7));
    assert!(matches!(arrow, ArrowError::ExternalError(e) if e.downcast_ref::<Error>().is_some()));
    let source = std::error::Error::source(&all()[22]).is_some();
    assert!(source, "the system's answer");
}

/// Whatever is owned goes to another thread, and can be looked at from several: handles, guards, what was read, values,
/// drafts and errors.
#[test]
fn everything_owned_is_send_and_sync() {
    fn owned<T: Send + Sync + 'static>() {}
    owned::<Error>();
    owned::<faretra::SendError<'static>>();
    owned::<faretra::RecvError>();
    owned::<faretra::feed::AppendError<'static>>();
    owned::<faretra::feed::SubscriberError>();
    owned::<faretra::channel::ForwardError>();
    owned::<Value<'static>>();
    owned::<Bundle<'static>>();
    owned::<faretra::Draft>();
    owned::<faretra::ArrayDraft<f64, Ix2>>();
    owned::<faretra::Drafted>();
    owned::<Arena>();
    owned::<faretra::Options>();
    owned::<faretra::Observer>();
    owned::<faretra::Writer>();
    owned::<Object>();
    owned::<faretra::Batch>();
    owned::<faretra::Table>();
    owned::<faretra::Bundled>();
    owned::<faretra::Array<f64, Ix2>>();
    owned::<faretra::Sender>();
    owned::<faretra::Receiver>();
    owned::<faretra::channel::Iter<'static>>();
    owned::<faretra::channel::BatchReader>();
    owned::<faretra::Lease>();
    owned::<faretra::Feed>();
    owned::<faretra::Subscriber>();
    owned::<faretra::feed::Iter<'static>>();
    owned::<faretra::feed::BatchReader>();
    owned::<faretra::MutableArray<f64, Ix2>>();
    owned::<faretra::Rows<f64, Ix2>>();
    owned::<faretra::RowsMut<f64, Ix2>>();
    owned::<faretra::sync::Mutex<u64>>();
    owned::<faretra::sync::MutexGuard<'static, u64>>();
    owned::<faretra::sync::Semaphore>();
    owned::<faretra::sync::Permit<'static>>();
    owned::<faretra::sync::Event>();
    owned::<faretra::sync::SharedValue<u64>>();
}

/// Values made of owned things need nothing that outlives them, and are what values made of references are.
#[test]
fn owned_values_are_what_borrowed_ones_are() {
    let t = TestArena::new(64 * MIB);
    let batch = values::batch(3, 100);
    let c = Array2::from_shape_fn((5, 7), |(i, j)| (i * 10 + j) as f64);
    let f = Array2::from_shape_vec((5, 7).f(), c.t().iter().copied().collect()).expect("35 elements");
    let strided = c.clone().slice_move(s![..;2, 1..;-2]);
    let writer = t.arena.writer().expect("a permit");
    writer.publish("batch", &batch).expect("room");
    writer.publish("c", &c).expect("room");
    writer.publish("f", f.view()).expect("room");
    writer.publish("strided", strided.view()).expect("room");
    let read = || t.arena.batch("batch").expect("published");
    let owned: Vec<(&str, Value<'static>)> = vec![
        ("batch", batch.clone().into()),
        ("batch", read().into()),
        ("batch", t.arena.get("batch").expect("published").into()),
        ("batch", t.arena.table("batch").expect("published").into()),
        ("batch", Value::table(t.arena.table("batch").expect("published").reader())),
        ("batch", vec![read()].into()),
        ("batch", Value::batches(batch.schema(), vec![batch.clone()])),
        ("c", c.clone().into()),
        ("c", c.clone().into_shared().into()),
        ("f", f.clone().into()),
        ("strided", strided.clone().into()),
        ("text", "ü".into()),
        ("text", String::from("ü").into()),
        ("text", vec![0xc3, 0xbc].into()),
        ("text", b"\xc3\xbc".into()),
    ];
    let bundle: Bundle<'static> =
        Bundle::new().with("c", c.clone()).with("batch", read()).with("text", String::from("ü"));
    std::thread::scope(|scope| {
        let sent = scope.spawn(move || {
            for (i, (name, value)) in owned.into_iter().enumerate() {
                writer.publish(&format!("{name} {i}"), value).expect("room");
            }
            writer.publish("bundle 0", bundle).expect("room");
        });
        sent.join().expect("published");
    });
    let batches = |object: Object| -> Vec<RecordBatch> {
        let table = object.table().expect("a table");
        (0..table.num_batches()).map(|i| table.batch(i).expect("sound").record_batch().clone()).collect()
    };
    let array = |object: Object| object.array::<f64, Ix2>().expect("an array");
    for entry in t.arena.names().expect("sound") {
        let object = t.arena.get(&entry.name).expect("published");
        match entry.name.split_once(' ') {
            Some(("batch", _)) => assert_eq!(batches(object), std::slice::from_ref(&batch), "{}", entry.name),
            Some((name @ ("c" | "f" | "strided"), _)) => {
                let (found, expected) = (array(object), array(t.arena.get(name).expect("published")));
                assert_eq!(found.view(), expected.view(), "{}", entry.name);
                assert_eq!(found.info(), expected.info(), "{}", entry.name);
            }
            Some(("text", _)) => assert_eq!(object.bytes().expect("bytes"), "ü".as_bytes()),
            Some(("bundle", _)) => {
                let bundle = object.bundle().expect("a bundle");
                assert_eq!(array(bundle.get("c").expect("there")).view(), c.view());
                assert_eq!(batches(bundle.get("batch").expect("there")), std::slice::from_ref(&batch));
                assert_eq!(bundle.get("text").expect("there").bytes().expect("bytes"), "ü".as_bytes());
            }
            _ => {}
        }
    }
}
