//! create, ls, stat, rm: arenas and the names in them.

use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime};

use faretra::{Entry, Kind, Stats};
use serde_json::json;

use crate::args::{Cli, Create, Ls, Rm, Stat};
use crate::failure::{Failure, Result, note};
use crate::open::{open_to_care, options, writer};
use crate::out::{Grid, Out, Side, bold, path_json};
use crate::values::unit;
use crate::{channels, signal, size};

/// `faretra create`
pub fn create(cli: &Cli, args: &Create) -> Result<()> {
    let mut options = options(cli).keep(!args.ephemeral).checksums(args.checksums);
    if let Some(limit) = args.limit {
        options = options.limit(limit);
    }
    if let Some(capacity) = args.capacity {
        options = options.capacity(capacity);
    }
    if let Some(writers) = args.writers {
        options = options.writers(writers);
    }
    if let Some(participants) = args.participants {
        options = options.participants(participants);
    }
    if let Some(mode) = args.mode {
        options = options.mode(mode);
    }
    if let (Some(limit), Some(capacity)) = (args.limit, args.capacity)
        && limit > capacity
    {
        return Err(Failure::usage(format!(
            "the limit of {} is more than the capacity of {}: raise --capacity",
            size::bytes(limit),
            size::bytes(capacity)
        )));
    }
    let arena = options.create(&args.arena)?;
    let stats = arena.stats()?;
    // What is in use already is the file system's too.
    let room = stats.file_system_free.saturating_add(stats.used);
    let short = stats.limit > room;
    if short {
        note(format_args!(
            "warning: the limit of {} is more than the file system holds ({} free in {}): memory will run out before \
             the limit; give a smaller --limit or a larger tmpfs",
            size::bytes(stats.limit),
            size::bytes(stats.file_system_free),
            arena.path().parent().unwrap_or(arena.path()).display()
        ));
    }
    let mut out = Out::new();
    if cli.json {
        out.json(&json!({
            "arena": arena.name(),
            "path": path_json(arena.path()),
            "limit": stats.limit,
            "capacity": stats.capacity,
            "writers": stats.writers,
            "keep": !args.ephemeral,
            "checksums": stats.checksums,
            "file_system_free": stats.file_system_free,
            "limit_fits": !short,
        }))?;
    } else {
        out.line(format!(
            "created {}: limit {}, capacity {}, {}{}",
            arena.path().display(),
            size::bytes(stats.limit),
            size::bytes(stats.capacity),
            size::plural(u64::from(stats.writers), "writer"),
            if stats.checksums { ", checksums" } else { "" }
        ))?;
        if args.ephemeral {
            out.line("it goes when nobody has it open; this command keeps it until Ctrl-C")?;
        }
    }
    out.finish()?;
    if args.ephemeral {
        // Nobody else has it open yet: if we left now, it would be gone before it was used.
        while signal::received().is_none() {
            signal::sleep(Duration::from_secs(3600));
        }
    }
    Ok(())
}

/// `faretra ls`
pub fn ls(cli: &Cli, args: &Ls) -> Result<()> {
    match &args.arena {
        Some(arena) => ls_names(cli, arena),
        None => ls_arenas(cli),
    }
}

fn ls_arenas(cli: &Cli) -> Result<()> {
    let mut arenas = options(cli).list()?;
    arenas.sort_by(|a, b| a.name.cmp(&b.name));
    let mut out = Out::new();
    if cli.json {
        let list = arenas.iter().map(|arena| {
            json!({
                "arena": arena.name,
                "path": path_json(&arena.path),
                "bytes": arena.bytes,
                "limit": arena.limit,
                "capacity": arena.capacity,
                "participants": arena.participants,
                "keep": arena.keep,
                "problem": arena.problem,
            })
        });
        out.json(&list.collect())?;
        return out.finish();
    }
    if arenas.is_empty() {
        out.line("no arenas here; `faretra create NAME --limit 4GiB` makes one")?;
        return out.finish();
    }
    let mut grid = Grid::new(&[
        ("ARENA", Side::Left),
        ("IN MEMORY", Side::Right),
        ("LIMIT", Side::Right),
        ("CAPACITY", Side::Right),
        ("USERS", Side::Right),
        ("STAYS", Side::Left),
    ]);
    for arena in &arenas {
        if arena.problem.is_some() {
            let unknown = || "?".to_owned();
            let bytes = size::bytes(arena.bytes);
            grid.row([arena.name.clone(), bytes, unknown(), unknown(), unknown(), unknown()]);
            continue;
        }
        grid.row([
            arena.name.clone(),
            size::bytes(arena.bytes),
            size::bytes(arena.limit),
            size::bytes(arena.capacity),
            arena.participants.to_string(),
            if arena.keep { "until rm" } else { "while used" }.to_owned(),
        ]);
    }
    grid.print(&mut out, 0)?;
    for arena in &arenas {
        if let Some(problem) = &arena.problem {
            out.line(format!("{}: {problem}", arena.name))?;
        }
    }
    out.finish()
}

