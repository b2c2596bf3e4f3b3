//! Participants of a simulated arena, and what they put into it and read from it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use faretra::proof::{Core, Draft, Id, Kind, Leases, Life, Load, Mem, Process, Stay, Tables, header, meta};

use crate::locks;
use crate::sim::{Hook, Killed, Op, Quiet, Sim, Site, ok, tiny};

/// A participant of a simulated arena.
pub type Actor = Core<Sim>;

/// Pages of a file system that does not run out.
pub const ROOM: u64 = 4096;

/// The process that sets a stage, and lives on.
pub const PARENT: usize = 1;

/// The process that is killed or stopped.
pub const VICTIM: usize = 2;

/// The arena as one sees it who has opened its file: what the first page says is read then, and does not change.
pub fn tables(sim: &Sim) -> Tables<Sim> {
    let mut geo = tiny();
    let said = sim.state().get(header::STAY);
    geo.params.stay = Stay::of(said).expect("the checksum is right");
    Tables::new(sim.clone(), geo)
}

/// Attaches a process, if it can.
pub fn try_attach(sim: &Sim, process: usize, hook: Arc<dyn Hook>) -> faretra::Result<Actor> {
    let tables = tables(&sim.process(process, hook));
    let seats = tables.geo.params.seats;
    let attached = Core::attach(tables, seats, Process::default(), "sim", |_| Ok(true))?;
    Ok(attached.expect("nobody is refused"))
}

/// Attaches a process.
pub fn attach(sim: &Sim, process: usize, hook: Arc<dyn Hook>) -> Actor {
    try_attach(sim, process, hook).expect("a seat")
}

/// Attaches a process that nothing happens to.
pub fn quiet(sim: &Sim, process: usize) -> Actor {
    attach(sim, process, Arc::new(Quiet))
}

/// A new arena.
pub fn world() -> Sim {
    let sim = Sim::new(&tiny(), ROOM);
    sim.store(header::LIMIT, 1 << 30, Ordering::Relaxed);
    sim.store(header::WARM_LIMIT, 1 << 30, Ordering::Relaxed);
    for off in [header::STAY, header::STAY_AGAIN] {
        sim.store(off, Stay::Kept.word(), Ordering::Relaxed);
    }
    sim
}

/// A draft whose words all say `value`, with `parts` parts that do too.
pub fn draft(actor: &Actor, value: u64, parts: u64) -> faretra::Result<Draft> {
    let root = sheet(actor, Kind::Bytes, 300, value, parts)?;
    for i in 0..parts {
        // A part is larger than a page, so it is committed and punched by itself.
        let part = sheet(actor, Kind::Column, 5000, value, 0);
        let part = part.inspect_err(|_| actor.drop_draft(root))?;
        if let Err(e) = actor.adopt_part(root, i, part) {
            actor.drop_draft(part);
            actor.drop_draft(root);
            return Err(e);
        }
    }
    Ok(root)
}

fn sheet(actor: &Actor, kind: Kind, len: u64, value: u64, room: u64) -> faretra::Result<Draft> {
    let draft = actor.alloc(kind, len)?;
    // A few words at both ends stand for the payload.
    for at in body(actor, draft.id, len, room) {
        actor.env.store(at, value, Ordering::Relaxed);
    }
    Ok(draft)
}

fn body(tables: &Tables<Sim>, id: Id, len: u64, room: u64) -> [u64; 2] {
    let start = tables.payload(id);
    [start + room * 8, start + (len - 1) / 8 * 8]
}

/// A draft that says `value` and shares the parts of what is published under `from`, or all of it.
/// `None`: nothing is.
fn sharing(actor: &Actor, from: &str, value: u64, whole: bool) -> faretra::Result<Option<Draft>> {
    let Some(source) = actor.pin_named(from)? else { return Ok(None) };
    let draft = sharing_of(actor, source, value, whole);
    // h4: the source goes before the draft is published.
    actor.unpin(source);
    draft.map(Some)
}

/// A draft that says `value` and shares the parts of an object that is kept meanwhile, or all of it.
fn sharing_of(actor: &Actor, source: Id, value: u64, whole: bool) -> faretra::Result<Draft> {
    let aliased = actor.kind(source)? == Kind::Alias;
    let target = if aliased { actor.part_entry(source, 0).part() } else { source };
    let parts: Vec<Id> = match whole {
        true => vec![target],
        false => (0..actor.part_count(target)).map(|i| actor.part_entry(target, i).part()).collect(),
    };
    let kind = if whole { Kind::Alias } else { Kind::Bytes };
    let draft = sheet(actor, kind, 300, value, parts.len() as u64)?;
    if whole {
        actor.set_alias_kind(draft.id, Kind::Bytes);
    }
    for (i, part) in parts.iter().enumerate() {
        actor.hold(draft, i as u64, *part).inspect_err(|_| actor.drop_draft(draft))?;
    }
    Ok(draft)
}

/// Publishes a name for an object that is kept meanwhile.
pub fn alias_of(actor: &Actor, name: &str, source: Id, value: u64) -> faretra::Result<bool> {
    put_sharing(actor, name, Some(sharing_of(actor, source, value, true)?))
}

