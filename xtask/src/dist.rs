//! Everything that is released, in `target/dist`: the same commit gives the same bytes, whatever the folder is called, but for the bill
//! of materials that maturin puts into the wheel, which names the folder.
//!
//! ```text
//! bin/faretra              the command
//! bin/faretra-sql          what `faretra sql` runs
//! bin/faretra-flight       what `faretra serve` runs
//! bin/faretra-distributed  what `faretra cluster` runs
//! man/, completions/       what it says of itself
//! c/usr/local/             the C library, as it is to be unpacked: shared and static, header, pkg-config file
//! wheels/                  the Python package, and its source distribution
//! crates/                  what goes to crates.io
//! LICENSES.txt             of everything that is linked in, with their texts
//! faretra.cdx.json         the same as a bill of materials (CycloneDX)
//! SHA256SUMS               of all of these
//! ```

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use sha2::{Digest, Sha256};

use crate::tool::{NEWER, Outcome, PROGRAMS, cargo, ended, host, run, rust_minor, target};
use crate::{install, linked, package};

/// Crates that others depend on, each after those that it needs.
const CRATES: &[&str] =
    &["faretra", "faretra-cli", "faretra-datafusion", "faretra-sql", "faretra-flight", "faretra-distributed"];

/// Shells that the command writes completions for, and how each wants the file called.
const SHELLS: &[(&str, &str)] = &[
    ("bash", "faretra.bash"),
    ("zsh", "_faretra"),
    ("fish", "faretra.fish"),
    ("elvish", "faretra.elv"),
    ("powershell", "_faretra.ps1"),
];

/// Makes all of it. What this machine lacks is said, and left out.
pub fn dist(root: &Path) -> ExitCode {
    match made(root) {
        Ok(left_out) => {
            left_out.iter().for_each(|why| println!("left out: {why}"));
            ExitCode::SUCCESS
        }
        Err(outcome) => ended(&outcome),
    }
}

fn failed(what: impl std::fmt::Display) -> Outcome {
    Outcome::Failed(what.to_string())
}

fn passed(outcome: Outcome) -> Result<(), Outcome> {
    match outcome {
        Outcome::Passed | Outcome::Partly(_) => Ok(()),
        other => Err(other),
    }
}

fn made(root: &Path) -> Result<Vec<String>, Outcome> {
    let root = &root.canonicalize().map_err(failed)?;
    let machine = host().ok_or_else(|| failed("`rustc -vV` does not say for which machine it compiles"))?;
    let same = Same::new(root)?;
    let built = target(root).with_file_name("wheel");
    let dist = built.with_file_name("dist");
    let _ = std::fs::remove_dir_all(&dist);
    let mut left_out = vec![];

    let mut build = cargo(root);
    build.args(["build", "--locked", "--profile=wheel", "--package=faretra-cli", "--bin=faretra"]);
    passed(run(same.set(&mut build)))?;
    let command = dist.join("bin/faretra");
    copy(&built.join("faretra"), &command)?;
    told_by_itself(&command, &dist)?;
    left_out.extend(beside(root, &same, &built, &dist)?);
    c_library(root, &same, &built, &dist)?;
    crates(root, &same, &dist)?;

    let metadata = linked::metadata(root, Some(&machine)).map_err(failed)?;
    let packages = linked::linked(&metadata);
    let write = |name: &str, text: String| std::fs::write(dist.join(name), text).map_err(failed);
    write("LICENSES.txt", linked::licences(&packages).map_err(failed)?)?;
    write("faretra.cdx.json", linked::bill(root, &metadata, &packages, same.epoch).map_err(failed)?)?;
    match package::released_into(root, &target(root), &dist.join("wheels"), |command| {
        let _ = same.set(command);
    }) {
        Ok(_) => {}
        Err(Outcome::Skipped(why)) => left_out.push(format!("the wheel: {why}")),
        Err(outcome) => return Err(outcome),
    }
    let sums = sums(&dist).map_err(failed)?;
    print!("{sums}");
    write("SHA256SUMS", sums)?;
    Ok(left_out)
}

/// What makes two builds of one commit the same: where they are built, and when, is in neither.
struct Same {
    epoch: u64,
    rust: String,
    c: String,
}

