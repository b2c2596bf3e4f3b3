//! Every bit that processes race on: the words of objects, places, seats and bells.
//!
//! Each type is a `Copy` value with pure, partial transitions: `None` means "not from this state".
//! The atomics live behind [`crate::core::mem::Mem`]; a transition becomes real by one exact-value
//! compare-and-swap. Zeroed memory is a free object, an empty place, a free seat, a silent bell.
//!
//! # Life: one word per object (also per permit)
//!
//! ```text
//! 63  61 60                                                          0
//! | state |  payload                                                  |
//!   0 FREE    0                                      nobody
//!   1 DRAFT   seat:12 incarnation:16 count:32 forwarded:1  its writer lives
//!   2 HOME    container:26 turn:35                   place[turn] names it
//!   3 LEASED  ticket (as DRAFT)                      its holder lives
//!   4 BACK    ticket of the dead holder              nobody has it; the next taker is told
//!   5 PART    parent:26                              its parent lives
//!   6 LOOSE   0                                      a pin or a hold exists, or it is to be reclaimed
//!   7 DYING   ticket                                 being freed by its owner
//! ```
//!
//! **The rule of life: an object lives while its word names someone, or a pin or a parent keeps it.**
//!
//! * L1: FREE -> DRAFT, and FREE or BACK -> LEASED, are open to everyone; every other move belongs
//!   to the one named, to who proved that one dead, or is justified by a place that moved on.
//! * L2: a ticket is never used twice, so a compare-and-swap against DRAFT, LEASED, BACK or DYING
//!   cannot succeed late. FREE and LOOSE carry no tag: every claimer of a FREE is equally right, and
//!   whoever takes LOOSE to DYING looks at the pins again.
//! * L3: a dead owner is compared by seat *and* incarnation, never by seat alone.
//!
//! # Death
//!
//! A participant that dies leaves words that name it. Who proves the death ([`crate::core::seat`]) turns
//! DRAFT into HOME or LOOSE, LEASED into BACK, and adopts DYING; see [`crate::core::recover`].

/// A process's time in a seat. Two processes that used one seat differ in the incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Index in the registry.
    pub seat: u16,
    /// Which occupant of that seat, modulo 2^16.
    pub incarnation: u32,
}

/// Most seats that a registry has.
pub const SEATS: u64 = 1 << 12;
/// Bits of an incarnation.
const INCARNATION: u32 = 16;
pub const INCARNATIONS: u32 = 1 << INCARNATION;

/// Who did it: an [`Owner`] and a number that owner never uses again (32 bits, per attachment).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// `count` is taken modulo 2^32.
    pub fn new(owner: Owner, count: u64) -> Ticket {
        let incarnation = u64::from(owner.incarnation % INCARNATIONS);
        Ticket((u64::from(owner.seat) % SEATS) << 49 | incarnation << 33 | (count & 0xffff_ffff) << 1)
    }

    /// The ticket as a number.
    pub fn word(self) -> u64 {
        self.0
    }

    /// The ticket that [`Ticket::word`] made a number of. Others are of nobody.
    pub fn of_word(word: u64) -> Ticket {
        Ticket(word & PAYLOAD)
    }

    /// A lease that came out of a forwarded draft: it goes back where that came from, not where it was aimed at.
    pub fn is_forwarded(self) -> bool {
        self.0 & 1 != 0
    }

    /// The ticket with the mark of a forwarded draft.
    #[must_use]
    pub fn forwarded(self) -> Ticket {
        Ticket(self.0 | 1)
    }

    /// The ticket with the mark of a forwarded draft if another one has it.
    #[must_use]
    pub fn forwarded_as(self, other: Ticket) -> Ticket {
        Ticket(self.0 & !1 | other.0 & 1)
    }

    pub fn owner(self) -> Owner {
        Owner { seat: (self.0 >> 49) as u16 % SEATS as u16, incarnation: (self.0 >> 33) as u32 % INCARNATIONS }
    }
}

/// Identifies an object: ids below [`Id::FIRST`] are directory buckets, which are places only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub u32);

impl Id {
    pub const BITS: u32 = 26;
    /// The first id that is an object.
    pub const FIRST: u32 = 1 << 16;
    pub const MAX: u32 = 1 << Id::BITS;
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "o{:x}", self.0)
    }
}

