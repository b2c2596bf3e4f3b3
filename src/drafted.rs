//! Values that are written where they will be read: drafts of batches and arrays, until they are published.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use ndarray::{ArrayViewMut, Dimension};

use crate::error::{Error, Result};
use crate::held::Held;
use crate::kind::Kind;
use crate::value::array::ArrayDraftLayout;
use crate::value::draft::{DraftLayout, DraftMemory};
use crate::value::dtype::ArrayElement;
use crate::value::dynamic::check_values;
use crate::value::element::{Element, ElementType};
use crate::value::info::ArrayInfo;
use crate::value::lent::{Bits, Text};
use crate::value::parts::list_bytes;
use crate::value::shared_map::SharedMap;
use crate::value::unchecked::Keeper;
use crate::value::view::{Attachment, Sheet};

/// A writer's permit, which the drafts that it makes keep too.
pub(crate) type Permit = Arc<Held<Arc<Attachment>>>;

#[derive(Debug)]
struct Memory {
    root: Sheet,
    parts: Vec<Sheet>,
}

impl DraftMemory for Memory {
    fn root(&mut self) -> &mut [u8] {
        let front = list_bytes(self.parts.len() as u64) as usize;
        self.root.bytes().ok().and_then(|b| b.get_mut(front..)).unwrap_or_default()
    }

    fn part(&mut self, i: usize) -> &mut [u8] {
        self.parts.get_mut(i).and_then(|p| p.bytes().ok()).unwrap_or_default()
    }
}

/// A batch that is written where it will be read: what [`Writer::draft`](crate::Writer::draft) returns.
///
/// [`Writer::publish`](crate::Writer::publish) publishes it without a copy. Dropping it frees its memory. A draft keeps its
/// writer's permit.
///
/// ```
/// use std::sync::Arc;
/// use faretra::arrow::arrow_schema::{DataType, Field, Schema};
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-draft-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let writer = arena.writer()?;
/// let fields = vec![Field::new("delay", DataType::Float64, false), Field::new("city", DataType::Utf8, false)];
/// let mut draft = writer.draft(&Arc::new(Schema::new(fields)), 2)?;
/// draft.column_mut::<f64>("delay")?.copy_from_slice(&[0.5, 1.5]);
/// let mut city = draft.text_mut("city")?;
/// city.push("Oslo")?;
/// city.push("Rome")?;
/// writer.publish("delays", draft)?;
/// assert_eq!(arena.batch("delays")?.column::<f64>("delay")?.sum(), 2.0);
/// # Ok::<(), faretra::Error>(())
/// ```
pub struct Draft {
    layout: DraftLayout,
    memory: Memory,
    permit: Permit,
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Draft({} rows of {} columns)", self.layout.rows(), self.layout.schema().fields().len())
    }
}

impl Draft {
    pub(crate) fn new(layout: DraftLayout, root: Sheet, parts: Vec<Sheet>, permit: Permit) -> Result<Draft> {
        let mut memory = Memory { root, parts };
        layout.prepare(&mut memory)?;
        Ok(Draft { layout, memory, permit })
    }

    /// Returns the schema that the draft was made with.
    pub fn schema(&self) -> &SchemaRef {
        self.layout.schema()
    }

    /// Returns the number of rows that the draft was made with.
    pub fn rows(&self) -> usize {
        self.layout.rows()
    }

    fn column(&self, name: &str) -> Result<usize> {
        self.permit.keeper.core()?;
        self.layout.column(name)
    }

    /// Returns the values of a column of plain numbers, to be written. Dates, times and decimals are the integers that
    /// Arrow stores. Fails with [`Error::Mismatch`] for another element type, and with
    /// [`Error::NotFound`] for a name that is no column's.
    pub fn column_mut<T: Element>(&mut self, name: &str) -> Result<&mut [T]> {
        let column = self.column(name)?;
        self.layout.values_mut(column, &mut self.memory)
    }

    /// Returns the bytes of a column of any fixed width, row after row, to be written.
    pub fn bytes_mut(&mut self, name: &str) -> Result<&mut [u8]> {
        let column = self.column(name)?;
        self.layout.bytes_mut(column, &mut self.memory)
    }

