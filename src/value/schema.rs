//! Schemas: which can be stored, their bytes, and what a process remembers of them.
//!
//! A schema is stored as Arrow's own schema message. To make one costs about 0.1 us per column, to
//! read one 0.3 us, so both are done once per schema and thread and then found again: by the `Arc` on the way
//! in, by the bytes on the way out.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread::LocalKey;

use arrow_array::RecordBatch;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use arrow_schema::{DataType, Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::value::layout::{damaged, u64_at};
use crate::value::shape::Shape;

pub(crate) struct EncodedSchema {
    pub bytes: Vec<u8>,
    pub print: u64,
}

/// The schema that was encoded, or one that is equal and was met later.
struct Met {
    schema: SchemaRef,
    encoded: Arc<EncodedSchema>,
}

thread_local! {
    static ENCODED: Recent<Met> = const { Recent::new(Vec::new()) };
}

/// The schema message, padded to 8. The same `Arc` is found without comparing, also one that was compared once: a reader of files
/// or of another library's batches has one of its own.
pub(crate) fn encode_schema(schema: &SchemaRef) -> Result<Arc<EncodedSchema>> {
    find_or(
        &ENCODED,
        |known| Arc::ptr_eq(&known.schema, schema) || known.schema == *schema,
        || {
            // Before arrow sees it: its encoder panics on a dictionary of dictionaries.
            schema_fine(schema).map_err(|e| Error::invalid(format!("the schema cannot be stored: {e}")))?;
            let mut ids = DictionaryTracker::new(false);
            let mut bytes = IpcDataGenerator::default()
                .schema_to_bytes_with_dictionary_tracker(schema, &mut ids, &IpcWriteOptions::default())
                .ipc_message;
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            // Read it as every reader will: what comes back differently must not be written.
            let back =
                decode_schema(&bytes).map_err(|e| Error::invalid(format!("the schema cannot be stored: {e}")))?;
            if back != **schema {
                return Err(Error::invalid("the schema cannot be stored: Arrow's format gives back another one"));
            }
            let print = fingerprint(&bytes);
            Ok(Met { schema: schema.clone(), encoded: Arc::new(EncodedSchema { bytes, print }) })
        },
        |known| {
            if !Arc::ptr_eq(&known.schema, schema) {
                known.schema = schema.clone();
            }
            known.encoded.clone()
        },
    )
}

/// The most fields that the type of a column may nest in each other, the column's own counted: a list of numbers nests
/// 2, a map 3. A batch with a deeper column cannot be stored; publishing it fails with
/// [`Error::Invalid`].
///
/// The number follows from Arrow's format. Whoever reads a stored schema verifies it first, and verifiers allow 64
/// tables inside each other: the message, the schema, and up to two below the field of a dictionary are among them.
pub const MAX_DEPTH: usize = 60;

/// A batch of no rows; only of a schema that can be stored, because arrow panics on some others.
pub(crate) fn empty_batch(schema: &SchemaRef) -> Result<RecordBatch> {
    encode_schema(schema)?;
    Ok(RecordBatch::new_empty(schema.clone()))
}

fn schema_fine(schema: &Schema) -> Result<(), String> {
    schema
        .fields()
        .iter()
        .try_for_each(|field| check_type(field.data_type(), 1).map_err(|e| format!("column `{}`: {e}", field.name())))
}

/// 64 bits of a message, to find it in a cache and to notice that it was damaged (not forged).
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    // FNV-1a over words, with a rotation so that high bits reach low ones.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ bytes.len() as u64;
    let mut step = |word: u64| hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        step(u64_at(word, 0));
    }
    for &byte in words.remainder() {
        step(u64::from(byte));
    }
    hash
}

/// Refuses types that Arrow's format has no place for, or whose parameters make no sense. `Err` is
/// the reason. Schemas are checked on their way in and again on their way out.
fn check_type(t: &DataType, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        // Without its type, which would be as long as it is deep.
        return Err(format!("it nests more than {MAX_DEPTH} fields deep, which is the limit; flatten it first"));
    }
    match t {
        DataType::FixedSizeBinary(n) | DataType::FixedSizeList(_, n) if *n < 0 => {
            return Err(format!("{t} has a negative size"));
        }
        // It could have no value, and arrow makes no empty array of it.
        DataType::Union(fields, _) if fields.is_empty() => {
            return Err("a union without children holds nothing; leave it out".into());
        }
        DataType::Map(entries, _) if !matches!(entries.data_type(), DataType::Struct(pair) if pair.len() == 2) => {
            return Err(format!("the entries of a map are a struct of two fields, not {}", entries.data_type()));
        }
        DataType::Dictionary(_, values) if matches!(**values, DataType::Dictionary(..)) => {
            return Err(
                "the values of a dictionary are a dictionary themselves; cast the values to their plain type first"
                    .into(),
            );
        }
        DataType::Dictionary(keys, _) if !keys.is_dictionary_key_type() => {
            return Err(format!("{keys} cannot be the keys of a dictionary"));
        }
        DataType::RunEndEncoded(ends, _)
            if !matches!(ends.data_type(), DataType::Int16 | DataType::Int32 | DataType::Int64) =>
        {
            return Err(format!("run ends are int16, int32 or int64, not {}", ends.data_type()));
        }
        _ => {}
    }
    let shape = Shape::of(t).ok_or_else(|| format!("{t} is not known here"))?;
    // The values of a dictionary have no field of their own.
    let below = if matches!(shape, Shape::Dictionary { .. }) { depth } else { depth + 1 };
    shape.children().try_for_each(|child| check_type(child, below))
}