fn ls_names(cli: &Cli, arena: &str) -> Result<()> {
    let mut names: Vec<Entry> = options(cli).observe(arena)?.names()?;
    names.sort_by(|a, b| a.name.cmp(&b.name));
    let mut out = Out::new();
    if cli.json {
        let list = names.iter().map(|entry| {
            let mut facts = json!({
                "name": entry.name,
                "kind": entry.kind.to_string(),
                "version": entry.version,
                "bytes": entry.bytes,
                "published": size::timestamp(entry.published),
            });
            match (entry.kind, unit(entry.kind)) {
                // Its items.
                (Kind::Channel | Kind::Feed, _) => facts["rows"] = entry.rows.into(),
                (_, Some(unit)) => facts[format!("{unit}s")] = entry.rows.into(),
                (_, None) => {}
            }
            facts
        });
        out.json(&list.collect())?;
        return out.finish();
    }
    if names.is_empty() {
        out.line(format!("arena `{arena}` holds nothing yet; `faretra put {arena} NAME FILE` publishes a file"))?;
        return out.finish();
    }
    let mut grid = Grid::new(&[
        ("NAME", Side::Left),
        ("KIND", Side::Left),
        ("VERSION", Side::Right),
        ("ROWS", Side::Right),
        ("SIZE", Side::Right),
        ("AGE", Side::Right),
    ]);
    for entry in &names {
        grid.row([
            entry.name.clone(),
            entry.kind.to_string(),
            size::count(entry.version),
            match entry.kind {
                Kind::Channel | Kind::Feed => size::plural(entry.rows, "item"),
                kind => match unit(kind) {
                    Some("row") => size::count(entry.rows),
                    Some(unit) => size::plural(entry.rows, unit),
                    None => String::new(),
                },
            },
            size::bytes(entry.bytes),
            size::age(entry.published),
        ]);
    }
    grid.print(&mut out, 0)?;
    out.finish()
}

/// `faretra stat`
pub fn stat(cli: &Cli, args: &Stat) -> Result<()> {
    let mut first = true;
    let mut rates = channels::Rates::default();
    loop {
        // Anew each time: the arena may have been removed and created again in between.
        let observer = options(cli).observe(&args.arena)?;
        let stats = observer.stats()?;
        let channels = observer.channels()?;
        let rates = rates.of(&channels);
        let mut out = Out::new();
        if cli.json {
            let mut json = stats_json(&args.arena, &stats);
            json["channels"] = channels::json(&channels, &rates);
            out.json(&json)?;
        } else {
            let screen = args.watch && io::stdout().is_terminal();
            if screen {
                // Home, and clear what is below.
                out.line("\x1b[H\x1b[J")?;
            } else if !first {
                out.line("")?;
            }
            print_stats(&args.arena, &stats, &mut out)?;
            channels::print(&channels, args.watch.then_some(&rates), &mut out)?;
        }
        out.finish()?;
        if !args.watch {
            return Ok(());
        }
        first = false;
        signal::sleep(Duration::from_secs(1));
        if signal::received().is_some() {
            // That is how a watch ends.
            return Ok(());
        }
    }
}

