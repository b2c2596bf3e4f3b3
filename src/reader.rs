//! What comes out: a pinned object, and the values it can be read as.
//!
//! Every value keeps the pin of the object that it was read from, and so do the arrow arrays and
//! buffers made of it: the memory stays as it is until the last of them is dropped, whatever happens
//! to the name. A part (a table's batch, a bundle's member) keeps the pin of the whole.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow_array::{RecordBatch, RecordBatchIterator, RecordBatchReader};
use arrow_buffer::Buffer;
use arrow_schema::SchemaRef;
use ndarray::{Dimension, Ix1};
use smol_str::{SmolStr, format_smolstr};

use crate::core::geometry::meta;
use crate::core::tables::Kind as Stored;
use crate::core::word::Id;
use crate::error::{Error, Missing, Result};
use crate::kind::Kind;
use crate::value::array::Array;
use crate::value::batch::{Cut, Layout, Region};
use crate::value::check::{Ask, Key, Trust, Values};
use crate::value::dtype::ArrayElement;
use crate::value::dynamic::DynArray;
use crate::value::element::{Element, ElementType};
use crate::value::extent::Extent;
use crate::value::found::Wanted;
use crate::value::info::ArrayInfo;
use crate::value::parts::{self, MemberNames};
use crate::value::private::PrivateBytes;
use crate::value::unchecked::Lent;
use crate::value::view::{Attachment, Pin, bytes_below};

/// An object of an arena, pinned: its bytes stay as they are until this handle, its clones and everything that was read
/// from them are dropped, whatever happens to its name.
///
/// ```
/// use ndarray::{Ix1, arr1};
/// # use faretra::{Arena, Kind, MIB};
/// # let name = format!("doc-object-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let writer = arena.writer()?;
/// writer.publish("x", arr1(&[1_i64, 2, 3]))?;
/// let object = arena.get("x")?;
/// writer.remove("x")?;
/// assert_eq!((object.kind(), object.version(), object.rows()), (Kind::Array, 1, 3));
/// assert_eq!(object.array::<i64, Ix1>()?.sum(), 6);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Object {
    pin: Arc<Pin>,
    id: Id,
    name: SmolStr,
    kind: Stored,
}

impl Object {
    pub(crate) fn pinned(pin: Pin, name: impl Into<SmolStr>) -> Result<Object> {
        let (id, kind) = resolve(&pin)?;
        Ok(Object { pin: Arc::new(pin), id, name: name.into(), kind })
    }

    fn part_of(pin: Arc<Pin>, id: Id, name: SmolStr) -> Result<Object> {
        let kind = pin.attachment().core()?.kind(id)?;
        Ok(Object { pin, id, name, kind })
    }

    /// 0 in a forked child, which does not have the records.
    fn meta(&self, id: Id, word: u64) -> u64 {
        self.pin.attachment().core().map_or(0, |core| core.meta(id, word))
    }

    pub(crate) fn pin(&self) -> &Arc<Pin> {
        &self.pin
    }

    /// Where ids mean the same.
    pub(crate) fn attachment(&self) -> &Arc<Attachment> {
        self.pin.attachment()
    }

    /// Itself: never an alias.
    pub(crate) fn id(&self) -> Id {
        self.id
    }

    /// The schema, if it is a batch or a table.
    pub(crate) fn value_schema(&self) -> Result<Option<SchemaRef>> {
        match self.kind {
            Stored::Batch | Stored::Table => Ok(Some(parts::schema_of(&self.descriptor()?)?)),
            _ => Ok(None),
        }
    }

    /// Returns the schema of a batch or table, or of the batches of a channel or feed if that is known already; `None` for
    /// what has no schema. Nothing is waited for, and no end of a channel or feed is opened.
    pub fn schema(&self) -> Result<Option<SchemaRef>> {
        match self.kind {
            Stored::Channel | Stored::Feed => match Pin::in_place(self.attachment(), self.id)? {
                Some(pin) => Object::pinned(pin, self.name.clone())?.value_schema(),
                None => Ok(None),
            },
            _ => self.value_schema(),
        }
    }

