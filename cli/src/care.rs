//! who, recover, limit, trim, verify: looking after an arena.

use std::cmp::Reverse;

use faretra::Holder;
use serde_json::json;

use crate::args::{Cli, Limit, OneArena, Verify, Who};
use crate::failure::{Failure, Result};
use crate::open::{open_to_care, options};
use crate::out::{Grid, Out, Side, terminal_width};
use crate::size;

/// `faretra who`
pub fn who(cli: &Cli, args: &Who) -> Result<()> {
    let mut holders = options(cli).observe(&args.arena)?.who()?;
    if args.by_bytes {
        holders.sort_by_key(|holder| Reverse(held(holder)));
    }
    let mut out = Out::new();
    if cli.json {
        let list = holders.iter().map(|holder| {
            json!({
                "pid": holder.pid,
                "command": holder.command,
                "alive": holder.alive,
                "stopped": holder.stopped,
                "since": size::timestamp(holder.since),
                "pins": holder.pins,
                "pinned_bytes": holder.pinned_bytes,
                "drafts": holder.drafts,
                "draft_bytes": holder.draft_bytes,
                "permits": holder.permits,
                "holds": holder.holds,
                "waits_for": holder.waits_for,
            })
        });
        out.json(&list.collect())?;
        return out.finish();
    }
    if holders.is_empty() {
        out.line(format!("nobody has arena `{}` open", args.arena))?;
        return out.finish();
    }
    let mut grid = Grid::new(&[
        ("PID", Side::Right),
        ("STATE", Side::Left),
        ("FOR", Side::Right),
        ("PINS", Side::Right),
        ("PINNED", Side::Right),
        ("DRAFTS", Side::Right),
        ("DRAFTED", Side::Right),
        ("PERMITS", Side::Right),
        ("COMMAND", Side::Left),
    ]);
    // The columns before the command take about 70.
    let room = terminal_width().map_or(60, |width| width.saturating_sub(70).max(12));
    for holder in &holders {
        let state = match (holder.alive, holder.stopped) {
            (false, _) => "dead",
            (true, true) => "stopped",
            (true, false) => "running",
        };
        grid.row([
            holder.pid.to_string(),
            state.to_owned(),
            size::age(holder.since),
            size::count(holder.pins),
            size::bytes(holder.pinned_bytes),
            size::count(holder.drafts),
            size::bytes(holder.draft_bytes),
            holder.permits.to_string(),
            shortened(&holder.command, room),
        ]);
    }
    grid.print(&mut out, 0)?;
    for (what, list) in holders.iter().flat_map(|h| [("holds", (h, &h.holds)), ("waits for", (h, &h.waits_for))]) {
        let (holder, list) = list;
        if !list.is_empty() {
            out.line(format!("{} {what} {}", holder.pid, list.join(", ")))?;
        }
    }
    if holders.iter().any(|holder| !holder.alive) {
        out.line(format!("`faretra recover {}` takes back what the dead hold", args.arena))?;
    }
    out.finish()
}

fn held(holder: &Holder) -> u64 {
    holder.pinned_bytes.saturating_add(holder.draft_bytes)
}

fn shortened(text: &str, room: usize) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() <= room {
        return text;
    }
    let mut short: String = text.chars().take(room - 1).collect();
    short.push('…');
    short
}

