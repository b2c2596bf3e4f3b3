//! Errors of an arena as errors of the engine.

use datafusion::error::DataFusionError;

/// An error of an arena, as the engine's: its message is the arena's own.
pub(crate) fn failed(error: faretra::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
