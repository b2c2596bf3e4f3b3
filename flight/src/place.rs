//! Where an arena is, so that a process of the same host finds the very same one: which start of which machine, and which file.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use faretra::{Arena, Object, Options};
use url::Url;

/// The scheme of a location that says where an object lies in shared memory.
pub(crate) const SCHEME: &str = "faretra-shm";

/// A file as the kernel tells it from others, whatever its name is and whoever sees it: one that this process has mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileId {
    /// The file system, as `/proc/PID/maps` writes it.
    device: String,
    inode: u64,
}

/// The machine, and which of its starts this is. Containers of one host have it in common.
fn host() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'))
}

/// The file that this process has mapped under a path. A name can stand for another file than the one that was opened by it, so
/// the maps are asked. A file that this process made has no name there, which came later: it is taken if it is the only one, and
/// is what the path stands for now. `None` if that cannot be told.
fn mapped(path: &Path) -> Option<FileId> {
    let (path, dir) = (path.to_str()?, path.parent()?.to_str()?);
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let (mut named, mut made) = (vec![], vec![]);
    for line in maps.lines() {
        // from-to rights offset device inode path
        let mut words = line.splitn(6, ' ');
        let (Some(device), Some(inode), Some(of)) = (words.nth(3), words.next(), words.next()) else { continue };
        let of = of.trim_start();
        let of = of.strip_suffix(" (deleted)").unwrap_or(of);
        let id = FileId { device: device.to_owned(), inode: inode.parse().ok()? };
        let all = match of.strip_prefix(dir).and_then(|rest| rest.strip_prefix("/#")) {
            _ if of == path => &mut named,
            Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => &mut made,
            _ => continue,
        };
        if !all.contains(&id) {
            all.push(id);
        }
    }
    match (named.as_slice(), made.as_slice()) {
        ([only], _) => Some(only.clone()),
        ([], [only]) if std::fs::metadata(path).is_ok_and(|file| file.ino() == only.inode) => Some(only.clone()),
        _ => None,
    }
}

/// Where an arena of this process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    host: String,
    dir: PathBuf,
    name: String,
    file: FileId,
}

/// An object of an arena, for a process of the same host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    place: Place,
    object: String,
    version: u64,
}

impl Place {
    /// Where an arena is that is open here, if that can be said.
    pub(crate) fn of(arena: &Arena) -> Option<Place> {
        let (path, name) = (arena.path(), arena.name().to_owned());
        Some(Place { host: host()?, dir: path.parent()?.to_owned(), name, file: mapped(path)? })
    }

    /// The location of an object of that arena.
    pub(crate) fn location(&self, object: &str, version: u64) -> Option<String> {
        let mut url = Url::parse(&format!("{SCHEME}://{}/", self.host)).ok()?;
        url.path_segments_mut().ok()?.clear().push(&self.name);
        url.query_pairs_mut()
            .append_pair("name", object)
            .append_pair("version", &version.to_string())
            .append_pair("dir", self.dir.to_str()?)
            .append_pair("dev", &self.file.device)
            .append_pair("ino", &self.file.inode.to_string());
        Some(url.into())
    }
}

impl Spot {
    /// What tells the arena from all others.
    pub(crate) fn arena(&self) -> String {
        format!("{} {} {}", self.place.host, self.place.file.device, self.place.file.inode)
    }

    /// What a location says, if it is one of an arena.
    pub(crate) fn parse(location: &str) -> Option<Spot> {
        let url = Url::parse(location).ok().filter(|url| url.scheme() == SCHEME)?;
        let pair = |key: &str| url.query_pairs().find(|(k, _)| k == key).map(|(_, value)| value.into_owned());
        let segment = url.path_segments()?.next()?.to_owned();
        // The path has its name percent-encoded, as a query's pair would.
        let name = url::form_urlencoded::parse(format!("n={}", segment.replace('+', "%2B")).as_bytes())
            .next()
            .map(|(_, name)| name.into_owned())?;
        let file = FileId { device: pair("dev")?, inode: pair("ino")?.parse().ok()? };
        let place = Place { host: url.host_str()?.to_owned(), dir: pair("dir")?.into(), name, file };
        Some(Spot { place, object: pair("name")?, version: pair("version")?.parse().ok()? })
    }

    /// The object, pinned through a seat of this process, and the arena, if both are here: the same host, the same file, and the
    /// version that is meant.
    pub(crate) fn find(&self, options: &Options, open: Option<&Arena>) -> Option<(Arena, Object)> {
        if host()? != self.place.host {
            return None;
        }
        let open = open.filter(|arena| self.is(arena)).cloned();
        let arena = match open {
            Some(arena) => arena,
            None => options.clone().dir(&self.place.dir).open(&self.place.name).ok().filter(|arena| self.is(arena))?,
        };
        let object = arena.get(&self.object).ok().filter(|object| object.version() == self.version)?;
        Some((arena, object))
    }

    fn is(&self, arena: &Arena) -> bool {
        Place::of(arena).as_ref() == Some(&self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faretra::MIB;

    /// Shows that names with anything in them come through a location, and that an object is found by it only if host, file and
    /// version are the same: another arena of the same name is another one.
    #[test]
    fn locations_name_one_object() {
        let name = format!("flight-place-{}-ü%+", std::process::id());
        let options = Arena::options().limit(4 * MIB);
        let arena = options.clone().create(&name).expect("an arena");
        let object = "a name/with \"quotes\" & ü + %20 =?";
        let version = arena.writer().and_then(|writer| writer.publish(object, "bytes")).expect("published");
        // Opened by its name, as others of this process were not: tests make arenas beside this one.
        let place = options.open(&name).ok().as_ref().and_then(Place::of).expect("a place");
        let location = place.location(object, version).expect("a location");
        let spot = Spot::parse(&location).expect("parsed");
        assert_eq!(spot, Spot { place: place.clone(), object: object.to_owned(), version }, "{location}");
        assert!(spot.find(&options, None).is_some());
        let other = |change: &dyn Fn(&mut Spot)| {
            let mut other = spot.clone();
            change(&mut other);
            other.find(&options, None).is_some()
        };
        assert!(!other(&|spot| spot.version += 1));
        assert!(!other(&|spot| spot.object.push('x')));
        assert!(!other(&|spot| spot.place.host.replace_range(0..1, "z")));
        assert!(!other(&|spot| spot.place.file.inode += 1));
        assert!(!other(&|spot| spot.place.file.device.push('0')));
        // Another arena has the name by now, and the same object in it.
        options.remove(&name).expect("removed");
        drop(arena);
        let again = options.create(&name).expect("another arena");
        let now = again.writer().and_then(|writer| writer.publish(object, "other")).expect("published");
        assert_eq!(now, version);
        // The kernel may give the number of the file that is gone to the new one; then they are the same by all that it tells.
        if Place::of(&again) != Some(place) {
            assert!(spot.find(&options, None).is_none());
        }
        options.remove(&name).expect("removed");
        for wrong in ["grpc://x:1", "faretra-shm://", "faretra-shm://a/b?name=c", "nonsense"] {
            assert_eq!(Spot::parse(wrong), None, "{wrong}");
        }
    }
}
