//! The command as its users run it: real processes, exit codes, what they print.

mod channels;
mod demo;
mod feeds;
mod pipes;
mod round_trips;
mod signals;
mod support;
mod targets;
mod verbs;
mod writing;
mod wrong_input;
