//! The arena as Python holds it. `faretra.Arena` is a subclass in Python, which adds what costs no speed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use faretra::{Kind, Object, Order, Writer};
use pyo3::exceptions::{PyKeyError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::draft::Draft;
use crate::error::{Failure, run, wait};
use crate::memory::trusting_others;
use crate::process::{let_go, remember};
use crate::ready::Pollable;
pub use crate::value::text;
use crate::value::{Input, Number, Pickling, dtype_of, output, private};

/// Returns how long a wait may last: `None` for as long as it takes.
pub fn timeout(given: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    let Some(given) = given.filter(|given| !given.is_none()) else { return Ok(None) };
    let seconds: f64 = match given.extract::<f64>() {
        Ok(seconds) => seconds,
        // An int that no float is as large as.
        Err(error) if error.is_instance_of::<PyOverflowError>(given.py()) => {
            if given.lt(0)? {
                0.0
            } else {
                f64::INFINITY
            }
        }
        Err(_) => match given.call_method0("total_seconds") {
            Ok(seconds) => seconds.extract()?,
            Err(_) => {
                return Err(PyTypeError::new_err(format!(
                    "a timeout is a number of seconds, a datetime.timedelta or None, not {}",
                    given.get_type().name()?
                )));
            }
        },
    };
    if seconds.is_nan() {
        return Err(PyValueError::new_err("a timeout cannot be NaN"));
    }
    // What is over already polls once; what is longer than a century is for ever.
    Ok(if seconds > 3.2e9 { None } else { Some(Duration::from_secs_f64(seconds.max(0.0))) })
}

/// The handle behind `faretra.Arena`.
#[pyclass(frozen, subclass, module = "faretra._native", weakref)]
#[derive(Debug)]
pub struct Arena {
    arena: RwLock<Option<faretra::Arena>>,
    pickling: Pickling,
    /// What all that write through this handle have in common, while somebody has it.
    writer: Mutex<Weak<Writer>>,
}

impl Arena {
    /// The library's handle, unless it was closed.
    #[inline]
    pub fn get(&self, py: Python<'_>) -> PyResult<faretra::Arena> {
        let arena = self.arena.read().unwrap_or_else(PoisonError::into_inner).clone();
        arena
            .ok_or_else(|| Failure::invalid("this arena was closed: open it again with `faretra.Arena.open`").raise(py))
    }

    /// The permit to write that all that write through this handle have in common: a put within a draft's block, or within
    /// what makes a value, must not wait for who waits for it. Whoever has it keeps it; waits for one as long as it takes.
    pub fn writer(&self, py: Python<'_>) -> PyResult<Arc<Writer>> {
        let_go();
        let arena = self.get(py)?;
        if let Some(shared) = self.shared_writer().upgrade() {
            return Ok(shared);
        }
        let writer = match run(py, || arena.try_writer())? {
            Some(writer) => writer,
            None => wait(py, || arena.writer())?,
        };
        let writer = Arc::new(writer);
        let mut known = self.shared_writer();
        // Another thread may have got one meanwhile.
        if let Some(shared) = known.upgrade() {
            return Ok(shared);
        }
        *known = Arc::downgrade(&writer);
        Ok(writer)
    }

    fn shared_writer(&self) -> MutexGuard<'_, Weak<Writer>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is read may be unpickled.
    pub fn pickling(&self) -> Pickling {
        self.pickling
    }
}

/// Calls `f` with the value: with the interpreter when that is quick, without it when much is copied.
pub fn give<T: Send>(
    py: Python<'_>,
    input: &mut Input,
    f: impl FnOnce(faretra::Value<'_>) -> Result<T, Failure> + Send,
) -> PyResult<T> {
    if input.takes_long() {
        wait(py, || input.value().map_err(Failure::from).and_then(f))
    } else {
        run(py, || input.value().map_err(Failure::from).and_then(f))
    }
}

#[pymethods]
impl Arena {
    #[new]
    #[pyo3(signature = (
        name, how, *, limit=None, capacity=None, writers=None, participants=None, keep=true, dir=None, mode=None, warm=None,
        checksums=false, untrusted=false, trust_others=false, allow_pickle=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "the options of Python's `Arena.create`, by name")]
    fn new(
        py: Python<'_>,
        name: &Bound<'_, PyAny>,
        how: &str,
        limit: Option<Number<u64>>,
        capacity: Option<Number<u64>>,
        writers: Option<Number<u32>>,
        participants: Option<Number<u32>>,
        keep: bool,
        dir: Option<PathBuf>,
        mode: Option<Number<u32>>,
        warm: Option<Number<u64>>,
        checksums: bool,
        untrusted: bool,
        trust_others: bool,
        allow_pickle: Option<bool>,
    ) -> PyResult<Arena> {
        let (limit, capacity, warm) = (limit.map(|n| n.0), capacity.map(|n| n.0), warm.map(|n| n.0));
        let (writers, participants, mode) = (writers.map(|n| n.0), participants.map(|n| n.0), mode.map(|n| n.0));
        // What was kept for children that have ended keeps no arena.
        let_go();
        let options = options(limit, capacity, writers, participants, keep, dir, mode, warm, untrusted);
        let mut options = options.checksums(checksums);
        if trust_others {
            options = trusting_others(options);
        }
        let name = text(name)?;
        let arena = wait(py, || match how {
            "create" => options.create(name),
            "open_or_create" => options.open_or_create(name),
            _ => options.open(name),
        })?;
        let pickling = if allow_pickle.unwrap_or(!untrusted) { Pickling::Allowed } else { Pickling::Refused };
        remember(&arena);
        Ok(Arena { arena: RwLock::new(Some(arena)), pickling, writer: Mutex::default() })
    }

    /// Takes the state of another handle over: how `reopen` makes one.
    fn _reopen(&self, py: Python<'_>) -> PyResult<()> {
        let arena = self.get(py)?;
        let fresh = wait(py, || arena.reopen())?;
        remember(&fresh);
        *self.arena.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        // What came through fork is the parent's.
        *self.shared_writer() = Weak::new();
        Ok(())
    }

    /// The arena's name.
    #[getter]
    fn name(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.get(py)?.name().to_owned())
    }

    /// The arena's file.
    #[getter]
    fn path(&self, py: Python<'_>) -> PyResult<PathBuf> {
        Ok(self.get(py)?.path().to_owned())
    }

    /// Whether it was opened with `untrusted=True`.
    #[getter]
    fn untrusted(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.get(py)?.is_untrusted())
    }

    /// Whether the arena was closed here.
    #[getter]
    fn closed(&self) -> bool {
        self.arena.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Gives this handle up. What was read stays readable, and the process leaves the arena with the last of it. A call of
    /// another thread that waits goes on.
    ///
    /// >>> arena = faretra.Arena.create("doc-close", keep=False)
    /// >>> arena["x"] = np.arange(3)
    /// >>> x = arena["x"]
    /// >>> arena.close()
    /// >>> arena.closed, x
    /// (True, array([0, 1, 2]))
    fn close(&self, py: Python<'_>) {
        let arena = self.arena.write().unwrap_or_else(PoisonError::into_inner).take();
        // Leaving may give memory back.
        py.detach(|| drop(arena));
        let_go();
    }

    fn __getitem__<'py>(&self, py: Python<'py>, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let arena = self.get(py)?;
        let name = text(name)?;
        let object = run(py, || arena.get(name))?;
        output(py, object, self.pickling)
    }

    fn __setitem__(&self, py: Python<'_>, name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.put(py, name, value).map(drop)
    }

    fn __delitem__(&self, py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.remove(py, name)? {
            return Ok(());
        }
        let (arena, name) = (self.get(py)?, text(name)?);
        // The error of one who asks for it.
        match run(py, || arena.get(name)) {
            Err(missing) => Err(missing),
            Ok(_) => Err(PyKeyError::new_err(name.to_owned())),
        }
    }

    fn __contains__(&self, py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<bool> {
        let (arena, name) = (self.get(py)?, text(name)?);
        Ok(run(py, || arena.try_wait_for(name, 0))?.is_some_and(|object| is_value(object.kind())))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let arena = self.get(py)?;
        Ok(run(py, || arena.names())?.iter().filter(|entry| is_value(entry.kind)).count())
    }

    /// The names of values: all but those of locks, channels and what else has no value.
    fn _names(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let arena = self.get(py)?;
        let entries = run(py, || arena.names())?;
        Ok(entries.into_iter().filter(|entry| is_value(entry.kind)).map(|entry| entry.name).collect())
    }

    /// Puts a value under `name`, in the place of what is there, and returns its version (1, 2, ...).
    ///
    /// Raises:
    ///     NoSpaceError: The arena's limit or the file system is reached. What was there stays.
    ///     TypeError: The value cannot be pickled.
    ///
    /// >>> with faretra.Arena.create("doc-put", keep=False) as arena:
    /// ...     arena.put("x", np.arange(3)), arena.put("x", np.arange(5))
    /// (1, 2)
    fn put(&self, py: Python<'_>, name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<u64> {
        let writer = self.writer(py)?;
        let name = text(name)?;
        let mut input = Input::by(&writer, value, name)?;
        give(py, &mut input, |value| Ok(writer.publish(name, value)?))
    }

    /// Puts a value under `name` if its version is still `version` (0: if there is nothing of that name).
    ///
    /// Raises:
    ///     ConflictError: The version is another one by now.
    ///
    /// >>> with faretra.Arena.create("doc-publish-if", keep=False) as arena:
    /// ...     _ = arena.put("x", b"one")
    /// ...     arena.publish_if("x", 1, b"two")
    /// 2
    fn publish_if(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyAny>,
        version: Number<u64>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<u64> {
        let version = version.0;
        let writer = self.writer(py)?;
        let name = text(name)?;
        let mut input = Input::by(&writer, value, name)?;
        give(py, &mut input, |value| Ok(writer.publish_if(name, version, value)?))
    }

    /// Puts several values as one.
    fn _put_many(&self, py: Python<'_>, name: &Bound<'_, PyAny>, members: &Bound<'_, PyDict>) -> PyResult<u64> {
        let writer = self.writer(py)?;
        let name = text(name)?;
        let mut input = Input::bundle(members)?;
        give(py, &mut input, |value| Ok(writer.publish(name, value)?))
    }

    /// Removes a name. Returns whether there was one.
    ///
    /// >>> with faretra.Arena.create("doc-remove-name", keep=False) as arena:
    /// ...     arena["x"] = b"one"
    /// ...     arena.remove("x"), arena.remove("x")
    /// (True, False)
    fn remove(&self, py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<bool> {
        let writer = self.writer(py)?;
        let name = text(name)?;
        run(py, || writer.remove(name))
    }

    /// The version of `name`, or 0 if there is nothing of that name.
    ///
    /// >>> with faretra.Arena.create("doc-version", keep=False) as arena:
    /// ...     arena["x"] = b"one"
    /// ...     arena.version("x"), arena.version("y")
    /// (1, 0)
    fn version(&self, py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<u64> {
        let (arena, name) = (self.get(py)?, text(name)?);
        Ok(run(py, || arena.try_wait_for(name, 0))?.map_or(0, |object| object.version()))
    }

    /// A value with its version: what `arena[name]` is, and which version of the name that is.
    ///
    /// Raises:
    ///     NotFoundError: There is nothing of this name.
    ///
    /// >>> with faretra.Arena.create("doc-versioned", keep=False) as arena:
    /// ...     arena["x"] = [1, 2]
    /// ...     arena.get_versioned("x")
    /// ([1, 2], 1)
    fn get_versioned<'py>(&self, py: Python<'py>, name: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, u64)> {
        let (arena, name) = (self.get(py)?, text(name)?);
        let object = run(py, || arena.get(name))?;
        let version = object.version();
        Ok((output(py, object, self.pickling)?, version))
    }

    /// Waits until `name` has a version newer than `newer_than`, and returns that value.
    ///
    /// Other threads run meanwhile, and Ctrl-C ends it. `timeout` is in seconds, or a `datetime.timedelta`; 0 looks once. A
    /// wait keeps the arena: when another thread closes it, the wait goes on, so give it a timeout then. Which version came is
    /// told by a reference: `Arena.ref`, and its `wait` and `version`. On an event loop: `await arena.aio.wait_for(...)`.
    ///
    /// Raises:
    ///     TimeoutError: There was none in time.
    ///
    /// >>> with faretra.Arena.create("doc-wait-for", keep=False) as arena:
    /// ...     arena["x"] = b"one"
    /// ...     bytes(arena.wait_for("x", newer_than=0, timeout=5.0))
    /// b'one'
    #[pyo3(signature = (name, newer_than=Number(0), timeout=None), text_signature = "($self, name, newer_than=0, timeout=None)")]
    fn wait_for<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        newer_than: Number<u64>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let newer_than = newer_than.0;
        let (arena, name, limit) = (self.get(py)?, text(name)?, self::timeout(timeout)?);
        let object = match run(py, || arena.try_wait_for(name, newer_than))? {
            Some(object) => object,
            None => wait(py, || match limit {
                None => arena.wait_for(name, newer_than),
                Some(limit) => arena.wait_for_timeout(name, newer_than, limit),
            })?,
        };
        output(py, object, self.pickling)
    }

    /// A descriptor that is readable when `name` has a version newer than `newer_than`.
    fn _pollable(&self, py: Python<'_>, name: &Bound<'_, PyAny>, newer_than: Number<u64>) -> PyResult<Pollable> {
        let (arena, name) = (self.get(py)?, text(name)?);
        Pollable::new(py, || arena.pollable(name, newer_than.0))
    }

    /// A private writable view of an array or of bytes.
    ///
    /// Writing to it changes nothing for anybody else; pages that are written are copied, one by one.
    ///
    /// Raises:
    ///     NotFoundError: There is nothing of this name.
    ///     BufferError: It is neither an array nor bytes.
    ///
    /// >>> with faretra.Arena.create("doc-private", keep=False) as arena:
    /// ...     arena["x"] = np.zeros(3)
    /// ...     mine = arena.private("x")
    /// ...     mine[0] = 1
    /// ...     mine, arena["x"]
    /// (array([1., 0., 0.]), array([0., 0., 0.]))
    fn private<'py>(&self, py: Python<'py>, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (arena, name) = (self.get(py)?, text(name)?);
        let object = run(py, || arena.get(name))?;
        private(py, &object)
    }

    /// The value of `name`, which `make` makes if there is none: once for all processes that ask.
    ///
    /// Of all processes that ask at the same time one calls `make`, and the others wait for it, `timeout` seconds at most. When it
    /// raises or dies, another one makes it.
    ///
    /// Raises:
    ///     TimeoutError: It was not made in time.
    ///
    /// >>> with faretra.Arena.create("doc-get-or-put", keep=False) as arena:
    /// ...     first = arena.get_or_put("model", lambda: {"rate": 0.1})
    /// ...     arena.get_or_put("model", lambda: {"rate": 0.2})
    /// {'rate': 0.1}
    #[pyo3(signature = (name, make, timeout=None))]
    fn get_or_put<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        make: Bound<'py, PyAny>,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (arena, name, limit) = (self.get(py)?, text(name)?, self::timeout(timeout)?);
        if let Some(object) = run(py, || arena.try_wait_for(name, 0))? {
            return output(py, object, self.pickling);
        }
        // Others of this handle write by it meanwhile, `make` above all.
        let writer = self.writer(py)?;
        let make = make.unbind();
        let maker = writer.clone();
        // What is made is kept until it is published.
        let mut kept: Option<Input> = None;
        let object = wait(py, || {
            let kept = &mut kept;
            let make = move || -> Result<faretra::Value<'_>, Failure> {
                let kept = kept;
                let made = Python::attach(|py| Input::by(&maker, &make.bind(py).call0()?, name))?;
                Ok(kept.insert(made).value()?)
            };
            match limit {
                None => writer.get_or_publish(name, make),
                Some(limit) => writer.get_or_publish_timeout(name, limit, make),
            }
        })?;
        output(py, object, self.pickling)
    }

    /// A draft of an array; see `faretra.Arena.draft_array`.
    fn _draft_array(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyAny>,
        shape: Vec<Number<usize>>,
        dtype: &Bound<'_, PyAny>,
        order: &str,
    ) -> PyResult<Draft> {
        let order = match order {
            "C" => Order::C,
            "F" => Order::Fortran,
            _ => return Err(PyValueError::new_err(format!("an order is 'C' or 'F', not {order:?}"))),
        };
        let shape: Vec<usize> = shape.into_iter().map(|len| len.0).collect();
        let dtype = dtype_of(dtype)?;
        let name = text(name)?.to_owned();
        let writer = self.writer(py)?;
        let map = wait(py, || writer.draft_dyn_array(dtype.clone(), &shape, order)?.into_map())?;
        Draft::array(py, name, writer, map, (dtype, shape, order))
    }

    /// A draft of bytes; see `faretra.Arena.draft_bytes`.
    fn _draft_bytes(&self, py: Python<'_>, name: &Bound<'_, PyAny>, len: Number<usize>) -> PyResult<Draft> {
        let len = len.0;
        let name = text(name)?.to_owned();
        let writer = self.writer(py)?;
        let map = wait(py, || writer.draft_bytes(len)?.into_map())?;
        Draft::bytes(py, name, writer, map)
    }

    /// The fields of `faretra.Entry`, of everything that has a name.
    fn _entries<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let arena = self.get(py)?;
        let entries = wait(py, || arena.names())?;
        let one = |entry: faretra::Entry| {
            let fields = PyDict::new(py);
            let time = entry.published.duration_since(std::time::UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64());
            fields.set_item("name", entry.name)?;
            fields.set_item("version", entry.version)?;
            fields.set_item("kind", entry.kind.to_string())?;
            fields.set_item("rows", entry.rows)?;
            fields.set_item("nbytes", entry.bytes)?;
            fields.set_item("published", time)?;
            Ok(fields)
        };
        entries.into_iter().map(one).collect()
    }

    /// The fields of `faretra.Entry` of one name, and what an array (shape, dtype, order) or a table (fields, batches) is.
    fn _info<'py>(&self, py: Python<'py>, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let (arena, name) = (self.get(py)?, text(name)?);
        let object: Object = run(py, || arena.get(name))?;
        let fields = PyDict::new(py);
        let time = object.published().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64());
        fields.set_item("name", name)?;
        fields.set_item("version", object.version())?;
        fields.set_item("kind", object.kind().to_string())?;
        fields.set_item("rows", object.rows())?;
        fields.set_item("nbytes", object.nbytes())?;
        fields.set_item("published", time)?;
        match object.kind() {
            Kind::Array => {
                let info = run(py, || object.array_info())?;
                fields.set_item("shape", info.shape)?;
                fields.set_item("dtype", crate::value::dtype_out(py, &info.dtype)?)?;
                fields.set_item("order", if info.order == Order::C { "C" } else { "F" })?;
            }
            Kind::Batch | Kind::Table => {
                let table = run(py, || object.table())?;
                fields.set_item("fields", crate::arrow::describe(table.schema().fields()))?;
                fields.set_item("batches", table.num_batches())?;
            }
            Kind::Bundle if crate::value::is_pickle(&run(py, || object.bundle())?) => {
                fields.set_item("kind", "object")?
            }
            _ => {}
        }
        Ok(fields)
    }

    /// The numbers of `faretra.Stats`.
    fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let arena = self.get(py)?;
        let stats = wait(py, || arena.stats())?;
        let numbers = PyDict::new(py);
        for (key, value) in [
            ("limit", stats.limit),
            ("capacity", stats.capacity),
            ("used", stats.used),
            ("live", stats.live),
            ("warm", stats.warm),
            ("metadata", stats.metadata),
            ("page_tables", stats.page_tables),
            ("file_system_free", stats.file_system_free),
            ("names", stats.names),
            ("objects", stats.objects),
            ("participants", stats.participants.into()),
            ("seats", stats.seats.into()),
            ("writers", stats.writers.into()),
            ("writers_busy", stats.writers_busy.into()),
        ] {
            numbers.set_item(key, value)?;
        }
        numbers.set_item("checksums", stats.checksums)?;
        Ok(numbers)
    }

    /// The fields of `faretra.Holder`, of each process.
    fn _who<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let arena = self.get(py)?;
        let holders = wait(py, || arena.who())?;
        let one = |holder: faretra::Holder| {
            let fields = PyDict::new(py);
            fields.set_item("pid", holder.pid)?;
            fields.set_item("command", holder.command)?;
            fields.set_item("alive", holder.alive)?;
            fields.set_item("stopped", holder.stopped)?;
            fields.set_item("this_process", holder.this_process)?;
            fields.set_item("pins", holder.pins)?;
            fields.set_item("pinned_bytes", holder.pinned_bytes)?;
            fields.set_item("only_pinned_bytes", holder.only_pinned_bytes)?;
            fields.set_item("drafts", holder.drafts)?;
            fields.set_item("draft_bytes", holder.draft_bytes)?;
            fields.set_item("writers", holder.permits)?;
            fields.set_item("holds", holder.holds)?;
            fields.set_item("waits_for", holder.waits_for)?;
            Ok(fields)
        };
        holders.into_iter().map(one).collect()
    }

    /// Checks every rule of the arena, and returns one line for each that is broken: none, normally. With `deep`, every value
    /// is read too.
    ///
    /// >>> with faretra.Arena.create("doc-verify", keep=False) as arena:
    /// ...     arena.verify(deep=True)
    /// []
    #[pyo3(signature = (deep=false))]
    fn verify(&self, py: Python<'_>, deep: bool) -> PyResult<Vec<String>> {
        let arena = self.get(py)?;
        let broken = wait(py, || if deep { arena.verify_deep() } else { arena.verify() })?;
        Ok(broken.iter().map(ToString::to_string).collect())
    }

    /// Compares what a name stands for with the checksums that it was put with, and returns how many bytes have one: 0 in an
    /// arena that was created without `checksums`. Raises `DamagedError` with what has changed: the member, batch or column.
    ///
    /// >>> with faretra.Arena.create("doc-verify-checksums", keep=False, checksums=True) as arena:
    /// ...     arena["greeting"] = b"hello"
    /// ...     arena.verify_checksums("greeting")
    /// 5
    fn verify_checksums(&self, py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<u64> {
        let (arena, name) = (self.get(py)?, text(name)?);
        wait(py, || arena.get(name)?.verify_checksums())
    }

    /// Takes back what dead processes left.
    fn _recover<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let arena = self.get(py)?;
        let done = wait(py, || arena.recover())?;
        let numbers = PyDict::new(py);
        numbers.set_item("participants", done.participants)?;
        numbers.set_item("writers", done.permits)?;
        numbers.set_item("locks", done.locks)?;
        numbers.set_item("objects", done.objects)?;
        numbers.set_item("bytes", done.bytes)?;
        Ok(numbers)
    }

    /// How many bytes the arena may use now.
    #[getter]
    fn limit(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.get(py)?.limit())
    }

    fn _set_limit(&self, py: Python<'_>, bytes: Number<u64>) -> PyResult<()> {
        let arena = self.get(py)?;
        wait(py, || arena.set_limit(bytes.0))
    }

    /// Gives memory back that nothing uses now, and returns how many bytes that were.
    ///
    /// >>> with faretra.Arena.create("doc-trim", keep=False) as arena:
    /// ...     arena["x"] = np.zeros(1_000_000)
    /// ...     del arena["x"]
    /// ...     arena.trim() > 0
    /// True
    fn trim(&self, py: Python<'_>) -> PyResult<u64> {
        let arena = self.get(py)?;
        wait(py, || arena.trim())
    }
}

