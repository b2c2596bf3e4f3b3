//! Arenas.
//!
//! An arena is one named piece of shared memory, mapped by every process that takes part. `faretra_arena_create` and
//! `faretra_arena_open` take part in one; `faretra_arena_free` ends that, or the process's end does, however it comes. The arena
//! itself stays until `faretra_arena_remove`, unless it was made with `ephemeral`.
//!
//! Whoever writes has a `faretra_writer`, one of a fixed number that the arena has.

use std::ffi::{c_char, c_int, c_void};
use std::ops::ControlFlow;
use std::sync::{Once, PoisonError, RwLock};

use faretra::{Arena, Options, Writer};

use crate::border::{Done, Handle, New, Out, Text, fill, free, handles, make, of, out, run, timeout};
use crate::error::{Failure, faretra_code};

/// An arena that this process takes part in.
pub struct faretra_arena(Handle);

/// One of the arena's permits to write, for as long as it or a draft, sender or feed of it is there.
pub struct faretra_writer(Handle);

handles! {
    faretra_writer holds Writer, "faretra_writer";
    faretra_arena holds Arena, "faretra_arena";
}

/// How an arena is made or opened. Begin with `faretra_options options = FARETRA_OPTIONS;`, and set what differs from the
/// default, which is 0 or null everywhere. Where a function takes a pointer to options, null stands for all defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct faretra_options {
    /// `sizeof(faretra_options)`, so that later versions can have more: `FARETRA_OPTIONS` sets it.
    size: usize,
    /// The directory of arenas, which is on a tmpfs. Default: the environment variable `FARETRA_DIR`, or `/dev/shm`.
    dir: *const c_char,
    /// How many bytes the arena may use at first; `faretra_arena_set_limit` changes it. Used by create. Default: 1 GiB.
    limit: u64,
    /// How many bytes the arena may ever use: address space, not memory. Used by create. Default: 16 times the limit, at least
    /// 64 GiB.
    capacity: u64,
    /// How many writers there may be at a time, 1 to 1024. Used by create. Default: 64.
    writers: u32,
    /// How many times the arena may be open at a time, in all processes together: 1 to 4,095. Used by create. Default: 255.
    participants: u32,
    /// The permissions of the arena's file. Used by create. Default: 0600.
    mode: u32,
    /// Not 0: the arena goes with its last participant, however that ends. Used by create. Default: it stays.
    ephemeral: u32,
    /// Not 0: all values of a batch are validated each time it is read. Default: what leads to other memory is, once.
    untrusted: u32,
    /// Not 0: opens an arena of another user, or one that others may write. Whoever can write it is trusted to run this library,
    /// and no other code that writes there: hostile bytes can lead reads out of the arena. Default: such arenas are refused.
    trust_others: u32,
}

/// The options that a pointer names.
fn options(given: Option<&faretra_options>) -> Done<Options> {
    let options = Options::default();
    let Some(given) = given else { return Ok(options) };
    if given.size != size_of::<faretra_options>() {
        return Err(Failure::invalid(format!(
            "faretra_options of {} bytes, and this library's have {}: begin with FARETRA_OPTIONS, and use the header of this library",
            given.size,
            size_of::<faretra_options>()
        )));
    }
    let set = |number: u64, set: fn(Options, u64) -> Options, options: Options| match number {
        0 => options,
        number => set(options, number),
    };
    let mut options = set(given.limit, Options::limit, options);
    options = set(given.capacity, Options::capacity, options);
    options = set(given.writers.into(), |options, n| options.writers(n as u32), options);
    options = set(given.participants.into(), |options, n| options.participants(n as u32), options);
    options = set(given.mode.into(), |options, n| options.mode(n as u32), options);
    if !given.dir.is_null() {
        options = options.dir(Text::at(given.dir).read("directory")?);
    }
    options = options.keep(given.ephemeral == 0).untrusted(given.untrusted != 0);
    if given.trust_others != 0 {
        // SAFETY: the field's documentation is the promise, and whoever set it made it.
        options = unsafe { options.trust_others() };
    }
    Ok(options)
}

/// Makes an arena and takes part in it. Fails with `FARETRA_ALREADY_EXISTS` if there is one of this name.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_arena_create(
    name: Text,
    options: Option<&faretra_options>,
    arena: New<'_, faretra_arena>,
) -> faretra_code {
    make(arena, || Ok(self::options(options)?.create(name.read("name")?)?))
}

/// Takes part in an arena. Fails with `FARETRA_NOT_FOUND` if there is none of this name.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_arena_open(
    name: Text,
    options: Option<&faretra_options>,
    arena: New<'_, faretra_arena>,
) -> faretra_code {
    make(arena, || Ok(self::options(options)?.open(name.read("name")?)?))
}

/// Takes part in the arena of this name, and makes it if there is none. One that is there stays as it was made.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_arena_open_or_create(
    name: Text,
    options: Option<&faretra_options>,
    arena: New<'_, faretra_arena>,
) -> faretra_code {
    make(arena, || Ok(self::options(options)?.open_or_create(name.read("name")?)?))
}

/// Takes part anew in an arena that came through `fork`: the child calls this with its parent's handle, and gets one of its own.
/// In the parent, it is a second handle.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_arena_reopen(
    arena: Option<&faretra_arena>,
    reopened: New<'_, faretra_arena>,
) -> faretra_code {
    make(reopened, || Ok(of(arena)?.reopen()?))
}

