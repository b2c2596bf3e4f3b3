//! One thread waits for 1, 8 and 64 channels at once, beside a plain receive, and beside epoll on as many pipes.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::time::Duration;

use faretra::channel::Contents;
use faretra::{Arena, MIB, Receiver, Select, Sender};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::stat::Mode;

use crate::crew::{Member, Told, run_name};
use crate::measure::{Along, Table, Times, block, in_turn};
use crate::pair::{DEADLINE, Outcome, clock, pin_to_processor};
use crate::setting::{Random, Scale};

pub const PARTNER: &str = "select-partner";
const MOST: usize = 64;

fn channel(i: usize) -> String {
    format!("answers-{i}")
}

fn pipe(name: &str, i: usize) -> String {
    format!("/dev/shm/{name}.pipe-{i}")
}

/// Where questions go.
const ASKS: usize = MOST;

/// Removes the pipes.
struct Pipes(String);

impl Drop for Pipes {
    fn drop(&mut self) {
        for i in 0..=MOST {
            let _ = std::fs::remove_file(pipe(&self.0, i));
        }
    }
}

/// Both ways, so that no open waits for another process.
fn open_pipe(name: &str, i: usize) -> Outcome<File> {
    Ok(OpenOptions::new().read(true).write(true).open(pipe(name, i))?)
}

/// Answers each question on the channel, or pipe, that it names.
pub fn partner(told: &Told) -> Outcome {
    pin_to_processor(1)?;
    let arena = Arena::options().keep(false).open(&told.name)?;
    let writer = arena.writer()?;
    let answer = |i| writer.sender_with(&channel(i), 4, Contents::Mixed);
    let answers: Vec<Sender> = (0..MOST).map(answer).collect::<Result<_, _>>()?;
    let asked = arena.receiver("asks")?;
    let mut asked_by_pipe = open_pipe(&told.name, ASKS)?;
    let mut pipes = (0..MOST).map(|i| open_pipe(&told.name, i)).collect::<Outcome<Vec<File>>>()?;
    told.serve(|line| {
        let [by_pipe, count] = *line else { return Err("two numbers".into()) };
        for _ in 0..count {
            if by_pipe == 1 {
                let mut which = [0; 8];
                asked_by_pipe.read_exact(&mut which)?;
                pipes[u64::from_le_bytes(which) as usize].write_all(&which)?;
            } else {
                let lease = asked.recv_timeout(DEADLINE)?;
                let which: [u8; 8] = lease.bytes()?.try_into()?;
                lease.ack();
                answers[u64::from_le_bytes(which) as usize].send(&which).map_err(|e| e.to_string())?;
            }
        }
        Ok(vec![])
    })
}

/// What this process asks through, and waits for.
struct Asker {
    asks: Sender,
    receivers: Vec<Receiver>,
    asks_by_pipe: File,
    pipes: Vec<File>,
}

impl Asker {
    fn select(&self, count: usize) -> Select {
        let mut select = Select::new();
        for receiver in &self.receivers[..count] {
            select.recv(receiver);
        }
        select
    }

    fn ask(&self, which: usize) -> Outcome {
        Ok(self.asks.send(&(which as u64).to_le_bytes()).map_err(|e| e.to_string())?)
    }

    fn epoll(&self, count: usize) -> Outcome<Epoll> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for (i, pipe) in self.pipes[..count].iter().enumerate() {
            epoll.add(pipe, EpollEvent::new(EpollFlags::EPOLLIN, i as u64))?;
        }
        Ok(epoll)
    }
}

