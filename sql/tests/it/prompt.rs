//! Shows what somebody sees who types statements at a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use faretra::feed::WhenFull;
use nix::pty::openpty;

use crate::support::{DEADLINE, Lab, flights, wait};

struct Terminal {
    keys: File,
    shown: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn new(mut command: std::process::Command) -> (Terminal, std::process::Child) {
        let pair = openpty(None, None).unwrap();
        let end = |fd: &std::os::fd::OwnedFd| std::process::Stdio::from(fd.try_clone().unwrap());
        let child = command
            .env("TERM", "xterm")
            .stdin(end(&pair.slave))
            .stdout(end(&pair.slave))
            .stderr(end(&pair.slave))
            .spawn()
            .unwrap();
        drop(pair.slave);
        let mut screen = File::from(pair.master.try_clone().unwrap());
        let (sender, shown) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(more @ 1..) = screen.read(&mut bytes) {
                if sender.send(bytes[..more].to_vec()).is_err() {
                    return;
                }
            }
        });
        (Terminal { keys: File::from(pair.master), shown, seen: String::new() }, child)
    }

    fn types(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the screen shows this behind what was seen before.
    fn sees(&mut self, what: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.seen.find(what) {
                self.seen.drain(..at + what.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("the terminal does not show {what:?}, but {:?}", self.seen),
            }
        }
    }
}

/// Shows statements over several lines, an error, a query without an end that Ctrl-C cancels, the list of tables, and the end.
#[test]
fn a_session() {
    let lab = Lab::new();
    let arena = lab.arena("air");
    let writer = arena.writer().unwrap();
    writer.publish("flights", flights()).unwrap();
    let ticks = writer.feed("ticks", 8, WhenFull::Block).unwrap();
    ticks.append(flights()).unwrap();
    let (mut terminal, mut child) = Terminal::new(lab.command(["air"]));
    terminal.sees("air> ");
    terminal.types("SELECT sum(id) * 7 AS s\r");
    terminal.sees("..> ");
    terminal.types("FROM flights;\r");
    terminal.sees("42");
    terminal.sees("(1 row)");
    terminal.sees("air> ");
    terminal.types("SELECT * FROM nix;\r");
    terminal.sees("faretra: there is no table `nix`");
    terminal.sees("air> ");
    terminal.types("SELECT dropped\x03");
    terminal.sees("air> ");
    terminal.types("\\d\r");
    terminal.sees("ticks");
    terminal.sees("air> ");
    terminal.types("SELECT id * 1001 FROM ticks;\r");
    terminal.sees("3003");
    crate::support::interrupt(&child);
    terminal.sees("faretra: cancelled");
    terminal.sees("air> ");
    terminal.types("SELECT 5 * 5 AS q;\r");
    terminal.sees("25");
    terminal.sees("air> ");
    terminal.types("\x04");
    assert_eq!(wait(&mut child).code(), Some(0));
    let history = std::fs::read_to_string(lab.path("faretra/sql_history")).unwrap();
    assert!(history.contains("5 * 5"), "{history}");
}
