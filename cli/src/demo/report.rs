//! What the demo did, for people and as JSON.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::failure::Result;
use crate::out::{Grid, Out, Side, bold};
use crate::size;

/// How long the hand-overs of one kind took.
#[derive(Clone, Debug, Default)]
pub struct HandOver(Vec<u64>);

impl HandOver {
    /// One more, in nanoseconds.
    pub fn add(&mut self, nanos: u64) {
        self.0.push(nanos);
        self.0.sort_unstable();
    }

    fn median(&self) -> Duration {
        Duration::from_nanos(self.0.get(self.0.len() / 2).copied().unwrap_or(0))
    }

    fn best(&self) -> Duration {
        Duration::from_nanos(self.0.first().copied().unwrap_or(0))
    }
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// The arena's file.
    pub arena: PathBuf,
    /// Bytes of the table's values.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// Its batches.
    pub batches: u64,
    /// Bytes of a batch.
    pub batch_bytes: u64,
    /// Process ids.
    pub producer: u32,
    /// The consumer that read the table.
    pub reader: u32,
    /// The consumer that was killed.
    pub victim: u32,
    /// How many pins it had then.
    pub victim_pins: u64,
    /// How long the table's publishing took, without its making.
    pub publish: Duration,
    /// How long the consumer took to have the table.
    pub get: Duration,
    /// How long the consumer took to read and check all of the table.
    pub read: Duration,
    /// Buffers that the consumer saw.
    pub buffers: u64,
    /// Buffers that the consumer saw in the arena's read-only mapping.
    pub inside: u64,
    /// How long it took to take back what the dead one held.
    pub recovery: Duration,
    /// Hand-overs of batches written in place.
    pub drafted: HandOver,
    /// Hand-overs of batches published from the heap.
    pub published: HandOver,
    /// Hand-overs of batches sent through a pipe.
    pub piped: HandOver,
    /// Copies in one process.
    pub copied: HandOver,
    /// Names left when everything was removed.
    pub objects_left: u64,
    /// What verify found.
    pub violations: Vec<String>,
    /// Files left of the arena.
    pub left: u64,
}

impl Story {
    fn ways(&self) -> [(&'static str, u32, &HandOver); 4] {
        [
            ("arena, written in place", 0, &self.drafted),
            ("arena, published from the heap", 1, &self.published),
            ("pipe, Arrow IPC stream", 2, &self.piped),
            ("memcpy alone, no hand-over", 1, &self.copied),
        ]
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let ways = self.ways().into_iter().map(|(way, copies, times)| {
            json!({
                "way": way,
                "copies": copies,
                "median_ns": times.median().as_nanos() as u64,
                "best_ns": times.best().as_nanos() as u64,
            })
        });
        json!({
            "arena": self.arena,
            "table": { "bytes": self.bytes, "rows": self.rows, "batches": self.batches },
            "publish": { "pid": self.producer, "copies": 1, "ns": self.publish.as_nanos() as u64 },
            "read": {
                "pid": self.reader,
                "copies": 0,
                "checksum_equal": true,
                "get_ns": self.get.as_nanos() as u64,
                "ns": self.read.as_nanos() as u64,
                "buffers": self.buffers,
                "buffers_in_read_only_mapping": self.inside,
            },
            "killed": {
                "pid": self.victim,
                "pins": self.victim_pins,
                "recovery_ns": self.recovery.as_nanos() as u64,
            },
            "hand_over": {
                "bytes": self.batch_bytes,
                "rounds": self.batches,
                "ways": ways.collect::<Vec<_>>(),
            },
            "verify": { "clean": self.violations.is_empty(), "violations": self.violations },
            "names_left": self.objects_left,
            "files_left": self.left,
        })
    }

    /// For people.
    pub fn print(&self, out: &mut Out) -> Result<()> {
        let table = size::bytes(self.bytes);
        out.line(bold(&format!("A table of {table} is shared between processes")))?;
        out.line(format!(
            "{} in {} batches; ephemeral arena {}",
            size::plural(self.rows, "row"),
            self.batches,
            self.arena.display()
        ))?;
        out.line("")?;
        let mut grid = Grid::new(&[("", Side::Left), ("", Side::Right), ("", Side::Left)]);
        let mut line = |who: &str, pid: u32, what: String| {
            let pid = if pid == 0 { String::new() } else { pid.to_string() };
            grid.row([who.to_owned(), pid, what]);
        };
        line(
            "producer",
            self.producer,
            format!("published it in {} into fresh memory: 1 copy", size::duration(self.publish)),
        );
        line(
            "consumer",
            self.victim,
            match self.victim_pins {
                1 => "killed (SIGKILL) while reading it, 1 pin held".to_owned(),
                pins => format!("killed (SIGKILL) while reading it, {pins} pins held"),
            },
        );
        line("consumer", self.reader, format!("had it after {}: 0 copies", size::duration(self.get)));
        line("", 0, format!("read all of it in {}: checksum equal", size::duration(self.read)));
        line("", 0, format!("{} of its {} buffers lie in the arena, mapped read-only", self.inside, self.buffers));
        line(
            "recovery",
            0,
            format!("took {}: what it held is back, the table is whole", size::duration(self.recovery)),
        );
        grid.print(out, 2)?;
        out.line("")?;
        out.line(bold(&format!(
            "A batch of {} goes from process to process, {} times each way",
            size::bytes(self.batch_bytes),
            self.batches
        )))?;
        let mut grid = Grid::new(&[
            ("", Side::Left),
            ("COPIES", Side::Right),
            ("MEDIAN", Side::Right),
            ("BEST", Side::Right),
            ("x MEMCPY", Side::Right),
        ]);
        let memcpy = self.copied.median().as_secs_f64();
        for (way, copies, times) in self.ways() {
            let ratio = times.median().as_secs_f64() / memcpy.max(1e-9);
            grid.row([
                way.to_owned(),
                copies.to_string(),
                size::duration(times.median()),
                size::duration(times.best()),
                match ratio {
                    0.0..0.095 => format!("{ratio:.3}"),
                    _ => format!("{ratio:.1}"),
                },
            ]);
        }
        grid.print(out, 2)?;
        out.line("  from the start of publishing or sending until the other process has every")?;
        out.line("  column; making the data is not counted, in no row")?;
        out.line("")?;
        let left = match (self.objects_left, self.left) {
            (0, 0) => "nothing of it is left".to_owned(),
            (names, files) => format!("left: {names} names, {files} files"),
        };
        out.line(format!("verify: clean. The arena is removed, {left}."))
    }
}