struct Decoded {
    print: u64,
    bytes: Box<[u8]>,
    schema: SchemaRef,
}

thread_local! {
    static DECODED: Recent<Decoded> = const { Recent::new(Vec::new()) };
}

/// What `take` takes of the schema whose message `bytes` is; `print` is the [`fingerprint`] that was
/// stored with it.
pub(crate) fn decoded_schema<R>(print: u64, bytes: &[u8], take: impl Fn(&SchemaRef) -> R) -> Result<R> {
    find_or(
        &DECODED,
        |known| known.print == print && *known.bytes == *bytes,
        || {
            if fingerprint(bytes) != print {
                return Err(damaged("has a schema that is not the one written"));
            }
            let schema = decode_schema(bytes).map_err(|e| damaged(format!("has a schema that cannot be used: {e}")))?;
            Ok(Decoded { print, bytes: bytes.into(), schema: Arc::new(schema) })
        },
        |known| take(&known.schema),
    )
}

/// The last few things that a thread made, most recently used first. Each thread has its own, so
/// that threads do not wait for each other and a fork finds no lock taken. Small on purpose: who
/// reads more than this many schemas in turn pays for decoding, not with memory.
type Recent<T> = RefCell<Vec<T>>;

/// How many schemas a thread remembers.
const REMEMBERED: usize = 16;

/// `take` of the entry that `is` it, made by `make` where there is none.
fn find_or<T, R>(
    entries: &'static LocalKey<Recent<T>>,
    is: impl Fn(&T) -> bool,
    make: impl FnOnce() -> Result<T>,
    take: impl Fn(&mut T) -> R,
) -> Result<R> {
    // A thread that ends may have forgotten everything before it reads for the last time.
    let found = entries.try_with(|entries| {
        let mut entries = entries.borrow_mut();
        let i = entries.iter().position(&is)?;
        entries.swap(0, i);
        entries.first_mut().map(&take)
    });
    if let Ok(Some(taken)) = found {
        return Ok(taken);
    }
    let mut made = make()?;
    let taken = take(&mut made);
    // What is forgotten is dropped outside the borrow.
    let forgotten = entries.try_with(|entries| {
        let mut entries = entries.borrow_mut();
        let last = if entries.len() < REMEMBERED { None } else { entries.pop() };
        entries.insert(0, made);
        last
    });
    drop(forgotten);
    Ok(taken)
}

/// Decodes a schema message. arrow's own conversion panics on what it does not know, so everything
/// it would panic on is refused first.
pub(crate) fn decode_schema(bytes: &[u8]) -> Result<Schema, String> {
    let message = arrow_ipc::root_as_message(bytes).map_err(|e| e.to_string())?;
    let schema = message.header_as_schema().ok_or("the message is no schema")?;
    if schema.endianness() != arrow_ipc::Endianness::Little {
        return Err("it is big-endian".into());
    }
    for field in schema.fields().ok_or("it has no list of fields")? {
        check_field(&field)?;
    }
    let schema = arrow_ipc::convert::fb_to_schema(schema);
    schema.fields().iter().try_for_each(|f| check_type(f.data_type(), 1))?;
    Ok(schema)
}

