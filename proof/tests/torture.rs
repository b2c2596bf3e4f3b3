//! Shows, for a few seconds, what `cargo xtask torture` shows for as long as one likes: kill -9, SIGSTOP and
//! fork at any moment neither break nor leak anything.

use std::process::Command;

#[test]
fn a_few_seconds_of_torture() {
    let seconds = std::env::var("FARETRA_TORTURE_SECONDS").unwrap_or_else(|_| "5".into());
    let run = Command::new(env!("CARGO_BIN_EXE_torture")).args(["--seconds", &seconds, "--seed", "5"]).output();
    let run = run.expect("the torture");
    let said = String::from_utf8_lossy(&run.stdout);
    eprintln!("{said}{}", String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{said}");
}
