//! The directory that arenas lie in: is it on a tmpfs, how large is that, and what was it mounted with.

use std::path::{Path, PathBuf};

use faretra::{GIB, MIB};
use nix::sys::stat::{major, minor, stat};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access, geteuid};
use serde_json::json;

use super::finding::{Finding, Verdict};
use super::proc::{chosen, mount_of, text};
use crate::out::path_json;
use crate::size;

/// What docker mounts at /dev/shm unless it is told otherwise.
const DOCKERS: u64 = 64 * MIB;

/// The limit of an arena that was created without one.
const LIMIT: u64 = GIB;

/// What was found, and how many bytes are free there.
pub struct Place {
    /// What was found.
    pub findings: Vec<Finding>,
    /// Bytes that are free, if the directory is on a tmpfs.
    pub free: Option<u64>,
}

/// Looks at a directory.
pub fn look(dir: &Path) -> Place {
    let shown = dir.display().to_string();
    let why = "arenas are files of a tmpfs: memory that processes share, and that is given back page by page";
    let mut findings = Vec::new();
    let (kind, room) = match (statfs(dir), statvfs(dir)) {
        (Ok(kind), Ok(room)) => (kind, room),
        (Err(error), _) | (_, Err(error)) => {
            let facts = json!({ "dir": path_json(dir), "tmpfs": null, "error": error.desc() });
            let here = format!("{shown}: {}", error.desc());
            let finding = Finding::fine("tmpfs", here, facts, why).or(true, Verdict::Fails);
            findings.push(finding.changed_by([
                "faretra --dir /dev/shm doctor".to_owned(),
                format!("mkdir -p {shown} && mount -t tmpfs -o size=4g tmpfs {shown}"),
            ]));
            return Place { findings, free: None };
        }
    };
    let tmpfs = kind.filesystem_type() == TMPFS_MAGIC;
    if !tmpfs {
        let facts =
            json!({ "dir": path_json(dir), "tmpfs": false, "type": format!("{:#x}", kind.filesystem_type().0) });
        let finding = Finding::fine("tmpfs", format!("{shown} is not on a tmpfs"), facts, why).or(true, Verdict::Fails);
        findings.push(finding.changed_by([
            "export FARETRA_DIR=/dev/shm".to_owned(),
            format!("mount -t tmpfs -o size=4g tmpfs {shown}"),
        ]));
        return Place { findings, free: None };
    }
    let unit = room.fragment_size();
    // A tmpfs without a limit reports no blocks at all.
    let limits = room.blocks() != 0;
    let (size, free) = match limits {
        true => (room.blocks().saturating_mul(unit), room.blocks_available().saturating_mul(unit)),
        false => (u64::MAX, u64::MAX),
    };
    let mountinfo = text("/proc/self/mountinfo").unwrap_or_default();
    let device = stat(dir).map(|s| (major(s.st_dev), minor(s.st_dev))).unwrap_or_default();
    let path = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mount = mount_of(&mountinfo, device, &path);
    let at = mount.as_ref().map_or_else(|| path.clone(), |mount| mount.at.clone());
    findings.push(of_size(dir, &at, limits.then_some((size, free))));
    findings.push(of_flags(&at, room.flags()));
    let inodes = (room.files() != 0).then(|| (room.files(), room.files_available()));
    findings.push(of_permissions(dir));
    findings.push(of_inodes(&at, inodes));
    let option = mount.as_ref().map(|mount| mount.option("huge").unwrap_or("never").to_owned());
    findings.push(of_huge_pages(&at, option));
    Place { findings, free: Some(free) }
}

fn of_size(dir: &Path, at: &Path, room: Option<(u64, u64)>) -> Finding {
    let at = at.display();
    let why = "all arenas in this directory together have no more memory than that, whatever their limits; beyond it, \
               publishing fails with `no room for ..`, and nothing is lost";
    let facts = json!({
        "dir": path_json(dir),
        "tmpfs": true,
        "size": room.map(|(size, _)| size),
        "free": room.map(|(_, free)| free),
    });
    let Some((size, free)) = room else {
        return Finding::fine("tmpfs", format!("{}: no limit but the memory", dir.display()), facts, why);
    };
    let here = format!("{}: {}, {} free", dir.display(), size::bytes(size), size::bytes(free));
    let why = match free < LIMIT {
        true => format!("{why}. An arena is created with a limit of {} unless told otherwise", size::bytes(LIMIT)),
        false => why.to_owned(),
    };
    let finding = Finding::fine("tmpfs", here, facts, why).or(free < LIMIT, Verdict::Note);
    let mut lines = vec![format!("mount -o remount,size=4g {at}")];
    if free < LIMIT || size == DOCKERS {
        lines.push("docker run --shm-size=4g ..".to_owned());
        lines.push(
            "docker run --ipc=shareable --shm-size=4g --name one ..; docker run --ipc=container:one ..".to_owned(),
        );
        lines.push(
            "Kubernetes: volumes: [{name: shm, emptyDir: {medium: Memory, sizeLimit: 4Gi}}], \
             volumeMounts: [{name: shm, mountPath: /dev/shm}]"
                .to_owned(),
        );
    }
    finding.changed_by(lines)
}

