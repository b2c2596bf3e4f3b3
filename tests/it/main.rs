//! Shows, theme by theme, what the README promises; one binary, so that it links once.

mod basics;
mod support;
mod tidy;
