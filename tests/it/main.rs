//! Shows, theme by theme, what the README promises; one binary, so that it links once.

mod arrow_types;
mod basics;
mod channel_kills;
mod channel_puppet;
mod channels;
mod damage;
mod feed_flow;
mod feed_history;
mod feed_kills;
mod feed_puppet;
mod feeds;
mod flow;
mod history;
mod kills;
mod processes;
mod puppet;
mod sharing;
mod support;
mod sync;
mod sync_built;
mod sync_kills;
mod sync_puppet;
mod system;
mod tidy;
mod value_damage;
mod values;