/// Takes an arena's name away. Processes that have it open go on; its memory goes with the last of them.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_arena_remove(name: Text, options: Option<&faretra_options>) -> faretra_code {
    run(|| Ok(self::options(options)?.remove(name.read("name")?)?))
}

/// Gives an arena up. What was made of it (writers, objects, channels, exported arrays) goes on, and each keeps the arena open
/// until it is given up itself, in whatever order. A null pointer is nothing to give up, as it is for every `_free`.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_arena_free(arena: Option<Box<faretra_arena>>) {
    free(arena);
}

/// Waits for one of the arena's permits to write. Many threads can use one writer.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_writer_new(
    arena: Option<&faretra_arena>,
    timeout_ms: i64,
    writer: New<'_, faretra_writer>,
) -> faretra_code {
    make(writer, || {
        let arena = of(arena)?;
        Ok(match timeout(timeout_ms)? {
            None => arena.writer()?,
            Some(timeout) => arena.writer_timeout(timeout)?,
        })
    })
}

/// Gives a writer up.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_writer_free(writer: Option<Box<faretra_writer>>) {
    free(writer);
}

/// Sets how many bytes the arena may use. It applies to all processes at once.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_arena_set_limit(arena: Option<&faretra_arena>, bytes: u64) -> faretra_code {
    run(|| Ok(of(arena)?.set_limit(bytes)?))
}

/// How an arena is used, in bytes where nothing else is said.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct faretra_stats {
    /// What it may use now.
    limit: u64,
    /// What it may use at most ever.
    capacity: u64,
    /// What it has in memory, by the kernel's count.
    used: u64,
    /// What its objects have.
    live: u64,
    /// What is free, and kept in memory to be used again.
    warm: u64,
    /// What its own tables have.
    metadata: u64,
    /// How many objects there are.
    objects: u64,
    /// How many names there are.
    names: u64,
    /// How many times it is open.
    participants: u32,
    /// How many times it may be open at a time.
    participants_most: u32,
    /// How many writers there are.
    writers: u32,
    /// How many writers there may be at a time.
    writers_most: u32,
}

/// Tells how the arena is used.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_arena_stats(arena: Option<&faretra_arena>, stats: Out<'_, faretra_stats>) -> faretra_code {
    run(|| {
        let (arena, place) = (of(arena)?, out(stats, "faretra_stats")?);
        let stats = arena.stats()?;
        place.write(faretra_stats {
            limit: stats.limit,
            capacity: stats.capacity,
            used: stats.used,
            live: stats.live,
            warm: stats.warm,
            metadata: stats.metadata,
            objects: stats.objects,
            names: stats.names,
            participants: stats.participants,
            participants_most: stats.seats,
            writers: stats.writers_busy,
            writers_most: stats.writers,
        });
        Ok(())
    })
}

/// Gives memory that is free and kept to be used again back to the system. `bytes` may be null; otherwise it tells how much.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_arena_trim(arena: Option<&faretra_arena>, bytes: Out<'_, u64>) -> faretra_code {
    run(|| {
        fill(bytes, of(arena)?.trim()?);
        Ok(())
    })
}

/// Settles what dead processes left, now. Waits, full memory and every `faretra_arena_open` do so by themselves. `participants`
/// may be null; otherwise it tells how many dead there were.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_arena_recover(arena: Option<&faretra_arena>, participants: Out<'_, u32>) -> faretra_code {
    run(|| {
        fill(participants, of(arena)?.recover()?.participants);
        Ok(())
    })
}

/// Checks every rule that the arena keeps. Fails with `FARETRA_DAMAGED` if one is broken; the last error has how many in `found`,
/// and one line of text for each.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_arena_verify(arena: Option<&faretra_arena>) -> faretra_code {
    run(|| {
        let broken = of(arena)?.verify()?;
        if broken.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> =
            broken.iter().map(|violation| format!("{}: {}", violation.rule, violation.what)).collect();
        Err(Failure::Other(faretra_code::FARETRA_DAMAGED, broken.len() as u64, lines.join("\n")))
    })
}

/// Sets the function that every wait of this process asks, about every 90 ms and at once after a signal handler ran in the
/// waiting thread, whether to end: if it returns anything but 0, the wait fails with `FARETRA_INTERRUPTED`. Without one, signals
/// end no wait. Any thread that waits calls it. `hook` null: none.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_set_interrupt_hook(hook: Option<extern "C" fn(*mut c_void) -> c_int>, context: *mut c_void) {
    run(|| {
        // Set once in the library, which keeps every hook that it ever had.
        static ASKS: Once = Once::new();
        ASKS.call_once(|| faretra::set_interrupt_hook(Some(Box::new(ask))));
        *HOOK.write().unwrap_or_else(PoisonError::into_inner) = hook.map(|hook| Hook { hook, context });
        Ok(())
    });
}

/// The function of C's, and what it is called with.
#[derive(Clone, Copy)]
struct Hook {
    hook: extern "C" fn(*mut c_void) -> c_int,
    context: *mut c_void,
}

// SAFETY: the context is only passed to the hook, which the documentation says is called in any thread.
unsafe impl Send for Hook {}
// SAFETY: as above.
unsafe impl Sync for Hook {}

static HOOK: RwLock<Option<Hook>> = RwLock::new(None);

fn ask() -> ControlFlow<()> {
    // Copied, so that the hook may set another one.
    let hook = *HOOK.read().unwrap_or_else(PoisonError::into_inner);
    match hook.map_or(0, |Hook { hook, context }| hook(context)) {
        0 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    }
}
