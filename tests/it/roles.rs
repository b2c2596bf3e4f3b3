//! Shows nothing by itself: what the children of tests are, by name.

use nix::sys::signal::Signal;

use crate::obey::say;
use crate::support::{PARENT, ROLE};
use crate::{chaos_worker, damage, model, puppet};

/// What a child runs. As a test by itself it does nothing.
#[test]
#[ignore = "run by other tests, in processes of their own"]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // In a PID namespace of its own the parent has no number; there the wrapping command sees to it.
    if let Ok(parent) = std::env::var(PARENT) {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).expect("a signal");
        if nix::unistd::getppid().to_string() != parent {
            return;
        }
    }
    say(&std::process::id().to_string());
    match role.as_str() {
        "puppet" => puppet::run(),
        "chaos" => chaos_worker::run(),
        "damage" => damage::flip_bits(),
        "model" => model::run(),
        _ => panic!("no role `{role}`"),
    }
}