/// Publishes another name for what is published under `from`. `false`: nothing is.
pub fn alias(actor: &Actor, name: &str, from: &str, value: u64) -> faretra::Result<bool> {
    put_sharing(actor, name, sharing(actor, from, value, true)?)
}

/// Publishes a value that shares the parts of what is published under `from`. `false`: nothing is.
pub fn extend(actor: &Actor, name: &str, from: &str, value: u64) -> faretra::Result<bool> {
    put_sharing(actor, name, sharing(actor, from, value, false)?)
}

fn put_sharing(actor: &Actor, name: &str, draft: Option<Draft>) -> faretra::Result<bool> {
    let Some(draft) = draft else { return Ok(false) };
    actor.set_meta(draft.id, meta::ROWS, tag(name));
    let told = actor.publish(name, draft, None).inspect_err(|_| actor.drop_draft(draft))?;
    actor.env.state().told.push((name.to_owned(), told));
    Ok(true)
}

/// Reads what a pinned object says, and checks that all of it, parts included, says the same. Shared parts
/// say what they said before.
pub fn value(tables: &Tables<Sim>, id: Id) -> u64 {
    let kind = ok(tables.kind(id));
    if kind.locks() {
        return locks::value(tables, id, kind);
    }
    let parts = tables.part_count(id);
    let words =
        |id, room| body(tables, id, tables.meta(id, meta::LEN), room).map(|at| tables.env.load(at, Ordering::Relaxed));
    let [first, last] = words(id, parts);
    assert_eq!(first, last, "{id} is torn");
    for i in 0..parts {
        let entry = tables.part_entry(id, i);
        let part = entry.part();
        if entry.is_held() {
            assert!(tables.holds(id, part), "H1: the pinned {id} does not hold {part}");
            assert_ne!(tables.life(part, Ordering::Acquire), Life::FREE, "{part} of the pinned {id} is free");
            value(tables, part);
            continue;
        }
        assert_eq!(tables.life(part, Ordering::Acquire), Life::part(id), "{part} of the pinned {id} is not its part");
        assert_eq!(words(part, 0), [first; 2], "part {part} of {id} is torn or another's");
    }
    first
}

/// Publishes a value with parts under a name.
pub fn publish(actor: &Actor, name: &str, value: u64, parts: u64) -> faretra::Result<u64> {
    publish_if(actor, name, value, parts, None)
}

/// Publishes a value if a version is current.
pub fn publish_if(actor: &Actor, name: &str, value: u64, parts: u64, expected: Option<u64>) -> faretra::Result<u64> {
    let draft = draft(actor, value, parts)?;
    actor.set_meta(draft.id, meta::ROWS, tag(name));
    let told = actor.publish(name, draft, expected).inspect_err(|_| actor.drop_draft(draft))?;
    actor.env.state().told.push((name.to_owned(), told));
    Ok(told)
}

/// What an object's record says that is published under a name.
pub fn tag(name: &str) -> u64 {
    name.bytes().fold(7, |h, b| h * 31 + u64::from(b))
}

/// Reads a name under a pin.
pub fn read(actor: &Actor, name: &str) -> faretra::Result<Option<u64>> {
    let pinned = actor.pin_named(name)?;
    Ok(pinned.map(|id| {
        let read = value(actor, id);
        actor.unpin(id);
        read
    }))
}

/// Kills its process before its `at`-th changing step, counted from [`DieAt::arm`].
#[derive(Debug, Default)]
pub struct DieAt {
    at: AtomicU64,
    count: AtomicU64,
    dead: AtomicBool,
}

impl DieAt {
    /// Starts counting. 0: never.
    pub fn arm(&self, at: u64) {
        self.count.store(0, Ordering::Relaxed);
        self.at.store(at, Ordering::Relaxed);
    }

    /// Changing steps since.
    pub fn steps(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Hook for DieAt {
    fn step(&self, op: Op, _: u64, _: Site) {
        let at = self.at.load(Ordering::Relaxed);
        if op.changes() && self.count.fetch_add(1, Ordering::Relaxed) + 1 == at {
            self.dead.store(true, Ordering::Relaxed);
        }
        if self.dead.load(Ordering::Relaxed) {
            resume_unwind(Box::new(Killed));
        }
    }
}

/// Runs `f` as a process that may be killed. `None`: it was.
pub fn mortal<T>(f: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(done) => Some(done),
        Err(why) if why.is::<Killed>() => None,
        Err(why) => resume_unwind(why),
    }
}

/// Runs a check, and says where it was if it fails.
pub fn at<T>(place: impl FnOnce() -> String, f: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|why| {
        eprintln!("at {}", place());
        resume_unwind(why)
    })
}

/// Runs `f` with an object pinned, if it is there.
pub fn with<T>(a: &Actor, name: &str, f: impl FnOnce(Id, Leases) -> T) -> Option<T> {
    let id = ok(a.pin_named(name))?;
    let done = f(id, ok(a.leases_of(id)).expect("it locks"));
    a.unpin(id);
    Some(done)
}
