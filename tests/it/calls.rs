//! Shows that calls get one reply each, whichever servers and clients are killed, and that what the dead leave goes.

use std::time::{Duration, Instant};

use faretra::call::{CallError, Client, Server, WithoutServer};
use faretra::{Arena, Error, MIB, Object, RecvError, Result};

use crate::obey::{number, say};
use crate::ready_puppet::is_readable;
use crate::support::{Child, DEADLINE, TestArena, until};

/// What a puppet serves and calls with.
#[derive(Default)]
pub struct CallHands {
    client: Option<Client>,
    server: Option<Server>,
}

/// Twice what a request says, and whose reply it is.
fn answer(request: &Object) -> Result<String> {
    let said = std::str::from_utf8(request.bytes()?).expect("text").to_owned();
    Ok(format!("{} by {}", said.parse::<u64>().expect("a number") * 2, std::process::id()))
}

fn failed(e: CallError) -> String {
    match e {
        CallError::Closed { clean } => format!("closed clean={clean}"),
        CallError::TimedOut => "timed out".into(),
        e => panic!("{e}"),
    }
}

impl CallHands {
    pub fn obey(&mut self, arena: &Arena, verb: &str, args: &[&str]) -> Result<String> {
        let mut done = String::new();
        match verb {
            // SERVICE fails|waits
            "client" => {
                let without = if args[1] == "fails" { WithoutServer::Fails } else { WithoutServer::Waits };
                self.client = Some(arena.writer()?.client(args[0], without)?);
            }
            "server" => self.server = Some(arena.writer()?.server(args[0])?),
            // NUMBER [MILLIS]
            "call" => {
                let client = self.client.as_mut().expect("a client");
                let called = match args.get(1) {
                    Some(_) => client.call_timeout(args[0], Duration::from_millis(number(args, 1))),
                    None => client.call(args[0]),
                };
                done = match called {
                    Ok(reply) => String::from_utf8_lossy(reply.bytes()?).into_owned(),
                    Err(e) => failed(e),
                };
            }
            // FROM TO: calls with each number, and checks the replies.
            "calls" => {
                say("ok");
                for n in number(args, 0)..number(args, 1) {
                    let client = self.client.as_mut().expect("a client");
                    let reply = client.call_timeout(n.to_string().as_str(), DEADLINE).expect("a reply");
                    let said = String::from_utf8_lossy(reply.bytes()?).into_owned();
                    assert!(said.starts_with(&format!("{} by ", n * 2)), "{n}: {said}");
                }
            }
            // Serves until the service is closed.
            "serve" => {
                say("ok");
                self.server.as_ref().expect("a server").serve(|request| answer(request))?;
            }
            // Takes a request, and keeps it.
            "take" => {
                let request = self.server.as_ref().expect("a server").recv().expect("a request");
                done = format!("{} attempts={}", String::from_utf8_lossy(request.bytes()?), request.attempts());
                say(&format!("ok {done}"));
                std::thread::sleep(DEADLINE);
            }
            "leave" => *self = CallHands::default(),
            _ => panic!("no verb {verb}"),
        }
        Ok(done)
    }
}

fn client(t: &TestArena, without: &str) -> Child {
    let mut child = t.puppet();
    child.ask(&format!("r-client double {without}"));
    child
}

fn server(t: &TestArena) -> Child {
    let mut child = t.puppet();
    child.ask("r-server double");
    child
}

/// Servers are killed in the middle of their work, again and again: each call gets its own reply.
#[test]
fn calls_survive_their_servers() {
    let t = TestArena::new(64 * MIB);
    let mut survivor = server(&t);
    survivor.ask("r-serve");
    let mut clients: Vec<Child> = (0..3).map(|_| client(&t, "waits")).collect();
    for (i, child) in clients.iter_mut().enumerate() {
        child.ask(&format!("r-calls {} {}", i * 100_000, i * 100_000 + 4000));
    }
    for _ in 0..25 {
        let mut victim = server(&t);
        victim.ask("r-serve");
        std::thread::sleep(Duration::from_millis(8));
        victim.kill();
    }
    for child in &mut clients {
        child.answer().expect("all replies");
        child.ask("r-leave");
    }
    let w = t.arena.writer().expect("a permit");
    w.server("double").expect("room").close().expect("open");
    drop(w);
    survivor.answer().expect("closed for good");
    survivor.ask("r-leave");
    clients.push(survivor);
    t.assert_nothing_left(clients);
}

/// A request of a server that dies goes to another, which is told; and if there is none, the client is told at once.
#[test]
fn a_request_of_a_dead_server_goes_to_another() {
    let t = TestArena::new(16 * MIB);
    let (mut first, mut second) = (server(&t), server(&t));
    let mut calls = client(&t, "fails");
    calls.tell("r-call 21");
    first.tell("r-take");
    second.tell("r-take");
    let (mut has, mut waits) = match first.try_answer(Duration::from_secs(2)) {
        Some(taken) => {
            assert_eq!(taken.as_deref(), Ok("21 attempts=0"));
            (first, second)
        }
        None => (second, first),
    };
    has.kill();
    assert_eq!(waits.answer().as_deref(), Ok("21 attempts=1"));
    // It dies too, with the request.
    let began = Instant::now();
    waits.kill();
    assert_eq!(calls.answer().as_deref(), Ok("closed clean=false"));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(calls.ask("r-call 1"), "closed clean=false", "nobody serves");
    // The next server serves what waits; the reply to a call that was given up is dropped, and the next call has its own.
    let mut third = server(&t);
    third.ask("r-serve");
    assert_eq!(calls.ask("r-call 4"), format!("8 by {}", third.pid));
    let w = t.arena.writer().expect("a permit");
    w.server("double").expect("room").close().expect("open");
    drop(w);
    third.answer().expect("closed");
    for child in [&mut third, &mut calls] {
        child.ask("r-leave");
    }
    t.assert_nothing_left(vec![third, calls]);
}

