//! Numbers that processes share.

use faretra::sync::SharedValue as Shared;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyComplex, PyFloat, PyInt};

use crate::arena::{Arena, text};
use crate::error::{run, wait};
use crate::memory::SharedBytes;

/// A number by its type.
#[derive(Debug)]
enum Number {
    Int(Shared<i64>),
    Float(Shared<f64>),
    Bool(Shared<u8>),
    /// Real and imaginary part.
    Complex(Shared<[f64; 2]>),
}

/// A number that processes share: an int of 64 bits, a float, a bool or a complex. `faretra.Arena.value` makes one.
///
/// It is read and replaced as a whole, and nobody waits for that: a process that dies leaves the old number or the new one.
///
/// >>> arena = faretra.Arena.create("doc-value-class", keep=False)
/// >>> done = arena.value("done", 0)
/// >>> done.add(5), done.get()
/// (5, 5)
/// >>> arena.close()
#[pyclass(frozen, module = "faretra", weakref)]
#[derive(Debug)]
pub struct SharedValue {
    number: Number,
    name: String,
}

impl SharedValue {
    fn kind(&self) -> &'static str {
        match self.number {
            Number::Int(_) => "int",
            Number::Float(_) => "float",
            Number::Bool(_) => "bool",
            Number::Complex(_) => "complex",
        }
    }

    /// What is given, as a float; a shared float takes ints, too.
    fn float(&self, given: &Bound<'_, PyAny>) -> PyResult<f64> {
        given.extract().map_err(|_| self.wrong(given))
    }

    fn int(&self, given: &Bound<'_, PyAny>) -> PyResult<i64> {
        let whole = given.is_instance_of::<PyInt>() || given.hasattr("__index__")?;
        if whole { given.extract() } else { Err(self.wrong(given)) }
    }

    fn bool(&self, given: &Bound<'_, PyAny>) -> PyResult<u8> {
        given.extract::<bool>().map(u8::from).map_err(|_| self.wrong(given))
    }

    fn complex(&self, given: &Bound<'_, PyAny>) -> PyResult<[f64; 2]> {
        let class = given.py().get_type::<PyComplex>();
        let given = class.call1((given,)).map_err(|_| self.wrong(given))?;
        Ok([given.getattr("real")?.extract()?, given.getattr("imag")?.extract()?])
    }

    fn wrong(&self, given: &Bound<'_, PyAny>) -> PyErr {
        let class = given.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
        PyTypeError::new_err(format!("the shared value '{}' is of type {}, not {class}", self.name, self.kind()))
    }
}

