//! What goes in: writers, which copy values into the arena or share what lies there, and publish them.
//!
//! A [`Writer`] holds one of the arena's permits. A value is copied into a draft exactly once, buffer
//! by buffer, or was written there in the first place, or lies in the arena already and is held; then the
//! draft becomes what its name means.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchIterator, RecordBatchOptions, RecordBatchReader};
use arrow_schema::SchemaRef;
use ndarray::{Dimension, StrideShape};

use crate::core::geometry::Set;
use crate::core::lease::Lease;
use crate::core::name;
use crate::core::tables::Kind;
use crate::drafted::{ArrayDraft, BytesDraft, Draft, Drafted, DynArrayDraft, Permit};
use crate::error::{Error, Result};
use crate::held::Held;
use crate::input::{Bundle, Source, Value};
use crate::reader::{Batch, Bundled, Object, Table};
use crate::value::array::ArrayDraftLayout;
use crate::value::copying::fill_all;
use crate::value::draft::DraftLayout;
use crate::value::dtype::{ArrayElement, DType};
use crate::value::dynamic::DynArrayView;
use crate::value::info::{ArrayInfo, Order};
use crate::value::parts::{MemberNames, TableBody, list_bytes};
use crate::value::plan::{Locate, Plan};
use crate::value::schema::empty_batch;
use crate::value::view::{Attachment, Sheet};

/// The right to write: one of the arena's writers' permits. All writing starts here.
///
/// A clone is another handle to the same permit. The permit comes back when the last of the writer, its clones, its drafts
/// and the ends of channels and feeds that it made is dropped, or when the process dies.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-writer-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let writer = arena.writer()?;
/// assert_eq!(writer.publish("greeting", "hello")?, 1);
/// assert_eq!(writer.publish("greeting", "good day")?, 2);  // who has the first still reads it
/// assert!(writer.publish_if("greeting", 1, "late").is_err());
/// assert!(writer.remove("greeting")?);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Writer {
    at: Arc<Attachment>,
    permit: Permit,
    /// Makes room when memory runs out, for another try.
    makes_room: bool,
}

/// What becomes a part of a value.
enum Part<'a> {
    Own(Sheet),
    Shared(Cow<'a, Object>),
}

impl Part<'_> {
    fn join(self, whole: &mut Sheet, at: &Attachment) -> Result<()> {
        match self {
            Part::Own(sheet) => whole.adopt(sheet),
            // An object with many holders needs memory for one more.
            Part::Shared(object) => at.with_room(|| whole.hold(object.id())),
        }
    }
}

impl Writer {
    pub(crate) fn new(at: &Arc<Attachment>, permit: Lease) -> Writer {
        Writer { at: at.clone(), permit: Arc::new(Held::permit(at.clone(), permit)), makes_room: true }
    }

    pub(crate) fn attachment(&self) -> &Arc<Attachment> {
        &self.at
    }

    fn with_room<T>(&self, mut f: impl FnMut() -> Result<T>) -> Result<T> {
        if self.makes_room { self.at.with_room(f) } else { f() }
    }

    /// Returns whether the process that held this permit before died with it. Nothing is broken by that: what that process
    /// had not published is gone, and what it had published is whole.
    pub fn recovered(&self) -> bool {
        self.permit.recovered()
    }