pub const TURNS: u64 = 1 << 35;

/// A place named by its container, at one of its turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Turn {
    pub container: Id,
    /// Modulo 2^35; a place changes its turn with everything that it is given or loses.
    pub turn: u64,
}

/// What a [`Life`] word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Free,
    Draft(Ticket),
    Home(Turn),
    Leased(Ticket),
    Back(Ticket),
    Part(Id),
    Loose,
    Dying(Ticket),
}

/// The word of an object or a permit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Life(pub u64);

const STATE: u32 = 61;
const PAYLOAD: u64 = (1 << STATE) - 1;

impl Life {
    pub const FREE: Life = Life(0);
    pub const LOOSE: Life = Life(6 << STATE);

    pub fn draft(t: Ticket) -> Life {
        Life(1 << STATE | t.0)
    }

    pub fn home(at: Turn) -> Life {
        Life(2 << STATE | u64::from(at.container.0 % Id::MAX) << 35 | (at.turn % TURNS))
    }

    pub fn leased(t: Ticket) -> Life {
        Life(3 << STATE | t.0)
    }

    pub fn back(t: Ticket) -> Life {
        Life(4 << STATE | t.0)
    }

    pub fn part(parent: Id) -> Life {
        Life(5 << STATE | u64::from(parent.0))
    }

    pub fn dying(t: Ticket) -> Life {
        Life(7 << STATE | t.0)
    }

    /// `None`: no operation of this version writes such a word, so the segment is damaged.
    pub fn state(self) -> Option<State> {
        let payload = self.0 & PAYLOAD;
        let ticket = Ticket(payload);
        Some(match self.0 >> STATE {
            0 if payload == 0 => State::Free,
            1 => State::Draft(ticket),
            2 => State::Home(Turn { container: Id((payload >> 35) as u32), turn: payload % TURNS }),
            3 => State::Leased(ticket),
            4 => State::Back(ticket),
            5 if payload < u64::from(Id::MAX) => State::Part(Id(payload as u32)),
            6 if payload == 0 => State::Loose,
            7 => State::Dying(ticket),
            _ => return None,
        })
    }

    /// Whether it is HOME or PART: it names no participant.
    #[inline]
    pub fn is_placed(self) -> bool {
        matches!(self.0 >> STATE, 2 | 5)
    }

    /// The participant that this word names, if it names one that must live.
    pub fn owner(self) -> Option<Owner> {
        match self.state()? {
            State::Draft(t) | State::Leased(t) | State::Dying(t) => Some(t.owner()),
            _ => None,
        }
    }

    /// Takes a permit: free, or left by a holder that died. The flag says the latter.
    pub fn lease(self, t: Ticket) -> Option<(Life, bool)> {
        match self.state()? {
            State::Free => Some((Life::leased(t), false)),
            State::Back(_) => Some((Life::leased(t), true)),
            _ => None,
        }
    }

    /// What recovery makes of a permit whose holder is `dead`.
    pub fn take_back(self, dead: Owner) -> Option<Life> {
        match self.state()? {
            State::Leased(t) if t.owner() == dead => Some(Life::back(t)),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.state() {
            Some(state) => write!(f, "{state:?}"),
            None => write!(f, "Damaged({:#x})", self.0),
        }
    }
}

/// A word that holds at most one object and counts its changes.
///
/// ```text
/// 63    62 61 60        35 34          0
/// | dead | 0 | object:26  | turn:35     |
/// ```
///
/// * P1: every change raises the turn by one; it is never reset, not even when the container is
///   freed and used again.
/// * P2: `dead` is terminal until the container's next life begins with [`Place::revived`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place(pub u64);

const DEAD: u64 = 1 << 63;

impl Place {
    /// A cell of a ring, whose turns say of which lap it is.
    pub fn at(object: Option<Id>, turn: u64) -> Place {
        Place((object.map_or(0, |id| u64::from(id.0)) << 35) | (turn % TURNS))
    }

    pub fn object(self) -> Option<Id> {
        let id = (self.0 >> 35) as u32 % Id::MAX;
        (id != 0).then_some(Id(id))
    }

    pub fn turn(self) -> u64 {
        self.0 % TURNS
    }

    pub fn is_dead(self) -> bool {
        self.0 & DEAD != 0
    }

