//! What can be published, sent and appended: values, borrowed or owned.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::SchemaRef;
use ndarray::{ArcArray, ArrayBase, ArrayView, Data, Dimension};

use crate::drafted::{ArrayDraft, BytesDraft, Draft, Drafted, DynArrayDraft};
use crate::error::Result;
use crate::reader::{Batch, Bundled, Object, Table};
use crate::value::array::Array;
use crate::value::dtype::ArrayElement;
use crate::value::dynamic::{DynArray, DynArrayView};
use crate::value::view::Sheet;

/// Something to publish, send or append.
///
/// Calls that take a value take `impl Into<Value>`: a batch, a table, an array of any element type, rank and order, bytes,
/// text, a [`Bundle`], a draft, or what was read from an arena; by reference, or owned. What is made of owned things is a
/// `Value<'static>`. Every value is `Send` and `Sync`.
///
/// What lies in the same arena already is not copied: an object becomes an object again under one more name, and columns
/// that show 64 KiB and more of the arena's memory are shared. Everything else is copied once, straight into the arena.
///
/// ```
/// use faretra::Value;
/// # use faretra::{Arena, MIB};
/// use ndarray::{Array2, Ix2};
/// # let name = format!("doc-value-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let values: Vec<(&str, Value<'static>)> =
///     vec![("ones", Array2::<f64>::ones((3, 4)).into()), ("text", "hello".into()), ("bytes", vec![1_u8, 2, 3].into())];
/// let writer = arena.writer()?;
/// std::thread::spawn(move || values.into_iter().try_for_each(|(name, value)| writer.publish(name, value).map(drop)))
///     .join()
///     .unwrap()?;
/// assert_eq!(arena.array::<f64, Ix2>("ones")?.sum(), 12.0);
/// # Ok::<(), faretra::Error>(())
/// ```
pub struct Value<'a>(pub(crate) Source<'a>);