impl Same {
    fn new(root: &Path) -> Result<Same, Outcome> {
        let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(epoch) => epoch,
            Err(_) => {
                let mut git = Command::new("git");
                let said = git.args(["log", "-1", "--format=%ct"]).current_dir(root).output().map_err(failed)?;
                String::from_utf8_lossy(&said.stdout).trim().to_owned()
            }
        };
        let epoch = epoch.parse().map_err(|_| failed("no commit tells the time: set SOURCE_DATE_EPOCH"))?;
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
        let home = home.ok_or_else(|| failed("neither CARGO_HOME nor HOME is set"))?;
        let (root, home) = (root.display(), home.display());
        let rust = [
            format!("--remap-path-prefix={root}=/faretra"),
            format!("--remap-path-prefix={home}=/cargo"),
            "-Clink-arg=-Wl,--build-id=none".to_owned(),
        ];
        let c = format!("-g0 -ffile-prefix-map={root}=/faretra -ffile-prefix-map={home}=/cargo");
        Ok(Same { epoch, rust: rust.join("\u{1f}"), c })
    }

    fn set<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", &self.rust).env("CFLAGS", &self.c);
        command.env("CARGO_INCREMENTAL", "0").env("SOURCE_DATE_EPOCH", self.epoch.to_string());
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC")
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Outcome> {
    let done = to.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::copy(from, to));
    done.map(drop).map_err(|error| failed(format!("{} to {}: {error}", from.display(), to.display())))
}

/// The programs beside the command, built by themselves: what they need of it changes none of its bytes. Says why if this compiler is
/// too old for them.
fn beside(root: &Path, same: &Same, built: &Path, dist: &Path) -> Result<Option<String>, Outcome> {
    let (_, oldest) = NEWER;
    if let Some(minor) = rust_minor().filter(|minor| *minor < oldest) {
        return Ok(Some(format!("{}: they need Rust 1.{oldest}, and this is 1.{minor}", PROGRAMS.join(", "))));
    }
    let mut build = cargo(root);
    build.args(["build", "--locked", "--profile=wheel"]);
    build.args(PROGRAMS.map(|name| format!("--package={name}"))).arg("--bins");
    passed(run(same.set(&mut build)))?;
    for program in PROGRAMS {
        copy(&built.join(program), &dist.join("bin").join(program))?;
    }
    Ok(None)
}

/// Manual pages and completions: the command writes them.
fn told_by_itself(command: &Path, dist: &Path) -> Result<(), Outcome> {
    passed(run(Command::new(command).arg("man").arg(dist.join("man")).stdout(std::process::Stdio::null())))?;
    let folder = dist.join("completions");
    std::fs::create_dir_all(&folder).map_err(failed)?;
    for (shell, file) in SHELLS {
        let said = Command::new(command).args(["completions", shell]).output().map_err(failed)?;
        if !said.status.success() {
            return Err(failed(format!("`faretra completions {shell}`: {}", said.status)));
        }
        std::fs::write(folder.join(file), said.stdout).map_err(failed)?;
    }
    Ok(())
}

/// The C library, as `cargo xtask install-c` installs it.
fn c_library(root: &Path, same: &Same, built: &Path, dist: &Path) -> Result<(), Outcome> {
    let mut build = cargo(root);
    build.args(["build", "--locked", "--profile=wheel", "--package=faretra-capi", "--lib"]);
    passed(run(same.set(&mut build)))?;
    let done = install::install(built, &root.join("capi/include"), Path::new("/usr/local"), Some(&dist.join("c")));
    done.map(drop).map_err(failed)
}

/// The packages for crates.io. Their sources were tested where they are: they are not built again here.
fn crates(root: &Path, same: &Same, dist: &Path) -> Result<(), Outcome> {
    let metadata = linked::metadata(root, None).map_err(failed)?;
    let mut pack = cargo(root);
    pack.args(["package", "--locked", "--no-verify", "--quiet"])
        .args(CRATES.iter().flat_map(|name| ["--package", name]));
    passed(run(same.set(&mut pack)))?;
    for package in metadata.workspace_packages().into_iter().filter(|package| CRATES.contains(&package.name.as_str())) {
        let file = format!("{}-{}.crate", package.name, package.version);
        let from = metadata.target_directory.as_std_path().join("package").join(&file);
        copy(&from, &dist.join("crates").join(&file))?;
    }
    Ok(())
}

/// The sum of each file below, as `sha256sum --check` reads them.
fn sums(dist: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    for file in files(dist)? {
        let mut sum = String::new();
        for byte in Sha256::digest(std::fs::read(&file)?) {
            let _ = write!(sum, "{byte:02x}");
        }
        let name = file.strip_prefix(dist).unwrap_or(&file);
        let _ = writeln!(text, "{sum}  {}", name.display());
    }
    Ok(text)
}

/// The files below a folder, in order.
fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut entries =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    entries.sort();
    let mut all = vec![];
    for entry in entries {
        if entry.is_dir() {
            all.extend(files(&entry)?);
        } else {
            all.push(entry);
        }
    }
    Ok(all)
}