/// Whether what a name stands for can be read as a value.
fn is_value(kind: Kind) -> bool {
    matches!(kind, Kind::Array | Kind::Batch | Kind::Table | Kind::Bytes | Kind::Bundle)
}

/// The options of `create` and `open`.
#[allow(clippy::too_many_arguments, reason = "the options of Python's `Arena.create`, by name")]
fn options(
    limit: Option<u64>,
    capacity: Option<u64>,
    writers: Option<u32>,
    participants: Option<u32>,
    keep: bool,
    dir: Option<PathBuf>,
    mode: Option<u32>,
    warm: Option<u64>,
    untrusted: bool,
) -> faretra::Options {
    let mut options = faretra::Arena::options().keep(keep).untrusted(untrusted);
    if let Some(limit) = limit {
        options = options.limit(limit);
    }
    if let Some(capacity) = capacity {
        options = options.capacity(capacity);
    }
    if let Some(writers) = writers {
        options = options.writers(writers);
    }
    if let Some(participants) = participants {
        options = options.participants(participants);
    }
    if let Some(dir) = dir {
        options = options.dir(dir);
    }
    if let Some(mode) = mode {
        options = options.mode(mode);
    }
    if let Some(warm) = warm {
        options = options.warm(warm);
    }
    options
}

/// The fields of `faretra.ArenaInfo`, of each arena of a directory.
#[pyfunction]
#[pyo3(signature = (dir=None))]
pub fn _list_arenas(py: Python<'_>, dir: Option<PathBuf>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let options = options(None, None, None, None, true, dir, None, None, false);
    let all = wait(py, || options.list())?;
    let one = |info: faretra::ArenaInfo| {
        let fields = PyDict::new(py);
        fields.set_item("name", info.name)?;
        fields.set_item("path", info.path)?;
        fields.set_item("nbytes", info.bytes)?;
        fields.set_item("limit", info.limit)?;
        fields.set_item("capacity", info.capacity)?;
        fields.set_item("participants", info.participants)?;
        fields.set_item("keep", info.keep)?;
        fields.set_item("problem", info.problem)?;
        Ok(fields)
    };
    all.into_iter().map(one).collect()
}

/// Removes an arena.
#[pyfunction]
#[pyo3(signature = (name, dir=None, trust_others=false))]
pub fn _remove_arena(
    py: Python<'_>,
    name: &Bound<'_, PyAny>,
    dir: Option<PathBuf>,
    trust_others: bool,
) -> PyResult<()> {
    let mut options = options(None, None, None, None, true, dir, None, None, false);
    if trust_others {
        options = trusting_others(options);
    }
    let name = text(name)?;
    wait(py, || options.remove(name))
}