    /// Returns whether the arena was opened with [`Options::untrusted`](crate::Options::untrusted): then each read
    /// validates what it reads, and [`Object::null_count`] and [`Object::column_nbytes`] are what others say.
    pub fn is_untrusted(&self) -> bool {
        self.attachment().values == Values::Untrusted
    }

    /// Returns what the object is.
    pub fn kind(&self) -> Kind {
        Kind::of(self.kind)
    }

    pub(crate) fn stored_kind(&self) -> Stored {
        self.kind
    }

    /// Returns the name that the object was found under. An item of a channel or feed has that one's name, a member of a
    /// bundle `BUNDLE/MEMBER`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the version that the object had when it was published under its name; for a member of a bundle or a batch of a
    /// table, the version of the whole. Versions of one name only rise.
    pub fn version(&self) -> u64 {
        self.meta(self.pin.id(), meta::VERSION)
    }

    /// Returns the rows of a batch or table, the elements of an array, the bytes of bytes, or the members of a bundle.
    pub fn rows(&self) -> u64 {
        self.meta(self.id, meta::ROWS)
    }

    /// Returns when the object was published or sent, by the clock of the process that did so.
    pub fn published(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.meta(self.pin.id(), meta::TIME))
    }

    /// Returns the path of the file of the arena that the object is in.
    pub fn path(&self) -> &Path {
        self.pin.attachment().path()
    }

    /// Returns how many bytes of the arena the object and its parts have, descriptors included. What several objects share
    /// is counted in each of them.
    pub fn nbytes(&self) -> u64 {
        self.pin.attachment().core().map_or(0, |core| bytes_below(core, self.id, 4))
    }

    /// Returns the bytes. Fails with [`Error::Mismatch`] for an object of another kind.
    pub fn bytes(&self) -> Result<&[u8]> {
        self.expect(Stored::Bytes)?;
        self.body()
    }

    /// Returns the element type, shape and order of an array. Fails with [`Error::Mismatch`] for an object of another kind.
    pub fn array_info(&self) -> Result<ArrayInfo> {
        self.expect(Stored::Array)?;
        ArrayInfo::parse(self.body()?)
    }

    /// Returns the batch, with all its columns. Fails with [`Error::Mismatch`] for an object of another kind.
    pub fn batch(&self) -> Result<Batch> {
        self.clone().try_into()
    }

    /// Returns the table; a batch is a table of one batch. Fails with [`Error::Mismatch`] for an object of another kind.
    pub fn table(&self) -> Result<Table> {
        self.clone().try_into()
    }

    /// Returns the bundle. Fails with [`Error::Mismatch`] for an object of another kind.
    pub fn bundle(&self) -> Result<Bundled> {
        self.clone().try_into()
    }

    /// Returns the array. Fails with [`Error::Mismatch`] for an object of another kind, element type or rank.
    pub fn array<T: ArrayElement, D: Dimension>(&self) -> Result<Array<T, D>> {
        self.expect(Stored::Array)?;
        Array::from_lent(&self.name, self.lend_array()?)
    }

    /// Returns the array, whatever its element type and rank. Fails with [`Error::Mismatch`] for an object of another kind.
    pub fn dyn_array(&self) -> Result<DynArray> {
        self.expect(Stored::Array)?;
        DynArray::from_lent(self.name.clone(), self.lend_array()?)
    }

    /// Maps bytes, or the elements of an array, once more, copy-on-write: they can be written, and nobody else sees what is
    /// written. See [`PrivateBytes`]; for a typed array, or a column of a batch, [`Array::private`].
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] for an object that is neither bytes nor an array; [`Error::Forked`] in a forked child;
    /// [`Error::Os`] if the address space is full.
    pub fn private(&self) -> Result<PrivateBytes> {
        match self.kind {
            Stored::Array => self.dyn_array()?.private(),
            Stored::Bytes => PrivateBytes::map(&self.pin.lend(self.id)?, self.body()?),
            kind => Err(Error::Mismatch {
                name: self.name.to_string(),
                expected: "bytes or an array (of a batch, take the column)".into(),
                found: kind.to_string(),
            }),
        }
    }

    /// Returns one column of a batch as an array, without building the others: the fast way to plain numbers. Values under
    /// nulls are arbitrary. Fails with [`Error::NotFound`] for a name that is no column's, and with [`Error::Mismatch`] for
    /// another element type.
    pub fn column<T: Element>(&self, name: &str) -> Result<Column<T>> {
        self.expect(Stored::Batch)?;
        let wanted = self.wanted(name, T::TYPE)?;
        let at = match wanted.and_then(|wanted| wanted.known()) {
            Some(at) => at,
            None => {
                let at = self.find_column(name, T::TYPE)?;
                if let Some(wanted) = wanted {
                    wanted.found(at);
                }
                at
            }
        };
        Column::from_values(name, self.pin.ground().lend(at.range()))
    }

    /// The column as a thread remembers it. `None`: it is found each time.
    #[inline]
    fn wanted<'a>(&self, name: &'a str, element: ElementType) -> Result<Option<Wanted<'a>>> {
        let at = self.attachment();
        let key = if at.values == Values::Untrusted { None } else { self.life_key()? };
        Ok(key.map(|key| Wanted { attachment: at.number, key, element, name }))
    }

    /// Where the values of a column lie, which were checked to be as many as there are rows.
    #[cold]
    fn find_column(&self, name: &str, element: ElementType) -> Result<Extent> {
        let (body, bytes) = self.pin.body(self.id)?;
        let descriptor = self.descriptor_in(bytes)?;
        let layout = Layout::parse(&descriptor)?;
        let Some(index) = layout.index_of(name)? else {
            return Err(self.no_column(name, &layout.schema()?));
        };
        let extent = |k: u32| u64::from(k).checked_sub(1).map_or(Ok(body), |part| self.part_extent(part));
        layout.values(index, element, &self.pin.ground(), extent)
    }

    /// Returns some columns of a batch, by their indices and in that order, as arrow's type. The other columns are not
    /// touched: neither built nor checked. arrow counts the memory of the columns exactly (`get_array_memory_size`), as engines
    /// with a limit of memory need it. Fails with [`Error::Invalid`] for an index that is no column's, and with
    /// [`Error::Mismatch`] for an object of another kind.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use faretra::{Arena, MIB};
    /// # use faretra::arrow::arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    /// # let name = format!("doc-project-{}", std::process::id());
    /// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
    /// let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    /// let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    /// arena.writer()?.publish("t", RecordBatch::try_from_iter([("id", id), ("text", text)])?)?;
    /// let batch = arena.get("t")?.project(&[0])?;
    /// assert_eq!((batch.num_columns(), batch.num_rows()), (1, 2));
    /// # Ok::<(), faretra::Error>(())
    /// ```
    pub fn project(&self, columns: &[usize]) -> Result<RecordBatch> {
        self.expect(Stored::Batch)?;
        let (body, bytes) = self.pin.body(self.id)?;
        let descriptor = self.descriptor_in(bytes)?;
        let layout = Layout::parse(&descriptor)?;
        let region = Region { ground: &self.pin.ground(), extents: &self.extents_from(body)?, cut: Cut::Apart };
        let at = self.attachment();
        layout.project(columns, &region, |index, column| match at.values {
            Values::Vouched => column(Trust::Writers),
            Values::Untrusted => column(Trust::Others),
            Values::Checked => {
                let whole = self.life_key()?;
                let alone = whole.and_then(|key| key.of_column(index));
                let known = || [whole, alone].into_iter().flatten().any(|key| at.known.has(key));
                let ask = Ask::new(&known);
                let built = column(Trust::Ask(&ask))?;
                if ask.was_unknown()
                    && let Some(key) = alone
                {
                    at.known.add(key);
                }
                Ok(built)
            }
        })
    }

    /// Which life of the object this is.
    #[inline]
    fn life_key(&self) -> Result<Option<Key>> {
        let core = self.attachment().core()?;
        // Pinned: this word is of the object's life that is read here.
        Ok(Key::new(self.id, self.pin.id(), core.life(self.pin.id(), SeqCst)))
    }

    /// Returns how many nulls a column of a batch has, without touching its values. Fails as [`Object::project`] does.
    pub fn null_count(&self, column: usize) -> Result<u64> {
        self.expect(Stored::Batch)?;
        Layout::parse(self.body()?)?.null_count(column)
    }

    /// Returns how many bytes the buffers of a column of a batch have, padding left out, without touching its values. Fails
    /// as [`Object::project`] does.
    pub fn column_nbytes(&self, column: usize) -> Result<u64> {
        self.expect(Stored::Batch)?;
        Layout::parse(self.body()?)?.column_nbytes(column)
    }

    fn no_column(&self, name: &str, schema: &SchemaRef) -> Error {
        let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let detail = format!("it has {}", names.join(", "));
        Error::NotFound { what: Missing::Column, name: name.to_owned(), within: self.name.to_string(), detail }
    }

    #[inline]
    fn expect(&self, kind: Stored) -> Result<()> {
        if self.kind == kind { Ok(()) } else { Err(self.other_kind(kind)) }
    }

    #[cold]
    fn other_kind(&self, kind: Stored) -> Error {
        Error::Mismatch { name: self.name.to_string(), expected: kind.to_string(), found: self.kind.to_string() }
    }

    pub(crate) fn parts(&self) -> u64 {
        self.pin.attachment().core().map_or(0, |core| core.part_count(self.id))
    }

    pub(crate) fn part(&self, index: u64) -> Result<Object> {
        let id = self.pin.part(self.id, index)?;
        Object::part_of(self.pin.clone(), id, self.name.clone())
    }

    /// The payload behind the entries.
    pub(crate) fn body(&self) -> Result<&[u8]> {
        Ok(self.pin.body(self.id)?.1)
    }

    /// The descriptor of a batch or table, in its body.
    fn descriptor(&self) -> Result<Cow<'_, [u8]>> {
        self.descriptor_in(self.body()?)
    }

    /// The descriptor that a body begins with; what is behind it may be cut off. A copy, if others may change it while it is
    /// read (C3).
    #[inline]
    fn descriptor_in<'a>(&self, body: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        if !self.is_untrusted() {
            return Ok(body.into());
        }
        Ok(Layout::parse(body)?.descriptor().to_vec().into())
    }

    /// The object's bytes, with what keeps them; a copy, if they are elements that have to be checked and others may change
    /// them meanwhile (C3).
    fn lend_array(&self) -> Result<Lent> {
        let lent = self.pin.lend(self.id)?;
        let numbers = |info: ArrayInfo| info.dtype.element().is_some_and(|element| element != ElementType::Bool);
        if !self.is_untrusted() || ArrayInfo::parse(lent.bytes()).is_ok_and(numbers) {
            return Ok(lent);
        }
        Ok(Buffer::from_slice_ref(lent.bytes()).into())
    }

    /// Where the bytes of a part lie.
    fn part_extent(&self, part: u64) -> Result<Extent> {
        self.pin.extent(self.pin.part(self.id, part)?)
    }

    /// Where buffers of a batch may lie: in its body (extent 0) and in its parts.
    pub(crate) fn extents(&self) -> Result<Vec<Extent>> {
        self.extents_from(self.pin.body(self.id)?.0)
    }

    fn extents_from(&self, body: Extent) -> Result<Vec<Extent>> {
        let mut all = vec![body];
        all.append(&mut self.pin.part_extents(self.id)?);
        Ok(all)
    }

    pub(crate) fn record_batch(&self) -> Result<RecordBatch> {
        self.expect(Stored::Batch)?;
        let (body, bytes) = self.pin.body(self.id)?;
        let descriptor = self.descriptor_in(bytes)?;
        let layout = Layout::parse(&descriptor)?;
        let root = OnceCell::new();
        let cut = Cut::Root(&root);
        let region = Region { ground: &self.pin.ground(), extents: &self.extents_from(body)?, cut };
        let at = self.pin.attachment();
        match at.values {
            Values::Vouched => layout.batch(&region, Trust::Writers),
            Values::Untrusted => layout.batch(&region, Trust::Others),
            Values::Checked => {
                let core = at.core()?;
                let key = Cell::new(None);
                let known = || {
                    // Pinned: this word is of the object's life that is read here.
                    key.set(Key::new(self.id, self.pin.id(), core.life(self.pin.id(), SeqCst)));
                    key.get().is_some_and(|key| at.known.has(key))
                };
                let ask = Ask::new(&known);
                let batch = layout.batch(&region, Trust::Ask(&ask))?;
                if ask.was_unknown()
                    && let Some(key) = key.get()
                {
                    at.known.add(key);
                }
                Ok(batch)
            }
        }
    }
}

