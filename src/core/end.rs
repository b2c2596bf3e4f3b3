//! The arena's own end: who takes its name away, and who may still join.
//!
//! A kept arena stays until it is removed. An ephemeral one goes with its last participant, also when all were killed:
//! whoever opens or lists it next prunes it. All of that races on one word of the header, [`ArenaLife`]:
//!
//! ```text
//! OPEN --c1--> CLOSING(me) --c3: unlink, c4--> GONE
//!   ^_____c2: somebody is there____/              ^
//!    \___c6: it has its name still___ CLOSING(me) _/ c6: it has none
//!                                         ^___ c5 __ CLOSING(dead)
//!
//! leave   c0 show ourselves: LEAVING     c1 CAS OPEN -> CLOSING(me); another is CLOSING? as o2, and c1 again
//!         c2 look at the seats: somebody who does not leave? -> OPEN
//!         c3 take the name away          c4 CLOSING(me) -> GONE
//!         c3 fails? the name is where it was: CLOSING(me) -> OPEN
//! join    o1 show ourselves: JOINING     o2 CLOSING? wait for the outcome; its owner is dead? c5, c6
//!         o3 nobody LIVE and ephemeral? its time is over: c1 to c4
//!         o4 LIVE                        o5 as o2: OPEN? we have joined.  Else it is over, and we leave
//! ```
//!
//! # Invariants
//!
//! * A1: only who holds CLOSING takes the name away; while that one lives, nobody else does. So a slow unlink
//!   cannot hit a new arena of the same name.
//! * A2: a joiner shows itself before it reads the word; a closer sets CLOSING before it looks at the seats. One of them
//!   sees the other: an arena that somebody has joined loses its name to a removal only.
//! * A3: a CLOSING left by a dead closer is taken over by the next who meets it. What has its name still is OPEN again:
//!   the dead one may not have looked at the seats (c2). Whether its time is over is asked anew, in o3.
//!
//! * A4: who comes by the open file of another handle, and not by the name, joins whatever the word says: nothing but the
//!   name ends with the arena, and the name is not promised to it.
//!
//! * A5: of several who leave an ephemeral arena, the last to look takes its name away: each is LEAVING before it looks,
//!   who is LEAVING counts for nobody, and who finds a closer in the way waits and looks again.
//!
//! * A6: two words say that an arena is ephemeral: one on the first page, under its checksum, and one on the second. If
//!   either says anything else, the arena stays until somebody removes it. So nothing is deleted because a word was damaged.
//!
//! * A7: what has its name is not over. A word that is neither OPEN nor CLOSING, where the name still is this arena's, was
//!   not written by a closer, because c4 comes after c3: it is taken over as that of a dead closer is.
//!
//! # Death
//!
//! Before c1: an ephemeral arena without participants, pruned by the next who opens it (o3). At c1 to c4: CLOSING(dead), with
//! or without its name, which c5 and c6 settle; a removal that was killed before c3 has removed nothing. A stopped closer keeps
//! joiners waiting for [`PATIENCE`]; then they are told that the arena ends, and it does when he goes on.

use std::sync::atomic::Ordering::SeqCst;

use crate::core::geometry::header;
use crate::core::seat::{Core, Env, Occupant};
use crate::core::sys::Process;
use crate::core::tables::Tables;
use crate::core::word::{ArenaLife, SeatState};
use crate::error::{Error, Result};

/// Pauses, of a millisecond each, of one who waits for a closer to finish or to change its mind.
pub const PATIENCE: u32 = 500;

/// After so many pauses the interrupt hook is asked again.
const PAUSES_PER_ASK: u32 = 16;

/// How an attempt to take the name away ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closed {
    /// The name is gone by us.
    ByUs,
    /// There was a reason not to.
    Kept,
    /// The arena is not OPEN: it is gone, or another is at it.
    Busy,
}

impl<E: Env> Core<E> {
    /// o1-o5: attaches to an arena that others may be ending. `None`: it has ended, or is about to.
    pub fn enter(tables: Tables<E>, seats: u64, process: Process, command: &str) -> Result<Option<Core<E>>> {
        let Some(core) = Core::attach(tables, seats, process, command, Core::may_enter)? else { return Ok(None) };
        // A2: we were seen, or see that it is over.
        match core.outlives_closing(true) {
            Ok(true) => Ok(Some(core)),
            over => {
                core.detach();
                over.map(|_| None)
            }
        }
    }

    /// A4: attaches to an arena whose file this process has open already, whether or not it has its name still.
    pub fn rejoin(tables: Tables<E>, seats: u64, process: Process, command: &str) -> Result<Core<E>> {
        Ok(Core::attach(tables, seats, process, command, |_| Ok(true))?.expect("nobody is refused"))
    }

    /// Leaves; the last of an ephemeral arena takes its name away. Everything that was held here must have been let go.
    pub fn depart(&self) {
        // A name that is dead and still listed, for want of memory: whoever comes next would not look for it.
        if self.was_putting(self.me()) {
            let _ = self.sweep();
        }
        self.return_stash();
        self.show_leaving();
        // If the unlink fails, the next who opens it prunes it.
        let _ = self.end_unless(|_| true);
        self.leave_seat();
    }

