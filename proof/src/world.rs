//! Scripts of operations, and what must hold when any of their steps was the last.

use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use faretra::Kind;
use faretra::proof::{
    Core, Draft, Geometry, Id, Life, Load, Mem, PAGE, Process, Set, Sys, Tables, header, meta,
};

use crate::sim::{Hook, Killed, Op, Quiet, Sim, State, tiny};

/// A participant of a simulated arena.
pub type Actor = Core<Sim>;

/// Attaches a process.
pub fn attach(sim: &Sim, process: usize, hook: Arc<dyn Hook>) -> Actor {
    let tables = Tables {
        env: sim.process(process, hook),
        geo: tiny(),
    };
    Core::attach(tables, Process::default(), "sim", |_| Ok(())).expect("a seat")
}

/// A new arena.
pub fn world() -> Sim {
    let sim = Sim::new(&tiny(), 4096);
    sim.store(header::LIMIT, 1 << 30, Ordering::Relaxed);
    sim.store(header::WARM_LIMIT, 1 << 30, Ordering::Relaxed);
    sim
}

/// A draft whose words all say `value`, with `parts` parts that do too.
pub fn draft(actor: &Actor, value: u64, parts: u64) -> faretra::Result<Draft> {
    let root = sheet(actor, Kind::Bytes, 300, value, parts)?;
    for i in 0..parts {
        // A part may be larger than a page, and have a part of its own.
        let part = match sheet(actor, Kind::Column, 5000, value, 0) {
            Ok(part) => part,
            Err(e) => {
                actor.drop_draft(root);
                return Err(e);
            }
        };
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

/// Reads what a pinned object says, and checks that all of it, parts included, says the same.
pub fn value(tables: &Tables<Sim>, id: Id) -> u64 {
    let parts = tables.entries(id);
    let words = |id, room| {
        body(tables, id, tables.meta(id, meta::LEN), room)
            .map(|at| tables.env.load(at, Ordering::Acquire))
    };
    let [first, last] = words(id, parts);
    assert_eq!(first, last, "{id} is torn");
    for i in 0..parts {
        let part = tables.entry(id, i).part();
        assert_eq!(
            tables.life(part, Ordering::Acquire),
            Life::part(id),
            "a part of a pinned object is not its own"
        );
        assert_eq!(
            words(part, 0),
            [first; 2],
            "part {part} of {id} is torn or another's"
        );
    }
    first
}

/// Publishes a value with parts under a name.
pub fn publish(actor: &Actor, name: &str, value: u64, parts: u64) -> faretra::Result<u64> {
    let draft = draft(actor, value, parts)?;
    actor
        .publish(name, draft, None)
        .inspect_err(|_| actor.drop_draft(draft))
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

/// What is asked of an arena after something was killed in it.
pub fn check(sim: &Sim, allowed: &[(&str, &[Option<u64>])]) {
    let r = attach(sim, 90, Arc::new(Quiet));
    r.recover(true).expect("recovery");
    let found = r.verify().expect("verify");
    assert!(found.is_empty(), "after recovery: {found:?}");
    for (name, values) in allowed {
        let read = read(&r, name).expect("read");
        assert!(
            values.contains(&read),
            "`{name}` says {read:?}, allowed {values:?}"
        );
    }
    // It still works, with every permit and with as much memory as ever.
    let permits: Vec<_> = (0..r.geo.params.permits)
        .map(|_| r.try_permit().expect("sound").expect("a permit"))
        .collect();
    assert!(
        r.try_permit().expect("sound").is_none(),
        "more permits than there are"
    );
    for p in permits {
        r.return_permit(p);
    }
    publish(&r, "after", 77, 1).expect("room");
    assert_eq!(read(&r, "after").expect("read"), Some(77));
    // Nothing leaks: with every name removed, every word is free and every page given back.
    for named in r.names().expect("names") {
        assert!(r.remove(&named.name).expect("remove"));
    }
    r.trim(u64::MAX);
    for zone in &r.geo.zones {
        for slot in 0..r.used(zone) {
            let life = r.life(zone.id(slot), Ordering::Relaxed);
            assert_eq!(life, Life::FREE, "{} leaked", zone.id(slot));
        }
        assert_eq!(
            r.committed(zone).bytes,
            0,
            "pages of zone 2^{} leaked",
            zone.shift
        );
    }
    let (control, kernel) = (r.control_bytes(), r.env.in_memory());
    assert!(
        control.contains(&kernel),
        "bytes leaked: {kernel} in memory, {control:?} expected"
    );
    assert_eq!(r.seats_used_by_others(), 0, "a seat leaked");
}

/// Helper for checks.
pub trait SeatsUsed {
    /// Seats that others than this participant are in.
    fn seats_used_by_others(&self) -> usize;
}

impl SeatsUsed for Actor {
    fn seats_used_by_others(&self) -> usize {
        let occupants = self.occupants().expect("sound");
        occupants
            .iter()
            .filter(|o| o.owner != self.me() && !self.geo_is_parent(o.owner.seat))
            .count()
    }
}

trait Parent {
    fn geo_is_parent(&self, seat: u8) -> bool;
}

impl Parent for Actor {
    /// Seat 0 is the script's setup process, which lives on.
    fn geo_is_parent(&self, seat: u8) -> bool {
        seat == 0
    }
}

/// Kills its process before its `at`-th changing step, counted from [`DieAt::arm`].
#[derive(Debug, Default)]
pub struct DieAt {
    at: AtomicU64,
    count: AtomicU64,
    dead: AtomicBool,
}

impl DieAt {
    /// Starts counting.
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
    fn step(&self, op: Op, _: u64, _: &'static Location<'static>) {
        let at = self.at.load(Ordering::Relaxed);
        if at != 0 && op.changes() && self.count.fetch_add(1, Ordering::Relaxed) + 1 == at {
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

/// A script: what is there before, what the victim does, and what its names may say when it died.
pub struct Script {
    /// Shown when it fails.
    pub name: &'static str,
    /// Runs undisturbed, by a process that lives on.
    pub before: fn(&Actor),
    /// Is killed at each of its steps. The actor is attached already, unless `attaches`.
    pub victim: fn(&Actor),
    /// The victim's attach and detach are part of the script.
    pub attaches: bool,
    /// What each name may say afterwards.
    pub allowed: &'static [(&'static str, &'static [Option<u64>])],
    /// Pages of the file system, to make memory run out in the middle.
    pub room: u64,
}

/// The operations that the sweeps go through.
pub fn scripts() -> Vec<Script> {
    const NONE: fn(&Actor) = |_| {};
    fn ok<T>(r: faretra::Result<T>) -> T {
        r.expect("an operation of the script")
    }
    let plain = |name, before, victim, allowed| Script {
        name,
        before,
        victim,
        attaches: false,
        allowed,
        room: 4096,
    };
    vec![
        Script {
            name: "attach, detach",
            before: NONE,
            victim: |a| a.detach(),
            attaches: true,
            allowed: &[],
            room: 4096,
        },
        plain(
            "alloc, drop a draft",
            NONE,
            |a| a.drop_draft(ok(draft(a, 5, 0))),
            &[],
        ),
        plain(
            "alloc, drop a draft with parts",
            NONE,
            |a| a.drop_draft(ok(draft(a, 5, 2))),
            &[],
        ),
        plain(
            "publish a new name",
            NONE,
            |a| drop(ok(publish(a, "x", 1, 0))),
            &[("x", &[None, Some(1)])],
        ),
        plain(
            "publish with parts",
            NONE,
            |a| drop(ok(publish(a, "x", 1, 2))),
            &[("x", &[None, Some(1)])],
        ),
        plain(
            "replace",
            |a| drop(ok(publish(a, "x", 1, 1))),
            |a| drop(ok(publish(a, "x", 2, 1))),
            &[("x", &[Some(1), Some(2)])],
        ),
        plain(
            "replace what is pinned by another",
            |a| {
                ok(publish(a, "x", 1, 1));
                let id = ok(a.pin_named("x")).expect("published");
                ok(publish(a, "x", 2, 1));
                a.unpin(id);
            },
            |a| {
                let id = ok(a.pin_named("x")).expect("published");
                ok(publish(a, "x", 3, 1));
                assert_eq!(value(a, id), 2);
                a.unpin(id);
            },
            &[("x", &[Some(2), Some(3)])],
        ),
        plain(
            "remove",
            |a| drop(ok(publish(a, "x", 1, 1))),
            |a| drop(ok(a.remove("x"))),
            &[("x", &[None, Some(1)])],
        ),
        plain(
            "remove one of several in a bucket",
            |a| {
                for name in ["x", "y", "z", "w"] {
                    ok(publish(a, name, 1, 0));
                }
            },
            |a| drop(ok(a.remove("y"))),
            &[
                ("x", &[Some(1)]),
                ("y", &[None, Some(1)]),
                ("z", &[Some(1)]),
                ("w", &[Some(1)]),
            ],
        ),
        plain(
            "remove and publish again",
            |a| drop(ok(publish(a, "x", 1, 0))),
            |a| {
                ok(a.remove("x"));
                ok(publish(a, "x", 2, 0));
            },
            &[("x", &[None, Some(1), Some(2)])],
        ),
        plain(
            "get",
            |a| drop(ok(publish(a, "x", 1, 1))),
            |a| assert_eq!(ok(read(a, "x")), Some(1)),
            &[("x", &[Some(1)])],
        ),
        plain(
            "permit",
            NONE,
            |a| {
                let p = ok(a.try_permit()).expect("free");
                let q = ok(a.try_permit()).expect("free");
                a.return_permit(p);
                a.return_permit(q);
            },
            &[],
        ),
        plain(
            "trim",
            |a| {
                for name in ["x", "y", "z"] {
                    ok(publish(a, name, 1, 2));
                }
                ok(a.remove("x"));
                ok(a.remove("z"));
            },
            |a| drop(a.trim(u64::MAX)),
            &[("x", &[None]), ("y", &[Some(1)]), ("z", &[None])],
        ),
        plain(
            "grow a zone, and run out of it",
            NONE,
            |a| {
                let drafts: Vec<_> = (0..40)
                    .map_while(|_| a.alloc(Kind::Bytes, 200).ok())
                    .collect();
                for d in drafts {
                    a.drop_draft(d);
                }
            },
            &[],
        ),
        Script {
            name: "run out of memory",
            before: |a| drop(ok(publish(a, "x", 1, 0))),
            victim: |a| {
                for i in 0..8 {
                    if publish(a, "x", 2 + i, 3).is_err() {
                        return;
                    }
                    let _ = publish(a, "big", 9, 4);
                }
            },
            attaches: false,
            allowed: &[(
                "x",
                &[
                    Some(1),
                    Some(2),
                    Some(3),
                    Some(4),
                    Some(5),
                    Some(6),
                    Some(7),
                    Some(8),
                    Some(9),
                ],
            )],
            room: 40,
        },
        plain(
            "recover what another left",
            |a| {
                ok(publish(a, "x", 1, 1));
                let sim = a.env.clone();
                let dead = attach(&sim, 50, Arc::new(Quiet));
                let _ = ok(draft(&dead, 5, 1));
                let _ = ok(dead.pin_named("x"));
                let _ = ok(dead.try_permit());
                ok(publish(a, "x", 2, 1));
                sim.state().kill(50);
            },
            |a| drop(ok(a.recover(true))),
            &[("x", &[Some(2)])],
        ),
    ]
}

/// One run of a script.
pub struct Run {
    /// The arena.
    pub sim: Sim,
    /// The process that lives on.
    pub parent: Actor,
    hook: Arc<DieAt>,
    victim: Option<Actor>,
}

impl Run {
    /// Sets the stage.
    pub fn new(script: &Script) -> Run {
        let sim = world();
        let parent = attach(&sim, 1, Arc::new(Quiet));
        (script.before)(&parent);
        let pages = sim.state().pages();
        if script.room < 4096 {
            sim.state().room = pages + script.room;
        }
        let hook = Arc::new(DieAt::default());
        let victim = (!script.attaches).then(|| attach(&sim, 2, hook.clone()));
        Run {
            sim,
            parent,
            hook,
            victim,
        }
    }

    /// Lets the victim run until its `at`-th step. `true`: it was killed there.
    pub fn kill_at(&mut self, script: &Script, at: u64) -> bool {
        self.hook.arm(at);
        let victim = self.victim.take();
        let (sim, hook) = (&self.sim, self.hook.clone());
        let done = mortal(|| match &victim {
            Some(v) => {
                (script.victim)(v);
                hook.arm(0);
                v.detach();
            }
            None => (script.victim)(&attach(sim, 2, hook.clone())),
        });
        let mut state = self.sim.state();
        state.kill(2);
        state.room = 4096;
        done.is_none()
    }
}

/// Kills the victim of a script before each of its steps. Returns how many there were.
pub fn kill_sweep(script: &Script) -> u64 {
    for at in 1.. {
        let mut run = Run::new(script);
        let killed = run.kill_at(script, at);
        let check = catch_unwind(AssertUnwindSafe(|| check(&run.sim, script.allowed)));
        if let Err(why) = check {
            eprintln!("script `{}`, killed before step {at}", script.name);
            resume_unwind(why);
        }
        if !killed {
            return at - 1;
        }
    }
    unreachable!("a script ends")
}

/// Kills the victim before each step, and a recoverer before each of its steps. Returns both counts.
pub fn second_order_sweep(script: &Script, every: u64) -> (u64, u64) {
    let (mut points, mut pairs) = (0, 0);
    for at in (1..).step_by(every as usize) {
        let mut run = Run::new(script);
        if !run.kill_at(script, at) {
            return (points, pairs);
        }
        points += 1;
        for second in 1.. {
            let sim = run.sim.fork();
            let hook = Arc::new(DieAt::default());
            let r = attach(&sim, 60, hook.clone());
            hook.arm(second);
            let done = mortal(|| r.recover(true).expect("recovery"));
            hook.arm(0);
            sim.state().kill(60);
            let check = catch_unwind(AssertUnwindSafe(|| check(&sim, script.allowed)));
            if let Err(why) = check {
                eprintln!(
                    "script `{}`, killed before step {at}, its recoverer before step {second}",
                    script.name
                );
                resume_unwind(why);
            }
            if done.is_some() {
                break;
            }
            pairs += 1;
        }
    }
    unreachable!("a script ends")
}

/// Objects that are not free, for messages.
pub fn census(tables: &Tables<Sim>) -> Vec<(Id, Life)> {
    let all = |z: &faretra::proof::Zone| (0..tables.used(z)).map(|s| z.id(s)).collect::<Vec<_>>();
    let ids = tables
        .geo
        .zones
        .iter()
        .filter(|z| z.set == Set::Payload)
        .flat_map(all);
    ids.map(|id| (id, tables.life(id, Ordering::Relaxed)))
        .filter(|(_, l)| *l != Life::FREE)
        .collect()
}

/// The layout that all of this runs on.
pub fn geometry() -> Geometry {
    tiny()
}

/// Bytes of a page, for tests.
pub const fn page() -> u64 {
    PAGE
}

/// A copy of what is shared, for tests that damage it.
pub fn snapshot(sim: &Sim) -> State {
    sim.state().clone()
}
