//! Planted bugs of waits: for several things, and of those that the interrupt hook ends.

use super::bug::{Bug, KILL};

pub(super) const BUGS: &[Bug] = &[
    Bug {
        what: "a wait that the hook ended tries once more, for nobody",
        breaks: "B4",
        file: "core/wait.rs",
        edits: &[(
            "&& self.env.is_interrupted() { return Err(Error::Interrupted); }",
            "&& self.env.is_interrupted() { attempt()?; return Err(Error::Interrupted); }",
        )],
        test: KILL,
    },
    Bug {
        what: "the hook ends a wait whose attempt has just succeeded",
        breaks: "B4",
        file: "core/wait.rs",
        edits: &[(
            "if let Some(done) = attempt()? { return Ok(done); } let slice",
            "if let Some(done) = attempt()? { if self.env.is_interrupted() { return Err(Error::Interrupted); } return Ok(done); } let slice",
        )],
        test: KILL,
    },
    Bug {
        what: "who is interrupted while he waits for readers keeps the writer's lease",
        breaks: "B4",
        file: "core/lock.rs",
        edits: &[(
            "Err(e) => { if lease.recovered {",
            "Err(Error::Interrupted) => Err(Error::Interrupted), Err(e) => { if lease.recovered {",
        )],
        test: KILL,
    },
    Bug {
        what: "who waited for several things clears the flags of their bells",
        breaks: "B6",
        file: "core/bells.rs",
        edits: &[(
            "core.env.store(off, 0, Relaxed); } found",
            "core.env.store(off, 0, Relaxed); } for (core, bell) in all.iter().filter_map(A::bell) { \
             let word = core.env.load(bell, SeqCst); let _ = core.env.cas(bell, word, word & !1, SeqCst); } found",
        )],
        test: KILL,
    },
];
