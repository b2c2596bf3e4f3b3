//! The command `faretra`, which comes with the package.

use std::ffi::OsString;

use pyo3::prelude::*;

use crate::error::{Failure, wait};

/// Runs the command with these arguments, the first of which is its name, and returns its exit code; `again` starts it in a new
/// process. Only for a process whose one job it is: it changes how signals are handled.
#[pyfunction]
pub fn _command(py: Python<'_>, arguments: Vec<OsString>, again: Vec<OsString>) -> PyResult<u8> {
    wait(py, || Ok::<u8, Failure>(faretra_cli::main(arguments, &again)))
}
