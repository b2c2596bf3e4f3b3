//! What a call and its reply cost there and back, beside a Unix socket and iceoryx2's request/response, in turn in one run.
//!
//! ```text
//! cargo bench -p peers --bench calls               about a minute
//! cargo bench -p peers --bench calls -- --quick    seconds
//! ```
//!
//! One process sends requests, another one sums up the bytes of each and replies with the sum: one call at a time. Each
//! has a processor of its own. Faretra and iceoryx2 get the bytes of a request from memory that the caller has already,
//! as a socket does: they are copied once. Who polls never sleeps; iceoryx2's users who sleep send an event with each
//! request and each reply. All cases take turns, round by round, and the first call of a turn is not counted. A ratio is
//! the middle one of those of all rounds, each of a round's medians.
#![allow(clippy::print_stdout, reason = "a bench is there to print")]
#![allow(unsafe_code, reason = "a plain shared mapping has no safe form")]

#[allow(dead_code, reason = "shared with `ratios`")]
#[path = "../ratios/measure.rs"]
mod measure;
#[allow(dead_code, reason = "shared with `channel`")]
#[path = "../ratios/pair.rs"]
mod pair;

mod node;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use faretra::call::{Client, Server, WithoutServer};
use faretra::{KIB, MIB, RecvError};
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::prelude::{Node, ServiceName, ipc};
use nix::sys::signal::Signal;

use measure::{Row, load, size, time};
use node::LeftBehind;
use pair::{Ends, Outcome, Partner, Used, Wait, part, pin_to_processor};

type Caller = iceoryx2::port::client::Client<ipc::Service, [u8], (), u64, ()>;
type Answerer = iceoryx2::port::server::Server<ipc::Service, [u8], (), u64, ()>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Faretra,
    Iceoryx2,
    Socket,
}

const CASES: [(Who, Wait); 6] = [
    (Who::Faretra, Wait::Polls),
    (Who::Iceoryx2, Wait::Polls),
    (Who::Faretra, Wait::Blocks),
    (Who::Faretra, Wait::Sleeps),
    (Who::Iceoryx2, Wait::Sleeps),
    (Who::Socket, Wait::Sleeps),
];

/// One of ours, a rival's, and what to call the two.
const PAIRS: [(usize, usize, &str); 5] = [
    (0, 1, "polls; iceoryx2, polled"),
    (2, 4, "spins, then sleeps; iceoryx2 with events"),
    (3, 4, "sleeps at once; iceoryx2 with events"),
    (2, 5, "spins, then sleeps; Unix socket"),
    (3, 5, "sleeps at once; Unix socket"),
];

const SIZES: [(u64, usize); 4] = [(8, 1000), (64 * KIB, 300), (MIB, 60), (8 * MIB, 10)];

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let ["partner", name] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return serve(name);
    }
    let hurry = if arguments.iter().any(|a| a == "--quick") { 5 } else { 1 };
    println!("load average before: {}", load());
    let left = LeftBehind(format!("bench-calls-{}", std::process::id()));
    let measured = measure(&left.0, hurry);
    println!("\nload average after: {}", load());
    measured
}