fn stats_json(arena: &str, stats: &Stats) -> serde_json::Value {
    json!({
        "arena": arena,
        "limit": stats.limit,
        "capacity": stats.capacity,
        "used": stats.used,
        "live": stats.live,
        "warm": stats.warm,
        "metadata": stats.metadata,
        "objects": stats.objects,
        "names": stats.names,
        "participants": stats.participants,
        "seats": stats.seats,
        "writers": stats.writers,
        "writers_busy": stats.writers_busy,
        "file_system_free": stats.file_system_free,
        "page_tables": stats.page_tables,
        "checksums": stats.checksums,
    })
}

fn print_stats(arena: &str, stats: &Stats, out: &mut Out) -> Result<()> {
    let percent = match stats.limit {
        0 => 0.0,
        limit => stats.used as f64 / limit as f64 * 100.0,
    };
    out.line(bold(arena))?;
    let mut grid = Grid::new(&[("", Side::Left), ("", Side::Right), ("", Side::Left)]);
    let mut row = |what: &str, figure: String, remark: String| {
        grid.row([what.to_owned(), figure, remark]);
    };
    row("in memory", size::bytes(stats.used), format!("{percent:.0} % of the limit of {}", size::bytes(stats.limit)));
    row(
        "  live",
        size::bytes(stats.live),
        format!("{} under {}", size::plural(stats.objects, "object"), size::plural(stats.names, "name")),
    );
    row("  warm", size::bytes(stats.warm), "free, kept for reuse".to_owned());
    row("  metadata", size::bytes(stats.metadata), String::new());
    row("capacity", size::bytes(stats.capacity), "the limit can grow to it".to_owned());
    row(
        "participants",
        size::count(stats.participants.into()),
        format!("of {}", size::plural(stats.seats.into(), "seat")),
    );
    row(
        "writing",
        size::count(stats.writers_busy.into()),
        format!("of {}", size::plural(stats.writers.into(), "permit")),
    );
    row("file system", size::bytes(stats.file_system_free), "free for everybody".to_owned());
    row("page tables", size::bytes(stats.page_tables), "paid by a participant that touches everything".to_owned());
    if stats.checksums {
        row("checksums", "kept".to_owned(), "compared by `faretra verify --deep`".to_owned());
    }
    grid.print(out, 2)
}

/// `faretra rm`
pub fn rm(cli: &Cli, args: &Rm) -> Result<()> {
    let mut out = Out::new();
    if args.name.is_none() && args.older.is_none() {
        options(cli).remove(&args.arena)?;
        if cli.json {
            out.json(&json!({ "arena": args.arena, "removed": true }))?;
        } else {
            out.line(format!("removed arena `{}`; processes that have it open go on using it", args.arena))?;
        }
        return out.finish();
    }
    let arena = open_to_care(cli, &args.arena)?;
    let mut names = arena.names()?;
    if let Some(name) = &args.name {
        names.retain(|entry| entry.name == *name);
        if names.is_empty() {
            return Err(Failure::new(format!(
                "no object named `{name}` in arena `{0}`; `faretra ls {0}` lists them",
                args.arena
            )));
        }
    }
    if let Some(older) = args.older {
        // A time before the epoch is older than everything.
        let before = SystemTime::now().checked_sub(older);
        names.retain(|entry| before.is_some_and(|before| entry.published < before));
    }
    let mut removed = Vec::new();
    if !names.is_empty() {
        let writer = writer(&arena)?;
        for entry in names {
            signal::check()?;
            // Somebody else may have been quicker.
            if writer.remove(&entry.name)? {
                removed.push(entry);
            }
        }
    }
    let bytes: u64 = removed.iter().map(|entry| entry.bytes).sum();
    if cli.json {
        let names: Vec<&str> = removed.iter().map(|entry| entry.name.as_str()).collect();
        out.json(&json!({ "arena": args.arena, "names": names, "bytes": bytes }))?;
    } else if let [entry] = removed.as_slice() {
        out.line(format!("removed `{}`, {}", entry.name, size::bytes(bytes)))?;
    } else {
        out.line(format!("removed {}, {}", size::plural(removed.len() as u64, "name"), size::bytes(bytes)))?;
    }
    out.finish()
}
