//! Load once: what participants do who need the same thing, which nobody may make twice.

use std::time::Duration;

use faretra::Error;
use faretra::proof::{Loaded, Making, Until, meta};

use crate::sim::{in_time, ok};
use crate::stage::{Act, May, Script};
use crate::world::{Actor, ROOM, draft, publish, quiet, read, tag, value};

/// What `name` stands for, or the right to make it. `None`: somebody else is making it.
fn load(a: &Actor, name: &'static str) -> Option<Result<u64, Making>> {
    match in_time(a.load_once(name, Until::Now))? {
        Loaded::There(id) => {
            let found = value(a, id);
            a.unpin(id);
            Some(Ok(found))
        }
        Loaded::Make(making) => {
            let mut image = a.env.state();
            let others: Vec<_> = image.making.iter().filter(|(_, known)| *known == name).collect();
            assert!(others.is_empty(), "N5: {} makes `{name}`, and {others:?}", a.env.number());
            image.making.push((a.env.number(), name));
            Some(Err(making))
        }
    }
}

fn end(a: &Actor, name: &'static str, making: Making) {
    let me = (a.env.number(), name);
    a.env.state().making.retain(|known| *known != me);
    a.end_making(making);
}

/// Who may publish something under the name while it is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    Anybody,
    Makers,
}

/// Publishes what it makes, if nobody else has published something.
fn make(a: &Actor, name: &'static str, to: u64, others: Others) {
    let new = ok(draft(a, to, 1));
    a.set_meta(new.id, meta::ROWS, tag(name));
    match a.publish(name, new, Some(0)) {
        Ok(told) => a.env.state().told.push((name.to_owned(), told)),
        Err(Error::Conflict { .. }) if others == Others::Anybody => a.drop_draft(new),
        Err(Error::Conflict { .. }) => panic!("N7: what was made before is made again"),
        Err(e) => panic!("the maker of `{name}` failed: {e}"),
    }
}

/// Loads `name`, which is made as `to`. `None`: somebody else is making it.
pub fn load_or_make(a: &Actor, name: &'static str, to: u64) -> Option<u64> {
    let others = if name == "z" { Others::Anybody } else { Others::Makers };
    match load(a, name)? {
        Ok(found) => Some(found),
        Err(making) => {
            make(a, name, to, others);
            end(a, name, making);
            Some(to)
        }
    }
}

/// Becomes the maker of `name`, and makes nothing.
pub fn fail_to_make(a: &Actor, name: &'static str) {
    if let Some(Err(making)) = load(a, name) {
        end(a, name, making);
    }
}

fn make_and_remove(a: &Actor, name: &'static str, to: u64) {
    let Some(Err(making)) = load(a, name) else { return };
    make(a, name, to, Others::Anybody);
    ok(a.remove(name));
    assert!(!matches!(load(a, name), Some(Err(_))), "N5: a second maker");
    end(a, name, making);
}

/// What is raced, stopped and piled on each other.
pub fn acts() -> Vec<Act> {
    fn act(name: &'static str, may: May, run: fn(&Actor)) -> Act {
        Act { name, run, may }
    }
    vec![
        act("load z", &[("z", Some(40))], |a| {
            load_or_make(a, "z", 40);
        }),
        act("load q, which makers alone publish", &[("q", None), ("q", Some(42))], |a| {
            load_or_make(a, "q", 42);
        }),
        act("fail to make z", &[], |a| fail_to_make(a, "z")),
        act("make z, remove it before that is over", &[("z", Some(41)), ("z", None)], |a| make_and_remove(a, "z", 41)),
    ]
}

/// The operations that the sweeps go through, each with its own stage.
pub fn scripts() -> Vec<Script> {
    fn plain(name: &'static str, before: fn(&Actor), victim: fn(&Actor), may: May) -> Script {
        Script { name, before, victim, may, room: ROOM }
    }
    let nothing: fn(&Actor) = |_| {};
    vec![
        plain(
            "load what is not there, then what is",
            nothing,
            |a| {
                assert_eq!(load_or_make(a, "x", 1), Some(1));
                assert_eq!(load_or_make(a, "x", 2), Some(1), "N7: made again");
            },
            &[("x", None), ("x", Some(1))],
        ),
        plain(
            "fail to make it, twice, then make it",
            nothing,
            |a| {
                for _ in 0..2 {
                    fail_to_make(a, "x");
                    assert!(ok(a.lookup("x")).is_none(), "N6: a name of nothing stays");
                }
                load_or_make(a, "x", 1);
            },
            &[("x", None), ("x", Some(1))],
        ),
        plain(
            "what is made is removed before its maker is done",
            nothing,
            |a| {
                make_and_remove(a, "x", 1);
                assert!(ok(a.lookup("x")).is_none(), "N6: a name of nothing stays");
                assert_eq!(load_or_make(a, "x", 2), Some(2));
            },
            &[("x", None), ("x", Some(1)), ("x", Some(2))],
        ),
        plain(
            "published by another while it is made",
            nothing,
            |a| {
                let Some(Err(making)) = load(a, "x") else { panic!("nothing is there") };
                assert_eq!(load_or_make(a, "x", 3), None, "N5");
                ok(publish(a, "x", 1, 0));
                make(a, "x", 2, Others::Anybody);
                end(a, "x", making);
                assert_eq!(ok(read(a, "x")), Some(1));
            },
            &[("x", None), ("x", Some(1))],
        ),
        plain(
            "replace a maker that died",
            |a| {
                let dead = quiet(&a.env, 50);
                assert!(matches!(load(&dead, "x"), Some(Err(_))));
                a.env.state().kill(50);
            },
            |a| {
                ok(a.recover());
                assert_eq!(load_or_make(a, "x", 1), Some(1));
            },
            &[("x", None), ("x", Some(1))],
        ),
        plain(
            "take over from a maker that died, without a recovery",
            |a| {
                let dead = quiet(&a.env, 50);
                assert!(matches!(load(&dead, "x"), Some(Err(_))));
                a.env.state().kill(50);
            },
            |a| {
                // Who polls looks for the dead now and then; who waits, in each slice.
                let loaded = ok(a.load_once("x", Until::Within(Duration::from_secs(60))));
                let Loaded::Make(making) = loaded else { panic!("nobody made it: {loaded:?}") };
                make(a, "x", 1, Others::Makers);
                a.end_making(making);
            },
            &[("x", None), ("x", Some(1))],
        ),
    ]
}