    /// Returns the bits of a boolean column, to be written. All are false at first.
    pub fn bits_mut(&mut self, name: &str) -> Result<Bits<'_>> {
        let column = self.column(name)?;
        self.layout.bits_mut(column, &mut self.memory)
    }

    /// Returns one bit for each row of a nullable column: whether that row has a value. All have one at first.
    pub fn validity_mut(&mut self, name: &str) -> Result<Bits<'_>> {
        let column = self.column(name)?;
        self.layout.validity_mut(column, &mut self.memory)
    }

    /// Returns the values of a string or binary column, to be pushed row after row.
    pub fn text_mut(&mut self, name: &str) -> Result<Text<'_>> {
        let column = self.column(name)?;
        self.layout.text_mut(column, &mut self.memory)
    }

    fn finish(mut self) -> Result<Sheet> {
        let offsets: Vec<u64> = self.memory.parts.iter().map(Sheet::offset).collect();
        let at = self.memory.root.offset() + list_bytes(offsets.len() as u64);
        self.layout.finish(at, &offsets, &mut self.memory)?;
        if self.memory.root.attachment().has_sums() {
            self.layout.skeleton().write_sums(self.memory.root());
        }
        let Memory { mut root, parts } = self.memory;
        for part in parts {
            root.adopt(part)?;
        }
        root.set_rows(self.layout.rows() as u64);
        Ok(root)
    }
}

/// An array that is written where it will be read: what [`Writer::draft_array`](crate::Writer::draft_array) returns.
///
/// [`Writer::publish`](crate::Writer::publish) publishes it without a copy. Dropping it frees its memory. A draft keeps its
/// writer's permit.
///
/// ```
/// use ndarray::Ix2;
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-array-draft-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let writer = arena.writer()?;
/// let mut draft = writer.draft_array::<f32, Ix2>((100, 3))?;
/// draft.view_mut()?.fill(0.5);
/// writer.publish("points", draft)?;
/// assert_eq!(arena.array::<f32, Ix2>("points")?.sum(), 150.0);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug)]
pub struct ArrayDraft<T: ArrayElement, D: Dimension> {
    layout: ArrayDraftLayout<T, D>,
    sheet: Sheet,
    _permit: Permit,
}

impl<T: ArrayElement, D: Dimension> ArrayDraft<T, D> {
    pub(crate) fn new(layout: ArrayDraftLayout<T, D>, mut sheet: Sheet, permit: Permit) -> Result<ArrayDraft<T, D>> {
        let elements = layout.prepare(sheet.bytes()?)?;
        sheet.set_rows(elements);
        Ok(ArrayDraft { layout, sheet, _permit: permit })
    }

    /// Returns the elements, to be written. Numbers are arbitrary at first; `bool`s are false, structs zeros.
    pub fn view_mut(&mut self) -> Result<ArrayViewMut<'_, T, D>> {
        self.layout.view_mut(self.sheet.bytes()?)
    }
}

/// An array of a type known at run time that is written where it will be read: what
/// [`Writer::draft_dyn_array`](crate::Writer::draft_dyn_array) returns.
///
/// [`Writer::publish`](crate::Writer::publish) publishes it without a copy. Dropping it frees its memory. A draft keeps its
/// writer's permit.
///
/// ```
/// use faretra::{DType, Order};
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-dyn-draft-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let writer = arena.writer()?;
/// let days: DType = "<M8[D]".parse()?;
/// let mut draft = writer.draft_dyn_array(days, &[2], Order::C)?;
/// draft.bytes_mut()?[..8].copy_from_slice(&19_000_i64.to_le_bytes());
/// draft.bytes_mut()?[8..].copy_from_slice(&19_001_i64.to_le_bytes());
/// writer.publish("days", draft)?;
/// assert_eq!(arena.array::<i64, ndarray::Ix1>("days")?.to_vec(), [19_000, 19_001]);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug)]
pub struct DynArrayDraft {
    info: ArrayInfo,
    sheet: Sheet,
    _permit: Permit,
}

impl DynArrayDraft {
    pub(crate) fn new(info: ArrayInfo, mut sheet: Sheet, permit: Permit) -> Result<DynArrayDraft> {
        let object = sheet.bytes()?;
        info.write_header(object)?;
        let (at, len) = (info.data_at(), info.data_bytes()? as usize);
        object[at + len..].fill(0);
        if info.dtype == ElementType::Bool {
            object[at..at + len].fill(0);
        }
        sheet.set_rows(info.elements());
        Ok(DynArrayDraft { info, sheet, _permit: permit })
    }

    /// Returns element type, shape and order, with which the draft was made.
    pub fn info(&self) -> &ArrayInfo {
        &self.info
    }

    /// Returns the bytes of all elements, one behind the other in the array's order, to be written. The first is at a
    /// multiple of 64. They are arbitrary at first; `bool`s are false. A `bool` that is not 0 or 1 is
    /// [`Error::Invalid`] when the draft is published.
    pub fn bytes_mut(&mut self) -> Result<&mut [u8]> {
        let (at, len) = (self.info.data_at(), self.info.data_bytes()? as usize);
        Ok(&mut self.sheet.bytes()?[at..at + len])
    }