    /// Makes `value` the current object under `name`, and returns its version.
    ///
    /// Each buffer is copied once, straight into the arena; what was drafted there is not copied, nor what
    /// was read from there: an object that is published again, and what a batch shares with another.
    /// Readers see the old object or the new one, never a mixture.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`]; [`Error::TooLarge`]; [`Error::Limit`]; [`Error::Invalid`] for a name or value that cannot be;
    /// [`Error::Mismatch`] for a table of batches of different schemas; [`Error::Arrow`] from a reader.
    pub fn publish<'a>(&self, name: &str, value: impl Into<Value<'a>>) -> Result<u64> {
        self.put(name, value.into(), None)
    }

    /// Publishes `value` under `name`, as [`Writer::publish`] does, if the current version is `version` (0: if there is no
    /// object of that name). Fails with [`Error::Conflict`] if another version is current, and changes nothing then.
    pub fn publish_if<'a>(&self, name: &str, version: u64, value: impl Into<Value<'a>>) -> Result<u64> {
        self.put(name, value.into(), Some(version))
    }

    fn put(&self, name: &str, value: Value<'_>, expected: Option<u64>) -> Result<u64> {
        name::check(name)?;
        self.at.core()?;
        let mut sheet = self.build(value)?;
        // The directory may need memory of its own, so that this too is worth a second try.
        self.with_room(|| sheet.publish(name, expected))
    }

    /// Removes a name, and returns whether there was one. Processes that have its object keep it, and its memory is free when
    /// the last of them drops it.
    pub fn remove(&self, name: &str) -> Result<bool> {
        self.at.core()?.remove(name)
    }

    /// Returns a batch of `rows` rows, to be written in place and published without a copy. Numbers are arbitrary at first,
    /// so write them all. Each string or binary column has room for 32 bytes a row; see [`Writer::draft_with`].
    pub fn draft(&self, schema: &SchemaRef, rows: usize) -> Result<Draft> {
        self.draft_with(schema, rows, |_| rows.saturating_mul(32))
    }

    /// Returns a batch to be written in place, as [`Writer::draft`] does, with room for `text_bytes(column)` bytes in each
    /// string or binary column.
    pub fn draft_with(&self, schema: &SchemaRef, rows: usize, text_bytes: impl Fn(usize) -> usize) -> Result<Draft> {
        let layout = DraftLayout::new(schema, rows, &text_bytes)?;
        let parts = layout.part_bytes().to_vec();
        let (root, parts) = self.with_room(|| {
            let sums = if self.at.has_sums() { layout.skeleton().sums_bytes() } else { 0 };
            let front = list_bytes(parts.len() as u64);
            let root = Sheet::new(&self.at, Kind::Batch, front + layout.root_bytes() + sums)?;
            let parts: Result<Vec<Sheet>> = parts.iter().map(|len| Sheet::new(&self.at, Kind::Column, *len)).collect();
            Ok((root, parts?))
        })?;
        Draft::new(layout, root, parts, self.permit.clone())
    }

    /// Returns an array of any shape, in C or Fortran order (`shape.f()`), to be written in place and published without a
    /// copy. Elements are arbitrary at first.
    pub fn draft_array<T: ArrayElement, D: Dimension>(
        &self,
        shape: impl Into<StrideShape<D>>,
    ) -> Result<ArrayDraft<T, D>> {
        let layout = ArrayDraftLayout::<T, D>::new(shape)?;
        let sheet = self.with_room(|| Sheet::new(&self.at, Kind::Array, layout.bytes()))?;
        ArrayDraft::new(layout, sheet, self.permit.clone())
    }

    /// Returns an array to be written in place whose element type and rank are known at run time only. An array without
    /// axes has one element.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a shape that is larger than memory can be; [`Error::TooLarge`] for more than 32 axes, or more
    /// bytes than the arena can have; [`Error::NoSpace`].
    pub fn draft_dyn_array(&self, dtype: impl Into<DType>, shape: &[usize], order: Order) -> Result<DynArrayDraft> {
        let info = ArrayInfo::new(dtype, shape, order);
        let bytes = info.object_bytes()?;
        let sheet = self.with_room(|| Sheet::new(&self.at, Kind::Array, bytes))?;
        DynArrayDraft::new(info, sheet, self.permit.clone())
    }

    /// Returns `len` bytes to be written in place. Fails with [`Error::NoSpace`] and [`Error::TooLarge`].
    pub fn draft_bytes(&self, len: usize) -> Result<BytesDraft> {
        let sheet = self.with_room(|| Sheet::new(&self.at, Kind::Bytes, len as u64))?;
        Ok(BytesDraft::new(sheet, len, self.permit.clone()))
    }

    /// Copies a value into the arena, and returns it, to be published, sent or put in a bundle later. [`Drafted::nbytes`]
    /// tells what it takes, which nobody could ask of a name that another process replaces a moment later.
    pub fn prepare<'a>(&self, value: impl Into<Value<'a>>) -> Result<Drafted> {
        self.at.core()?;
        let value = value.into();
        let schema = value.schema()?;
        Ok(Drafted::copied(self.build(value)?, schema))
    }

    /// Makes a draft of a value.
    pub(crate) fn build(&self, value: Value<'_>) -> Result<Sheet> {
        match value.0 {
            Source::Table(reader) => self.build_table(reader.into_batches()),
            Source::Bundle(Bundle { members }) => self.build_bundle(members, |value| self.part(value)),
            Source::Drafted(draft) => self.own(draft.finish()?),
            Source::Drafts(schema, before, drafts) => self.build_drafts(schema, before, drafts),
            source => self.build_borrowed(&Value(source)),
        }
    }

    /// Makes a draft of what is there to be borrowed, if there is room for it just now.
    pub(crate) fn build_once(&self, value: &Value<'_>) -> Result<Sheet> {
        Writer { makes_room: false, ..self.clone() }.build_borrowed(value)
    }

    /// Bytes that building a value takes, but for what each of its objects needs besides.
    pub(crate) fn bytes_of(&self, value: &Value<'_>) -> Result<u64> {
        let of_batch = |batch: &RecordBatch| self.plan(batch, |plan| Ok(plan.total_bytes()));
        Ok(match &value.0 {
            Source::Batch(batch) => of_batch(batch)?,
            Source::Object(object) if self.shares(object)? => 0,
            Source::Object(object) => object.nbytes(),
            Source::Batches(batches) => batches.iter().map(|batch| of_batch(batch)).sum::<Result<u64>>()?,
            Source::RecordBatches(_, batches) => batches.iter().map(of_batch).sum::<Result<u64>>()?,
            Source::Array(view) => view.bytes()?,
            Source::Bytes(bytes) => bytes.len() as u64,
            Source::Bundle(Bundle { members }) => {
                members.iter().map(|(_, value)| self.bytes_of(value)).sum::<Result<u64>>()?
            }
            // They have their memory, or nobody knows.
            Source::Drafted(_) | Source::Drafts(..) | Source::Table(_) => 0,
        })
    }

    /// Makes a draft of what is there to be borrowed: of everything but readers and drafts.
    pub(crate) fn build_borrowed(&self, value: &Value<'_>) -> Result<Sheet> {
        match &value.0 {
            Source::Batch(batch) => self.build_batch(batch),
            Source::Object(object) => match self.part_object(Cow::Borrowed(object))? {
                Part::Own(sheet) => Ok(sheet),
                Part::Shared(object) => self.with_room(|| {
                    let alias = Sheet::alias(&self.at, object.id(), object.stored_kind())?;
                    alias.set_rows(object.rows());
                    Ok(alias)
                }),
            },
            Source::Batches(batches) => self.build_batches(batches),
            Source::RecordBatches(schema, batches) => {
                let batches = batches.iter().cloned().map(Ok);
                self.build_table(Box::new(RecordBatchIterator::new(batches, schema.clone())))
            }
            Source::Array(view) => self.build_array(view),
            Source::Bytes(bytes) => self.build_bytes(Kind::Bytes, bytes, bytes.len() as u64),
            Source::Bundle(Bundle { members }) => {
                let members = members.iter().map(|(name, value)| (name.clone(), value));
                self.build_bundle(members, |value| self.part_borrowed(value))
            }
            Source::Table(_) | Source::Drafted(_) | Source::Drafts(..) => {
                Err(Error::invalid("a reader or draft can be used once only"))
            }
        }
    }

    /// A draft of another arena lies there, and cannot come here.
    fn own(&self, sheet: Sheet) -> Result<Sheet> {
        if self.at.is_same_arena(sheet.attachment()) {
            return Ok(sheet);
        }
        Err(Error::invalid(format!(
            "a draft of arena `{}` cannot be used in arena `{}`: publish it there, and give the object",
            sheet.attachment().name,
            self.at.name
        )))
    }

    /// A value as a part of another: what is in this arena already is shared.
    fn part<'a>(&self, value: Value<'a>) -> Result<Part<'a>> {
        match value.0 {
            Source::Object(object) => self.part_object(object),
            source => self.build(Value(source)).map(Part::Own),
        }
    }

    fn part_borrowed<'a>(&self, value: &'a Value<'_>) -> Result<Part<'a>> {
        match &value.0 {
            Source::Object(object) => self.part_object(Cow::Borrowed(object)),
            _ => self.build_borrowed(value).map(Part::Own),
        }
    }

    fn part_object<'a>(&self, object: Cow<'a, Object>) -> Result<Part<'a>> {
        // A second name would be one of the same state, which goes with the first.
        if object.stored_kind().set() == Set::Shared {
            return Err(Error::Mismatch {
                name: object.name().to_owned(),
                expected: "an object that does not change".into(),
                found: object.kind().to_string(),
            });
        }
        if self.shares(&object)? { Ok(Part::Shared(object)) } else { self.copy_object(&object).map(Part::Own) }
    }

    /// Whether the object is one of this arena. What a forked child has from its parent is kept by nobody
    /// whom the child could ask, so that it can be no part of anything.
    fn shares(&self, object: &Object) -> Result<bool> {
        object.attachment().core()?;
        Ok(self.at.is_same_arena(object.attachment()))
    }

    /// An object of another arena.
    fn copy_object(&self, object: &Object) -> Result<Sheet> {
        match object.stored_kind() {
            Kind::Batch => self.build_batch(&object.record_batch()?),
            Kind::Table => self.build_table(Box::new(Table::try_from(object.clone())?.reader())),
            Kind::Bundle => {
                let bundle = Bundled::try_from(object.clone())?;
                let members: Result<Vec<Object>> = bundle.names().map(|name| bundle.get(name)).collect();
                let members = members?;
                let all = bundle.names().map(str::to_owned).zip(&members);
                self.build_bundle(all, |member| self.copy_object(member).map(Part::Own))
            }
            // These are one object, whose bytes say the same anywhere.
            kind => self.build_bytes(kind, object.body()?, object.rows()),
        }
    }

    fn build_bytes(&self, kind: Kind, bytes: &[u8], rows: u64) -> Result<Sheet> {
        let mut sheet = self.with_room(|| Sheet::new(&self.at, kind, bytes.len() as u64))?;
        let (to, filler) = sheet.filling(bytes.len() as u64)?;
        filler.put(to, bytes);
        sheet.set_rows(rows);
        Ok(sheet)
    }

    fn plan<T>(&self, batch: &RecordBatch, f: impl FnOnce(&Plan<'_>) -> Result<T>) -> Result<T> {
        let find = |bytes: &[u8]| self.at.find(bytes);
        f(&Plan::new(batch, Locate { addresses: self.at.addresses(), find: &find })?)
    }

    fn build_batch(&self, batch: &RecordBatch) -> Result<Sheet> {
        self.plan(batch, |plan| self.build_plan(plan))
    }

    fn build_plan(&self, plan: &Plan<'_>) -> Result<Sheet> {
        let parts = plan.part_bytes();
        let front = list_bytes((parts.len() + plan.held().len()) as u64);
        let of = plan.total_bytes();
        let sums = if self.at.has_sums() { plan.skeleton().sums_bytes() } else { 0 };
        self.with_room(|| {
            let mut root = Sheet::new(&self.at, Kind::Batch, front + plan.root_bytes() + sums)?;
            let sheets = parts.iter().map(|len| Sheet::new(&self.at, Kind::Column, *len));
            let mut sheets = sheets.collect::<Result<Vec<Sheet>>>()?;
            let columns = sheets.iter_mut().enumerate().map(|(i, sheet)| {
                let (out, filler) = sheet.filling(of)?;
                Ok(((i, out), filler))
            });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let longest = parts.iter().copied().max().unwrap_or(0);
            fill_all(columns.into_iter(), [longest, of], |(i, out), copy| plan.write_part(i, out, copy));
            let offsets: Vec<u64> = sheets.iter().map(Sheet::offset).collect();
            sheets.into_iter().try_for_each(|sheet| root.adopt(sheet))?;
            // The arrays of the batch have pins of them.
            plan.held().iter().try_for_each(|held| root.hold(*held))?;
            let at = root.offset() + front;
            let (out, filler) = root.filling(of)?;
            let out = &mut out[front as usize..];
            plan.write_root(at, &offsets, out, &|to, from| filler.put(to, from));
            if sums != 0 {
                plan.skeleton().write_sums(out);
            }
            root.set_rows(plan.rows());
            Ok(root)
        })
    }

    fn build_table(&self, reader: Box<dyn RecordBatchReader + Send + '_>) -> Result<Sheet> {
        let schema = reader.schema();
        let mut batches = vec![];
        let mut rows = 0;
        for batch in reader {
            let batch = batch?;
            rows += batch.num_rows() as u64;
            batches.push(self.batch_of_table(&batch, &schema, batches.len())?);
        }
        self.join_table(schema, batches, rows)
    }

    fn build_batches(&self, batches: &[Batch]) -> Result<Sheet> {
        let Some(first) = batches.first() else {
            return Err(Error::invalid("a table of no batches has no schema: publish a reader, which has one"));
        };
        let schema = first.schema();
        let mut parts = vec![];
        for batch in batches {
            let object = batch.object();
            parts.push(if batch.schema_ref() == &schema && self.shares(object)? {
                Part::Shared(Cow::Borrowed(object))
            } else {
                self.batch_of_table(batch, &schema, parts.len())?
            });
        }
        self.join_table(schema, parts, batches.iter().map(|b| b.num_rows() as u64).sum())
    }

    /// Batches that were drafted become a table's own, behind those of another table, which are shared.
    fn build_drafts(&self, schema: SchemaRef, before: Option<Table>, drafts: Vec<Drafted>) -> Result<Sheet> {
        let mut parts = vec![];
        let mut rows = 0;
        for (table, index) in before.iter().flat_map(|table| (0..table.num_batches()).map(move |i| (table, i))) {
            let object = table.batch_object(index)?;
            rows += object.rows();
            parts.push(self.part_object(Cow::Owned(object))?);
        }
        for draft in drafts {
            if draft.kind()? != crate::Kind::Batch || draft.schema().as_ref() != Some(&schema) {
                let found = match draft.schema() {
                    Some(found) => format!("a {} of schema {found}", draft.kind()?),
                    None => format!("a draft of kind {}", draft.kind()?),
                };
                let name = format!("draft {} of the table", parts.len());
                return Err(Error::Mismatch { name, expected: format!("a batch of schema {schema}"), found });
            }
            rows += draft.rows();
            parts.push(Part::Own(self.own(draft.finish()?)?));
        }
        self.join_table(schema, parts, rows)
    }

    /// Every batch of a table says the table's schema, metadata included.
    fn batch_of_table<'a>(&self, batch: &RecordBatch, schema: &SchemaRef, index: usize) -> Result<Part<'a>> {
        if batch.schema_ref().fields() != schema.fields() {
            return Err(Error::Mismatch {
                name: format!("batch {index} of the table"),
                expected: format!("of schema {schema}"),
                found: format!("of schema {}", batch.schema_ref()),
            });
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &rows)?;
        self.build_batch(&batch).map(Part::Own)
    }

    fn join_table(&self, schema: SchemaRef, batches: Vec<Part<'_>>, rows: u64) -> Result<Sheet> {
        // The table's own body is an empty batch: that is its schema.
        let empty = empty_batch(&schema)?;
        let body = TableBody::new(&empty)?;
        let front = list_bytes(batches.len() as u64);
        let mut root = self.with_room(|| Sheet::new(&self.at, Kind::Table, front + body.bytes()))?;
        for batch in batches {
            batch.join(&mut root, &self.at)?;
        }
        let at = root.offset() + front;
        body.write(at, &mut root.bytes()?[front as usize..]);
        root.set_rows(rows);
        Ok(root)
    }

    fn build_array(&self, view: &DynArrayView<'_>) -> Result<Sheet> {
        let len = view.bytes()?;
        self.with_room(|| {
            let mut sheet = Sheet::new(&self.at, Kind::Array, len)?;
            let (out, filler) = sheet.filling(len)?;
            view.write(out, &|to, from| filler.put(to, from))?;
            sheet.set_rows(view.info().elements());
            Ok(sheet)
        })
    }

    fn build_bundle<'a, V>(
        &self,
        members: impl IntoIterator<Item = (String, V)>,
        part: impl Fn(V) -> Result<Part<'a>>,
    ) -> Result<Sheet> {
        let (names, values): (Vec<String>, Vec<V>) = members.into_iter().unzip();
        let body = MemberNames::new(names)?.to_body();
        let members = values.into_iter().map(part).collect::<Result<Vec<Part<'_>>>>()?;
        let count = members.len() as u64;
        let front = list_bytes(count);
        let mut root = self.with_room(|| Sheet::new(&self.at, Kind::Bundle, front + body.len() as u64))?;
        for member in members {
            member.join(&mut root, &self.at)?;
        }
        root.bytes()?[front as usize..].copy_from_slice(&body);
        root.set_rows(count);
        Ok(root)
    }
}
