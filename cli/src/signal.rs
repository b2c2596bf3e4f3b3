//! SIGINT and SIGTERM: the first asks the verb to stop and clean up, the second ends it at once.
//!
//! Loops ask [`check`]; nothing is done in a signal handler but setting a flag.

use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::failure::Failure;

struct Flags {
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
}

static FLAGS: OnceLock<Flags> = OnceLock::new();

/// From now on signals are noted instead of ending the process.
pub fn install() -> io::Result<()> {
    let flags = FLAGS.get_or_init(|| Flags {
        interrupt: Arc::new(AtomicBool::new(false)),
        terminate: Arc::new(AtomicBool::new(false)),
    });
    for (signal, flag) in [(SIGINT, &flags.interrupt), (SIGTERM, &flags.terminate)] {
        // The order counts: the first signal finds the flag down and only raises it, the second
        // finds it up and takes the default action.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(flag))?;
        signal_hook::flag::register(signal, Arc::clone(flag))?;
    }
    Ok(())
}

/// The signal that asked us to stop, if one did.
pub fn received() -> Option<i32> {
    let flags = FLAGS.get()?;
    if flags.interrupt.load(Ordering::Relaxed) {
        Some(SIGINT)
    } else if flags.terminate.load(Ordering::Relaxed) {
        Some(SIGTERM)
    } else {
        None
    }
}

/// Fails when a signal asked us to stop.
pub fn check() -> Result<(), Failure> {
    match received() {
        None => Ok(()),
        Some(_) => Err(Failure::new("interrupted")),
    }
}

/// Ends this process as the signal would have, after everything was cleaned up.
pub fn die_of(signal: i32) -> ! {
    // Only fails for signals without a default action; then the shell's code for it will do.
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    std::process::exit(128 + signal)
}
