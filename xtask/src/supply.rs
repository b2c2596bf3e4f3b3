//! The stage `supply`: what the workspace is built of may be used, comes from where it should, and compiles with the oldest compiler
//! that the project promises.

use std::path::Path;
use std::process::Stdio;

use cargo_metadata::semver::Version;
use cargo_metadata::{DependencyKind, Package};

use crate::linked;
use crate::tool::{Outcome, cargo, has, run};

/// Checks licences, sources, duplicates and advisories of all crates (`deny.toml`), and the compilers that they ask for.
pub fn check(root: &Path) -> Outcome {
    println!("  the oldest compilers that the crates ask for");
    if let Err(why) = compilers(root) {
        return Outcome::Failed(why);
    }
    if !has(root, "deny") {
        return Outcome::Partly(
            "licences and advisories: cargo-deny is not installed (cargo install cargo-deny)".into(),
        );
    }
    let deny = || {
        let mut deny = cargo(root);
        deny.args(["deny", "--workspace", "--all-features", "--locked"]);
        deny
    };
    let outcome = run(deny().args(["check", "licenses", "bans", "sources"]));
    let Outcome::Passed = outcome else { return outcome };
    // Fetched apart, so that a machine without a way to the database is told from a crate with an advisory.
    let fetched = deny().args(["fetch", "db"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !fetched.is_ok_and(|status| status.success()) {
        return Outcome::Partly("advisories: their database cannot be reached".into());
    }
    run(deny().args(["check", "advisories"]))
}

/// No crate that a member is built of asks for a newer compiler than the member promises. (That the members' own code uses nothing
/// newer is shown by clippy's `incompatible_msrv`.)
fn compilers(root: &Path) -> Result<(), String> {
    let metadata = linked::metadata(root, None)?;
    let mut wrong = vec![];
    for member in metadata.workspace_packages().into_iter().filter(|member| people_build(member)) {
        let Some(promised) = &member.rust_version else {
            wrong.push(format!("{} promises no Rust version", member.name));
            continue;
        };
        let built_of = linked::reached(&metadata, &[&member.id], |kind| kind != DependencyKind::Development, |_| true);
        for package in built_of {
            if let Some(asked) = package.rust_version.as_ref().filter(|asked| is_newer(asked, promised)) {
                wrong.push(format!(
                    "{} promises Rust {promised}, and {} {} asks for {asked}",
                    member.name, package.name, package.version
                ));
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("; ")),
    }
}

/// Whether others compile it: what is published as a crate, or shipped as something else. Benches and chores may need what they like.
fn people_build(member: &Package) -> bool {
    member.publish.is_none() || linked::SHIPPED.contains(&member.name.as_str())
}

fn is_newer(asked: &Version, promised: &Version) -> bool {
    (asked.major, asked.minor) > (promised.major, promised.minor)
}