/// Where a value comes from.
pub(crate) enum Source<'a> {
    /// Columns that show 64 KiB and more of this arena's memory are shared, the others copied.
    Batch(Cow<'a, RecordBatch>),
    /// What was read from an arena, itself. No payload is copied, unless it is from another arena.
    Object(Cow<'a, Object>),
    /// Batches that were read from an arena, as one table. Those of the first one's schema are shared as they
    /// are; of the others, which may differ in the schema's metadata only, the columns.
    Batches(Cow<'a, [Batch]>),
    /// The batches of a table, if there is one, and then batches that lie in the arena already, as one table of this schema.
    Drafts(SchemaRef, Option<Table>, Vec<Drafted>),
    /// All batches of a reader, as one table.
    Table(Reader<'a>),
    /// Batches of one schema, as one table: what a reader becomes that is sent.
    RecordBatches(SchemaRef, Vec<RecordBatch>),
    Array(DynArrayView<'a>),
    Bytes(Cow<'a, [u8]>),
    Bundle(Bundle<'a>),
    /// A batch or array that was written in place, or any value that was copied already.
    Drafted(Drafted),
}

/// A reader, which is used once. The lock is never waited for: it makes the value `Sync`.
pub(crate) struct Reader<'a> {
    schema: SchemaRef,
    batches: Mutex<Box<dyn RecordBatchReader + Send + 'a>>,
}

impl<'a> Reader<'a> {
    fn new(batches: Box<dyn RecordBatchReader + Send + 'a>) -> Reader<'a> {
        Reader { schema: batches.schema(), batches: Mutex::new(batches) }
    }

    pub(crate) fn into_batches(self) -> Box<dyn RecordBatchReader + Send + 'a> {
        self.batches.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What kind of source it is, and nothing of its contents.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source: &dyn fmt::Debug = match &self.0 {
            Source::Batch(batch) => &format_args!("batch of {} rows", batch.num_rows()),
            Source::Object(object) => &format_args!("{} `{}`", object.kind(), object.name()),
            Source::Batches(batches) => &format_args!("table of {} batches", batches.len()),
            Source::Drafts(_, before, drafts) => &format_args!(
                "table of {} batches",
                before.as_ref().map_or(0, Table::num_batches) + drafts.len() as u64
            ),
            Source::Table(_) => &format_args!("reader of a table"),
            Source::RecordBatches(_, batches) => &format_args!("table of {} batches", batches.len()),
            Source::Array(view) => &format_args!("array of {:?}", view.info()),
            Source::Bytes(bytes) => &format_args!("{} bytes", bytes.len()),
            Source::Bundle(bundle) => bundle,
            Source::Drafted(draft) => draft,
        };
        f.debug_tuple("Value").field(source).finish()
    }
}

impl<'a> Value<'a> {
    /// Returns all batches of `reader` as one table. The reader is read when the value is published or sent.
    pub fn table(reader: impl RecordBatchReader + Send + 'a) -> Value<'a> {
        Value(Source::Table(Reader::new(Box::new(reader))))
    }

    /// Returns `batches` as one table of this schema, which may have no batch at all. A batch of another schema is
    /// [`Error::Mismatch`](crate::Error::Mismatch) when the value is published or sent.
    pub fn batches(schema: SchemaRef, batches: Vec<RecordBatch>) -> Value<'a> {
        Value(Source::RecordBatches(schema, batches))
    }

    /// Returns drafts of batches as one table of this schema, which may have no batch at all. Nothing is copied: a table can be
    /// built batch by batch, and what is built of it is in the arena already. Another kind of value, or a batch of another
    /// schema, is [`Error::Mismatch`](crate::Error::Mismatch) when the value is published or sent.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use faretra::{Arena, MIB, Value};
    /// use faretra::arrow::arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # let name = format!("doc-drafts-{}", std::process::id());
    /// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
    /// let writer = arena.writer()?;
    /// let batch = |id: i64| RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![id])) as ArrayRef)]);
    /// let schema = batch(0)?.schema();
    /// let mut drafts = vec![];
    /// for id in 0..3 {
    ///     drafts.push(writer.prepare(batch(id)?)?);             // copied now
    /// }
    /// writer.publish("ids", Value::drafts(schema, drafts))?;    // not copied again
    /// let table = arena.table("ids")?;
    /// assert_eq!((table.num_batches(), table.num_rows()), (3, 3));
    /// # Ok::<(), faretra::Error>(())
    /// ```
    pub fn drafts(schema: SchemaRef, drafts: Vec<Drafted>) -> Value<'a> {
        Value(Source::Drafts(schema, None, drafts))
    }

    /// Returns the batches of `table`, followed by drafts of batches, as one table of the schema of `table`. Nothing is
    /// copied: the batches of `table`, if it was read from the same arena, are shared. A draft of another kind or of another
    /// schema is [`Error::Mismatch`](crate::Error::Mismatch) when the value is published or sent.
    ///
    /// To share a batch takes a tenth to a quarter of a microsecond, so that each table takes as long as it has batches: a feed
    /// ([`Writer::feed`](crate::Writer::feed)) is the better place for one that grows by thousands of small ones.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use faretra::{Arena, MIB, Value};
    /// use faretra::arrow::arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # let name = format!("doc-appended-{}", std::process::id());
    /// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
    /// let writer = arena.writer()?;
    /// let batch = |id: i64| RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(vec![id])) as ArrayRef)]);
    /// let version = writer.publish("ids", batch(1)?)?;
    /// let more = writer.prepare(batch(2)?)?;
    /// writer.publish_if("ids", version, Value::appended(arena.table("ids")?, vec![more]))?;
    /// assert_eq!(arena.table("ids")?.num_rows(), 2);
    /// # Ok::<(), faretra::Error>(())
    /// ```
    pub fn appended(table: Table, drafts: Vec<Drafted>) -> Value<'a> {
        Value(Source::Drafts(table.schema(), Some(table), drafts))
    }

    /// What was copied already, and its schema, if it has one.
    pub(crate) fn copied(sheet: Sheet, schema: Option<SchemaRef>) -> Value<'a> {
        Value(Source::Drafted(Drafted::copied(sheet, schema)))
    }

    /// The schema, if it is a batch or a table.
    pub(crate) fn schema(&self) -> Result<Option<SchemaRef>> {
        Ok(match &self.0 {
            Source::Batch(batch) => Some(batch.schema()),
            Source::Object(object) => object.value_schema()?,
            Source::Batches(batches) => batches.first().map(|batch| batch.schema()),
            Source::Table(reader) => Some(reader.schema.clone()),
            Source::RecordBatches(schema, _) | Source::Drafts(schema, ..) => Some(schema.clone()),
            Source::Drafted(draft) => draft.schema(),
            Source::Array(_) | Source::Bytes(_) | Source::Bundle(_) => None,
        })
    }

    /// Reads the readers in the value to their ends, so that it can be built more than once, unless there are drafts in it.
    pub(crate) fn gathered(self) -> Result<Value<'a>> {
        Ok(Value(match self.0 {
            Source::Table(reader) => {
                let schema = reader.schema.clone();
                Source::RecordBatches(schema, reader.into_batches().collect::<Result<_, _>>()?)
            }
            Source::Bundle(Bundle { members }) => {
                let gathered = members.into_iter().map(|(name, value)| Ok((name, value.gathered()?)));
                Source::Bundle(Bundle { members: gathered.collect::<Result<_>>()? })
            }
            source => source,
        }))
    }

    /// Whether building it uses it up.
    pub(crate) fn is_used_up(&self) -> bool {
        match &self.0 {
            Source::Table(_) | Source::Drafted(_) | Source::Drafts(..) => true,
            Source::Bundle(Bundle { members }) => members.iter().any(|(_, value)| value.is_used_up()),
            _ => false,
        }
    }
}

/// Several named values that are published at once or not at all. Read again, it is a [`Bundled`].
///
/// ```
/// use faretra::Bundle;
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-bundle-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let weights = ndarray::arr1(&[0.25_f32, 0.75]);
/// arena.writer()?.publish("model", Bundle::new().with("weights", &weights).with("author", "me"))?;
/// assert_eq!(arena.bundle("model")?.get("author")?.bytes()?, b"me");
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Bundle<'a> {
    pub(crate) members: Vec<(String, Value<'a>)>,
}

impl<'a> Bundle<'a> {
    /// Returns a bundle without members.
    pub fn new() -> Bundle<'a> {
        Bundle::default()
    }

    /// Adds a member. Two members of one name are [`Error::Invalid`](crate::Error::Invalid) when the bundle is published.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value<'a>>) -> Bundle<'a> {
        self.members.push((name.to_owned(), value.into()));
        self
    }
}

