"""Where an arena is, so that a process of the same host finds the very same one: which start of the machine, which file."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from faretra._arena import Arena
from faretra._errors import Error

# The scheme of a location that says where an object lies in shared memory.
SCHEME = "faretra-shm"

_BOOT = "/proc/sys/kernel/random/boot_id"


def host() -> str | None:
    """Return which start of which machine this is; containers of one host have it in common."""
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


class File(NamedTuple):
    """A file as the kernel tells it from others, whatever its name is. `device` is written as in `/proc/self/maps`."""

    device: str
    inode: int


def mapped(path: str) -> File | None:
    """Return which file this process has mapped under a path, or `None` if that cannot be told.

    A name can stand for another file than the one that was opened by it, so the maps are asked. A file that this process
    made has no name there, which came later: it is taken if it is what the path stands for now.
    """
    made_in = os.path.dirname(path) + "/#"
    named, made = set(), set()
    try:
        with open("/proc/self/maps", "rb") as maps:
            lines = maps.read().split(b"\n")
    except OSError:
        return None
    for line in lines:
        words = line.split(maxsplit=5)
        if len(words) < 6:
            continue
        of = os.fsdecode(words[5]).removesuffix(" (deleted)")
        file = File(words[3].decode("ascii"), int(words[4]))
        if of == path:
            named.add(file)
        elif of.startswith(made_in) and of[len(made_in) :].isdigit():
            made.add(file)
    if named:
        return named.pop() if len(named) == 1 else None
    try:
        now = os.stat(path)
    except OSError:
        return None
    file = File(f"{os.major(now.st_dev):02x}:{os.minor(now.st_dev):02x}", now.st_ino)
    return file if file in made else None


def offset(address: int) -> tuple[File, int] | None:
    """Return which file an address of this process is mapped from, and where in the file it is."""
    with open("/proc/self/maps", "rb") as maps:
        for line in maps:
            words = line.split(maxsplit=5)
            start, _, end = words[0].partition(b"-")
            if int(start, 16) <= address < int(end, 16):
                return File(words[3].decode("ascii"), int(words[4])), address - int(start, 16) + int(
                    words[2], 16
                )
    return None


class Place(NamedTuple):
    """Where an arena is: the host, the directory and the name, and the file, which the name alone does not say."""

    host: str
    dir: str
    name: str
    file: File

    @classmethod
    def of(cls, arena: Arena) -> Place | None:
        """Return where an arena is that is open here, if that can be told."""
        return cls.at(os.fspath(arena.path))

    @classmethod
    def at(cls, path: str) -> Place | None:
        """Return where an arena is whose file has this path, and that is open here, if that can be told."""
        here, file = host(), mapped(path)
        if here is None or file is None:
            return None
        dir, name = os.path.split(path)
        return cls(here, dir, name.removeprefix("faretra."), file)

    def open(self, **options: Any) -> Arena | None:
        """Open the arena, if it is here and this process may: the same host, and the same file."""
        if host() != self.host:
            return None
        try:
            arena = Arena.open(self.name, dir=self.dir, **options)
        except Error:
            return None
        if Place.of(arena) == self:
            return arena
        arena.close()
        return None


class Spot(NamedTuple):
    """An object of an arena: a name, and the version of it."""

    place: Place
    name: str
    version: int

    @classmethod
    def parse(cls, location: str) -> Spot | None:
        """Return what a location says, if it is one of an arena."""
        from urllib.parse import parse_qs, unquote, urlsplit

        try:
            url = urlsplit(location)
            pairs = parse_qs(url.query, keep_blank_values=True, errors="strict")
            said = {key: values[0] for key, values in pairs.items()}
            arena = unquote(url.path.removeprefix("/").partition("/")[0], errors="strict")
            if url.scheme != SCHEME or not url.netloc:
                return None
            place = Place(url.netloc, said["dir"], arena, File(said["dev"], int(said["ino"])))
            return cls(place, said["name"], int(said["version"]))
        except (KeyError, ValueError):
            return None