fn complex(py: Python<'_>, [real, imaginary]: [f64; 2]) -> Bound<'_, PyAny> {
    PyComplex::from_doubles(py, real, imaginary).into_any()
}

fn float(py: Python<'_>, number: f64) -> Bound<'_, PyAny> {
    PyFloat::new(py, number).into_any()
}

#[pymethods]
impl SharedValue {
    #[new]
    fn new(
        py: Python<'_>,
        arena: &Bound<'_, Arena>,
        name: &Bound<'_, PyAny>,
        initial: &Bound<'_, PyAny>,
    ) -> PyResult<SharedValue> {
        let (arena, name) = (arena.get().get(py)?, text(name)?);
        // numpy's numbers say what they are in Python's.
        let numpy = !initial.is_instance_of::<PyInt>() && initial.hasattr("item")?;
        let initial = if numpy { initial.call_method0("item")? } else { initial.clone() };
        let number = if initial.is_instance_of::<PyBool>() {
            let initial = u8::from(initial.extract::<bool>()?);
            Number::Bool(run(py, || arena.shared_value(name, initial))?)
        } else if initial.is_instance_of::<PyInt>() {
            let initial: i64 = initial.extract()?;
            Number::Int(run(py, || arena.shared_value(name, initial))?)
        } else if initial.is_instance_of::<PyFloat>() {
            let initial: f64 = initial.extract()?;
            Number::Float(run(py, || arena.shared_value(name, initial))?)
        } else if initial.is_instance_of::<PyComplex>() {
            let initial: [f64; 2] = [initial.getattr("real")?.extract()?, initial.getattr("imag")?.extract()?];
            Number::Complex(run(py, || arena.shared_value(name, initial))?)
        } else {
            return Err(PyTypeError::new_err(format!(
                "a shared value is an int, float, bool or complex, not {}; put other objects with `arena[name] = ...`",
                initial.get_type().name()?
            )));
        };
        Ok(SharedValue { number, name: name.to_owned() })
    }

    /// The value's name.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number.
    ///
    /// >>> arena = faretra.Arena.create("doc-value-get", keep=False)
    /// >>> arena.value("flag", True).get()
    /// True
    /// >>> arena.close()
    fn get<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match &self.number {
            Number::Int(shared) => run(py, || shared.load())?.into_pyobject(py)?.into_any(),
            Number::Float(shared) => float(py, run(py, || shared.load())?),
            Number::Bool(shared) => PyBool::new(py, run(py, || shared.load())? != 0).to_owned().into_any(),
            Number::Complex(shared) => complex(py, run(py, || shared.load())?),
        })
    }

    /// Replaces the number, whatever it was.
    ///
    /// Raises:
    ///     TypeError: It is of another type.
    ///     OverflowError: It is an int of more than 64 bits.
    ///
    /// >>> arena = faretra.Arena.create("doc-value-set", keep=False)
    /// >>> loss = arena.value("loss", 0.5)
    /// >>> loss.set(0.25)
    /// >>> loss.get()
    /// 0.25
    /// >>> arena.close()
    fn set(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        match &self.number {
            Number::Int(shared) => {
                let value = self.int(value)?;
                run(py, || shared.store(value))
            }
            Number::Float(shared) => {
                let value = self.float(value)?;
                run(py, || shared.store(value))
            }
            Number::Bool(shared) => {
                let value = self.bool(value)?;
                run(py, || shared.store(value))
            }
            Number::Complex(shared) => {
                let value = self.complex(value)?;
                wait(py, || shared.store(value))
            }
        }
    }

    /// Adds `n` at once, so that no other process comes between, and returns the sum. Negative numbers are taken away.
    ///
    /// Raises:
    ///     OverflowError: The sum is an int of more than 64 bits. The value is as it was then.
    ///     TypeError: The value is a bool, or `n` of another type.
    ///
    /// >>> arena = faretra.Arena.create("doc-value-add", keep=False)
    /// >>> arena.value("loss", 0.5).add(0.25)
    /// 0.75
    /// >>> arena.close()
    #[pyo3(signature = (n))]
    fn add<'py>(&self, py: Python<'py>, n: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        match &self.number {
            Number::Int(shared) => {
                let n = self.int(n)?;
                let before = run(py, || shared.update(|value| value.checked_add(n).unwrap_or(value)))?;
                let sum = before.checked_add(n).ok_or_else(|| {
                    PyOverflowError::new_err(format!(
                        "{before} + {n} has more than 64 bits: '{}' is as it was",
                        self.name
                    ))
                })?;
                Ok(sum.into_pyobject(py)?.into_any())
            }
            Number::Float(shared) => {
                let n = self.float(n)?;
                Ok(float(py, run(py, || shared.update(|value| value + n))? + n))
            }
            Number::Complex(shared) => {
                let [real, imaginary] = self.complex(n)?;
                let [a, b] = wait(py, || shared.update(|[a, b]| [a + real, b + imaginary]))?;
                Ok(complex(py, [a + real, b + imaginary]))
            }
            Number::Bool(_) => Err(PyTypeError::new_err(format!("'{}' is a bool: there is nothing to add", self.name))),
        }
    }

    /// Replaces the number by `new` if it is `expected` still, and returns whether it was. Floats are compared bit by bit: a NaN
    /// is equal to itself, and 0.0 is not -0.0.
    ///
    /// >>> arena = faretra.Arena.create("doc-value-exchange", keep=False)
    /// >>> state = arena.value("state", 0)
    /// >>> state.compare_exchange(0, 1), state.compare_exchange(0, 2), state.get()
    /// (True, False, 1)
    /// >>> arena.close()
    fn compare_exchange(&self, py: Python<'_>, expected: &Bound<'_, PyAny>, new: &Bound<'_, PyAny>) -> PyResult<bool> {
        match &self.number {
            Number::Int(shared) => {
                let (expected, new) = (self.int(expected)?, self.int(new)?);
                Ok(run(py, || shared.compare_exchange(expected, new))?.is_ok())
            }
            Number::Float(shared) => {
                let (expected, new) = (self.float(expected)?, self.float(new)?);
                Ok(run(py, || shared.compare_exchange(expected, new))?.is_ok())
            }
            Number::Bool(shared) => {
                let (expected, new) = (self.bool(expected)?, self.bool(new)?);
                Ok(run(py, || shared.compare_exchange(expected, new))?.is_ok())
            }
            Number::Complex(shared) => {
                let (expected, new) = (self.complex(expected)?, self.complex(new)?);
                Ok(wait(py, || shared.compare_exchange(expected, new))?.is_ok())
            }
        }
    }

    /// Replaces the number by `change(number)`, and returns the new one. `change` is called again if another process was faster.
    ///
    /// >>> arena = faretra.Arena.create("doc-value-update", keep=False)
    /// >>> arena.value("best", 3).update(lambda best: max(best, 8))
    /// 8
    /// >>> arena.close()
    fn update<'py>(&self, py: Python<'py>, change: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        loop {
            let before = self.get(py)?;
            let after = change.call1((&before,))?;
            if self.compare_exchange(py, &before, &after)? {
                return self.as_stored(py, &after);
            }
            // Somebody who is always faster does not keep Ctrl-C out.
            py.check_signals()?;
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<faretra.SharedValue '{}': {}>", self.name, self.get(py)?.repr()?))
    }
}

impl SharedValue {
    /// The number as `get` returns it.
    fn as_stored<'py>(&self, py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match &self.number {
            Number::Int(_) => self.int(value)?.into_pyobject(py)?.into_any(),
            Number::Float(_) => float(py, self.float(value)?),
            Number::Bool(_) => PyBool::new(py, self.bool(value)? != 0).to_owned().into_any(),
            Number::Complex(_) => complex(py, self.complex(value)?),
        })
    }
}

/// Makes `nbytes` zeros under a name that every process may write, or maps those that are there.
#[pyfunction]
#[pyo3(signature = (arena, name, nbytes=None))]
pub fn _shared_bytes(
    py: Python<'_>,
    arena: &Bound<'_, Arena>,
    name: &Bound<'_, PyAny>,
    nbytes: Option<usize>,
) -> PyResult<SharedBytes> {
    let name = text(name)?.to_owned();
    let bytes = match nbytes {
        Some(nbytes) => {
            let writer = arena.get().writer(py)?;
            wait(py, || writer.shared_bytes(&name, nbytes))?
        }
        None => {
            let arena = arena.get().get(py)?;
            wait(py, || arena.shared_bytes(&name))?
        }
    };
    Ok(SharedBytes::new(bytes))
}
