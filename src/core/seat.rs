//! Participants: who is attached, who is dead, and tickets.
//!
//! A **seat** is an index in the registry. Its word goes round as [`crate::core::word::Seat`] draws it;
//! beside it lie facts about the process for people to read, and for the fast proof of death.
//!
//! # Attaching
//!
//! ```text
//! j1 FREE(i) -> CLAIM(i+1)      claim before locking: only one process can ever want byte (seat, i+1)
//! j2 lock byte (seat, i+1)
//! j3 CLAIM(i+1) -> JOINING(i+1) fails if somebody took the claim for dead: undo the lock, look elsewhere
//! j4 write the facts, clear the predecessor's row of pins
//! j5 JOINING -> LIVE            from here on its pins count
//! ```
//!
//! * R1: no ticket of (seat, i+1) is written to any word before j3 succeeded.
//! * R2: a process writes only its own tickets; nothing is ever handed to another in its name.
//! * R3: a row counts only while its seat is LIVE or LEAVING; it is all zero at j5.
//!
//! # Death
//!
//! Killed in j1-j2: CLAIM with no lock, undone by anyone. Later: the byte is unlocked, anyone turns
//! the seat DEAD, which makes its pins void, settles its words, and frees it. A stopped
//! participant's byte stays locked: it is alive, and nobody waits for it.
//!
//! # Fork
//!
//! The child has neither the control mapping nor the lock; [`crate::core::segment`] tells it apart by a
//! page that fork wipes.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::core::geometry::{PAGE, header};
use crate::core::mem::{Load, Mem};
use crate::core::stash::Stash;
use crate::core::sys::{Process, Sys};
use crate::core::tables::Tables;
use crate::core::word::{Owner, Seat, SeatState, Ticket};
use crate::error::{Counted, Error, Result};

/// Everything that the protocols run on.
pub trait Env: Mem + Sys {}
impl<T: Mem + Sys> Env for T {}

/// Words of a seat's record.
pub mod info {
    pub const PID: u64 = 0;
    pub const NAMESPACE: u64 = 1;
    pub const STARTED: u64 = 2;
    /// Milliseconds since the Unix epoch.
    pub const SINCE: u64 = 3;
    /// 16 bytes of command name.
    pub const COMMAND: u64 = 4;
    /// Whose record this is: its incarnation plus one. Written last.
    pub const WHOSE: u64 = 6;
    /// The page of the row, plus one, that is being put in memory, until the row's map shows it.
    pub const ROW_INTENT: u64 = 7;
    /// 1: the row's map is in memory.
    pub const ROW_READY: u64 = 8;
    /// Bells that threads of it sleep on; 0: none. See [`crate::core::wait`].
    pub const WAITS: u64 = 9;
    pub const WAITS_SHOWN: u64 = 7;
    /// How many of its threads are in the middle of a [`super::Core::putting`].
    pub const PUTTING: u64 = 16;
    /// 1: it may have taken leases of objects that lock.
    pub const LEASES: u64 = 17;
}

/// A participant: the segment's words, and who we are among those who change them.
#[derive(Debug)]
pub struct Core<E> {
    pub tables: Tables<E>,
    me: Owner,
    tickets: AtomicU64,
    leases: AtomicU64,
    /// Whether our record says that we take leases.
    leases_shown: AtomicBool,
    /// How often somebody polled, and when the dead were last looked for because of that.
    polls: AtomicU64,
    looked: AtomicU64,
    /// Pages of our row that are in memory: a private copy of our row map.
    row: Box<[AtomicU64]>,
    row_lock: Mutex<()>,
    /// Free slots that we freed last, for each zone: a private hint.
    pub(crate) stash: Box<[Stash]>,
}

impl<E> std::ops::Deref for Core<E> {
    type Target = Tables<E>;
    fn deref(&self) -> &Tables<E> {
        &self.tables
    }
}

/// The facts that a participant wrote about itself.
#[derive(Clone, Debug)]
pub struct Occupant {
    pub owner: Owner,
    pub state: SeatState,
    pub process: Process,
    pub since: u64,
    pub command: String,
}

impl<E: Load> Tables<E> {
    /// The process that an owner said it is. Unknown while the record still is a predecessor's: the
    /// fast proof must not take a joiner for the dead process that sat there before.
    pub fn process(&self, owner: Owner) -> Process {
        let seat = u64::from(owner.seat);
        let word = |w| self.env.load(self.geo.seat_info(seat, w), Acquire);
        // A damaged word may name a seat that there is not.
        if seat >= self.geo.params.seats || word(info::WHOSE) != u64::from(owner.incarnation) + 1 {
            return Process::default();
        }
        Process { pid: word(info::PID) as u32, namespace: word(info::NAMESPACE), started: word(info::STARTED) }
    }