/// `Err` for whatever `arrow_ipc::convert` would panic on (59.3: `get_data_type`).
fn check_field(field: &arrow_ipc::Field<'_>) -> Result<(), String> {
    use arrow_ipc::{DateUnit, IntervalUnit, Precision, TimeUnit, Type, UnionMode};

    let int = |int: Option<arrow_ipc::Int<'_>>| int.is_some_and(|i| matches!(i.bitWidth(), 8 | 16 | 32 | 64));
    let unit = |unit: TimeUnit| TimeUnit::ENUM_VALUES.contains(&unit);
    let children = field.children().map_or(0, |c| c.len());
    if field.dictionary().is_some_and(|d| !int(d.indexType())) {
        return Err("a dictionary has keys of no integer type".into());
    }
    let fine = match field.type_type() {
        Type::Null | Type::Bool | Type::Struct_ => true,
        Type::Binary | Type::BinaryView | Type::LargeBinary => true,
        Type::Utf8 | Type::Utf8View | Type::LargeUtf8 => true,
        Type::Int => int(field.type_as_int()),
        Type::FixedSizeBinary => field.type_as_fixed_size_binary().is_some(),
        Type::FloatingPoint => {
            field.type_as_floating_point().is_some_and(|f| Precision::ENUM_VALUES.contains(&f.precision()))
        }
        Type::Date => field.type_as_date().is_some_and(|d| DateUnit::ENUM_VALUES.contains(&d.unit())),
        Type::Time => field.type_as_time().is_some_and(|t| match t.bitWidth() {
            32 => matches!(t.unit(), TimeUnit::SECOND | TimeUnit::MILLISECOND),
            64 => matches!(t.unit(), TimeUnit::MICROSECOND | TimeUnit::NANOSECOND),
            _ => false,
        }),
        Type::Timestamp => field.type_as_timestamp().is_some_and(|t| unit(t.unit())),
        Type::Duration => field.type_as_duration().is_some_and(|d| unit(d.unit())),
        Type::Interval => field.type_as_interval().is_some_and(|i| IntervalUnit::ENUM_VALUES.contains(&i.unit())),
        Type::List | Type::LargeList | Type::ListView | Type::LargeListView => children == 1,
        Type::FixedSizeList => children == 1 && field.type_as_fixed_size_list().is_some(),
        Type::RunEndEncoded => children == 2,
        Type::Map => children == 1 && field.type_as_map().is_some(),
        Type::Decimal => field.type_as_decimal().is_some_and(|d| {
            matches!(d.bitWidth(), 32 | 64 | 128 | 256)
                && u8::try_from(d.precision()).is_ok()
                && i8::try_from(d.scale()).is_ok()
        }),
        Type::Union => field.type_as_union().is_some_and(|u| {
            UnionMode::ENUM_VALUES.contains(&u.mode())
                && match u.typeIds() {
                    None => children <= 128,
                    Some(ids) => {
                        let mut ids: Vec<i8> = ids.iter().map(|id| id as i8).collect();
                        ids.sort_unstable();
                        ids.dedup();
                        ids.len() == children
                            && ids.first().is_none_or(|&id| id >= 0)
                            && u.typeIds().is_some_and(|all| all.len() == children)
                    }
                }
        }),
        _ => false,
    };
    if !fine {
        return Err(format!(
            "field `{}` of type {:?} makes no sense",
            field.name().unwrap_or_default(),
            field.type_type()
        ));
    }
    for child in field.children().into_iter().flatten() {
        check_field(&child)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow_schema::{DataType, Field, Schema};

    use super::{MAX_DEPTH, decode_schema, encode_schema};
    use crate::error::Error;

    /// A schema of one column that nests so deep, with what lies deepest in the stored form at its end.
    fn deep(depth: usize) -> Arc<Schema> {
        let metadata = HashMap::from([("key".to_owned(), "value".to_owned())]);
        let leaf = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
        let leaf = Field::new("leaf", leaf, true).with_metadata(metadata);
        let column = (1..depth).fold(leaf, |inner, _| Field::new("list", DataType::List(Arc::new(inner)), true));
        Arc::new(Schema::new(vec![column]))
    }

    #[test]
    fn the_deepest_column_is_read_again_and_a_deeper_one_is_refused_with_the_limit() {
        let stored = encode_schema(&deep(MAX_DEPTH)).unwrap();
        assert_eq!(decode_schema(&stored.bytes).unwrap(), *deep(MAX_DEPTH));
        for depth in [MAX_DEPTH + 1, 100, 2_000] {
            match encode_schema(&deep(depth)) {
                Err(Error::Invalid(text)) => assert!(text.contains("more than 60 fields deep"), "{text}"),
                other => panic!("{depth}: {:?}", other.map(|_| ())),
            }
        }
    }

    #[test]
    fn an_equal_schema_is_compared_once() {
        let (first, other) = (deep(2), deep(2));
        let encoded = encode_schema(&first).unwrap();
        assert_eq!(Arc::strong_count(&other), 1);
        assert!(Arc::ptr_eq(&encode_schema(&other).unwrap(), &encoded));
        assert_eq!(
            (Arc::strong_count(&first), Arc::strong_count(&other)),
            (1, 2),
            "the one that was met last is remembered"
        );
        assert!(Arc::ptr_eq(&encode_schema(&other).unwrap(), &encoded));
    }

    #[test]
    fn a_union_without_children_is_refused_at_any_depth_also_without_batches() {
        use arrow_schema::{UnionFields, UnionMode};
        for mode in [UnionMode::Dense, UnionMode::Sparse] {
            let union = DataType::Union(UnionFields::empty(), mode);
            for kind in [union.clone(), DataType::new_list(union, true)] {
                let schema = Arc::new(Schema::new(vec![Field::new("u", kind, true)]));
                let text = super::empty_batch(&schema).unwrap_err().to_string();
                assert!(text.contains("`u`") && text.contains("without children"), "{text}");
            }
        }
        assert_eq!(super::empty_batch(&deep(3)).unwrap().num_rows(), 0);
    }
}
