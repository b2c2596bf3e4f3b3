//! What workers do with channels, and the history of that.

use std::path::{Path, PathBuf};

use faretra::Arena;

use crate::flow::{Flow, Part};
use crate::history::{self, Told};
use crate::values::Random;
use crate::{Count, Counts};

/// The history of the arena in this directory, beside it.
pub fn history(dir: &Path) -> PathBuf {
    dir.with_extension("history")
}

/// Begins this process's part of it.
fn begin(arena: &Arena) -> Result<Flow, String> {
    let dir = std::env::var_os("FARETRA_DIR").ok_or("no directory")?;
    Flow::new(arena, &history(Path::new(&dir)))
}

/// One thing at random.
pub fn step(flow: &mut Option<Flow>, arena: &Arena, random: &mut Random, counts: &mut Counts) -> Result<(), String> {
    if flow.is_none() {
        *flow = Some(begin(arena)?);
    }
    let Some(flow) = flow else { return Ok(()) };
    let done = flow.step(random, Part::All, 6000)?;
    let what = [Count::Sent, Count::Received, Count::Acknowledged];
    what.iter().zip(done).for_each(|(what, n)| counts[*what as usize] += n);
    Ok(())
}

/// Some things at random, and everything let go of.
pub fn for_a_while(arena: &Arena, random: &mut Random) -> Result<(), String> {
    let mut flow = begin(arena)?;
    for _ in 0..8 {
        flow.step(random, Part::All, 500)?;
    }
    flow.leave()
}

/// When nobody else is left: receives what there is, and demands that the history is in order.
pub fn in_order(arena: &Arena, dir: &Path) -> Result<Told, String> {
    Flow::new(arena, &history(dir))?.drain()?;
    history::check(&history::read(&history(dir)).map_err(|e| e.to_string())?)
}
