//! Shows that other languages can call the library: each program in `languages/` prints what all others print.

use std::path::Path;
use std::process::Command;

use crate::support::{Lab, Running, package};

/// How a program is started: whether its language is there, and the program. Words that are separated by spaces.
fn how(folder: &Path) -> (Vec<String>, Vec<String>) {
    let text = std::fs::read_to_string(folder.join("run")).unwrap();
    let mut lines = text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect());
    (lines.next().unwrap(), lines.next().unwrap())
}

/// Every language that this machine has does the same tour.
#[test]
fn every_language_does_the_same_tour() {
    let languages = package().join("languages");
    let expected = std::fs::read_to_string(languages.join("tour.txt")).unwrap();
    let mut ran = vec![];
    for entry in std::fs::read_dir(&languages).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        let language = folder.file_name().unwrap().to_string_lossy().into_owned();
        let (there, start) = how(&folder);
        let asked = Command::new(&there[0]).args(&there[1..]).output();
        if !asked.is_ok_and(|answer| answer.status.success()) {
            println!("skipped: {language}, as `{}` does not work here", there.join(" "));
            continue;
        }
        let lab = Lab::new();
        let mut command = lab.command(&start[0]);
        command.args(&start[1..]).current_dir(&folder);
        command
            .env("FARETRA_LIBRARY", lab.lib().join("libfaretra.so"))
            .env("FARETRA_INCLUDE", package().join("include"));
        assert_eq!(Running::of(&mut command).finish(), expected, "{language}");
        ran.push(language);
    }
    println!("ran: {}", ran.join(", "));
}