/// What a pinned root stands for, and what that is: an alias for its only part, a mutable array that is frozen
/// for its elements, everything else for itself.
#[inline]
fn resolve(pin: &Pin) -> Result<(Id, Stored)> {
    let core = pin.attachment().core()?;
    let root = pin.id();
    let kind = core.kind(root)?;
    let stands_for_a_part = kind == Stored::Alias || kind == Stored::MutableArray && core.is_frozen(root);
    if !stands_for_a_part {
        return Ok((root, kind));
    }
    let part = pin.part(root, 0)?;
    match core.kind(part)? {
        Stored::Alias => Err(Error::damaged(format!("{root}, which stands for another object, has the alias {part}"))),
        kind => Ok((part, kind)),
    }
}

/// The Arrow IPC messages of a batch, for other Arrow implementations: bare flatbuffers, without the
/// marker and length that a stream has before them. [`Batch::ipc`] returns them.
///
/// ```
/// # use std::sync::Arc;
/// # use faretra::{Arena, MIB};
/// # use faretra::arrow::arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// # let name = format!("doc-ipc-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// # let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
/// arena.writer()?.publish("ids", RecordBatch::try_from_iter([("id", column)])?)?;
/// let messages = arena.batch("ids")?.ipc()?;
/// assert!(messages.dictionaries.is_empty() && messages.body_offset > 0);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct IpcMessages {
    /// The schema message.
    pub schema: Vec<u8>,
    /// Dictionary batches, in the order to be read.
    pub dictionaries: Vec<Vec<u8>>,
    /// The record batch message.
    pub batch: Vec<u8>,
    /// Where the body that all buffer offsets are relative to begins in the arena's file. It reaches to the file's end.
    pub body_offset: u64,
}