    /// Whether the occupant of a seat died while it was [`Core::putting`].
    pub fn was_putting(&self, dead: Owner) -> bool {
        self.env.load(self.geo.seat_info(dead.seat.into(), info::PUTTING), SeqCst) != 0
    }

    /// Whether the occupant of a seat may have had leases of objects that lock.
    pub fn had_leases(&self, dead: Owner) -> bool {
        self.env.load(self.geo.seat_info(dead.seat.into(), info::LEASES), SeqCst) != 0
    }

    /// Whether a seat's row map is in memory.
    pub fn seat_was_taken(&self, seat: u64) -> bool {
        self.env.load(self.geo.seat_info(seat, info::ROW_READY), Acquire) != 0
    }

    /// Whether a page of a seat's row may be in memory without its map showing it.
    pub fn row_is_unsure(&self, seat: u64) -> bool {
        let intent = self.env.load(self.geo.seat_info(seat, info::ROW_INTENT), Relaxed);
        intent.checked_sub(1).is_some_and(|page| page < self.geo.row_pages() && !self.has_row_page(seat, page))
    }

    /// Every seat that is not free.
    pub fn occupants(&self) -> Result<Vec<Occupant>> {
        let mut all = vec![];
        for seat in 0..self.seats_used() {
            let word = self.seat(seat);
            let state = word
                .state()
                .ok_or_else(|| Error::damaged(format!("seat {seat} has the impossible word {:#x}", word.0)))?;
            if state == SeatState::Free {
                continue;
            }
            let text: Vec<u8> = (0..2)
                .flat_map(|w| self.env.load(self.geo.seat_info(seat, info::COMMAND + w), Relaxed).to_le_bytes())
                .take_while(|b| *b != 0)
                .collect();
            let owner = Owner { seat: seat as u16, incarnation: word.incarnation() };
            all.push(Occupant {
                owner,
                state,
                process: self.process(owner),
                since: self.env.load(self.geo.seat_info(seat, info::SINCE), Relaxed),
                command: String::from_utf8_lossy(&text).into_owned(),
            });
        }
        Ok(all)
    }
}

impl<E: Load + Sys> Tables<E> {
    /// Whether the occupant of a seat is proved dead.
    pub fn is_gone(&self, owner: Owner) -> bool {
        self.env.is_gone(owner, self.process(owner))
    }
}

impl<E: Env> Core<E> {
    /// Takes one of the first `seats` seats. `LIVE` only after `admit` agreed, which sees the participant JOINING.
    /// `None`: it did not agree.
    pub fn attach(
        tables: Tables<E>,
        seats: u64,
        process: Process,
        command: &str,
        admit: impl FnOnce(&Core<E>) -> Result<bool>,
    ) -> Result<Option<Core<E>>> {
        let mut core = Core {
            me: Owner { seat: 0, incarnation: 0 },
            tickets: AtomicU64::new(0),
            leases: AtomicU64::new(0),
            leases_shown: AtomicBool::new(false),
            polls: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            row: (0..tables.geo.row_map_words()).map(|_| AtomicU64::new(0)).collect(),
            row_lock: Mutex::default(),
            stash: tables.geo.zones.iter().map(|_| Stash::default()).collect(),
            tables,
        };
        for seat in 0..seats {
            let word = core.seat(seat);
            let Some(claim) = word.claim() else { continue };
            core.raise(header::SEATS_USED, seat + 1);
            if !core.turn_seat(seat, word, claim) {
                continue;
            }
            let me = Owner { seat: seat as u16, incarnation: claim.incarnation() };
            // The byte is nobody else's (R1); if it is locked all the same, leave the claim to be buried.
            if !core.env.lock(me) {
                continue;
            }
            let joining = claim.step(SeatState::Claim, SeatState::Joining);
            let Some(joining) = joining.filter(|joining| core.turn_seat(seat, claim, *joining)) else {
                core.env.unlock(me);
                continue;
            };
            core.me = me;
            core.introduce(process, command);
            match core.prepare_row().and_then(|()| admit(&core)) {
                Ok(true) => {}
                refused => {
                    core.leave(joining);
                    return refused.map(|_| None);
                }
            }
            let live = joining.step(SeatState::Joining, SeatState::Live);
            if !live.is_some_and(|live| core.turn_seat(seat, joining, live)) {
                return Err(Error::damaged(format!("seat {seat} was taken from a living participant")));
            }
            return Ok(Some(core));
        }
        Err(Error::Limit { what: Counted::Participants, limit: seats })
    }