impl<'a> From<&'a RecordBatch> for Value<'a> {
    fn from(batch: &'a RecordBatch) -> Value<'a> {
        Value(Source::Batch(Cow::Borrowed(batch)))
    }
}

impl From<RecordBatch> for Value<'_> {
    fn from(batch: RecordBatch) -> Self {
        Value(Source::Batch(Cow::Owned(batch)))
    }
}

impl<'a> From<&'a Object> for Value<'a> {
    fn from(object: &'a Object) -> Value<'a> {
        Value(Source::Object(Cow::Borrowed(object)))
    }
}

impl From<Object> for Value<'_> {
    fn from(object: Object) -> Self {
        Value(Source::Object(Cow::Owned(object)))
    }
}

impl<'a> From<&'a Batch> for Value<'a> {
    fn from(batch: &'a Batch) -> Value<'a> {
        batch.object().into()
    }
}

impl From<Batch> for Value<'_> {
    fn from(batch: Batch) -> Self {
        batch.object().clone().into()
    }
}

impl<'a> From<&'a Table> for Value<'a> {
    fn from(table: &'a Table) -> Value<'a> {
        match (table.object(), table.gathered_batches()) {
            (Some(object), _) => object.into(),
            (None, batches) => batches.unwrap_or_default().into(),
        }
    }
}

impl From<Table> for Value<'_> {
    fn from(table: Table) -> Self {
        match (table.object(), table.gathered_batches()) {
            (Some(object), _) => object.clone().into(),
            (None, batches) => batches.unwrap_or_default().to_vec().into(),
        }
    }
}

impl<'a> From<&'a Bundled> for Value<'a> {
    fn from(bundle: &'a Bundled) -> Value<'a> {
        bundle.object().into()
    }
}

