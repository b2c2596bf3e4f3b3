//! Where scripts and acts begin, and what they are.

use crate::check::Expect;
use crate::sim::{Image, Sim};
use crate::world::{Actor, PARENT, ROOM, quiet, world};

/// What a name may say.
pub type May = &'static [(&'static str, Option<u64>)];

/// A script: what is there before, what the victim does, and what its names may say when it died.
pub struct Script {
    /// Shown when it fails.
    pub name: &'static str,
    /// Runs undisturbed, by a process that lives on.
    pub before: fn(&Actor),
    /// Is killed at each of its steps.
    pub victim: fn(&Actor),
    /// What each name may say afterwards.
    pub may: May,
    /// Pages that the file system has room for beyond what is there.
    pub room: u64,
}

/// Where a script or an act begins.
#[derive(Clone)]
pub struct Stage {
    /// The arena.
    pub image: Image,
    /// What is so from the beginning.
    pub expect: Expect,
}

impl Script {
    /// Sets the stage.
    pub fn stage(&self) -> Stage {
        let sim = world();
        let parent = quiet(&sim, PARENT);
        (self.before)(&parent);
        let expect = Expect::of(&parent, &[]).with(self.may);
        if self.room < ROOM {
            let pages = sim.state().count();
            sim.state().room = pages + self.room;
        }
        Stage { image: sim.image(), expect }
    }
}

/// An act: works whatever the others did before it.
pub struct Act {
    /// Shown when it fails.
    pub name: &'static str,
    /// What it does; attached already.
    pub run: fn(&Actor),
    /// What names may say when it is done, or half done.
    pub may: May,
}

/// Acts that belong together, and where they begin.
pub struct Troupe {
    /// Where.
    pub stage: Stage,
    /// What.
    pub acts: Vec<Act>,
}

/// A fresh copy of a stage.
pub fn enter(stage: &Stage) -> Sim {
    Sim::of(stage.image.clone())
}
