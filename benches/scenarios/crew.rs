//! Other processes of a section: this program once more. Each says when it is ready, does what a line tells it, and answers a line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::pair::Outcome;

const ROLE: &str = "--role";

/// What a process of a crew was told when it was started.
pub struct Told {
    pub role: String,
    /// Of the arena, and of what lies beside it.
    pub name: String,
    pub index: usize,
    pub more: Vec<u64>,
}

impl Told {
    pub fn read(arguments: &[String]) -> Outcome<Option<Told>> {
        let [role, name, index, more @ ..] = arguments.strip_prefix(&[ROLE.to_owned()]).unwrap_or_default() else {
            return Ok(None);
        };
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        let more = more.iter().map(|number| number.parse()).collect::<Result<_, _>>()?;
        Ok(Some(Told { role: role.clone(), name: name.clone(), index: index.parse()?, more }))
    }

    /// Says that it is ready, and answers each line of numbers with another one.
    pub fn serve(&self, mut answer: impl FnMut(&[u64]) -> Outcome<Vec<u64>>) -> Outcome {
        say("ready")?;
        for line in std::io::stdin().lines() {
            say(&words(&answer(&numbers(&line?)?)?))?;
        }
        Ok(())
    }
}

fn say(line: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn numbers(line: &str) -> Outcome<Vec<u64>> {
    Ok(line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

fn words(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

/// One of them. It is killed when this is dropped.
pub struct Member {
    process: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Member {
    fn spawn(role: &str, name: &str, index: usize, more: &[u64]) -> Outcome<Member> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([ROLE, role, name, &index.to_string()]).args(more.iter().map(u64::to_string));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let from = BufReader::new(process.stdout.take().ok_or("piped")?);
        Ok(Member { to: process.stdin.take(), from, process })
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        match self.from.read_line(&mut line)? {
            0 => Err(format!("another process of the section ended: {}", self.process.wait()?).into()),
            _ => Ok(line),
        }
    }

    fn is_ready(&mut self) -> Outcome {
        let line = self.line()?;
        if line.trim() == "ready" {
            Ok(())
        } else {
            Err(format!("another process of the section said {line:?}").into())
        }
    }

    /// One that is ready.
    pub fn start(role: &str, name: &str, index: usize, more: &[u64]) -> Outcome<Member> {
        let mut member = Member::spawn(role, name, index, more)?;
        member.is_ready()?;
        Ok(member)
    }

    pub fn tell(&mut self, numbers: &[u64]) -> Outcome {
        Ok(writeln!(self.to.as_mut().ok_or("piped")?, "{}", words(numbers))?)
    }

    pub fn answer(&mut self) -> Outcome<Vec<u64>> {
        numbers(&self.line()?)
    }

    /// Kills it, and waits until the kernel has let go of all it had.
    pub fn kill(mut self) -> Outcome {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Lets it end by itself.
    pub fn finish(mut self) -> Outcome {
        self.to = None;
        match self.process.wait()? {
            ended if ended.success() => Ok(()),
            ended => Err(format!("another process of the section: {ended}").into()),
        }
    }
}

/// All of them.
pub struct Crew(pub Vec<Member>);

impl Crew {
    pub fn start(role: &str, name: &str, count: usize, more: &[u64]) -> Outcome<Crew> {
        let all = (0..count).map(|index| Member::spawn(role, name, index, more)).collect::<Outcome<Vec<_>>>()?;
        let mut crew = Crew(all);
        crew.0.iter_mut().try_for_each(Member::is_ready)?;
        Ok(crew)
    }

    pub fn tell(&mut self, numbers: &[u64]) -> Outcome {
        self.0.iter_mut().try_for_each(|member| member.tell(numbers))
    }

    pub fn answers(&mut self) -> Outcome<Vec<Vec<u64>>> {
        self.0.iter_mut().map(Member::answer).collect()
    }

    pub fn finish(self) -> Outcome {
        self.0.into_iter().try_for_each(Member::finish)
    }
}

/// Names an arena, and what lies beside it, of this run.
pub fn run_name(purpose: &str) -> String {
    format!("bench-scenes-{}-{purpose}", std::process::id())
}
