//! What the kernel lets this process have: limits, memory, processors; and whether it is in a container.

use std::path::Path;

use faretra::GIB;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::utsname::uname;
use serde_json::{Value, json};

use super::finding::{Finding, Verdict};
use super::proc::{Cgroup, field_number, memory_cgroup, namespace, number, text};
use crate::size;

/// What the kernel numbers the first namespaces of a machine.
const FIRST: [(&str, u64); 3] = [("pid", 0xeffffffc), ("ipc", 0xefffffff), ("user", 0xeffffffd)];

/// What an arena with the default capacity of 64 GiB takes of addresses, to read: about 47 times as much.
pub const ADDRESSES: u64 = 47 * 64 * GIB;

/// Few descriptors leave no room for the program's own.
const FEW_FILES: u64 = 64;

/// The system and its version.
pub fn system() -> (String, String) {
    let name = uname();
    let part = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
    match name {
        Ok(name) => (part(name.release()), part(name.machine())),
        Err(_) => ("?".to_owned(), "?".to_owned()),
    }
}

/// The memory cgroup of this process, if it has a limit.
pub fn cgroup() -> Option<Cgroup> {
    let cgroups = text("/proc/self/cgroup").unwrap_or_else(|| "0::/\n1:memory:/".to_owned());
    memory_cgroup(&cgroups, Path::new("/sys/fs/cgroup"))
}

/// Everything but the directory and the calls.
pub fn look(cgroup: Option<Cgroup>) -> Vec<Finding> {
    vec![processors(), addresses(), file_size(), files(), locked(), overcommit(), group(cgroup), container()]
}

fn limit(resource: Resource) -> Option<u64> {
    getrlimit(resource).ok().map(|(soft, _)| soft).filter(|soft| *soft != RLIM_INFINITY)
}

fn or_none(limit: Option<u64>, shown: impl Fn(u64) -> String) -> String {
    limit.map_or_else(|| "no limit".to_owned(), shown)
}

fn processors() -> Finding {
    let count = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let why = match count {
        1 => {
            "waiters do not spin, which keeps the other process from working: each hand-over costs a sleep and a wake-up \
             (some microseconds)"
        }
        _ => {
            "a waiter spins for some microseconds before it sleeps; copies from 4 MiB of fresh memory on use two threads"
        }
    };
    let here = size::plural(count, "processor");
    let finding = Finding::fine("processors", here, json!({ "processors": count }), why);
    finding.or(count == 1, Verdict::Note).changed_by(match count {
        1 => vec!["docker run --cpus=2 ..".to_owned(), "taskset -c 0,1 PROGRAM".to_owned()],
        _ => vec![],
    })
}

fn addresses() -> Finding {
    let limit = limit(Resource::RLIMIT_AS);
    let why = format!(
        "an arena is mapped whole: with the default capacity of 64 GiB that takes {} of addresses, and twice that to \
         write; no memory. `open` and `create` fail without them",
        size::bytes(ADDRESSES)
    );
    let facts = json!({ "bytes": limit, "default_arena": 2 * ADDRESSES });
    let finding = Finding::fine("address space", or_none(limit, size::bytes), facts, why);
    let short = limit.is_some_and(|limit| limit < 2 * ADDRESSES);
    finding
        .or(short, Verdict::Fails)
        .changed_by(["ulimit -v unlimited", "faretra create NAME --limit 256MiB --capacity 256MiB    # takes less"])
}

fn file_size() -> Finding {
    let limit = limit(Resource::RLIMIT_FSIZE);
    let why = format!(
        "an arena's file is as long as its addresses, {} with the default capacity, nearly all of it holes: `create` \
         fails with a smaller limit",
        size::bytes(ADDRESSES)
    );
    let facts = json!({ "bytes": limit, "default_arena": ADDRESSES });
    let short = limit.is_some_and(|limit| limit < ADDRESSES);
    let finding = Finding::fine("file size", or_none(limit, size::bytes), facts, why);
    finding.or(short, Verdict::Fails).changed_by(["ulimit -f unlimited"])
}

fn files() -> Finding {
    let limit = limit(Resource::RLIMIT_NOFILE);
    let why = "an open arena keeps one descriptor, and a few more for a moment while it is opened; `pollable()` takes one for \
               each thing that is waited for";
    let finding = Finding::fine("descriptors", or_none(limit, size::count), json!({ "descriptors": limit }), why);
    let few = limit.is_some_and(|limit| limit < FEW_FILES);
    finding.or(few, Verdict::Note).changed_by(["ulimit -n 1024"])
}

fn locked() -> Finding {
    let limit = limit(Resource::RLIMIT_MEMLOCK);
    let why = "no part of Faretra locks memory, so that no limit is too small; with swap, arenas can be swapped out";
    let finding = Finding::fine("locked memory", or_none(limit, size::bytes), json!({ "bytes": limit }), why);
    finding.changed_by(["ulimit -l unlimited    # for programs that mlock what they read"])
}

