//! Load once: one participant makes what a name will stand for, the others wait for it.
//!
//! The record of a name has a lease ([`crate::core::lease`]: K1, K2). Who has it is the name's **maker**. A name that has a
//! maker and no object is listed, and invisible to readers.
//!
//! ```text
//! load   m1 the name stands for an object? that is it.   no name? insert it, without an object
//!        m2 CAS maker: FREE or BACK -> LEASED(me)        LEASED: wait, as for any lease.  LOOSE: the name goes, from m1
//!        m3 the name stands for an object by now? m4, from m1.   else: make it, publish it if there is none
//! end    m4 CAS maker: LEASED(me) -> FREE;  ring
//!        m5 the name stands for nothing? it goes (N6)
//! ```
//!
//! How a name goes, and stays while it has a maker, is in [`crate::core::name`].
//!
//! # Invariants
//!
//! * N5, N6 (`name.rs`): a dead name has no maker; a name without an object has a maker, or goes.
//! * K1: so while a maker lives, running or stopped, nobody else becomes one for the same name, whatever was
//!   published under it and removed meanwhile.
//! * N7: who becomes the maker saw no object after it did: what was made before is not made again.
//!
//! # Death
//!
//! At m1-m2: a name without an object and without a maker; the dead one was putting, so recovery looks for such names. Of a
//! maker: LEASED(dead), which becomes BACK; a waiter takes it, or recovery lets the name go if it stands for nothing. At
//! m4-m5: a name without an object, as at m1. A maker that is stopped is waited for: it was granted that.

use crate::core::geometry::meta;
use crate::core::lease::Lease;
use crate::core::name;
use crate::core::seat::{Core, Env};
use crate::core::wait::Until;
use crate::core::word::{Id, State};
use crate::error::Result;

/// What came of loading once.
#[derive(Clone, Copy, Debug)]
pub enum Loaded {
    /// The name stands for this object, which is pinned.
    There(Id),
    /// It stands for nothing: we are to make it.
    Make(Making),
}

/// The right to make what a name will stand for, to be ended by [`Core::end_making`]. Its name is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Making {
    pub name: Id,
    pub lease: Lease,
}

/// What waiting for a maker came to.
enum Awaited {
    /// The name stands for something, or goes: look it up.
    Again,
    Maker(Lease),
}

impl<E: Env> Core<E> {
    /// m1-m3: what a name stands for, or the right to make that; [`Error::TimedOut`](crate::error::Error::TimedOut) if somebody else makes it still at the
    /// end of the wait.
    pub fn load_once(&self, name: &str, until: Until) -> Result<Loaded> {
        name::check(name)?;
        let until = until.started();
        loop {
            if let Some(id) = self.pin_named(name)? {
                return Ok(Loaded::There(id));
            }
            if let Some(making) = self.putting(|| self.become_maker(name, until))? {
                return Ok(Loaded::Make(making));
            }
            self.env.spin();
        }
    }

    /// `None`: look the name up.
    fn become_maker(&self, name: &str, until: Until) -> Result<Option<Making>> {
        let found = match self.lookup(name)? {
            Some(found) => found,
            None => match self.insert(name)? {
                Some(new) => new,
                None => return Ok(None),
            },
        };
        let (leases, off) = (self.maker(found), self.geo.meta(found, meta::PLACE));
        let is_settled = || {
            let place = self.place(off);
            place.is_dead() || place.object().is_some() || self.maker_word(found).state() == Some(State::Loose)
        };
        let awaited = self.wait_for_lessees(leases, until, || {
            if is_settled() {
                return Ok(Some(Awaited::Again));
            }
            Ok(self.try_lease(leases)?.map(Awaited::Maker))
        });
        match awaited {
            // N7: it may have been published between the look and the lease.
            Ok(Awaited::Maker(lease)) if self.place(off).object().is_none() => {
                return Ok(Some(Making { name: found, lease }));
            }
            Ok(Awaited::Maker(lease)) => {
                self.give_back(lease);
            }
            _ => {}
        }
        self.leave_name(self.bucket_of(name), found);
        self.unpin(found);
        awaited.map(|_| None)
    }

    /// m4, m5: lets another become the maker, if the name stands for nothing.
    pub fn end_making(&self, making: Making) {
        self.putting(|| {
            self.give_back(making.lease);
            self.leave_name(self.bucket_of(&self.text(making.name)), making.name);
        });
        self.unpin(making.name);
    }
}