impl Batch {
    /// Returns the Arrow IPC metadata of this batch. Any Arrow implementation that maps the arena's file can read the
    /// batch's buffers there with it.
    ///
    /// The buffers of a slice that was shared instead of copied start where its first row does. Arrow C++
    /// (and pyarrow) reads only what starts at a multiple of 8 bytes, and says so; publish a copy for it, or
    /// slice at multiples of 64 rows.
    pub fn ipc(&self) -> Result<IpcMessages> {
        let layout = Layout::parse(self.object.body()?)?;
        let messages = layout.ipc()?;
        Ok(IpcMessages {
            schema: messages.schema.to_vec(),
            dictionaries: messages.dictionaries.into_iter().map(<[u8]>::to_vec).collect(),
            batch: messages.batch.to_vec(),
            body_offset: self.object.pin.attachment().core()?.geo.data,
        })
    }
}

/// One column of plain numbers, owned and read-only. It derefs to an `ndarray` of rank 1. [`Batch::column`] and
/// [`Object::column`] return it.
///
/// ```
/// use faretra::arrow::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// # let name = format!("doc-column-{}", std::process::id());
/// # let arena = faretra::Arena::options().keep(false).create(&name)?;
/// let delay: ArrayRef = std::sync::Arc::new(Float64Array::from(vec![1.0, 2.5]));
/// arena.writer()?.publish("flights", &RecordBatch::try_from_iter([("delay", delay)])?)?;
/// let delay: faretra::Column<f64> = arena.get("flights")?.column("delay")?;
/// assert_eq!(delay.sum(), 3.5);
/// # Ok::<(), faretra::Error>(())
/// ```
pub type Column<T> = Array<T, Ix1>;