    /// Takes the name of an ephemeral arena away if nobody takes part but this process, with all its seats: for one that is
    /// about to end and cannot let go of everything. Returns whether it did. What we hold stays ours, but we keep no name
    /// from going: the last of those who leave after us takes it.
    pub fn end_alone(&self) -> Result<bool> {
        let ours = self.process(self.me());
        self.show_leaving();
        self.end_unless(|other| other.process != ours)
    }

    /// A5: c1-c4, as one who is LEAVING, unless somebody stays whom `counts` counts. Returns whether the name is gone by us.
    fn end_unless(&self, counts: impl Fn(&Occupant) -> bool) -> Result<bool> {
        if self.is_kept() {
            return Ok(false);
        }
        let stay = [SeatState::Claim, SeatState::Joining, SeatState::Live];
        loop {
            match self.close(|core| core.sees(&stay, &counts))? {
                Closed::ByUs => return Ok(true),
                Closed::Kept => return Ok(false),
                // Each turn of this loop is one closer that has come and gone.
                Closed::Busy if self.outlives_closing(false)? => {}
                Closed::Busy => return Ok(false),
            }
        }
    }

    /// Leaves, and does not look whether others stay. Everything that was held here must have been let go.
    pub fn detach(&self) {
        self.return_stash();
        self.leave_seat();
    }

    /// Takes the arena's name away, whoever takes part. `false`: a closer was in the way for as long as we had patience.
    pub fn remove_arena(&self) -> Result<bool> {
        for _ in 0..PATIENCE {
            if self.close(|_| Ok(false))? == Closed::ByUs {
                return Ok(true);
            }
            if !self.outlives_closing(true)? {
                return Ok(!self.env.has_name()?);
            }
        }
        Ok(false)
    }

    /// o2, o3, as one who is JOINING: whether there is an arena to join.
    fn may_enter(&self) -> Result<bool> {
        if !self.outlives_closing(true)? {
            return Ok(false);
        }
        let lives = |core: &Core<E>| core.sees(&[SeatState::Live], |_| true);
        if self.is_kept() || lives(self)? {
            return Ok(true);
        }
        // Everybody is gone: its time is over, unless somebody became LIVE just now.
        Ok(self.close(lives)? != Closed::ByUs)
    }

    /// o2: waits while the arena is CLOSING. `false`: it is gone, or a closer keeps it. If `may_stop`, the interrupt hook can
    /// end the wait: then the caller has changed nothing but its own seat, and leaves.
    fn outlives_closing(&self, may_stop: bool) -> Result<bool> {
        let mut pauses = 0;
        loop {
            let word = self.arena_life();
            if word == ArenaLife::OPEN {
                return Ok(true);
            }
            let Some(owner) = word.closer() else {
                if !self.env.has_name()? {
                    return Ok(false);
                }
                // A7.
                self.take_over(word)?;
                continue;
            };
            if self.is_gone(owner) {
                // A3.
                self.take_over(word)?;
            } else if pauses == PATIENCE {
                return Ok(false);
            } else {
                pauses += 1;
                self.env.pause();
                if may_stop && pauses % PAUSES_PER_ASK == 0 && self.env.is_interrupted() {
                    return Err(Error::Interrupted);
                }
            }
        }
    }

    /// c5, c6. The name is looked at while the word is ours: nobody else takes it away meanwhile, and nobody did since.
    fn take_over(&self, word: ArenaLife) -> Result<()> {
        let mine = ArenaLife::closing(self.me());
        if !self.turn_arena(word, mine) {
            return Ok(());
        }
        let named = self.env.has_name().inspect_err(|_| {
            // As it was: whoever comes next can look.
            self.turn_arena(mine, word);
        })?;
        self.turn_arena(mine, if named { ArenaLife::OPEN } else { ArenaLife::GONE });
        Ok(())
    }

    /// c1-c4: takes the name away, unless `keep` finds a reason not to.
    fn close(&self, keep: impl FnOnce(&Core<E>) -> Result<bool>) -> Result<Closed> {
        if !self.turn_arena(ArenaLife::OPEN, ArenaLife::closing(self.me())) {
            return Ok(Closed::Busy);
        }
        // What cannot be read may be somebody.
        if keep(self).unwrap_or(true) {
            self.turn_arena(ArenaLife::closing(self.me()), ArenaLife::OPEN);
            return Ok(Closed::Kept);
        }
        self.finish_closing()?;
        Ok(Closed::ByUs)
    }

    /// c3, c4. Nobody waits for one who could not.
    fn finish_closing(&self) -> Result<()> {
        let done = self.env.unlink();
        let next = if done.is_ok() { ArenaLife::GONE } else { ArenaLife::OPEN };
        self.turn_arena(ArenaLife::closing(self.me()), next);
        done
    }

    fn turn_arena(&self, old: ArenaLife, new: ArenaLife) -> bool {
        self.env.cas(header::LIFE, old.0, new.0, SeqCst).is_ok()
    }

    /// Whether anybody else whom `counts` counts has a seat in one of these states, and is not proved dead.
    fn sees(&self, states: &[SeatState], counts: impl Fn(&Occupant) -> bool) -> Result<bool> {
        let occupants = self.occupants()?;
        let mut others = occupants.iter().filter(|o| o.owner != self.me() && states.contains(&o.state) && counts(o));
        Ok(others.any(|o| !self.env.is_gone(o.owner, o.process)))
    }
}