    fn next(self) -> u64 {
        (self.turn() + 1) % TURNS
    }

    /// The place with `object` in it (`None`: emptied), one turn later.
    pub fn put(self, object: Option<Id>) -> Option<Place> {
        let id = object.map_or(0, |id| u64::from(id.0));
        (!self.is_dead()).then_some(Place(id << 35 | self.next()))
    }

    /// Empty for ever (for this life of the container).
    pub fn kill(self) -> Option<Place> {
        (!self.is_dead()).then_some(Place(DEAD | self.next()))
    }

    /// The place of a container that begins a new life: empty, the turns go on.
    pub fn revived(self) -> Place {
        Place(self.next())
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dead = if self.is_dead() { " dead" } else { "" };
        match self.object() {
            Some(id) => write!(f, "{id}@{}{dead}", self.turn()),
            None => write!(f, "none@{}{dead}", self.turn()),
        }
    }
}

/// What a seat's word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeatState {
    Free,
    Claim,
    Joining,
    Live,
    Leaving,
    Dead,
}

/// How long the arena stays, in the header: on the first page, under the checksum, and on the second. The words differ in
/// so many bits that no stray one makes one of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// Until somebody removes it.
    Kept,
    /// Until nobody takes part in it.
    Ephemeral,
}

impl Stay {
    pub const fn word(self) -> u64 {
        u64::from_le_bytes(match self {
            Stay::Kept => *b"is kept.",
            Stay::Ephemeral => *b"EPHEMERA",
        })
    }

    /// `None`: damaged.
    pub fn of(word: u64) -> Option<Stay> {
        [Stay::Kept, Stay::Ephemeral].into_iter().find(|stay| stay.word() == word)
    }
}

/// The life of the arena itself, in the header: OPEN, CLOSING by a participant, or GONE.
///
/// ```text
/// OPEN <--> CLOSING(owner) -> GONE
///           CLOSING(dead) -> CLOSING(another)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaLife(pub u64);

impl ArenaLife {
    pub const OPEN: ArenaLife = ArenaLife(0);
    pub const GONE: ArenaLife = ArenaLife(1 << 62);
    /// Set beside the owner's seat and incarnation.
    const CLOSING: u64 = 1 << 63;

    /// This owner takes the arena's name away.
    pub fn closing(owner: Owner) -> ArenaLife {
        ArenaLife(ArenaLife::CLOSING | u64::from(owner.seat) << 32 | u64::from(owner.incarnation))
    }

    /// Who is taking the name away.
    pub fn closer(self) -> Option<Owner> {
        let owner = Owner { seat: (self.0 >> 32) as u16, incarnation: self.0 as u32 };
        (self.0 & ArenaLife::CLOSING != 0).then_some(owner)
    }
}

/// A seat of the registry: `state:3 | incarnation:16`.
///
/// ```text
/// FREE(i) -> CLAIM(i+1) -> JOINING(i+1) -> LIVE(i+1) -> LEAVING(i+1) -> FREE(i+1)
///               | no lock     \______________|____________/ no lock
///               v FREE(i)                    v DEAD(i+1) -> FREE(i+1)
/// ```
///
/// * S1: the incarnation grows by one, modulo 2^16, with each claim, and falls back only when a
///   claim is undone before anything was written in its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat(pub u64);

impl Seat {
    pub fn new(state: SeatState, incarnation: u32) -> Seat {
        Seat((state as u64) << INCARNATION | u64::from(incarnation % INCARNATIONS))
    }

    /// `None`: damaged.
    pub fn state(self) -> Option<SeatState> {
        Some(match self.0 >> INCARNATION {
            0 => SeatState::Free,
            1 => SeatState::Claim,
            2 => SeatState::Joining,
            3 => SeatState::Live,
            4 => SeatState::Leaving,
            5 => SeatState::Dead,
            _ => return None,
        })
    }

    pub fn incarnation(self) -> u32 {
        self.0 as u32 % INCARNATIONS
    }

    pub fn claim(self) -> Option<Seat> {
        let next = self.incarnation() + 1;
        (self.state()? == SeatState::Free).then(|| Seat::new(SeatState::Claim, next))
    }

    /// The seat of this incarnation, in the next state of the drawing above.
    pub fn step(self, from: SeatState, to: SeatState) -> Option<Seat> {
        (self.state()? == from).then(|| Seat::new(to, self.incarnation()))
    }