/// A record batch whose buffers lie in the arena. It derefs to arrow's [`RecordBatch`], and keeps the pin of its object.
///
/// ```
/// # use std::sync::Arc;
/// # use faretra::{Arena, MIB};
/// use faretra::arrow::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// # let name = format!("doc-batch-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let delays: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 1.5]));
/// arena.writer()?.publish("flights", RecordBatch::try_from_iter([("delay", delays)])?)?;
/// let batch = arena.batch("flights")?;
/// assert_eq!(batch.num_rows(), 2);                        // as arrow's type
/// assert_eq!(batch.column::<f64>("delay")?.sum(), 2.0);   // a column as an array of ndarray
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Batch {
    object: Object,
    record: RecordBatch,
}

impl std::ops::Deref for Batch {
    type Target = RecordBatch;
    fn deref(&self) -> &RecordBatch {
        &self.record
    }
}

impl Batch {
    /// Returns a column of plain numbers as an array of rank 1, as [`Object::column`] does.
    pub fn column<T: Element>(&self, name: &str) -> Result<Column<T>> {
        self.object.column(name)
    }

    /// Returns how many bytes of the arena the batch has. (arrow's `get_array_memory_size` counts the columns' buffers,
    /// and for each of a small column all small columns; for what [`Object::project`] returns, it counts the buffers alone.)
    pub fn nbytes(&self) -> u64 {
        self.object.nbytes()
    }

