//! Whether somebody wrote to a private map: the kernel knows, page by page.
//!
//! `/proc/self/pagemap` has 64 bits for each page of the address space. Bit 61 says that the page is that of a file or of shared
//! memory; a page of a private map that was written is neither any more. A page that was not touched yet, or was given back
//! to the file, has no bits at all.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;

/// How many entries are read at a time.
const AT_ONCE: usize = 2048;

/// How large a page is, as `/proc/self/smaps` says it; `None`: nobody knows.
fn page_size() -> Option<usize> {
    static SIZE: OnceLock<Option<usize>> = OnceLock::new();
    *SIZE.get_or_init(|| {
        let maps = std::fs::read_to_string("/proc/self/smaps").ok()?;
        let line = maps.lines().find_map(|line| line.strip_prefix("KernelPageSize:"))?;
        let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        (kib > 0).then_some(kib << 10)
    })
}

/// Whether all of a private map still shows what it is a map of. `false` if the kernel does not tell.
pub fn are_shared(start: usize, len: usize) -> bool {
    look(start, len).unwrap_or(false)
}

fn look(start: usize, len: usize) -> Option<bool> {
    let page = page_size()?;
    // Opened each time: a forked child's is another file.
    let pagemap = File::open("/proc/self/pagemap").ok()?;
    let (first, last) = (start / page, (start + len).div_ceil(page));
    let mut entries = vec![0_u8; AT_ONCE.min(last - first) * 8];
    let mut next = first;
    while next < last {
        let some = AT_ONCE.min(last - next);
        let entries = &mut entries[..some * 8];
        pagemap.read_exact_at(entries, next as u64 * 8).ok()?;
        let written = |entry: &[u8; 8]| {
            let entry = u64::from_le_bytes(*entry);
            entry & (PRESENT | SWAPPED) != 0 && entry & OF_FILE == 0
        };
        if entries.as_chunks::<8>().0.iter().any(written) {
            return Some(false);
        }
        next += some;
    }
    Some(true)
}