    fn turn_seat(&self, seat: u64, old: Seat, new: Seat) -> bool {
        self.env.cas(self.geo.seat_word(seat), old.0, new.0, SeqCst).is_ok()
    }

    fn introduce(&self, process: Process, command: &str) {
        let seat = u64::from(self.me.seat);
        let put = |word, value| self.env.store(self.geo.seat_info(seat, word), value, Relaxed);
        put(info::PID, u64::from(process.pid));
        put(info::NAMESPACE, process.namespace);
        put(info::STARTED, process.started);
        put(info::SINCE, self.env.now());
        for w in 0..info::WAITS_SHOWN {
            put(info::WAITS + w, 0);
        }
        put(info::PUTTING, 0);
        put(info::LEASES, 0);
        let mut text = [0u8; 16];
        let len = command.len().min(text.len());
        text[..len].copy_from_slice(&command.as_bytes()[..len]);
        for (i, word) in text.as_chunks::<8>().0.iter().enumerate() {
            put(info::COMMAND + i as u64, u64::from_le_bytes(*word));
        }
        let whose = self.geo.seat_info(seat, info::WHOSE);
        self.env.store(whose, u64::from(self.me.incarnation) + 1, Release);
    }

    /// R3: a predecessor's pins in this row are void; its pages stay in memory and are used again.
    fn prepare_row(&self) -> Result<()> {
        let seat = u64::from(self.me.seat);
        let map = self.geo.row_map(seat, 0);
        let bytes = self.geo.row_map_words() * 8;
        self.env.commit(map, bytes).map_err(|_| self.no_space(bytes))?;
        self.env.store(self.geo.seat_info(seat, info::ROW_READY), 1, Release);
        if self.row_is_unsure(seat) {
            let page = self.env.load(self.geo.seat_info(seat, info::ROW_INTENT), Relaxed) - 1;
            self.env.punch(self.geo.row_page_offset(seat, page), PAGE);
            self.env.store(self.geo.seat_info(seat, info::ROW_INTENT), 0, Relaxed);
        }
        for (i, mine) in self.row.iter().enumerate() {
            let word = self.env.load(map + i as u64 * 8, Relaxed);
            let mut rest = word;
            while rest != 0 {
                let page = i as u64 * 64 + u64::from(rest.trailing_zeros());
                rest &= rest - 1;
                // A bit beyond the row is damage: those pages are the next seat's.
                if page >= self.geo.row_pages() {
                    break;
                }
                let start = self.geo.row_page_offset(seat, page);
                for off in (start..start + PAGE).step_by(8) {
                    if self.env.load(off, Relaxed) != 0 {
                        self.env.store(off, 0, Relaxed);
                    }
                }
            }
            mine.store(word, Release);
        }
        Ok(())
    }

    /// Puts the page of our row that has this object's count in memory, before it is touched.
    #[inline]
    pub(crate) fn ensure_row_page(&self, page: u64) -> Result<()> {
        if self.has_own_row_page(page) { Ok(()) } else { self.commit_row_page(page) }
    }

    /// Whether the page of our row is in memory.
    #[inline]
    pub(crate) fn has_own_row_page(&self, page: u64) -> bool {
        self.row[(page / 64) as usize].load(Acquire) >> (page % 64) & 1 != 0
    }

    #[cold]
    fn commit_row_page(&self, page: u64) -> Result<()> {
        let seat = u64::from(self.me.seat);
        let off = self.geo.row_page_offset(seat, page);
        // One page at a time, so that one word tells what a death may leave.
        let _one = self.row_lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.env.store(self.geo.seat_info(seat, info::ROW_INTENT), page + 1, SeqCst);
        self.env.commit(off, PAGE).map_err(|_| self.no_space(PAGE))?;
        let bit = 1 << (page % 64);
        let map = self.geo.row_map(seat, page);
        let mut word = self.env.load(map, SeqCst);
        // Before the first pin in that page: a scan that misses the bit comes before the pin.
        while word & bit == 0 {
            match self.env.cas(map, word, word | bit, SeqCst) {
                Ok(_) => break,
                Err(found) => word = found,
            }
        }
        self.row[(page / 64) as usize].fetch_or(bit, Ordering::AcqRel);
        Ok(())
    }

    /// The pages of our row that are in memory.
    pub(crate) fn pages_of_row(&self) -> impl Iterator<Item = u64> {
        self.row.iter().enumerate().flat_map(|(i, word)| {
            let word = word.load(Acquire);
            (0..64).filter(move |bit| word >> bit & 1 != 0).map(move |bit| i as u64 * 64 + bit)
        })
    }