fn overcommit() -> Finding {
    let mode = number("/proc/sys/vm/overcommit_memory");
    let memory = text("/proc/meminfo").unwrap_or_default();
    let bytes = |name: &str| field_number(&memory, name).map(|kib| kib.saturating_mul(1024));
    let left = bytes("CommitLimit:").zip(bytes("Committed_AS:")).map(|(all, used)| all.saturating_sub(used));
    let strict = mode == Some(2);
    let here = match (mode, left) {
        (None, _) => "cannot be read".to_owned(),
        (Some(2), Some(left)) => format!("2 (strict), {} left", size::bytes(left)),
        (Some(mode), _) => mode.to_string(),
    };
    let why = match strict {
        true => {
            "pages of arenas count against the commit limit when they are touched: publishing fails with `no room` when \
             that is reached. Mappings do not count"
        }
        false => "the addresses that arenas map are not memory, and are not counted as such",
    };
    let facts = json!({ "mode": mode, "left": left, "available": bytes("MemAvailable:"), "swap": bytes("SwapTotal:") });
    let finding = Finding::fine("overcommit", here, facts, why).or(strict, Verdict::Note);
    finding.changed_by(if strict { vec!["sysctl vm.overcommit_memory=0"] } else { vec![] })
}

fn group(cgroup: Option<Cgroup>) -> Finding {
    let why = "pages of an arena count for the group of the process that touches them first. At the limit the kernel kills a \
               process of the group (SIGKILL, exit code 137) and no error is returned: keep the limits of arenas below \
               what is left here. The arena stays whole";
    let facts = json!({
        "version": cgroup.map(|group| group.version),
        "limit": cgroup.map(|group| group.limit),
        "left": cgroup.map(|group| group.left),
    });
    let here = match cgroup {
        None => "no limit".to_owned(),
        Some(group) => {
            format!("{}, {} left (v{})", size::bytes(group.limit), size::bytes(group.left), group.version)
        }
    };
    let short = cgroup.is_some_and(|group| group.left < GIB);
    let finding = Finding::fine("memory cgroup", here, facts, why).or(short, Verdict::Note);
    finding.changed_by(match cgroup {
        None => vec![],
        Some(_) => vec![
            "docker run --memory=8g ..",
            "Kubernetes: resources: {limits: {memory: 8Gi}} (an emptyDir with medium: Memory counts)",
            "systemd-run -p MemoryMax=8G PROGRAM",
        ],
    })
}

fn container() -> Finding {
    let of = |(kind, first): (&'static str, u64)| {
        let number = namespace(kind);
        (kind, number, number.map(|number| number != first))
    };
    let all = FIRST.map(of);
    let mut marks = vec![];
    for (file, name) in [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")] {
        if Path::new(file).exists() {
            marks.push(name);
        }
    }
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        marks.push("kubernetes");
    }
    let own: Vec<&str> = all.iter().filter(|(_, _, own)| *own == Some(true)).map(|(kind, _, _)| *kind).collect();
    let here = match (marks.as_slice(), own.as_slice()) {
        ([], []) => "none seen".to_owned(),
        ([], own) => format!("own namespaces: {}", own.join(", ")),
        (marks, []) => marks.join(", "),
        (marks, own) => format!("{}; own namespaces: {}", marks.join(", "), own.join(", ")),
    };
    let why = "processes share arenas if they see the same mount of the same tmpfs: containers that each have their own /dev/shm \
               do not. Who is alive is told by a lock on the file, so that PID, IPC and user namespaces do not matter";
    let mut facts = json!({ "marks": marks, "mount_namespace": namespace("mnt") });
    for (kind, number, own) in all {
        facts[kind] = json!({ "namespace": number, "own": own });
    }
    let inside = !marks.is_empty() || !own.is_empty();
    Finding::fine("container", here, facts, why).changed_by(match inside {
        false => vec![],
        true => vec![
            "docker run --ipc=shareable --name one ..; docker run --ipc=container:one ..",
            "docker run -v /dev/shm/jobs:/dev/shm/jobs -e FARETRA_DIR=/dev/shm/jobs ..",
        ],
    })
}

/// What /proc says of filters of system calls: the number that it gives the mode, 2 for a filter.
pub fn seccomp() -> Option<u64> {
    field_number(&text("/proc/self/status")?, "Seccomp")
}

/// Whether there is a /proc to look at.
pub fn proc_mounted() -> Finding {
    let links = std::fs::read_dir("/proc/self/fd").is_ok();
    let why = "an arena gets its name by a link in /proc/self/fd: without it `create` fails. `open` works, more slowly: deaths \
               are told by the lock alone";
    let facts: Value = json!({ "fd_links": links });
    let here = if links { "mounted" } else { "/proc/self/fd cannot be read" };
    let finding = Finding::fine("/proc", here, facts, why).or(!links, Verdict::Fails);
    finding.changed_by(if links { vec![] } else { vec!["mount -t proc proc /proc"] })
}
