//! Shows nothing by itself: an arena with channels or feeds, the processes that work there, and the history of it all.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use faretra::{Arena, ChannelInfo, Writer};

use crate::history::BYTES;
use crate::support::{Child, Dir, TestArena, until};
use crate::values::Random;

/// What one process does with the channels, or the feeds, of a course, and writes down.
pub trait Flow: Sized {
    /// What a history tells in sum.
    type Told;
    /// How the verbs of puppets begin.
    const VERBS: &'static str;

    fn make(writer: &Writer) -> faretra::Result<()>;
    fn begin(arena: &Arena, history: &Path) -> Result<Self, String>;
    /// Takes what is left, closes everything, and lets go of it.
    fn drain(self) -> Result<(), String>;
    /// Demands that a history is in order.
    fn check(history: &Path) -> Result<Self::Told, String>;
}

/// An arena with channels or feeds, and the history of all that happens to them.
pub struct Course<F> {
    pub t: TestArena,
    /// Beside the arena's directory, which has nothing but arenas.
    _dir: Dir,
    pub history: PathBuf,
    flow: PhantomData<F>,
}

impl<F: Flow> Course<F> {
    pub fn new(limit: u64) -> Course<F> {
        let t = TestArena::new(limit);
        F::make(&t.arena.writer().expect("a permit")).expect("room");
        let dir = Dir::new();
        Course { history: dir.0.join("history"), _dir: dir, t, flow: PhantomData }
    }

    /// This process.
    pub fn flow(&self) -> F {
        F::begin(&self.t.arena, &self.history).expect("a file")
    }

    /// A process that takes part.
    pub fn puppet(&self) -> Child {
        let mut child = self.t.puppet();
        child.ask(&format!("{}-begin {}", F::VERBS, self.history.display()));
        child
    }

    /// What the arena tells of a channel or feed.
    pub fn info(&self, name: &str) -> ChannelInfo {
        let all = self.t.arena.channels().expect("sound");
        all.into_iter().find(|c| c.name == name).expect("made")
    }

    /// Ends the children, takes what is left and looks at the history, and demands that nothing is left when the names
    /// are gone.
    #[track_caller]
    pub fn end(self, mut children: Vec<Child>) -> F::Told {
        for child in &mut children {
            child.ask(&format!("{}-end", F::VERBS));
            child.finish();
        }
        self.flow().drain().expect("what is left");
        let told = F::check(&self.history).expect("in order");
        self.t.assert_nothing_left(children);
        told
    }

    /// Ends those that do everything at random, each in its own words.
    #[track_caller]
    pub fn stop(&self, workers: &mut [Child]) {
        let w = self.t.arena.writer().expect("a permit");
        w.publish("stop", &b"now"[..]).expect("room");
        for child in workers {
            child.answer().expect("in order");
        }
        w.remove("stop").expect("sound");
    }
}

/// Processes in their loops, any of which may be killed, and is replaced then.
pub struct Workers<'a, F> {
    course: &'a Course<F>,
    /// What each is told to begin with, by its index and a number at random.
    line: Box<dyn Fn(usize, u64) -> String + 'a>,
    all: Vec<Child>,
    random: Random,
    kills: u64,
}

impl<'a, F: Flow> Workers<'a, F> {
    pub fn start(
        course: &'a Course<F>,
        seed: u64,
        count: usize,
        line: impl Fn(usize, u64) -> String + 'a,
    ) -> Workers<'a, F> {
        let mut workers = Workers { course, line: Box::new(line), all: vec![], random: Random(seed), kills: 0 };
        for i in 0..count {
            let worker = workers.worker(i);
            workers.all.push(worker);
        }
        workers
    }

    /// Those that work now.
    pub fn into_all(self) -> Vec<Child> {
        self.all
    }

    fn worker(&mut self, i: usize) -> Child {
        let mut child = self.course.puppet();
        child.ask(&(self.line)(i, self.random.next()));
        child
    }

    fn pause(&mut self, longest_us: u64) {
        std::thread::sleep(Duration::from_micros(self.random.below(longest_us)));
    }

    fn any(&mut self) -> usize {
        self.random.below(self.all.len() as u64) as usize
    }

    /// Kills a worker after a pause of up to so many microseconds. Half of them have written something down by then,
    /// however slow the machine is; the others are wherever they are.
    fn kill(&mut self, i: usize, longest_us: u64) {
        self.kills += 1;
        if self.kills.is_multiple_of(2) {
            let (history, pid) = (&self.course.history, self.all[i].pid);
            until("a worker to begin", || has_begun(history, pid).then_some(()));
        }
        self.pause(longest_us);
        self.all[i].kill();
        self.all[i] = self.worker(i);
    }

    /// Kills workers so often, each after a pause of up to so many microseconds. At least half of them were at work.
    pub fn kill_often(&mut self, kills: u64, longest_us: u64) {
        for _ in 0..kills {
            let i = self.any();
            self.kill(i, longest_us);
        }
    }

    /// After a pause of up to so many microseconds, kills one of them, or stops it for a while.
    pub fn disturb_one(&mut self, longest_us: u64) {
        let i = self.any();
        match self.random.below(3) {
            0 => {
                self.pause(longest_us);
                self.all[i].stop();
                self.pause(20_000);
                self.all[i].resume();
            }
            _ => self.kill(i, longest_us),
        }
    }
}

/// Whether the process with this pid has written anything yet.
fn has_begun(history: &Path, pid: i32) -> bool {
    // A history that is being written may end in a part of a record.
    let bytes = std::fs::read(history).unwrap_or_default();
    let by = |record: &[u8; BYTES]| u64::from_le_bytes(*record.first_chunk().expect("32 bytes")) >> 32;
    bytes.as_chunks::<BYTES>().0.iter().any(|record| by(record) == pid as u64)
}

/// A worker in its loop, killed as often as said and replaced each time, while the others go on. At least half of
/// those who are killed have done something. Returns the last.
pub fn kill_often<F: Flow>(course: &Course<F>, verb: &str, kills: u64, longest_us: u64) -> Child {
    let mut workers = Workers::start(course, kills + longest_us, 1, |_, _| verb.to_owned());
    workers.kill_often(kills, longest_us);
    workers.into_all().remove(0)
}