    /// Returns the object that this was read from.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// Returns the batch as arrow's type. It keeps the pin, as each of its columns does.
    pub fn record_batch(&self) -> &RecordBatch {
        &self.record
    }
}

impl TryFrom<Object> for Batch {
    type Error = Error;
    fn try_from(object: Object) -> Result<Batch> {
        let record = object.record_batch()?;
        Ok(Batch { object, record })
    }
}

/// Record batches of one schema, published as one value, or gathered from a feed.
///
/// ```
/// # use std::sync::Arc;
/// # use faretra::{Arena, MIB, Value};
/// use faretra::arrow::arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// # let name = format!("doc-table-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
/// let batch = RecordBatch::try_from_iter([("id", ids)])?;
/// arena.writer()?.publish("ids", Value::batches(batch.schema(), vec![batch.clone(), batch.slice(0, 1)]))?;
/// let table = arena.table("ids")?;
/// assert_eq!((table.num_batches(), table.num_rows()), (2, 4));
/// for batch in table.reader() {
///     println!("{} rows", batch?.num_rows());
/// }
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    batches: Batches,
    schema: SchemaRef,
}

#[derive(Clone, Debug)]
enum Batches {
    /// One object: a table, or a batch as a table of one. Its numbers are here for a forked child, which cannot read them.
    Stored { object: Object, rows: u64, batches: u64 },
    /// Objects of their own.
    Gathered(Arc<[Batch]>),
}

impl TryFrom<Object> for Table {
    type Error = Error;

    /// A batch is a table of one batch.
    fn try_from(object: Object) -> Result<Table> {
        if object.kind != Stored::Batch {
            object.expect(Stored::Table)?;
        }
        let schema = parts::schema_of(&object.descriptor()?)?;
        let batches = if object.kind == Stored::Batch { 1 } else { object.parts() };
        Ok(Table { batches: Batches::Stored { rows: object.rows(), batches, object }, schema })
    }
}

impl Table {
    /// Batches of one schema, which the caller has checked, as a table.
    pub(crate) fn gathered(schema: SchemaRef, batches: Vec<Batch>) -> Table {
        Table { batches: Batches::Gathered(batches.into()), schema }
    }

    /// Returns the schema, which every batch has.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Returns the number of rows of all batches together.
    pub fn num_rows(&self) -> u64 {
        match &self.batches {
            Batches::Stored { rows, .. } => *rows,
            Batches::Gathered(batches) => batches.iter().map(|b| b.num_rows() as u64).sum(),
        }
    }

    /// Returns the number of batches.
    pub fn num_batches(&self) -> u64 {
        match &self.batches {
            Batches::Stored { batches, .. } => *batches,
            Batches::Gathered(batches) => batches.len() as u64,
        }
    }

