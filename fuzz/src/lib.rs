//! Bytes from strangers: what the project reads of others, each as a plain function of bytes that must return.
//!
//! A **target** panics, dies, hangs or asks for too much memory only if there is something to mend. Two programs drive the targets:
//!
//! - `faretra-fuzz` (`drive`, `mutate`): mutates the seeds by a generator with a seed, without any tool, in a child process that may
//!   die. `cargo xtask test` runs it for seconds, `cargo xtask fuzz` for as long as one likes.
//! - `coverage`: libFuzzer with AddressSanitizer, which learns from what the code does: `cargo xtask fuzz --coverage`.
//!
//! `targets` lists the targets: `arena` (damaged arenas; `image` makes and damages them), `command` (files and words), `dtype` (element
//! types), and `planted` (what only shows that a driver notices). `place`: where they have their files. Not here: what the Python package reads in Rust (lists and dicts in
//! `python/src/packed.rs`), which cannot run without an interpreter; `python/tests/test_damage.py` damages those.

#![deny(unsafe_code)]

pub mod drive;
pub mod mutate;
mod place;
pub mod targets;
