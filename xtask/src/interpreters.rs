//! Which CPythons this machine has.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest that the package supports: 3.11.
const OLDEST: u32 = 11;

/// The newest that is looked for by name.
const NEWEST: u32 = 30;

/// What an interpreter is asked.
const QUESTION: &str = "import sys, sysconfig; v = sys.version_info; \
    print(sys.implementation.name, v.major, v.minor, sysconfig.get_config_var('Py_GIL_DISABLED') or 0, sys.executable)";

/// A CPython that the package supports.
pub struct Interpreter {
    /// The program.
    pub program: PathBuf,
    /// Such as `3.13`.
    pub version: String,
}

/// The CPythons here from 3.11, one of each minor version, and what was left out and why. `python3` is the first, if it is one.
pub fn find() -> (Vec<Interpreter>, Vec<String>) {
    let (mut found, mut left_out): (Vec<Interpreter>, Vec<String>) = (Vec::new(), Vec::new());
    for program in candidates() {
        match ask(&program) {
            None | Some(Answer::Unsupported) => {}
            Some(Answer::FreeThreaded(version)) => {
                let text = format!("{version}t: a free-threaded build, which the wheel is not for");
                if !left_out.contains(&text) {
                    left_out.push(text);
                }
            }
            Some(Answer::Supported(one)) => {
                if found.iter().all(|known| known.version != one.version) {
                    found.push(one);
                }
            }
        }
    }
    (found, left_out)
}

enum Answer {
    Supported(Interpreter),
    FreeThreaded(String),
    Unsupported,
}

/// Programs that may be interpreters; those that are not there or do not start are no answer.
fn candidates() -> Vec<PathBuf> {
    let mut programs = vec![PathBuf::from("python3")];
    programs.extend((OLDEST..=NEWEST).map(|minor| PathBuf::from(format!("python3.{minor}"))));
    programs.push("/usr/bin/python3".into());
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let pyenv = std::env::var_os("PYENV_ROOT").map_or_else(|| home.join(".pyenv"), PathBuf::from);
    for folder in [pyenv.join("versions"), home.join(".local/share/uv/python"), "/opt/python".into()] {
        programs.extend(installed_below(&folder));
    }
    programs
}

/// `bin/python3` of each installation in a folder.
fn installed_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut programs: Vec<PathBuf> = entries.map(|entry| entry.path().join("bin/python3")).collect();
    programs.retain(|program| program.exists());
    programs.sort();
    programs
}

fn ask(program: &Path) -> Option<Answer> {
    let mut command = Command::new(program);
    command.args(["-I", "-c", QUESTION]).stdin(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut words = text.trim().splitn(5, ' ');
    let mut word = || words.next();
    let (name, major, minor) = (word()?, word()?, word()?.parse::<u32>().ok()?);
    let (threaded, executable) = (word()?, word()?);
    if name != "cpython" || major != "3" || minor < OLDEST {
        return Some(Answer::Unsupported);
    }
    let version = format!("3.{minor}");
    if threaded != "0" {
        return Some(Answer::FreeThreaded(version));
    }
    Some(Answer::Supported(Interpreter { program: executable.into(), version }))
}
