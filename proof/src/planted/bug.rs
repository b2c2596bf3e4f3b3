//! What a planted bug is, how it is planted, and the tests that notice.

use std::ops::Range;

/// An edit that must be noticed.
pub struct Bug {
    /// What is broken.
    pub what: &'static str,
    /// The invariant, as the sources name it.
    pub breaks: &'static str,
    /// The file below `src`.
    pub file: &'static str,
    /// Texts that occur exactly once there, however they are broken into lines, and what takes their place.
    pub edits: &'static [(&'static str, &'static str)],
    /// The test file below `proof/tests`, or `it` for `tests/it`, and the test in it.
    pub test: (&'static str, &'static str),
}

impl Bug {
    /// A file of the sources with this bug in it. `Err`: an edit has no place, or more than one.
    pub fn plant(&self, sound: &str) -> Result<String, String> {
        let mut text = sound.to_owned();
        for (find, replace) in self.edits {
            let places = places(&text, find);
            let [place] = &places[..] else {
                return Err(format!("`{}`: {} has {} times {find:?}", self.what, self.file, places.len()));
            };
            text.replace_range(place.clone(), replace);
        }
        Ok(text)
    }
}

/// Where a text has another one, spaces and ends of lines aside.
fn places(text: &str, find: &str) -> Vec<Range<usize>> {
    // Of all that is no space: the text, and where each byte of it was.
    let (mut dense, mut at) = (String::new(), vec![]);
    for (from, c) in text.char_indices().filter(|(_, c)| !c.is_whitespace()) {
        dense.push(c);
        at.extend(from..from + c.len_utf8());
    }
    let find: String = find.chars().filter(|c| !c.is_whitespace()).collect();
    dense.match_indices(&find).map(|(from, _)| at[from]..at[from + find.len() - 1] + 1).collect()
}

pub(super) const KILL: (&str, &str) = ("sweep", "kill_at_every_step");
pub(super) const RACE: (&str, &str) = ("race", "every_pair_of_acts");
pub(super) const CHANNELS: (&str, &str) = ("race", "channels_race");
pub(super) const CHAINS: (&str, &str) = ("race", "chains_race");
pub(super) const DRAIN: (&str, &str) = ("race", "two_senders_race_with_a_drain");
pub(super) const RECOVERY: (&str, &str) = ("race", "recovery_races_with_the_living");
pub(super) const SHARES: (&str, &str) = ("race", "shares_race");
pub(super) const CORE: (&str, &str) = ("race", "core_pairs_with_two_preemptions");
pub(super) const ENDS: (&str, &str) = ("ends", "ends_race");
pub(super) const CHAOS: (&str, &str) = ("it", "chaos::a_scribbler_at_work_costs_errors_and_nothing_else");
pub(super) const DAMAGED_ENDS: (&str, &str) = ("ends", "damaged_words_delete_nothing");
pub(super) const FEEDS: (&str, &str) = ("it", "feed_kills::histories_are_in_order");
pub(super) const WEAK: (&str, &str) = ("weak", "dekker_pairs_hold");
pub(super) const WEAK_HOLDS: (&str, &str) = ("weak", "hold_pairs_hold");
pub(super) const WEAK_GRANTED: (&str, &str) = ("weak", "granted_pairs_hold");
pub(super) const WEAK_RINGS: (&str, &str) = ("weak", "ring_pairs_hold");
pub(super) const WAITERS: (&str, &str) = ("race", "waiters_race");
pub(super) const ORPHANS: (&str, &str) = ("race", "what_the_dead_were_told_is_raced_for");
pub(super) const WEAK_WAITERS: (&str, &str) = ("weak", "waiter_pairs_hold");
