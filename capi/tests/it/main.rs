//! Shows what the C library promises, by programs in C, C++ and other languages that are compiled and run here.

#![allow(clippy::print_stdout, reason = "a test that lacks something of the machine says what")]

mod install;
mod languages;
mod processes;
mod programs;
mod support;