    /// Maps the elements once more, for views that outlive a borrow. They lie there as [`DynArrayDraft::bytes_mut`] has them.
    pub fn into_map(mut self) -> Result<DraftMap> {
        let (at, len) = (self.info.data_at(), self.info.data_bytes()? as usize);
        let map = self.sheet.map(at, len)?;
        Ok(DraftMap { map, draft: Some(self.into()) })
    }

    fn finish(mut self) -> Result<Sheet> {
        if self.info.dtype == ElementType::Bool {
            check_values(&self.info, self.sheet.bytes()?)?;
        }
        Ok(self.sheet)
    }
}

/// Bytes that are written where they will be read: what [`Writer::draft_bytes`](crate::Writer::draft_bytes) returns.
///
/// [`Writer::publish`](crate::Writer::publish) publishes them without a copy. Dropping the draft frees its memory. A draft
/// keeps its writer's permit.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-bytes-draft-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let writer = arena.writer()?;
/// let mut draft = writer.draft_bytes(5)?;
/// draft.bytes_mut()?.copy_from_slice(b"hello");
/// writer.publish("greeting", draft)?;
/// assert_eq!(arena.get("greeting")?.bytes()?, b"hello");
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug)]
pub struct BytesDraft {
    sheet: Sheet,
    len: usize,
    _permit: Permit,
}

impl BytesDraft {
    pub(crate) fn new(sheet: Sheet, len: usize, permit: Permit) -> BytesDraft {
        sheet.set_rows(len as u64);
        BytesDraft { sheet, len, _permit: permit }
    }

    /// Returns how many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the bytes, to be written. They are arbitrary at first.
    pub fn bytes_mut(&mut self) -> Result<&mut [u8]> {
        self.sheet.bytes()
    }

    /// Maps the bytes once more, for views that outlive a borrow.
    pub fn into_map(mut self) -> Result<DraftMap> {
        let map = self.sheet.map(0, self.len)?;
        Ok(DraftMap { map, draft: Some(self.into()) })
    }
}

/// A draft that is written through a map of its own: what [`DynArrayDraft::into_map`] and [`BytesDraft::into_map`] return.
///
/// It is for languages in which a view of memory lives as long as somebody has it, and cannot be taken back when the draft is
/// published. The bytes never move while the map lives. [`DraftMap::finish`] gives the draft out, to be published; from then
/// on the map is a private view of it ([`PrivateBytes`](crate::PrivateBytes)): what is written there later, nobody else sees,
/// and the object stays pinned until the map is dropped.
///
/// A forked child that writes to the map before [`DraftMap::finish`] writes to its parent's draft.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-draft-map-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let writer = arena.writer()?;
/// let mut map = writer.draft_bytes(5)?.into_map()?;
/// map.bytes_mut().copy_from_slice(b"hello");
/// writer.publish("greeting", map.finish()?)?;
/// map.bytes_mut()[0] = b'j';
/// assert_eq!((&*map.bytes_mut(), arena.get("greeting")?.bytes()?), (&b"jello"[..], &b"hello"[..]));
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug)]
pub struct DraftMap {
    // Declared first: unmapped before the draft's memory is given back.
    map: SharedMap,
    draft: Option<Drafted>,
}

impl DraftMap {
    /// Returns the bytes, to be written. They are arbitrary at first; `bool`s are false.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.map.bytes_mut()
    }

    /// Returns whether the draft was neither finished nor discarded.
    pub fn is_draft(&self) -> bool {
        self.draft.is_some()
    }

    /// Ends the draft, and returns it, to be published or sent. The map is a private view of it from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it was finished or discarded before; [`Error::Os`] if the kernel refuses to map it anew;
    /// [`Error::Limit`] if this process pins as many objects as it can. The draft is still one then.
    pub fn finish(&mut self) -> Result<Drafted> {
        let Some(draft) = &self.draft else { return Err(Error::invalid("the draft was published or dropped before")) };
        let pin = draft.sheet().pinned()?;
        self.detach(Some(Arc::new(pin)))?;
        Ok(self.draft.take().expect("it is there"))
    }

    /// Drops the draft, and gives its memory back. All bytes of the map are 0 from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the kernel refuses to map them anew. The draft is still one then.
    pub fn discard(&mut self) -> Result<()> {
        self.detach(None)?;
        self.draft = None;
        Ok(())
    }

    fn detach(&mut self, keeper: Option<Arc<dyn Keeper>>) -> Result<()> {
        let Some(draft) = &self.draft else { return Ok(()) };
        let path = || draft.sheet().attachment().path().to_owned();
        self.map.detach(keeper).map_err(|source| Error::Os { action: "map a draft anew of", path: path(), source })
    }
}

