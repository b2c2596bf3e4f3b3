//! Shows nothing by itself: compilers, and programs that run in a directory of arenas of their own, under a deadline.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use faretra::{Arena, MIB, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// No program takes that long, on any machine.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// The folder of the package.
pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the library was built: beside this program, and with it.
pub fn built() -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    assert!(folder.join("libfaretra_c.so").exists(), "{} has no library", folder.display());
    folder
}

/// A directory of arenas for one test, on a tmpfs, and programs that were compiled for it.
pub struct Lab {
    dir: TempDir,
    lib: PathBuf,
}

/// How programs are compiled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Checks {
    /// As users do.
    None,
    /// With AddressSanitizer, which also finds what is never freed: also in the library, whose memory is of the same `malloc`.
    /// (Valgrind runs these programs too, but has no room for arenas of the usual capacity, and its search for leaks reads the
    /// maps of an arena to their ends, which puts gigabytes of empty pages in memory.)
    Sanitizer,
}

impl Lab {
    pub fn new() -> Lab {
        let dir = tempfile::Builder::new().prefix("faretra-capi-test-").tempdir_in("/dev/shm").unwrap();
        let lib = dir.path().join("lib");
        std::fs::create_dir(&lib).unwrap();
        // As it is installed.
        symlink(built().join("libfaretra_c.so"), lib.join("libfaretra.so.0")).unwrap();
        symlink("libfaretra.so.0", lib.join("libfaretra.so")).unwrap();
        Lab { dir, lib }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where the library lies under its name.
    pub fn lib(&self) -> &Path {
        &self.lib
    }

    /// Options of arenas here, as those of the programs' are.
    pub fn options(&self) -> Options {
        Arena::options().dir(self.dir.path()).limit(64 * MIB).capacity(256 * MIB)
    }

    /// Compiles an example. `None`, and says so, if there is no such compiler.
    pub fn compile(&self, compiler: &str, source: &str, checks: Checks) -> Option<PathBuf> {
        if !exists(compiler) {
            println!("skipped: there is no {compiler}");
            return None;
        }
        let program = self.path(&format!("{source}.{compiler}.{checks:?}"));
        let mut command = Command::new(compiler);
        command.arg(if source.ends_with(".cpp") { "-std=c++17" } else { "-std=c11" });
        command.args(["-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-pedantic", "-g"]);
        if checks == Checks::Sanitizer {
            command.arg("-fsanitize=address");
        }
        command.arg("-I").arg(package().join("include")).arg(package().join("examples").join(source));
        command.arg("-L").arg(&self.lib).args(["-lfaretra", "-lpthread", "-o"]).arg(&program);
        done(&mut command);
        Some(program)
    }

    /// Whether programs of that compiler can be checked on this machine; says so if they cannot.
    pub fn can_check(&self, compiler: &str) -> bool {
        let (source, program) = (self.path("probe.c"), self.path("probe"));
        std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
        let made = Command::new(compiler).arg("-fsanitize=address").arg(&source).arg("-o").arg(&program).output();
        let runs = made.is_ok_and(|made| made.status.success())
            && Command::new(&program).output().is_ok_and(|ran| ran.status.success());
        if !runs {
            println!("not checked: {compiler} -fsanitize=address does not work here");
        }
        runs
    }

    /// A command in this directory of arenas, which finds the library.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("FARETRA_DIR", self.dir.path()).env("LD_LIBRARY_PATH", &self.lib);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a program.
    pub fn start(&self, program: &Path, arguments: &[&str]) -> Running {
        Running::of(self.command(program).args(arguments))
    }

    /// Runs a program to its end, which is a good one, and returns what it printed.
    pub fn run(&self, program: &Path, arguments: &[&str]) -> String {
        self.start(program, arguments).finish()
    }
}

/// Whether there is such a program.
pub fn exists(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Runs a tool to its end, which is a good one.
#[track_caller]
pub fn done(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// A program that runs. It dies with the test.
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts a command of [`Lab::command`].
    pub fn of(command: &mut Command) -> Running {
        Running { child: command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")) }
    }

    /// Waits for a line.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let stdout = self.child.stdout.take().unwrap();
        let (send, receive) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = send.send(line);
        });
        receive.recv_timeout(DEADLINE).expect("a line in time").trim_end().to_owned()
    }

    /// Kills it at once.
    pub fn kill(mut self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL).unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its good end, and returns what it printed.
    #[track_caller]
    pub fn finish(mut self) -> String {
        let (mut stdout, mut stderr) = (self.child.stdout.take().unwrap(), self.child.stderr.take().unwrap());
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let output = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            text
        });
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if start.elapsed() > DEADLINE => {
                    self.child.kill().unwrap();
                    panic!("it did not end in time: {}", errors.join().unwrap());
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let (output, errors) = (output.join().unwrap(), errors.join().unwrap());
        assert!(status.success(), "{status}\n{output}{errors}");
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