    /// Who we are.
    pub fn me(&self) -> Owner {
        self.me
    }

    /// L2: a ticket that was never used.
    pub fn ticket(&self) -> Ticket {
        Ticket::new(self.me, self.tickets.fetch_add(1, Relaxed))
    }

    /// As if so many tickets had been used.
    #[cfg(test)]
    pub(crate) fn start_tickets_at(&self, count: u64) {
        self.tickets.store(count, Relaxed);
        self.leases.store(count, Relaxed);
    }

    /// A ticket for a lease. Threads of one process may get the same at the same time, for different leases: one
    /// is given back by who has it only, so that no late swap can meet another's.
    #[inline]
    pub fn lease_ticket(&self) -> Ticket {
        let count = self.leases.load(Relaxed);
        self.leases.store(count.wrapping_add(1), Relaxed);
        Ticket::new(self.me, count)
    }

    /// Says for as long as we live that something of that kind is left, for recovery to find.
    pub fn leave_unfinished(&self) {
        self.env.fetch_add(self.geo.seat_info(self.me.seat.into(), info::PUTTING), 1, SeqCst);
    }

    /// Runs what may leave an object at home in a place that has moved on, or a name without an object, if we die in the
    /// middle: nothing of that names us. Our record says so meanwhile, so that recovery only has to look for such things
    /// when it does.
    pub fn putting<T>(&self, f: impl FnOnce() -> T) -> T {
        let off = self.geo.seat_info(self.me.seat.into(), info::PUTTING);
        self.env.fetch_add(off, 1, SeqCst);
        let done = f();
        // Not where `f` panics: then recovery looks in vain.
        self.env.fetch_add(off, u64::MAX, SeqCst);
        done
    }

    /// Says in our record that we may have leases of objects that lock. Before the first.
    #[inline]
    pub(crate) fn show_leases(&self) {
        if !self.leases_shown.load(Acquire) {
            self.env.store(self.geo.seat_info(self.me.seat.into(), info::LEASES), 1, SeqCst);
            self.leases_shown.store(true, Release);
        }
    }

    /// Whether who polls should ask about deaths again: at most every 100 ms for all of this process.
    pub(crate) fn is_time_to_look(&self) -> bool {
        const POLLS: u64 = 64;
        const EVERY_MS: u64 = 100;
        // The clock is not asked each time. Threads may lose counts to each other.
        let polls = self.polls.load(Relaxed).wrapping_add(1);
        self.polls.store(polls, Relaxed);
        if polls % POLLS != 1 {
            return false;
        }
        let now = self.env.now();
        let last = self.looked.load(Relaxed);
        now.wrapping_sub(last) >= EVERY_MS && self.looked.compare_exchange(last, now, Relaxed, Relaxed).is_ok()
    }

    /// LIVE to LEAVING: we hold what we hold, and stay for nobody's sake (A5).
    pub fn show_leaving(&self) {
        let live = Seat::new(SeatState::Live, self.me.incarnation);
        self.turn_seat(u64::from(self.me.seat), live, Seat::new(SeatState::Leaving, self.me.incarnation));
    }

    /// Gives the seat back: everything that this participant held must have been let go before.
    pub fn leave_seat(&self) {
        self.show_leaving();
        self.leave(Seat::new(SeatState::Leaving, self.me.incarnation));
    }

    /// Not for a seat that was taken from us, which is damage: its lock says who has it.
    fn leave(&self, from: Seat) {
        if self.turn_seat(u64::from(self.me.seat), from, Seat::new(SeatState::Free, self.me.incarnation)) {
            self.env.unlock(self.me);
        }
    }

    /// Seats whose occupants are proved dead now, DEAD from here on. Claims of the dead are undone.
    pub fn bury_the_dead(&self) -> Vec<Owner> {
        let mut dead = vec![];
        for seat in 0..self.seats_used() {
            let word = self.seat(seat);
            let owner = Owner { seat: seat as u16, incarnation: word.incarnation() };
            if word.state() == Some(SeatState::Dead) {
                dead.push(owner);
            } else if owner != self.me
                && let Some(buried) = word.bury()
                && self.is_gone(owner)
                && self.turn_seat(seat, word, buried)
                && buried.state() == Some(SeatState::Dead)
            {
                dead.push(owner);
            }
        }
        dead
    }

    /// Frees the seat of one whose words are all settled.
    pub fn free_seat(&self, dead: Owner) -> bool {
        let word = Seat::new(SeatState::Dead, dead.incarnation);
        self.turn_seat(u64::from(dead.seat), word, Seat::new(SeatState::Free, dead.incarnation))
    }
}
