//! What the files of /proc and /sys say, as far as they are there and can be read: a line that cannot be understood says
//! nothing, and is no error.

use std::path::{Path, PathBuf};

use nix::sys::stat::stat;

/// Beyond that many bytes of memory, a number means that there is no limit.
const BOUNDLESS: u64 = 1 << 60;

/// The text of a small file.
pub fn text(path: impl AsRef<Path>) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// The number that a file has.
pub fn number(path: impl AsRef<Path>) -> Option<u64> {
    text(path)?.parse().ok()
}

/// What follows a word at the beginning of a line, as in `Seccomp: 2`.
pub fn field(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim_matches([':', ' ', '\t']).to_owned())
}

/// The first number of such a field.
pub fn field_number(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.split_ascii_whitespace().next()?.parse().ok()
}

/// The word in brackets, as in `always [never] deny`.
pub fn chosen(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0)
}

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub at: PathBuf,
    /// Its options, and those of the file system, by commas.
    pub options: String,
}

impl Mount {
    /// The value of an option, as of `huge=always`.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.split(',').find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }
}

/// The mount that a device's number belongs to, by the lines of `/proc/self/mountinfo`; of several, the one whose directory
/// is nearest to the path.
pub fn mount_of(mountinfo: &str, device: (u64, u64), path: &Path) -> Option<Mount> {
    let wanted = format!("{}:{}", device.0, device.1);
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ');
        let number = fields.nth(2)?;
        let (at, options) = (fields.nth(1)?, fields.next()?);
        let super_options = after.split(' ').nth(2).unwrap_or_default();
        // Spaces and their like are written as \040.
        let at = PathBuf::from(at.replace("\\040", " "));
        (number == wanted && path.starts_with(&at)).then(|| Mount { at, options: format!("{options},{super_options}") })
    });
    mounts.max_by_key(|mount| mount.at.as_os_str().len())
}

/// What a memory cgroup lets its processes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// 1 or 2.
    pub version: u32,
    /// The least limit on the way to the root, in bytes.
    pub limit: u64,
    /// The least that is left of any, in bytes.
    pub left: u64,
}

/// The memory cgroup that limits this process, if one does.
pub fn memory_cgroup(cgroups: &str, root: &Path) -> Option<Cgroup> {
    let mut least: Option<Cgroup> = None;
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (version, root, names) = match controllers {
            "" => (2, root.to_owned(), ["memory.max", "memory.current", "inactive_file"]),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (1, root.join("memory"), ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"])
            }
            _ => continue,
        };
        // In a container the group's own directory may be mounted as the root, whatever the path says.
        let own = root.join(path.trim_start_matches('/'));
        for dir in own.ancestors().take_while(|dir| dir.starts_with(&root)) {
            let Some(limit) = number(dir.join(names[0])).filter(|limit| *limit < BOUNDLESS) else { continue };
            // Pages of files that nobody used lately go when memory is short.
            let stat = text(dir.join("memory.stat")).unwrap_or_default();
            let spare = field_number(&stat, &format!("{} ", names[2])).unwrap_or(0);
            let used = number(dir.join(names[1])).unwrap_or(0).saturating_sub(spare);
            let left = limit.saturating_sub(used);
            least = Some(match least {
                None => Cgroup { version, limit, left },
                Some(known) => Cgroup { version, limit: limit.min(known.limit), left: left.min(known.left) },
            });
        }
    }
    least
}

/// The inode number of one of this process's namespaces.
pub fn namespace(kind: &str) -> Option<u64> {
    Some(stat(Path::new("/proc/self/ns").join(kind).as_path()).ok()?.st_ino)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Cgroup, Mount, chosen, field_number, memory_cgroup, mount_of, number};

    #[test]
    fn odd_files_say_nothing() {
        assert_eq!(number("/nowhere"), None);
        assert_eq!(field_number("Seccomp:\t2\nNoNew: x", "Seccomp"), Some(2));
        assert_eq!(field_number("Seccomp:\t2\nNoNew: x", "NoNew"), None);
        assert_eq!(field_number("", "Seccomp"), None);
        assert_eq!(chosen("always [never] deny"), Some("never"));
        assert_eq!(chosen("always ]never[ deny"), None);
        for odd in ["", " - ", "1 2 0:5 / - ", "\0", "1 2 0:5 / /a", ":::", "1:memory", "0::"] {
            assert_eq!(mount_of(odd, (0, 5), Path::new("/a")), None, "{odd}");
            assert_eq!(memory_cgroup(odd, Path::new("/nowhere")), None, "{odd}");
        }
    }

    #[test]
    fn mounts_are_found_by_device_and_path() {
        let lines = "27 1 0:5 / / rw - tmpfs x rw\n28 1 0:9 / /shm rw,noexec shared:3 - tmpfs tmpfs rw,size=64k,huge=always\n\
             29 1 0:9 / /a\\040b ro - tmpfs tmpfs rw,size=64k";
        let shm = mount_of(lines, (0, 9), Path::new("/shm/x")).unwrap();
        assert_eq!(shm, Mount { at: "/shm".into(), options: "rw,noexec,rw,size=64k,huge=always".into() });
        assert_eq!((shm.option("huge"), shm.option("size"), shm.option("hu")), (Some("always"), Some("64k"), None));
        assert_eq!(mount_of(lines, (0, 9), Path::new("/a b/c")).unwrap().at, Path::new("/a b"));
        assert_eq!(mount_of(lines, (0, 9), Path::new("/other")), None);
        // One file system in several places: the nearest counts, and of those the last.
        let twice =
            format!("{lines}\n30 1 0:9 / /shm/deep rw - tmpfs x huge=a\n31 1 0:9 / /shm/deep rw - tmpfs x huge=b");
        let deep = mount_of(&twice, (0, 9), Path::new("/shm/deep/x")).unwrap();
        assert_eq!((deep.at.as_path(), deep.option("huge")), (Path::new("/shm/deep"), Some("b")));
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let look = |cgroups: &str| memory_cgroup(cgroups, dir.path());
        // Version 2: the parent has less than the group itself.
        write("pod/memory.max", "1000\n");
        write("pod/memory.current", "900\n");
        write("pod/memory.stat", "anon 1\ninactive_file 300\n");
        write("pod/main/memory.max", "max\n");
        assert_eq!(look("0::/pod/main\n"), Some(Cgroup { version: 2, limit: 1000, left: 400 }));
        write("pod/main/memory.max", "5000\n");
        write("pod/main/memory.current", "4900\n");
        assert_eq!(look("0::/pod/main\n"), Some(Cgroup { version: 2, limit: 1000, left: 100 }));
        assert_eq!(look("0::/elsewhere\n"), None);
        // Version 1, of which the group's own directory is the root of what is mounted.
        write("memory/memory.limit_in_bytes", "2000");
        write("memory/memory.usage_in_bytes", "500");
        assert_eq!(look("9:cpu,memory:/docker/x\n"), Some(Cgroup { version: 1, limit: 2000, left: 1500 }));
        write("memory/memory.limit_in_bytes", "9223372036854771712");
        assert_eq!(look("9:memory:/docker/x\n"), None);
    }
}
