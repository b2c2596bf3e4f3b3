//! Shows that whole programs in C and C++ compile without a warning, do what the header says, and leave no memory behind.

use std::process::Command;

use crate::support::{Checks, Lab, Running, done, exists, package};

/// Runs an example with each compiler that is there: as users compile it, and with every access to memory checked.
fn example(compilers: [&str; 2], source: &str, ends_with: &str) {
    let lab = Lab::new();
    for (at, compiler) in compilers.into_iter().enumerate() {
        for checks in [Checks::None, Checks::Sanitizer] {
            if checks == Checks::Sanitizer && !(exists(compiler) && lab.can_check(compiler)) {
                continue;
            }
            let Some(program) = lab.compile(compiler, source, checks) else { break };
            let name = format!("arena-{at}-{checks:?}");
            let printed = lab.run(&program, &[&name]);
            assert_eq!(printed.trim_end(), ends_with, "{compiler} {checks:?}");
            assert!(!lab.path(&format!("faretra.{name}")).exists(), "the ephemeral arena is still there");
        }
    }
}

const C: [&str; 2] = ["gcc", "clang"];
const CPP: [&str; 2] = ["g++", "clang++"];

/// The ten lines of the README.
#[test]
fn hello() {
    example(C, "hello.c", "hello");
}

/// Valgrind, which sees each access to memory in the library too, finds none that is wrong.
#[test]
fn hello_under_valgrind() {
    let lab = Lab::new();
    if !exists("valgrind") {
        println!("skipped: there is no valgrind");
        return;
    }
    let Some(program) = lab.compile("gcc", "hello.c", Checks::None) else { return };
    // Not the search for leaks: see `Checks`.
    let mut command = lab.command("valgrind");
    command.args(["--quiet", "--leak-check=no", "--error-exitcode=9"]).arg(program).arg("checked");
    assert_eq!(Running::of(&mut command).finish(), "hello\n");
}

/// Every surface once: batches without a copy, moved and released in any order; arrays; drafts; channels; feeds; locks.
#[test]
fn the_tour_in_c() {
    example(C, "tour.c", "the tour is over");
}

/// Handles in smart pointers, and threads at both ends of a channel.
#[test]
fn the_tour_in_cpp() {
    example(CPP, "tour.cpp", "the tour is over");
}

/// Null pointers, handles of other kinds, text that is none, sizes below zero, structures of Arrow's that cannot be, forks.
#[test]
fn wrong_input_is_an_error() {
    example(C, "wrong.c", "every wrong input was an error");
}

/// The header needs nothing before it, in the oldest and the newest dialects.
#[test]
fn the_header_stands_alone() {
    let lab = Lab::new();
    for (compiler, dialects) in [("gcc", ["-std=c99", "-std=c2x"]), ("g++", ["-std=c++11", "-std=c++20"])] {
        if !exists(compiler) {
            println!("skipped: there is no {compiler}");
            continue;
        }
        let source = lab.path(if compiler == "gcc" { "alone.c" } else { "alone.cpp" });
        std::fs::write(&source, "#include <faretra.h>\nfaretra_options options = FARETRA_OPTIONS;\n").unwrap();
        for dialect in dialects {
            let mut command = Command::new(compiler);
            command.args([dialect, "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I"]);
            done(command.arg(package().join("include")).arg(&source));
        }
    }
}

/// What the README shows compiles.
#[test]
fn the_readme_compiles() {
    if !exists("gcc") {
        println!("skipped: there is no gcc");
        return;
    }
    let readme = std::fs::read_to_string(package().join("../README.md")).unwrap();
    let shown = readme.split("```c\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a program in C");
    let (lab, before) = (Lab::new(), "#include <faretra.h>\n#include <stdio.h>\nint main(void) {\n");
    let given = "struct ArrowArray mine = {0};\nstruct ArrowSchema my_schema = {0};\n";
    let source = lab.path("readme.c");
    std::fs::write(&source, format!("{before}{given}{shown}return 0;\n}}\n")).unwrap();
    let mut command = Command::new("gcc");
    command.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers", "-fsyntax-only", "-I"]);
    done(command.arg(package().join("include")).arg(&source));
}
