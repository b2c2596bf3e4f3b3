//! Panics of other crates' decoders and encoders: kept quiet, and told as errors.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Panics on this thread while a [`Quiet`] lives print nothing; all others print as ever.
pub fn install() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !QUIET.get() {
            print(info);
        }
    }));
}

/// While it lives, panics on this thread are not printed.
pub struct Quiet(bool);

impl Quiet {
    /// Keeps this thread quiet from now on.
    pub fn new() -> Quiet {
        Quiet(QUIET.replace(true))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        QUIET.set(self.0);
    }
}

/// Runs a decoder or encoder, and gives what it said when it panicked. It is not to be used after
/// that.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let _quiet = Quiet::new();
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| text(panic.as_ref()))
}

/// What a caught panic said.
pub fn text(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "its decoder gave up".to_owned()
    }
}
