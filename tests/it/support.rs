//! Shows nothing by itself: arenas that clean up after themselves, and real processes to kill.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use faretra::{Arena, Options};

/// An arena in a directory of its own, removed at the end.
pub struct TestArena {
    pub arena: Arena,
    pub name: String,
    dir: Dir,
}

/// A directory on tmpfs that goes when it is dropped.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/dev/shm/faretra-test-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        Dir(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl TestArena {
    pub fn new(limit: u64) -> TestArena {
        TestArena::with(|o| o.limit(limit))
    }

    pub fn with(options: impl FnOnce(Options) -> Options) -> TestArena {
        let dir = Dir::new();
        let arena = options(Arena::options()).dir(&dir.0).create("t").expect("an arena");
        TestArena { arena, name: "t".into(), dir }
    }

    pub fn options(&self) -> Options {
        Arena::options().dir(&self.dir.0)
    }

    pub fn dir(&self) -> &std::path::Path {
        &self.dir.0
    }

    pub fn open(&self) -> Arena {
        self.options().open(&self.name).expect("the arena")
    }

    /// Closes this handle, and keeps the directory.
    pub fn close(self) {
        let TestArena { arena, dir, .. } = self;
        drop(arena);
        std::mem::forget(dir);
    }
}
