//! The command as its users run it: real processes, exit codes, what they print.

mod arrays;
mod beside;
mod channels;
mod csv;
mod damage;
mod demo;
mod doctor;
mod feeds;
mod live;
mod others;
mod pipes;
mod reading;
mod round_trips;
mod signals;
mod support;
mod targets;
mod verbs;
mod writing;
mod wrong_input;