impl From<Bundled> for Value<'_> {
    fn from(bundle: Bundled) -> Self {
        bundle.object().clone().into()
    }
}

/// Batches that were read from an arena, as one table.
impl<'a> From<&'a [Batch]> for Value<'a> {
    fn from(batches: &'a [Batch]) -> Value<'a> {
        Value(Source::Batches(Cow::Borrowed(batches)))
    }
}

/// Batches that were read from an arena, as one table.
impl From<Vec<Batch>> for Value<'_> {
    fn from(batches: Vec<Batch>) -> Self {
        Value(Source::Batches(Cow::Owned(batches)))
    }
}

impl<'a> From<Box<dyn RecordBatchReader + Send + 'a>> for Value<'a> {
    fn from(reader: Box<dyn RecordBatchReader + Send + 'a>) -> Value<'a> {
        Value(Source::Table(Reader::new(reader)))
    }
}

impl<'a, T: ArrayElement, D: Dimension> From<ArrayView<'a, T, D>> for Value<'a> {
    fn from(view: ArrayView<'a, T, D>) -> Value<'a> {
        Value(Source::Array(view.into()))
    }
}

/// Any array of ndarray: owned, shared, or a view itself.
impl<'a, T: ArrayElement, S: Data<Elem = T>, D: Dimension> From<&'a ArrayBase<S, D>> for Value<'a> {
    fn from(array: &'a ArrayBase<S, D>) -> Value<'a> {
        array.view().into()
    }
}

impl<T: ArrayElement, D: Dimension> From<ndarray::Array<T, D>> for Value<'_> {
    fn from(array: ndarray::Array<T, D>) -> Self {
        Value(Source::Array(DynArrayView::owned(array)))
    }
}

impl<T: ArrayElement, D: Dimension> From<ArcArray<T, D>> for Value<'_> {
    fn from(array: ArcArray<T, D>) -> Self {
        Value(Source::Array(DynArrayView::owned(array)))
    }
}

impl<'a> From<DynArrayView<'a>> for Value<'a> {
    fn from(view: DynArrayView<'a>) -> Value<'a> {
        Value(Source::Array(view))
    }
}

/// An array that was read from an arena is copied. To share it instead, publish the [`Object`] that it was read from.
impl<'a> From<&'a DynArray> for Value<'a> {
    fn from(array: &'a DynArray) -> Value<'a> {
        DynArrayView::from(array).into()
    }
}

/// An array that was read from an arena is copied. To share it instead, publish the [`Object`] that it was read from.
impl<'a, T: ArrayElement, D: Dimension> From<&'a Array<T, D>> for Value<'a> {
    fn from(array: &'a Array<T, D>) -> Value<'a> {
        array.view().into()
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Value<'a> {
        Value(Source::Bytes(Cow::Borrowed(bytes)))
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(bytes: &'a [u8; N]) -> Value<'a> {
        bytes.as_slice().into()
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Value(Source::Bytes(Cow::Owned(bytes)))
    }
}

/// Text is its UTF-8 bytes.
impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Value<'a> {
        text.as_bytes().into()
    }
}

/// Text is its UTF-8 bytes.
impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl<'a> From<Bundle<'a>> for Value<'a> {
    fn from(bundle: Bundle<'a>) -> Value<'a> {
        Value(Source::Bundle(bundle))
    }
}

impl From<Draft> for Value<'_> {
    fn from(draft: Draft) -> Self {
        Drafted::from(draft).into()
    }
}

impl<T: ArrayElement, D: Dimension> From<ArrayDraft<T, D>> for Value<'_> {
    fn from(draft: ArrayDraft<T, D>) -> Self {
        Drafted::from(draft).into()
    }
}

impl From<DynArrayDraft> for Value<'_> {
    fn from(draft: DynArrayDraft) -> Self {
        Drafted::from(draft).into()
    }
}

impl From<BytesDraft> for Value<'_> {
    fn from(draft: BytesDraft) -> Self {
        Drafted::from(draft).into()
    }
}

impl From<Drafted> for Value<'_> {
    fn from(draft: Drafted) -> Self {
        Value(Source::Drafted(draft))
    }
}