/// Who chose to wait waits for a server, as long as the call does.
#[test]
fn calls_wait_for_a_server() {
    let t = TestArena::new(16 * MIB);
    let mut calls = client(&t, "waits");
    assert_eq!(calls.ask("r-call 1 200"), "timed out");
    calls.tell("r-call 2");
    calls.until_waiting();
    let mut serves = server(&t);
    serves.ask("r-serve");
    assert_eq!(calls.answer(), Ok(format!("4 by {}", serves.pid)));
    calls.ask("r-leave");
    let w = t.arena.writer().expect("a permit");
    w.server("double").expect("room").close().expect("open");
    drop(w);
    serves.answer().expect("closed");
    serves.ask("r-leave");
    t.assert_nothing_left(vec![calls, serves]);
}

/// Clients that are killed while they wait leave nothing: the replies to them are dropped, and the channels go.
#[test]
fn what_dead_clients_leave_goes() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let serves = w.server("double").expect("room");
    for round in 0..5 {
        let mut calls = client(&t, "waits");
        calls.tell("r-call 3");
        let request = serves.recv_timeout(DEADLINE).expect("a request");
        calls.kill();
        if round % 2 == 0 {
            // The death is known before the reply, or not.
            t.arena.recover().expect("sound");
        }
        request.reply("late").expect("dropped");
    }
    let names = || t.arena.names().expect("names").len();
    until("the channels of the dead to go", || {
        let none = serves.recv_timeout(Duration::from_millis(100));
        assert!(matches!(none, Err(RecvError::TimedOut)));
        drop(w.client("double", WithoutServer::Fails).expect("room"));
        (names() == 1).then_some(())
    });
    let mut mine = w.client("double", WithoutServer::Fails).expect("room");
    let done = std::thread::scope(|s| {
        let called = s.spawn(|| mine.call("4").map(|reply| reply.bytes().expect("whole").to_vec()));
        let request = serves.recv().expect("a request");
        let reply = answer(&request).expect("a number");
        request.reply(reply.as_str()).expect("room");
        called.join().expect("it ends")
    });
    assert!(done.expect("a reply").starts_with(b"8 by "));
    drop((mine, serves, w));
    t.assert_nothing_left(vec![]);
}

/// A call in two halves, for event loops: nothing waits, a reply to an earlier request is not that to a later one, a poll tells
/// who nobody serves, and a request outlives the handle of its server.
#[test]
fn calls_in_two_halves() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let mut calls = w.client("double", WithoutServer::Fails).expect("room");
    assert!(matches!(calls.request("1"), Err(CallError::Closed { clean: false })));
    let serves = w.server("double").expect("room");
    let (asked, replied) = (serves.pollable().expect("made"), calls.pollable().expect("made"));
    calls.request("1").expect("room");
    assert!(is_readable(&asked, DEADLINE));
    let first = serves.try_recv().expect("a request");
    assert!(calls.try_reply().expect("it is served").is_none());
    calls.request("2").expect("room");
    let second = serves.try_recv().expect("a request");
    drop(asked);
    drop(serves);
    first.reply("two").expect("room");
    assert!(calls.try_reply().expect("it is served").is_none(), "that was the earlier one's");
    second.reply("four").expect("room");
    assert!(is_readable(&replied, DEADLINE));
    assert_eq!(calls.try_reply().expect("it was served").expect("a reply").bytes().expect("whole"), b"four");
    assert!(matches!(calls.try_reply(), Err(CallError::Closed { clean: false })), "nobody serves any more");
    drop((replied, calls, w));
    t.assert_nothing_left(vec![]);
}

/// What a dead client leaves goes with its request, also where the client never had a reply.
#[test]
fn a_request_of_a_dead_client_takes_its_channel_along() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let serves = w.server("double").expect("room");
    let mut calls = client(&t, "waits");
    calls.tell("r-call 3");
    let request = serves.recv_timeout(DEADLINE).expect("a request");
    calls.kill();
    t.arena.recover().expect("sound");
    request.reply("late").expect("dropped");
    assert_eq!(t.arena.names().expect("names").len(), 1);
    drop((serves, w));
    t.assert_nothing_left(vec![]);
}

/// A function that fails gives its request back; a closed service says so to both sides.
#[test]
fn failures_and_the_end() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    let serves = w.server("double").expect("room");
    let mut calls = w.client("double", WithoutServer::Fails).expect("room");
    std::thread::scope(|s| {
        let called = s.spawn(|| calls.call("5").map(|reply| reply.bytes().expect("whole").to_vec()));
        let failed = serves.serve(|_| Err::<&str, _>(Error::TimedOut(Duration::ZERO)));
        assert!(matches!(failed, Err(Error::TimedOut(_))));
        let again = serves.recv().expect("it came back");
        assert_eq!(again.attempts(), 1);
        again.reply("ten").expect("room");
        assert_eq!(called.join().expect("it ends").expect("a reply"), b"ten");
    });
    serves.close().expect("open");
    assert!(matches!(serves.recv(), Err(RecvError::Closed { clean: true })));
    assert!(matches!(calls.call("6"), Err(CallError::Closed { clean: true })));
    drop((calls, serves, w));
    t.assert_nothing_left(vec![]);
}