    /// What the proof that the occupant's lock is gone allows.
    pub fn bury(self) -> Option<Seat> {
        match self.state()? {
            SeatState::Claim => {
                Some(Seat::new(SeatState::Free, (self.incarnation() + INCARNATIONS - 1) % INCARNATIONS))
            }
            SeatState::Joining | SeatState::Live | SeatState::Leaving => {
                Some(Seat::new(SeatState::Dead, self.incarnation()))
            }
            SeatState::Free | SeatState::Dead => None,
        }
    }

    /// Whether pins in this seat's row count.
    pub fn may_pin(self) -> bool {
        matches!(self.state(), Some(SeatState::Live | SeatState::Leaving))
    }
}

/// What sleepers wait on: `0:32 | sequence:31 | flag:1`, the low half being the futex.
///
/// * B1: a sleeper sets the flag and looks again before it sleeps; who rings clears the flag and
///   raises the sequence in one step, then wakes all. (Waking one loses wake-ups: a late sleeper's
///   flag may already be spent.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bell(pub u64);

impl Bell {
    pub fn armed(self) -> bool {
        self.0 & 1 != 0
    }

    pub fn arm(self) -> Bell {
        Bell(self.0 | 1)
    }

    /// `None`: nobody waits.
    pub fn ring(self) -> Option<Bell> {
        let sequence = (self.0 >> 1).wrapping_add(1) & 0x7fff_ffff;
        self.armed().then_some(Bell(sequence << 1))
    }

