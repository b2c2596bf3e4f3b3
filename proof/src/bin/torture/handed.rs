//! What workers do with channels and feeds, and the histories of that.

use std::path::{Path, PathBuf};

use faretra::Arena;

use crate::feed_flow::{self, FEEDS, FeedFlow};
use crate::flow::{self, Flow};
use crate::values::Random;
use crate::{Count, Counts, feed_history, history};

/// The histories of channels and of feeds of the arena in this directory, beside it.
pub fn histories(dir: &Path) -> [PathBuf; 2] {
    ["channels", "feeds"].map(|of| dir.with_extension(of))
}

fn ours() -> Result<[PathBuf; 2], String> {
    let dir = std::env::var_os("FARETRA_DIR").ok_or("no directory")?;
    Ok(histories(Path::new(&dir)))
}

/// What a worker has in its hands, from one step to the next.
#[derive(Default)]
pub struct Handed {
    channels: Option<Flow>,
    feeds: Option<FeedFlow>,
}

impl Handed {
    /// One thing at random.
    pub fn step(&mut self, arena: &Arena, random: &mut Random, counts: &mut Counts) -> Result<(), String> {
        self.step_within(arena, random, counts, 6000)
    }

    fn step_within(
        &mut self,
        arena: &Arena,
        random: &mut Random,
        counts: &mut Counts,
        words: usize,
    ) -> Result<(), String> {
        let [channels, feeds] = ours()?;
        let (what, done) = if random.below(2) == 0 {
            let mut flow = self.channels.take().map_or_else(|| Flow::new(arena, &channels), Ok)?;
            let done = flow.step(random, flow::Part::All, words)?;
            self.channels = Some(flow);
            ([Count::Sent, Count::Received, Count::Acknowledged], done)
        } else {
            let mut flow = self.feeds.take().map_or_else(|| FeedFlow::new(arena, &feeds), Ok)?;
            let done = flow.step(random, feed_flow::Part::All, words)?;
            self.feeds = Some(flow);
            ([Count::Appended, Count::Read, Count::Looks], done)
        };
        what.iter().zip(done).for_each(|(what, n)| counts[*what as usize] += n);
        Ok(())
    }

    /// Lets go of everything in good order.
    pub fn leave(self) -> Result<(), String> {
        self.channels.map_or(Ok(()), Flow::leave)?;
        self.feeds.map_or(Ok(()), FeedFlow::leave)
    }

    /// In a forked child: what the parent holds is the parent's.
    pub fn forget_inherited(self) -> Result<(), String> {
        self.channels.map_or(Ok(()), Flow::forget_inherited)?;
        self.feeds.map_or(Ok(()), FeedFlow::forget_inherited)
    }
}

/// Some things at random, and everything let go of.
pub fn for_a_while(arena: &Arena, random: &mut Random) -> Result<(), String> {
    let (mut handed, mut counts) = (Handed::default(), Counts::default());
    for _ in 0..16 {
        handed.step_within(arena, random, &mut counts, 500)?;
    }
    handed.leave()
}

/// Closes every other feed while the workers go on.
pub fn close_some(arena: &Arena, dir: &Path) -> Result<(), String> {
    let [_, feeds] = histories(dir);
    let mut flow = FeedFlow::new(arena, &feeds)?;
    for feed in (1..FEEDS.len() as u8).step_by(2) {
        flow.close(feed)?;
    }
    flow.leave()
}

/// When nobody else is left: receives and reads what there is, and demands that the histories are in order.
pub fn in_order(arena: &Arena, dir: &Path) -> Result<(history::Told, feed_history::Told), String> {
    let [channels, feeds] = histories(dir);
    Flow::new(arena, &channels)?.drain()?;
    FeedFlow::new(arena, &feeds)?.drain()?;
    let items = history::check(&history::read(&channels).map_err(|e| e.to_string())?)?;
    Ok((items, feed_flow::check(&feeds)?))
}
