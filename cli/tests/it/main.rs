//! The command as its users run it: real processes, exit codes, what they print.

mod channels;
mod demo;
mod feeds;
mod pipes;
mod reading;
mod round_trips;
mod support;
mod verbs;
mod wrong_input;