    pub fn futex(self) -> u32 {
        self.0 as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners() -> [Owner; 3] {
        [(0, 0), (0, 1), (SEATS as u16 - 1, INCARNATIONS - 1)].map(|(seat, incarnation)| Owner { seat, incarnation })
    }

    /// L2: what is packed comes out, at the edges of every field, and no two values collide.
    #[test]
    fn every_field_survives_packing() {
        let mut seen = std::collections::HashSet::new();
        for owner in owners() {
            for count in [0, 1, 0xffff_ffff] {
                let t = Ticket::new(owner, count);
                assert_eq!(t.owner(), owner);
                for (life, state) in [
                    (Life::draft(t), State::Draft(t)),
                    (Life::leased(t), State::Leased(t)),
                    (Life::back(t), State::Back(t)),
                    (Life::dying(t), State::Dying(t)),
                ] {
                    assert_eq!(life.state(), Some(state));
                    assert!(seen.insert(life.0), "{life:?} collides");
                }
            }
        }
        for container in [0, 1, Id::FIRST, Id::MAX - 1].map(Id) {
            for turn in [0, 1, TURNS - 1] {
                let at = Turn { container, turn };
                assert_eq!(Life::home(at).state(), Some(State::Home(at)));
                assert!(seen.insert(Life::home(at).0));
            }
            assert_eq!(Life::part(container).state(), Some(State::Part(container)));
            assert!(seen.insert(Life::part(container).0));
        }
        assert!(seen.insert(Life::FREE.0) && seen.insert(Life::LOOSE.0));
    }

    /// A1: who is CLOSING comes out of the word as it went in, and neither OPEN nor GONE names anybody.
    #[test]
    fn a_closer_survives_packing() {
        for owner in owners() {
            assert_eq!(ArenaLife::closing(owner).closer(), Some(owner));
        }
        assert_eq!([ArenaLife::OPEN, ArenaLife::GONE].map(ArenaLife::closer), [None; 2]);
    }

    /// A6: bits must change by the dozen before a word that says "kept" says "ephemeral".
    #[test]
    fn stays_are_far_apart() {
        let [kept, ephemeral] = [Stay::Kept, Stay::Ephemeral].map(Stay::word);
        assert!((kept ^ ephemeral).count_ones() >= 16);
        for word in [kept, ephemeral] {
            assert!((0..64).all(|bit| Stay::of(word ^ 1 << bit).is_none()));
        }
        assert_eq!([0, 1, u64::MAX].map(Stay::of), [None; 3]);
    }

    /// L1, L3: walks every permit word that two owners can reach; a dead holder's permit comes back
    /// once, marked, and a living one's never does.
    #[test]
    fn every_reachable_permit_keeps_the_rules() {
        let [a, b, _] = owners();
        let (mut seen, mut todo) = (vec![], vec![(Life::FREE, 0u64)]);
        while let Some((w, count)) = todo.pop() {
            if count > 3 || seen.contains(&(w, count)) {
                continue;
            }
            seen.push((w, count));
            for owner in [a, b] {
                let t = Ticket::new(owner, count + 1);
                if let Some((next, recovered)) = w.lease(t) {
                    assert!(matches!(w.state(), Some(State::Free | State::Back(_))));
                    assert_eq!(recovered, matches!(w.state(), Some(State::Back(_))));
                    assert_eq!(next.owner(), Some(owner));
                    todo.push((next, count + 1));
                }
                if let Some(next) = w.take_back(owner) {
                    assert_eq!(w.owner(), Some(owner), "L3: taken from a living holder");
                    assert_eq!(next.owner(), None);
                    todo.push((next, count));
                }
            }
            if matches!(w.state(), Some(State::Leased(_))) {
                todo.push((Life::FREE, count));
            }
        }
        assert!(seen.len() > 10);
    }

    /// P1, P2: every change of a place is visible in its turn, and a dead one stays dead.
    #[test]
    fn every_reachable_place_keeps_the_rules() {
        let ids = [Id::FIRST, Id::MAX - 1].map(Id);
        let (mut seen, mut todo) = (vec![], vec![Place(0), Place(TURNS - 2)]);
        while let Some(p) = todo.pop() {
            if seen.contains(&p) || seen.len() > 200 {
                continue;
            }
            seen.push(p);
            let next = [p.put(Some(ids[0])), p.put(Some(ids[1])), p.put(None), p.kill()];
            for n in next.into_iter().flatten() {
                assert!(!p.is_dead(), "P2");
                assert_eq!(n.turn(), (p.turn() + 1) % TURNS, "P1");
                if n.turn() < 4 || n.turn() > TURNS - 3 {
                    todo.push(n);
                }
            }
            assert_eq!(p.put(Some(ids[0])).is_none(), p.is_dead());
            let again = p.revived();
            assert!(!again.is_dead() && again.object().is_none());
            assert_eq!(again.turn(), (p.turn() + 1) % TURNS, "P1");
        }
        assert!(seen.len() > 20);
    }

    /// S1: walks every seat word; only the drawn arrows exist, and a claim that is undone gives the
    /// incarnation back.
    #[test]
    fn every_reachable_seat_keeps_the_drawing() {
        use SeatState::{Claim, Dead, Free, Joining, Leaving, Live};
        let arrows = [(Claim, Joining), (Joining, Live), (Live, Leaving), (Leaving, Free), (Dead, Free)];
        let start = Seat::new(Free, INCARNATIONS - 2);
        let (mut seen, mut todo) = (vec![], vec![start]);
        while let Some(w) = todo.pop() {
            if seen.contains(&w) || (3..INCARNATIONS - 3).contains(&w.incarnation()) {
                continue;
            }
            seen.push(w);
            let state = w.state().expect("reachable words are sound");
            if let Some(c) = w.claim() {
                assert_eq!(state, Free);
                assert_eq!(c.incarnation(), (w.incarnation() + 1) % INCARNATIONS, "S1");
                assert_eq!(c.bury(), Some(w), "an undone claim leaves no trace");
                todo.push(c);
            }
            for (from, to) in arrows {
                assert_eq!(w.step(from, to).is_some(), state == from);
                todo.extend(w.step(from, to));
            }
            todo.extend(w.bury());
            assert_eq!(w.may_pin(), matches!(state, Live | Leaving));
        }
        assert!(seen.len() > 20);
    }

    /// B1: an unarmed bell is left alone, and a rung one differs from what its sleepers wait on.
    #[test]
    fn a_rung_bell_wakes_its_sleepers() {
        for start in [0, 2, 0xffff_fffe] {
            let bell = Bell(start);
            assert_eq!(bell.ring(), None);
            let slept = bell.arm();
            let rung = slept.ring().expect("armed");
            assert!(!rung.armed());
            assert_ne!(rung.futex(), slept.futex());
            assert_ne!(rung.arm().futex(), slept.futex());
            assert_eq!(rung.0 >> 32, 0);
        }
    }
}
