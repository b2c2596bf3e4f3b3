//! An arena that is made, written, read by a second handle, waited in and removed: whether arenas work here.

use std::time::Duration;

use faretra::sync::Reset;
use faretra::{Arena, GIB, Options};
use serde_json::json;

use super::finding::{Finding, Verdict};
use crate::failure::library_text;
use crate::size;

/// Nothing of it waits for anybody.
const SOON: Duration = Duration::from_secs(1);

/// Makes an arena of this process's own, and tries it. It goes with this process, whatever happens to that.
pub fn look(options: &Options) -> (Finding, Option<Arena>) {
    let why = "an arena is created as `faretra create` does it, written, read by a second handle, and removed";
    match works(options) {
        Ok((arena, addresses)) => {
            let here = "work: one was created, written and read".to_owned();
            let facts = json!({ "works": true, "addresses": addresses, "file": arena.path().display().to_string() });
            let why = format!("{why}; to read and write it takes {} of addresses", size::bytes(2 * addresses));
            (Finding::fine("arenas", here, facts, why), Some(arena))
        }
        Err(error) => {
            let told = library_text(&error);
            let finding = Finding::fine("arenas", told.clone(), json!({ "works": false, "error": told }), why);
            (finding.or(true, Verdict::Fails), None)
        }
    }
}

fn works(options: &Options) -> faretra::Result<(Arena, u64)> {
    let name = format!("doctor-{}", std::process::id());
    let arena = options.clone().limit(GIB).keep(false).create(&name)?;
    let wrong = |what: &str| faretra::Error::Damaged(what.to_owned());
    let addresses = std::fs::metadata(arena.path()).map_or(0, |file| file.len());
    let written = vec![7_u8; 100_000];
    {
        let writer = arena.writer_timeout(SOON)?;
        writer.publish("doctor", written.as_slice())?;
        let other = options.open(&name)?;
        let read = other.get("doctor")?;
        if read.bytes()? != written {
            return Err(wrong("what was read is not what was written"));
        }
        let event = other.event("event", Reset::Manual)?;
        event.set()?;
        event.wait_timeout(SOON)?;
        drop((read, other));
        writer.remove("doctor")?;
        writer.remove("event")?;
    }
    arena.trim()?;
    match arena.verify()?.first() {
        None => Ok((arena, addresses)),
        Some(violation) => Err(wrong(&violation.to_string())),
    }
}
