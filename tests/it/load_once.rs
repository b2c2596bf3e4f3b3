//! Shows that what many processes load at once is made once while its maker lives, whichever of them are killed, stopped, or
//! fail.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use faretra::{Error, MIB, Missing, Object, Result, Writer};
use nix::sys::signal::Signal;

use crate::support::{Child, DEADLINE, TestArena, until};

/// What makers write down, and the file that they wait for before they are done.
fn files(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("makers"), dir.join("go"))
}

/// In a puppet: loads a name. Its maker writes down that it begins, and makes its process id when it may; or fails, if
/// that is what it is told.
pub fn load(writer: &Writer, name: &str, timeout: Option<Duration>) -> Result<String> {
    let make = || {
        let (makers, go) = files(Path::new(&std::env::var("FARETRA_DIR").expect("set")));
        let mut log = OpenOptions::new().create(true).append(true).open(makers).expect("a file");
        writeln!(log, "{}", std::process::id()).expect("written");
        until("the word to go", || go.exists().then_some(()));
        match std::fs::read_to_string(go).expect("read").as_str() {
            "fail" => Err(Error::NotFound {
                what: Missing::Object,
                name: "source".into(),
                within: String::new(),
                detail: String::new(),
            }),
            _ => Ok(std::process::id().to_string().into_bytes()),
        }
    };
    let loaded: Object = match timeout {
        None => writer.get_or_publish(name, make)?,
        Some(Duration::ZERO) => match writer.try_get_or_publish(name, make)? {
            Some(loaded) => loaded,
            None => return Ok("making".into()),
        },
        Some(timeout) => writer.get_or_publish_timeout(name, timeout, make)?,
    };
    Ok(format!("{} at {}", String::from_utf8_lossy(loaded.bytes()?), loaded.version()))
}

struct Load {
    t: TestArena,
    makers: PathBuf,
    go: PathBuf,
}

impl Load {
    fn new() -> Load {
        let t = TestArena::with(|o| o.limit(16 * MIB).writers(32));
        let (makers, go) = files(t.dir());
        Load { t, makers, go }
    }

    /// Who began to make, in turn.
    fn begun(&self) -> Vec<i32> {
        let text = std::fs::read_to_string(&self.makers).unwrap_or_default();
        text.lines().map(|pid| pid.parse().expect("a pid")).collect()
    }

    /// The `n`-th who makes, as soon as it does.
    fn maker(&self, n: usize) -> i32 {
        until("a maker", || self.begun().get(n).copied())
    }

    fn go(&self, word: &str) {
        // Whole, or not there.
        let draft = self.go.with_extension("draft");
        std::fs::write(&draft, word).expect("written");
        std::fs::rename(draft, &self.go).expect("renamed");
    }

    fn wait_again(&self) {
        std::fs::remove_file(&self.go).expect("there");
    }
}

/// 16 processes ask at once, and the first five that make are killed: each begins after the one before is dead, and the
/// sixth makes what all others get.
#[test]
fn made_once_while_a_maker_lives() {
    const KILLED: usize = 5;
    let load = Load::new();
    let mut all: Vec<Child> = (0..16).map(|_| load.t.puppet()).collect();
    all.iter_mut().for_each(|child| child.tell("load weights"));
    for n in 0..KILLED {
        let maker = load.maker(n);
        // Everybody else waits for it.
        let index = all.iter().position(|child| child.pid == maker).expect("one of ours");
        let mut child = all.swap_remove(index);
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(load.begun().len(), n + 1, "made twice while a maker lives");
        child.kill();
    }
    let maker = load.maker(KILLED);
    load.go("make");
    for child in &mut all {
        assert_eq!(child.answer(), Ok(format!("{maker} at 1")));
    }
    assert_eq!(load.begun().len(), KILLED + 1);
    // What is there is not made again.
    assert_eq!(all[0].ask("load weights"), format!("{maker} at 1"));
    load.t.assert_nothing_left(all);
}

