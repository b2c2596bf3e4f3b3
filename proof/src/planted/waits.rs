//! Planted bugs of waits: for several things, of those that the interrupt hook ends, at conditions, and for posted permits.

use super::bug::{Bug, KILL, ORPHANS, WAITERS, WEAK_WAITERS};

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
    Bug {
        what: "a waiter's number is given twice",
        breaks: "W1",
        file: "core/waiters.rs",
        edits: &[(
            "while let Err(now) = self.swap_word(waiters.next, number, number.wrapping_add(1)) {",
            "while let Err(now) = Ok::<u64, u64>(number) {",
        )],
        test: KILL,
    },
    Bug {
        what: "who enlists forgets what the dead waiter of its place was told",
        breaks: "W2",
        file: "core/waiters.rs",
        edits: &[(
            "self.hand_on(waiters, index, Mark::waits(number));",
            "self.store_word(waiters.mark(index), Mark::waits(number).0);",
        )],
        test: KILL,
    },
    Bug {
        what: "what the dead were told is handed on to nobody",
        breaks: "W2",
        file: "core/waiters.rs",
        edits: &[(
            "self.hand_on(waiters, index, Mark::NOBODY); if lease.recovered {",
            "self.store_word(waiters.mark(index), Mark::NOBODY.0); if lease.recovered {",
        )],
        test: KILL,
    },
    Bug {
        what: "a mark is cleared before another waiter is told",
        breaks: "W2",
        file: "core/waiters.rs",
        edits: &[(
            "self.hand_on(waiters, index, Mark::NOBODY); if lease.recovered {",
            "self.store_word(waiters.mark(index), Mark::NOBODY.0); self.notify(waiters, 1); if lease.recovered {",
        )],
        test: ORPHANS,
    },
    Bug {
        what: "a mark does not say from where its waiter was told",
        breaks: "W2",
        file: "core/waiters.rs",
        edits: &[("self.tell(waiters, to, number, index + 1)", "self.tell(waiters, to, number, 0)")],
        test: WAITERS,
    },
    Bug {
        what: "who leaves does not say that what it was told has come",
        breaks: "W2",
        file: "core/waiters.rs",
        edits: &[("self.say_it_came(waiters, now); match self.swap_word(", "match self.swap_word(")],
        test: ORPHANS,
    },
    Bug {
        what: "who leaves does not say that it was told",
        breaks: "W2",
        file: "core/waiters.rs",
        edits: &[("self.give_back(who.lease); now.is_told()", "self.give_back(who.lease); false")],
        test: KILL,
    },
    Bug {
        what: "a notifier tells a dead waiter",
        breaks: "W2",
        file: "core/waiters.rs",
        edits: &[("let told = self.is_waiter_alive(waiters, index) &&", "let told =")],
        test: KILL,
    },
    Bug {
        what: "what a place says is handed on without its lease",
        breaks: "W3",
        file: "core/waiters.rs",
        edits: &[(
            "if let Ok(Some(lease)) = self.try_lease(waiters.leases.part(index, 1)) { self.hand_on(waiters, index, Mark::NOBODY); \
             if lease.recovered { self.give_back_unmended(lease) } else { self.give_back(lease) }; }",
            "if self.swap_word(waiters.mark(index), mark.0, 0).is_ok() { self.notify(waiters, 1); }",
        )],
        test: ORPHANS,
    },
    Bug {
        what: "who counts the dead erases the mark of whoever has their place",
        breaks: "W3",
        file: "core/waiters.rs",
        edits: &[(
            "if let Ok(Some(lease)) = self.try_lease(waiters.leases.part(index, 1)) { self.hand_on(waiters, index, Mark::NOBODY); lost",
            "let mark = self.mark(waiters, index); let _ = self.swap_word(waiters.mark(index), mark.0, 0); \
             if let Ok(Some(lease)) = self.try_lease(waiters.leases.part(index, 1)) { lost",
        )],
        test: ORPHANS,
    },
    Bug {
        what: "who abandons a wait leaves before another is told",
        breaks: "W2",
        file: "core/waiters.rs",
        edits: &[(
            "self.hand_on(waiters, who.index, Mark::NOBODY); self.give_back(who.lease);",
            "if self.leave_waiters(waiters, who) { self.notify(waiters, 1); }",
        )],
        test: WAITERS,
    },
    Bug {
        what: "a waiter is rung before its mark says that it was told",
        breaks: "B2",
        file: "core/waiters.rs",
        edits: &[
            ("let told = self.is_waiter_alive", "self.ring_bell(waiters.bell(index)); let told = self.is_waiter_alive"),
            ("if told { self.ring_bell(waiters.bell(index)); } told", "told"),
        ],
        test: WEAK_WAITERS,
    },
    Bug {
        what: "a mark is read with acquire only, under weak memory",
        breaks: "B2",
        file: "core/waiters.rs",
        edits: &[(
            "Mark(self.env.load(waiters.mark(index), SeqCst))",
            "Mark(self.env.load(waiters.mark(index), Acquire))",
        )],
        test: WEAK_WAITERS,
    },
    Bug {
        what: "the bell is rung before permits are posted",
        breaks: "B2",
        file: "core/lock.rs",
        edits: &[(
            "let posted = self.post_at(self.lock_word(id, lock::STATE), permits, most); if posted { self.ring_bell(self.lock_word(id, lock::BELL)); } posted",
            "self.ring_bell(self.lock_word(id, lock::BELL)); self.post_at(self.lock_word(id, lock::STATE), permits, most)",
        )],
        test: WEAK_WAITERS,
    },
    Bug {
        what: "permits are posted by a store",
        breaks: "K6",
        file: "core/lock.rs",
        edits: &[(
            "match self.swap_word(word, now, ADDED | free) {",
            "self.store_word(word, ADDED | free); match Ok::<u64, u64>(now) {",
        )],
        test: WAITERS,
    },
    Bug {
        what: "a posted permit is taken by a store",
        breaks: "K6",
        file: "core/lock.rs",
        edits: &[(
            "match self.swap_word(word, now, now - 1) {",
            "self.store_word(word, now - 1); match Ok::<u64, u64>(now) {",
        )],
        test: WAITERS,
    },
];