/// A value that lies in the arena and is not published yet: what [`Writer::prepare`](crate::Writer::prepare) returns.
///
/// [`Writer::publish`](crate::Writer::publish) and every other call that takes a [`Value`](crate::Value) takes it without
/// another copy. Dropping it frees its memory.
///
/// ```
/// # use faretra::{Arena, Kind, MIB};
/// # let name = format!("doc-drafted-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let writer = arena.writer()?;
/// let prepared = writer.prepare("some text")?;
/// assert_eq!((prepared.kind()?, prepared.rows()), (Kind::Bytes, 9));
/// writer.publish("text", prepared)?;
/// assert_eq!(arena.get("text")?.bytes()?, b"some text");
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug)]
pub struct Drafted(Unfinished);

#[derive(Debug)]
enum Unfinished {
    Batch(Box<Draft>),
    /// An array whose bytes are still to be checked.
    Array(Box<DynArrayDraft>),
    /// An array, or any value that was copied already; its schema, if it has one.
    Whole(Sheet, Option<SchemaRef>),
}

impl From<Draft> for Drafted {
    fn from(draft: Draft) -> Drafted {
        Drafted(Unfinished::Batch(Box::new(draft)))
    }
}

impl<T: ArrayElement, D: Dimension> From<ArrayDraft<T, D>> for Drafted {
    fn from(draft: ArrayDraft<T, D>) -> Drafted {
        Drafted(Unfinished::Whole(draft.sheet, None))
    }
}

impl From<DynArrayDraft> for Drafted {
    fn from(draft: DynArrayDraft) -> Drafted {
        Drafted(Unfinished::Array(Box::new(draft)))
    }
}

impl From<BytesDraft> for Drafted {
    fn from(draft: BytesDraft) -> Drafted {
        Drafted(Unfinished::Whole(draft.sheet, None))
    }
}

impl Drafted {
    /// What was copied already, and its schema, if it has one.
    pub(crate) fn copied(sheet: Sheet, schema: Option<SchemaRef>) -> Drafted {
        Drafted(Unfinished::Whole(sheet, schema))
    }

    /// The memory of its root.
    fn sheet(&self) -> &Sheet {
        match &self.0 {
            Unfinished::Batch(draft) => &draft.memory.root,
            Unfinished::Array(draft) => &draft.sheet,
            Unfinished::Whole(sheet, _) => sheet,
        }
    }

    /// The schema, if it is a batch or a table.
    pub(crate) fn schema(&self) -> Option<SchemaRef> {
        match &self.0 {
            Unfinished::Batch(draft) => Some(draft.schema().clone()),
            Unfinished::Array(_) => None,
            Unfinished::Whole(_, schema) => schema.clone(),
        }
    }

    /// Its memory, ready to be published.
    pub(crate) fn finish(self) -> Result<Sheet> {
        match self.0 {
            Unfinished::Batch(draft) => draft.finish(),
            Unfinished::Array(draft) => draft.finish(),
            Unfinished::Whole(sheet, _) => Ok(sheet),
        }
    }

    /// Returns what kind of object the value becomes.
    pub fn kind(&self) -> Result<Kind> {
        match &self.0 {
            Unfinished::Batch(_) => Ok(Kind::Batch),
            Unfinished::Array(draft) => draft.sheet.kind().map(Kind::of),
            Unfinished::Whole(sheet, _) => sheet.kind().map(Kind::of),
        }
    }

    /// Returns the rows of a batch or table, the elements of an array, the members of a bundle, or the bytes of bytes.
    pub fn rows(&self) -> u64 {
        match &self.0 {
            Unfinished::Batch(draft) => draft.rows() as u64,
            Unfinished::Array(draft) => draft.sheet.rows(),
            Unfinished::Whole(sheet, _) => sheet.rows(),
        }
    }

    /// Returns how many bytes the value takes in the arena, with those of the objects that it shares.
    pub fn nbytes(&self) -> u64 {
        match &self.0 {
            Unfinished::Batch(draft) => {
                draft.memory.parts.iter().map(Sheet::nbytes).fold(draft.memory.root.nbytes(), u64::saturating_add)
            }
            Unfinished::Array(draft) => draft.sheet.nbytes(),
            Unfinished::Whole(sheet, _) => sheet.nbytes(),
        }
    }
}
