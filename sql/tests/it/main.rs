//! The command `faretra-sql` as a process, checked by theme.

mod endless;
mod formats;
mod prompt;
mod support;
mod wrong;
