//! Planted bugs of channels and feeds.

use super::{Bug, CHANNELS, FEEDS, KILL, RECOVERY, WEAK_RINGS};

/// All of them.
pub const BUGS: &[Bug] = &[
    Bug {
        what: "a taker leaves the item in its cell",
        breaks: "Q2",
        file: "core/ring.rs",
        edits: &[(
            "            self.clean(off, cell);\n            self.advance(ring, ring::HEAD, head);\n",
            "            self.advance(ring, ring::HEAD, head);\n",
        )],
        test: KILL,
    },
    Bug {
        what: "a lease of the dead is BACK while its cell has it",
        breaks: "Q2",
        file: "core/ring.rs",
        edits: &[("            self.clean(off, place);\n", "            let _ = off;\n")],
        test: KILL,
    },
    Bug {
        what: "recovery does not read the word again after the cell",
        breaks: "E1",
        file: "core/ring.rs",
        edits: &[("        if self.life(id, SeqCst) != word {\n            return Ok(false);\n        }\n", "")],
        test: CHANNELS,
    },
    Bug {
        what: "a taker believes a draft without looking at the cell again",
        breaks: "Q3",
        file: "core/ring.rs",
        edits: &[(
            "            if self.place(off) != cell {\n                continue;\n            }\n            let ticket",
            "            let ticket",
        )],
        test: CHANNELS,
    },
    Bug {
        what: "closing is a flag only",
        breaks: "Q4",
        file: "core/ring.rs",
        edits: &[(
            "                    if self.env.cas(off, cell.0, dead.0, SeqCst).is_ok() {",
            "                    if cell != dead {",
        )],
        test: CHANNELS,
    },
    Bug {
        what: "a refused item is not counted",
        breaks: "Q5",
        file: "core/ring.rs",
        edits: &[("Life::back(taken.ticket)) {\n            self.count_return(ring);", "Life::back(taken.ticket)) {")],
        test: KILL,
    },
    Bug {
        what: "a forwarded item does not say where it came from",
        breaks: "Q1",
        file: "core/ring.rs",
        edits: &[("            self.set_meta(taken.id, meta::FROM, u64::from(ring.id.0) + 1);\n", "")],
        test: KILL,
    },
    Bug {
        what: "a lease that could not be forwarded goes back where it was aimed at",
        breaks: "Q1",
        file: "core/ring.rs",
        edits: &[("let ticket = self.ticket().forwarded(true);", "let ticket = self.ticket().forwarded(false);")],
        test: CHANNELS,
    },
    Bug {
        what: "what is leased by the dead stays when the channel goes",
        breaks: "Q6",
        file: "core/ring.rs",
        edits: &[(
            "        for (id, word) in self.outstanding(ring) {",
            "        for (id, word) in std::iter::empty::<(Id, Life)>() {",
        )],
        test: KILL,
    },
    Bug {
        what: "an item is taken by a store",
        breaks: "Q3",
        file: "core/ring.rs",
        edits: &[(
            "            let taken = waiting && self.turn_life(id, word, Life::leased(ticket));\n",
            "            if waiting {\n                self.env.store(self.geo.life(id), Life::leased(ticket).0, SeqCst);\n            }\n            let taken = waiting;\n",
        )],
        test: CHANNELS,
    },
    Bug {
        what: "a producer does not look for the end of its feed",
        breaks: "F3",
        file: "core/broadcast.rs",
        edits: &[(
            "                if ended {\n                    return Ok(Outcome::Closed);",
            "                if false && ended {\n                    return Ok(Outcome::Closed);",
        )],
        test: KILL,
    },
    Bug {
        what: "a subscriber does not look again after it pinned",
        breaks: "F2",
        file: "core/broadcast.rs",
        edits: &[(
            "            if self.place(off) == cell {\n                let kind",
            "            if true {\n                let kind",
        )],
        test: CHANNELS,
    },
    Bug {
        what: "what a feed replaced is not let go",
        breaks: "F2",
        file: "core/broadcast.rs",
        edits: &[(
            "                self.evict(old, ring.at(tail.wrapping_sub(ring.cells)));\n",
            "                let _ = old;\n",
        )],
        test: KILL,
    },
    Bug {
        what: "producers do not wait for subscribers",
        breaks: "F4",
        file: "core/broadcast.rs",
        edits: &[(".filter(|_| wait_for_all)", ".filter(|_| false && wait_for_all)")],
        test: KILL,
    },
    Bug {
        what: "a subscriber is told of one more than it missed",
        breaks: "F2",
        file: "feed/subscriber.rs",
        edits: &[("SubscriberError::Lagged(oldest - position)", "SubscriberError::Lagged(oldest - position + 1)")],
        test: FEEDS,
    },
    Bug {
        what: "a subscriber that missed something goes on behind the oldest",
        breaks: "F2",
        file: "core/broadcast.rs",
        edits: &[("self.held(ring).start.max(", "(self.held(ring).start + 1).max(")],
        test: FEEDS,
    },
    Bug {
        what: "a subscriber says that it has read what it has not",
        breaks: "F4",
        file: "feed/subscriber.rs",
        edits: &[(
            "show_position(self.port.ring, self.lease, position);",
            "show_position(self.port.ring, self.lease, position + 2);",
        )],
        test: FEEDS,
    },
    Bug {
        what: "a feed lets go of what it still has",
        breaks: "F2",
        file: "core/broadcast.rs",
        edits: &[
            (
                "                if let Some(old) = cell.object()",
                "                let next = self.place(ring.cell(tail.wrapping_add(1)));\n                if let Some(old) = next.object()",
            ),
            (
                "                    self.evict(old, ring.at(tail.wrapping_sub(ring.cells)));\n",
                "                    self.evict(old, ring.at(tail.wrapping_sub(ring.cells - 1)));\n",
            ),
        ],
        test: FEEDS,
    },
    Bug {
        what: "the end of a feed is told from what has its memory by now",
        breaks: "F3",
        file: "core/broadcast.rs",
        edits: &[("ended && self.place(ring.cell(last)) == cell && ring.ahead(cell, last) == 1", "ended")],
        test: CHANNELS,
    },
    Bug {
        what: "a head that is behind while its cell is filled again is taken for damage",
        breaks: "Q1",
        file: "core/ring.rs",
        edits: &[("        if (-1..=3).contains(&ahead)", "        if (-1..=2).contains(&ahead)")],
        test: CHANNELS,
    },
    Bug {
        what: "a subscriber does not look again after its pin, rings under weak memory",
        breaks: "O1",
        file: "core/broadcast.rs",
        edits: &[("            if self.place(off) == cell {\n", "            if true {\n")],
        test: WEAK_RINGS,
    },
    Bug {
        what: "who closes and drains does not kill the head's cell, rings under weak memory",
        breaks: "Q4",
        file: "core/ring.rs",
        edits: &[(
            "                    if self.env.cas(off, cell.0, dead.0, SeqCst).is_ok() {\n",
            "                    if dead != cell || dead == cell {\n",
        )],
        test: WEAK_RINGS,
    },
    Bug {
        what: "a look that found nothing counts for what came back meanwhile, rings under weak memory",
        breaks: "Q5",
        file: "core/ring.rs",
        edits: &[(
            "                self.raise(ring.word(ring::LOOKED), returned);\n",
            "                self.raise(ring.word(ring::LOOKED), self.ring_word(ring, ring::RETURNED));\n",
        )],
        test: WEAK_RINGS,
    },
    Bug {
        what: "a sender that finds nobody asleep does not look at the flag, rings under weak memory",
        breaks: "B2",
        file: "core/ring.rs",
        edits: &[(
            "                    self.advance(ring, ring::TAIL, tail);\n                    self.ring(ring.bell(End::Receive));\n",
            "                    self.advance(ring, ring::TAIL, tail);\n",
        )],
        test: WEAK_RINGS,
    },
    Bug {
        what: "the teardown of a ring does not say that it is under way, quick recovery",
        breaks: "r2",
        file: "core/ring.rs",
        edits: &[(
            "        self.putting(|| {\n            for index in 0..ring.cells {\n",
            "        (|f: &mut dyn FnMut()| f())(&mut || {\n            for index in 0..ring.cells {\n",
        )],
        test: CHANNELS,
    },
    Bug {
        what: "recovery does not look again at an item that it made a home",
        breaks: "u4",
        file: "core/ring.rs",
        edits: &[("                if self.is_in_cell(id, at) != Some(true) {\n", "                if false {\n")],
        test: RECOVERY,
    },
    Bug {
        what: "a channel that somebody may be about to tear down is taken for gone",
        breaks: "Q1",
        file: "core/ring.rs",
        edits: &[(
            "            Some(State::Dying(_)) => Err(Unsettled::Later),\n",
            "            Some(State::Dying(_)) => Ok(None),\n",
        )],
        test: ("race", "a_channel_that_may_live_keeps_its_items"),
    },
];