/// A stopped maker is waited for, as long as the others want to.
#[test]
fn a_stopped_maker_is_waited_for() {
    let load = Load::new();
    let [mut maker, mut other] = [(); 2].map(|()| load.t.puppet());
    maker.tell("load weights");
    load.maker(0);
    maker.stop();
    load.go("make");
    assert_eq!(other.ask("load weights 0"), "making");
    assert!(other.refuse("load weights 300").starts_with("TimedOut"));
    assert_eq!(load.t.arena.names().expect("names").len(), 0, "a name of nothing is seen");
    maker.resume();
    assert_eq!(other.ask("load weights"), format!("{} at 1", maker.pid));
    assert_eq!(maker.answer(), Ok(format!("{} at 1", maker.pid)));
    load.t.assert_nothing_left(vec![maker, other]);
}

/// A maker that fails is replaced by one who waits, and nothing is left of a name that nobody could make.
#[test]
fn a_maker_that_fails_is_replaced() {
    let load = Load::new();
    let mut all: Vec<Child> = (0..4).map(|_| load.t.puppet()).collect();
    all.iter_mut().for_each(|child| child.tell("load weights"));
    load.maker(0);
    load.go("fail");
    for child in &mut all {
        assert!(child.answer().expect_err("it failed").starts_with("NotFound"));
    }
    assert_eq!(load.begun().len(), 4);
    load.t.assert_sound(0);
    assert_eq!(load.t.arena.stats().expect("stats").objects, 0, "a name of nothing is left");
    load.wait_again();
    all[0].tell("load weights");
    load.maker(4);
    load.go("make");
    assert_eq!(all[0].answer(), Ok(format!("{} at 1", all[0].pid)));
    load.t.assert_nothing_left(all);
}

/// What is published and removed while a maker is at work makes nobody else a maker; versions rise all the same.
#[test]
fn removed_and_published_while_it_is_made() {
    let load = Load::new();
    let [mut maker, mut other] = [(); 2].map(|()| load.t.puppet());
    let w = load.t.arena.writer().expect("a permit");
    maker.tell("load weights");
    load.maker(0);
    for version in 1..4 {
        assert_eq!(w.publish("weights", "from elsewhere").expect("room"), version);
        assert_eq!(other.ask("load weights"), format!("from elsewhere at {version}"));
        assert!(w.remove("weights").expect("sound"));
        assert_eq!(other.ask("load weights 0"), "making", "the maker lives");
    }
    load.go("make");
    assert_eq!(maker.answer(), Ok(format!("{} at 4", maker.pid)));
    // From here on nobody makes anything: the next who asks does.
    assert!(w.remove("weights").expect("sound"));
    assert_eq!(other.ask("load weights"), format!("{} at 5", other.pid));
    drop(w);
    load.t.assert_nothing_left(vec![maker, other]);
}

/// A maker that is killed, with nobody waiting, leaves nothing; one whose function panics, neither.
#[test]
fn nothing_is_left_of_a_maker() {
    let load = Load::new();
    let mut maker = load.t.puppet();
    maker.tell("load weights");
    load.maker(0);
    assert!(load.t.arena.who().expect("sound").iter().any(|h| h.holds.iter().any(|held| held == "makes `weights`")));
    maker.signal(Signal::SIGKILL);
    maker.wait();
    load.t.assert_sound(0);
    assert_eq!(load.t.arena.stats().expect("stats").objects, 0);
    let w = load.t.arena.writer().expect("a permit");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        w.get_or_publish_timeout("weights", DEADLINE, || -> Result<&str> { panic!("as it is told") })
    }));
    assert!(panicked.is_err());
    assert_eq!(load.t.arena.stats().expect("stats").objects, 0);
    let made = w.get_or_publish("weights", || Ok::<_, Error>("at last")).expect("made");
    assert_eq!((made.bytes().expect("bytes"), made.version()), (&b"at last"[..], 1));
    drop((made, w));
    load.t.assert_nothing_left(vec![]);
}