/// `faretra recover`
pub fn recover(cli: &Cli, args: &OneArena) -> Result<()> {
    // Opening the arena recovers too: who was dead is looked up before.
    let mut dead = options(cli).observe(&args.arena)?.who()?;
    dead.retain(|holder| !holder.alive);
    let arena = open_to_care(cli, &args.arena)?;
    let mut recovered = arena.recover()?;
    let left = arena.who()?;
    dead.retain(|holder| left.iter().all(|other| other.pid != holder.pid || other.since != holder.since));
    recovered.participants = recovered.participants.max(dead.len() as u32);
    recovered.permits = recovered.permits.max(dead.iter().map(|holder| holder.permits).sum());
    recovered.locks = recovered.locks.max(dead.iter().map(|holder| holder.holds.len() as u64).sum());
    recovered.objects = recovered.objects.max(dead.iter().map(|holder| holder.drafts).sum());
    recovered.bytes = recovered.bytes.max(dead.iter().map(|holder| holder.draft_bytes).sum());
    let pins: u64 = dead.iter().map(|holder| holder.pins).sum();
    let mut out = Out::new();
    if cli.json {
        out.json(&json!({
            "arena": args.arena,
            "participants": recovered.participants,
            "pins": pins,
            "objects": recovered.objects,
            "bytes": recovered.bytes,
            "permits": recovered.permits,
            "locks": recovered.locks,
        }))?;
    } else if recovered.participants == 0 && recovered.objects == 0 && recovered.permits == 0 && recovered.locks == 0 {
        out.line("nothing to recover: no dead process holds anything")?;
    } else {
        out.line(format!(
            "recovered from {}: {}, {} ({}), {}, {}",
            size::plural(recovered.participants.into(), "dead process"),
            size::plural(pins, "pin"),
            size::plural(recovered.objects, "unfinished object"),
            size::bytes(recovered.bytes),
            size::plural(recovered.permits.into(), "permit"),
            size::plural(recovered.locks, "lock")
        ))?;
    }
    out.finish()
}

/// `faretra limit`
pub fn limit(cli: &Cli, args: &Limit) -> Result<()> {
    let arena = open_to_care(cli, &args.arena)?;
    arena.set_limit(args.limit)?;
    let used = arena.stats()?.used;
    let mut out = Out::new();
    if cli.json {
        out.json(&json!({ "arena": args.arena, "limit": args.limit, "used": used }))?;
    } else {
        out.line(format!(
            "arena `{}` may use {}; {} are in use",
            args.arena,
            size::bytes(args.limit),
            size::bytes(used)
        ))?;
    }
    out.finish()
}

/// `faretra trim`
pub fn trim(cli: &Cli, args: &OneArena) -> Result<()> {
    let arena = open_to_care(cli, &args.arena)?;
    let bytes = arena.trim()?;
    let mut out = Out::new();
    if cli.json {
        out.json(&json!({ "arena": args.arena, "bytes": bytes }))?;
    } else {
        out.line(format!(
            "gave back {} of freed memory; {} are in use",
            size::bytes(bytes),
            size::bytes(arena.stats()?.used)
        ))?;
    }
    out.finish()
}

/// `faretra verify`
pub fn verify(cli: &Cli, args: &Verify) -> Result<()> {
    let violations = match options(cli).spare_seat().open(&args.arena) {
        Ok(arena) if args.deep => arena.verify_deep()?,
        Ok(arena) => arena.verify()?,
        // What cannot be taken part in (all seats taken, another user's, read-only) can still be looked at, from outside.
        Err(
            faretra::Error::Limit { .. }
            | faretra::Error::Damaged(_)
            | faretra::Error::Untrusted { .. }
            | faretra::Error::Os { action: "open", .. },
        ) if !args.deep => options(cli).observe(&args.arena)?.verify()?,
        Err(error) => return Err(error.into()),
    };
    let mut out = Out::new();
    if cli.json {
        let list: Vec<serde_json::Value> =
            violations.iter().map(|violation| json!({ "rule": violation.rule, "what": violation.what })).collect();
        out.json(&json!({ "arena": args.arena, "clean": list.is_empty(), "violations": list }))?;
    } else if violations.is_empty() {
        let read = if args.deep { ", and every object can be read" } else { "" };
        out.line(format!("arena `{}` is clean: every rule holds{read}", args.arena))?;
    } else {
        for violation in &violations {
            out.line(violation.to_string())?;
        }
    }
    out.finish()?;
    match violations.len() {
        0 => Ok(()),
        count => Err(Failure::new(format!(
            "{} in arena `{}`: export what you need, then remove it with `faretra rm {1}`",
            match count {
                1 => "1 rule is broken".to_owned(),
                _ => format!("{count} rules are broken"),
            },
            args.arena
        ))),
    }
}