fn of_flags(at: &Path, flags: FsFlags) -> Finding {
    let read_only = flags.contains(FsFlags::ST_RDONLY);
    let noexec = flags.contains(FsFlags::ST_NOEXEC);
    let here = match (read_only, noexec) {
        (true, _) => "read-only",
        (false, true) => "read-write, noexec",
        (false, false) => "read-write",
    };
    let why = match read_only {
        true => {
            "arenas cannot be created or taken part in; `ls`, `stat` and `who` work, and so does `Options::observe`"
        }
        false => "who takes part in an arena writes to its file, readers too; noexec does not matter",
    };
    let finding = Finding::fine("mount", here, json!({ "read_only": read_only, "noexec": noexec }), why);
    let lines = [
        format!("mount -o remount,rw {}", at.display()),
        "Kubernetes: readOnly: false in the volumeMounts of the container".to_owned(),
    ];
    finding.or(read_only, Verdict::Fails).changed_by(if read_only { lines.to_vec() } else { vec![] })
}

fn of_permissions(dir: &Path) -> Finding {
    let why = "who makes an arena makes a file in this directory; who opens one needs the right to read and write that file: its \
               mode is 0600 unless `--mode` says otherwise";
    let mode = stat(dir).map_or(0, |s| s.st_mode & 0o7777);
    let may = access(dir, AccessFlags::W_OK | AccessFlags::X_OK).is_ok();
    let user = geteuid();
    let here = match may {
        true => format!("mode {mode:04o}, user {user} may make files"),
        false => format!("mode {mode:04o}, user {user} may not make files"),
    };
    let facts = json!({ "mode": format!("{mode:04o}"), "user": user.as_raw(), "writable": may });
    let finding = Finding::fine("directory", here, facts, why).or(!may, Verdict::Fails);
    finding.changed_by(match may {
        true => vec![],
        false => vec![
            format!("chmod 1777 {}    # everybody makes arenas there, and removes their own", dir.display()),
            "mkdir -m 700 /dev/shm/mine && export FARETRA_DIR=/dev/shm/mine".to_owned(),
        ],
    })
}

fn of_inodes(at: &Path, inodes: Option<(u64, u64)>) -> Finding {
    let why = "each arena is one file; a file system without a free inode takes no more of them";
    let facts = json!({ "inodes": inodes.map(|(all, _)| all), "free": inodes.map(|(_, free)| free) });
    let here = match inodes {
        None => "no limit".to_owned(),
        Some((all, free)) => format!("{} of {} free", size::count(free), size::count(all)),
    };
    let none = inodes.is_some_and(|(_, free)| free == 0);
    let finding = Finding::fine("inodes", here, facts, why).or(none, Verdict::Fails);
    finding.changed_by([format!("mount -o remount,nr_inodes=1m {}", at.display())])
}

/// `option`: what the mount says; `None`: that could not be read.
fn of_huge_pages(at: &Path, option: Option<String>) -> Finding {
    let path = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
    let system = text(path).and_then(|text| Some(chosen(&text)?.to_owned()));
    // These two of the system's words decide for all mounts.
    let decided = system.clone().filter(|word| matches!(word.as_str(), "deny" | "force"));
    let used = decided.or(option.clone());
    let here = format!("huge={}, shmem_enabled={}", option.as_deref().unwrap_or("?"), system.as_deref().unwrap_or("?"));
    let facts = json!({ "huge": option, "shmem_enabled": system });
    let on = used.as_deref().is_some_and(|word| matches!(word, "always" | "within_size" | "force"));
    let why = match on {
        true => {
            "each page that an arena touches takes 2 MiB: an empty arena some 14 MiB instead of 0.2, and a limit is \
             reached earlier; small pages are what arenas are made for"
        }
        false => "memory is taken and given back in pages of 4 KiB, which is what arenas are made for",
    };
    let finding = Finding::fine("huge pages", here, facts, why).or(on, Verdict::Note);
    finding.changed_by(match on {
        true => vec![
            format!("mount -o remount,huge=never {}", at.display()),
            format!("echo never > {path}    # if it says force"),
        ],
        false => vec![],
    })
}

/// Where arenas lie if the command line does not say.
pub fn directory(given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| PathBuf::from("/dev/shm"), Path::to_owned)
}