pub fn run(scale: Scale, table: &mut Table) -> Outcome {
    let name = run_name("select");
    let arena = Arena::options().limit(64 * MIB).keep(false).create(&name)?;
    let writer = arena.writer()?;
    let left_behind = Pipes(name.clone());
    for i in 0..=MOST {
        nix::unistd::mkfifo(pipe(&name, i).as_str(), Mode::S_IRWXU)?;
    }
    let asks = writer.sender_with("asks", 4, Contents::Mixed)?;
    let answer = |i| writer.sender_with(&channel(i), 4, Contents::Mixed);
    let mut answers: Vec<Sender> = (0..MOST).map(answer).collect::<Result<_, _>>()?;
    let receivers = (0..MOST).map(|i| arena.receiver(&channel(i))).collect::<Result<_, _>>()?;
    let asks_by_pipe = open_pipe(&name, ASKS)?;
    let pipes = (0..MOST).map(|i| open_pipe(&name, i)).collect::<Outcome<_>>()?;
    let mut asker = Asker { asks, receivers, asks_by_pipe, pipes };
    looked_at(scale, table, &asker, &answers)?;
    let mut partner = Member::start(PARTNER, &name, 1, &[])?;
    answers.clear();
    pin_to_processor(0)?;
    let (rounds, count) = (scale.of(6, 20), scale.of(200, 500));
    for channels in [1, 8, MOST] {
        let (mut select, epoll) = (asker.select(channels), asker.epoll(channels)?);
        let mut random = Random::new(channels as u64);
        let mut times: [Times; 3] = Default::default();
        for round in 0..=rounds {
            for (way, times) in times.iter_mut().enumerate() {
                partner.tell(&[u64::from(way == 2), count])?;
                for nth in 0..count {
                    let which = if way == 0 { 0 } else { random.below(channels as u64) as usize };
                    let start = clock();
                    match way {
                        0 => {
                            asker.ask(which)?;
                            asker.receivers[0].recv_timeout(DEADLINE)?.ack();
                        }
                        1 => {
                            asker.ask(which)?;
                            let done = select.select_timeout(DEADLINE)?;
                            let index = done.index();
                            done.recv(&asker.receivers[index])?.ack();
                            assert_eq!(index, which, "the channel that was answered on");
                        }
                        _ => {
                            asker.asks_by_pipe.write_all(&(which as u64).to_le_bytes())?;
                            let mut events = [EpollEvent::empty()];
                            let timeout = EpollTimeout::try_from(DEADLINE)?;
                            assert_eq!(epoll.wait(&mut events, timeout)?, 1, "an answer in time");
                            let mut back = [0; 8];
                            asker.pipes[events[0].data() as usize].read_exact(&mut back)?;
                            assert_eq!(u64::from_le_bytes(back), which as u64);
                        }
                    }
                    // The first waits for the other to come along.
                    if round > 0 && nth > 0 {
                        times.push(Duration::from_nanos(clock() - start), 1);
                    }
                }
                partner.answer()?;
            }
        }
        let [recv, selected, polled] = &times;
        let of = Along::Objects(channels as u64);
        let lines = ["select, there and back", "recv of one, there and back"];
        let what = format!("8 B there and back, answered on one of {channels} channels");
        table.along(format!("{what}; floor: recv of one"), of, lines, selected, recv, "");
        let lines = ["", "epoll on pipes, there and back"];
        table.along(format!("{what}; floor: epoll on as many pipes"), of, lines, selected, polled, "");
    }
    drop(asker);
    partner.finish()?;
    drop(left_behind);
    Ok(())
}

/// Nobody waits: an item is there already, in one of so many channels.
fn looked_at(scale: Scale, table: &mut Table, asker: &Asker, answers: &[Sender]) -> Outcome {
    const N: u64 = 100;
    for channels in [1, 8, MOST] {
        let mut select = asker.select(channels);
        let mut random = Random::new(7);
        let [recv, selected] = in_turn(
            200 / scale.hurry,
            N,
            [
                &mut || {
                    block(N, || {
                        answers[0].send(&[7; 8]).map_err(|e| e.to_string()).expect("room");
                        asker.receivers[0].try_recv().expect("sent").ack();
                    })
                },
                &mut || {
                    block(N, || {
                        let which = random.below(channels as u64) as usize;
                        answers[which].send(&[7; 8]).map_err(|e| e.to_string()).expect("room");
                        let done = select.try_select().expect("sound").expect("sent");
                        assert_eq!(done.index(), which);
                        done.recv(&asker.receivers[which]).expect("sent").ack();
                    })
                },
            ],
        );
        let of = Along::Objects(channels as u64);
        let what = format!("send + try_select of {channels} channels + ack; floor: send + try_recv + ack");
        table.along(what, of, ["send + try_select + ack", ""], &selected, &recv, "");
    }
    Ok(())
}