    /// Returns the batch of this index, the first one's being 0. Fails with [`Error::Invalid`] if there is none.
    pub fn batch(&self, index: u64) -> Result<Batch> {
        match &self.batches {
            Batches::Gathered(batches) if index < batches.len() as u64 => Ok(batches[index as usize].clone()),
            _ => self.batch_object(index)?.try_into(),
        }
    }

    /// Returns the object of the batch of this index: what [`Table::batch`] builds the batch of, and [`Object::project`]
    /// some columns. Fails with [`Error::Invalid`] if there is none.
    pub fn batch_object(&self, index: u64) -> Result<Object> {
        match &self.batches {
            Batches::Stored { object, batches, .. } if index < *batches => match object.kind {
                Stored::Batch => Ok(object.clone()),
                _ => object.part(index),
            },
            Batches::Gathered(batches) if index < batches.len() as u64 => Ok(batches[index as usize].object.clone()),
            _ => Err(Error::invalid(format!("the table has {} batches: there is no {index}", self.num_batches()))),
        }
    }

    /// Returns a reader of all batches in order. It builds each batch when that is asked for.
    pub fn reader(&self) -> impl RecordBatchReader + Send + use<> {
        let table = self.clone();
        let batches = (0..self.num_batches()).map(move |i| Ok(table.batch(i)?.record));
        RecordBatchIterator::new(batches, self.schema())
    }

    /// Returns how many bytes of the arena the table has.
    pub fn nbytes(&self) -> u64 {
        match &self.batches {
            Batches::Stored { object, .. } => object.nbytes(),
            Batches::Gathered(batches) => batches.iter().map(Batch::nbytes).fold(0, u64::saturating_add),
        }
    }

    /// Returns the object that the table was read from; `None` for one that was gathered from several objects.
    pub fn object(&self) -> Option<&Object> {
        match &self.batches {
            Batches::Stored { object, .. } => Some(object),
            Batches::Gathered(_) => None,
        }
    }

    /// The batches, if they are several objects.
    pub(crate) fn gathered_batches(&self) -> Option<&[Batch]> {
        match &self.batches {
            Batches::Stored { .. } => None,
            Batches::Gathered(batches) => Some(batches),
        }
    }
}

impl<T: ArrayElement, D: Dimension> TryFrom<Object> for Array<T, D> {
    type Error = Error;
    fn try_from(object: Object) -> Result<Array<T, D>> {
        object.array()
    }
}

impl TryFrom<Object> for DynArray {
    type Error = Error;
    fn try_from(object: Object) -> Result<DynArray> {
        object.dyn_array()
    }
}

/// Several values that were published at once: a consistent snapshot. [`Bundle`](crate::Bundle) publishes them.
///
/// ```
/// # use faretra::{Arena, Bundle, MIB};
/// # let name = format!("doc-bundled-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// arena.writer()?.publish("model", Bundle::new().with("author", "me").with("year", "2026"))?;
/// let model = arena.bundle("model")?;
/// assert_eq!(model.names().collect::<Vec<_>>(), ["author", "year"]);
/// assert_eq!(model.get("year")?.bytes()?, b"2026");
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Bundled {
    object: Object,
    names: MemberNames,
}

impl TryFrom<Object> for Bundled {
    type Error = Error;
    fn try_from(object: Object) -> Result<Bundled> {
        object.expect(Stored::Bundle)?;
        let names = MemberNames::from_body(object.body()?, object.parts())?;
        Ok(Bundled { object, names })
    }
}

impl Bundled {
    /// Returns the names of the members, in the order in which they were added.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter()
    }

    /// Returns the member of this name. It keeps the pin of the whole bundle. Fails with [`Error::NotFound`] if there is none.
    pub fn get(&self, name: &str) -> Result<Object> {
        let Some(index) = self.names.index_of(name) else {
            let (within, detail) = (self.object.name.to_string(), format!("it has {}", self.names.joined()));
            return Err(Error::NotFound { what: Missing::Member, name: name.to_owned(), within, detail });
        };
        let mut part = self.object.part(index)?;
        part.name = format_smolstr!("{}/{name}", self.object.name);
        Ok(part)
    }

    /// Returns the object that this was read from.
    pub fn object(&self) -> &Object {
        &self.object
    }
}