fn socket(name: &str) -> String {
    format!("/dev/shm/{name}.socket")
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

// ------------------------------------------------------------------------------------------------------ the rival

/// What both sides of iceoryx2 have.
struct Node2 {
    node: Node<ipc::Service>,
    notifier: Notifier<ipc::Service>,
    listener: Listener<ipc::Service>,
}

impl Node2 {
    fn connect(name: &str, side: usize) -> Outcome<Node2> {
        let node = node::node(name)?;
        let (notifier, listener) = node::events(&node, side)?;
        Ok(Node2 { node, notifier, listener })
    }

    fn client(&self) -> Outcome<Caller> {
        let service = self.node.service_builder(&ServiceName::new("sum")?).request_response::<[u8], u64>();
        let service = service.max_clients(1).max_servers(1).open_or_create()?;
        let longest = SIZES[SIZES.len() - 1].0 as usize;
        Ok(service.client_builder().initial_max_slice_len(longest).create()?)
    }

    fn server(&self) -> Outcome<Answerer> {
        let service = self.node.service_builder(&ServiceName::new("sum")?).request_response::<[u8], u64>();
        Ok(service.max_clients(1).max_servers(1).open_or_create()?.server_builder().create()?)
    }

    fn wake(&self, wait: Wait) -> Outcome {
        if wait == Wait::Sleeps {
            self.notifier.notify()?;
        }
        Ok(())
    }

    /// There is one event for each item, and it comes after the item.
    fn look<T>(&self, wait: Wait, look: impl Fn() -> Outcome<Option<T>>) -> Outcome<T> {
        loop {
            if wait == Wait::Sleeps {
                while self.listener.blocking_wait_one()?.is_none() {}
            }
            if let Some(item) = look()? {
                return Ok(item);
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------------- the sides

/// The process that serves: told what comes, it answers that many requests, and says what that used.
fn serve(name: &str) -> Outcome {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    pin_to_processor(1)?;
    let ours: Vec<(Wait, Server)> = [Wait::Polls, Wait::Blocks, Wait::Sleeps]
        .into_iter()
        .map(|wait| Ok((wait, Ends::arena(name, wait)?.writer()?.server("sum")?)))
        .collect::<Outcome<_>>()?;
    let theirs = Node2::connect(name, 1)?;
    let answerer = theirs.server()?;
    let mut stream = UnixStream::connect(socket(name))?;
    let mut buffer = vec![0_u8; SIZES[SIZES.len() - 1].0 as usize];
    println!("{}", Used::default());
    for line in std::io::stdin().lines() {
        let numbers: Vec<usize> = line?.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [case, which, count] = numbers[..] else { return Err("three numbers".into()) };
        let (who, wait) = CASES[case];
        let before = Used::now()?;
        for _ in 0..count {
            match who {
                Who::Faretra => {
                    let (_, server) = ours.iter().find(|(of, _)| *of == wait).ok_or("a server")?;
                    let request = loop {
                        match if wait == Wait::Polls { server.try_recv() } else { server.recv() } {
                            Err(RecvError::Empty) => std::hint::spin_loop(),
                            other => break other?,
                        }
                    };
                    let sum = sum(request.bytes()?);
                    request.reply(sum.to_le_bytes().to_vec())?;
                }
                Who::Iceoryx2 => {
                    let request = theirs.look(wait, || Ok(answerer.receive()?))?;
                    request.send_copy(sum(request.payload()))?;
                    theirs.wake(wait)?;
                }
                Who::Socket => {
                    let bytes = &mut buffer[..SIZES[which].0 as usize];
                    stream.read_exact(bytes)?;
                    stream.write_all(&sum(bytes).to_le_bytes())?;
                }
            }
        }
        let used = Used::since(before)?;
        println!("{used}");
    }
    Ok(())
}

/// The process that calls.
struct Calls {
    ours: Vec<(Wait, Client)>,
    theirs: Node2,
    caller: Caller,
    stream: UnixStream,
    bytes: Vec<u8>,
}

impl Calls {
    fn call(&mut self, (who, wait): (Who, Wait), bytes: usize) -> Outcome<u64> {
        let bytes = &self.bytes[..bytes];
        match who {
            Who::Faretra => {
                let (_, client) = self.ours.iter_mut().find(|(of, _)| *of == wait).ok_or("a client")?;
                Ok(u64::from_le_bytes(client.call(bytes)?.bytes()?.try_into()?))
            }
            Who::Iceoryx2 => {
                let request = self.caller.loan_slice_uninit(bytes.len())?.write_from_slice(bytes);
                let pending = request.send()?;
                self.theirs.wake(wait)?;
                Ok(*self.theirs.look(wait, || Ok(pending.receive()?))?.payload())
            }
            Who::Socket => {
                self.stream.write_all(bytes)?;
                let mut reply = [0; 8];
                self.stream.read_exact(&mut reply)?;
                Ok(u64::from_le_bytes(reply))
            }
        }
    }
}

/// What was measured of one case.
#[derive(Clone, Debug, Default)]
struct Samples {
    all: Vec<u64>,
    /// The median of each round.
    rounds: Vec<f64>,
    used: Used,
}

impl Samples {
    fn text(&self) -> String {
        let [p50, p99] = [0.5, 0.99].map(|p| time(part(&self.all, p)));
        format!("{p50} | {p99} | {}", time(self.each(self.used.cpu_us) * 1e3))
    }

    fn each(&self, of: u64) -> f64 {
        of as f64 / self.all.len() as f64
    }

    /// How far apart the medians of the middle eight of ten rounds are, as a part of the one in the middle.
    fn spread(&self) -> f64 {
        let mut rounds = self.rounds.clone();
        rounds.sort_by(f64::total_cmp);
        let at = |part: f64| rounds[(part * (rounds.len() - 1) as f64).round() as usize];
        (at(0.9) - at(0.1)) / at(0.5)
    }

    /// Adds the row of ours beside a rival's to the report.
    fn tell(&self, what: &str, bytes: u64, theirs: &Samples, ratio: f64) {
        Row {
            section: "a request and its reply of 8 bytes; ours waits so; floor: beside it".into(),
            what: format!("{}: {what}", size(bytes)),
            sized: Some((bytes, what.to_owned())),
            p50: Some(part(&self.all, 0.5)),
            p99: Some(part(&self.all, 0.99)),
            p999: Some(part(&self.all, 0.999)),
            cpu: Some(self.each(self.used.cpu_us) * 1e3),
            faults: Some((self.each(self.used.faults), self.each(self.used.major))),
            floor: Some(part(&theirs.all, 0.5)),
            spread: Some(theirs.spread()),
            ratio: Some(ratio),
            ..Row::default()
        }
        .tell();
    }
}

fn measure(name: &str, hurry: usize) -> Outcome {
    let listener = UnixListener::bind(socket(name))?;
    // The arenas are there before the partner comes, and stay.
    let arenas = [Wait::Polls, Wait::Blocks, Wait::Sleeps].map(|wait| (wait, Ends::arena(name, wait)));
    let theirs = Node2::connect(name, 0)?;
    let caller = theirs.client()?;
    let mut other = Partner::start(name)?;
    // Now, because the partner would inherit it.
    pin_to_processor(0)?;
    let stream = listener.accept()?.0;
    other.answer()?;
    let mut ours = vec![];
    for (wait, arena) in arenas {
        ours.push((wait, arena?.writer()?.client("sum", WithoutServer::Waits)?));
    }
    let longest = SIZES[SIZES.len() - 1].0;
    let bytes: Vec<u8> = (0..longest).map(|i| i as u8 ^ (i >> 8) as u8).collect();
    let mut calls = Calls { ours, theirs, caller, stream, bytes };
    let mut tables = vec![];
    for (which, (bytes, count)) in SIZES.into_iter().enumerate() {
        println!("measuring {} ...", size(bytes));
        let count = (count / hurry).max(3);
        let expected = sum(&calls.bytes[..bytes as usize]);
        let mut samples = vec![Samples::default(); CASES.len()];
        for round in 0..20 / hurry + 2 {
            for (case, samples) in samples.iter_mut().enumerate() {
                let before = Used::now()?;
                other.tell(&[case, which, count + 1])?;
                let mut times = vec![];
                for _ in 0..=count {
                    let start = Instant::now();
                    if calls.call(CASES[case], bytes as usize)? != expected {
                        return Err(format!("{:?}: not what was sent", CASES[case]).into());
                    }
                    times.push(start.elapsed().as_nanos() as u64);
                }
                let mut used = Used::since(before)?;
                used.add(other.answer()?);
                if round >= 2 {
                    samples.rounds.push(part(&times[1..], 0.5));
                    samples.all.extend(&times[1..]);
                    samples.used.add(used);
                }
            }
        }
        tables.push((bytes, samples));
    }
    for (bytes, samples) in tables {
        println!("\n### a request of {}, its reply of 8 bytes\n", size(bytes));
        println!("| ours waits so; beside it | ours p50 | p99 | CPU | rival p50 | p99 | CPU | ratio | most rounds |");
        println!("|{}", "---|".repeat(9));
        for (ours, theirs, what) in PAIRS {
            let [ours, theirs] = [&samples[ours], &samples[theirs]];
            let mut ratios: Vec<f64> = ours.rounds.iter().zip(&theirs.rounds).map(|(a, b)| a / b).collect();
            ratios.sort_by(f64::total_cmp);
            let at = |part: f64| ratios[(part * (ratios.len() - 1) as f64).round() as usize];
            let (middle, low, high) = (at(0.5), at(0.1), at(0.9));
            println!("| {what} | {} | {} | {middle:.2} | {low:.2} to {high:.2} |", ours.text(), theirs.text());
            ours.tell(what, bytes, theirs, middle);
        }
    }
    drop(calls);
    other.finish()
}
