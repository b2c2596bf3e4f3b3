"""Named blocks of shared memory, as `multiprocessing.shared_memory` has them, without a tracker process.

A block is a file of `/dev/shm` as in the standard module: `psm_...` or the name that it was given, and a
program that uses the standard module can attach to it. What differs is who removes one that nobody unlinks.
Beside each block that is tracked lies a small file, its *entry* (`.faretra-block-...`), which says which
block it is (its inode), and which processes it lives for: the one that made it, and that one's parent if
`multiprocessing` started it, so that a child can end and leave a block to its parent. A block is kept while

* one of these processes lives, by process id and start time, or
* a process has it open: each one holds a shared `flock` on the entry, which the kernel lets go however the
  process ends.

Any process that makes or opens a block, or makes a program's arena, or ends normally after it did one of
these, removes the blocks that nothing keeps. So what becomes of a block when a process ends:

* the maker is killed: the block stays while its parent lives or another process has it open. Then the next
  process that does something of the above removes it.
* the maker ends without `unlink`: as if it was killed, at once. The standard module removes it too, with a
  warning.
* killed between making the block and giving it its name: the block has none, and the kernel removes it; the
  entry is removed with the next sweep. (The block is made without a name, then the entry is written, then
  the block is linked.)
* killed in the middle of `unlink`: the entry is left, and goes with the next sweep.
* killed in the middle of a sweep: it holds an exclusive `flock` on one entry, which goes with it.

Blocks that a standard program made have no entry, and are left alone. So are those made with `track=False`
(any version here, 3.13 in the standard module). In another PID namespace the processes cannot be looked up,
and the block counts as kept.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import mmap
import os
import time
import weakref
from multiprocessing import process, util
from multiprocessing import shared_memory as standard
from pathlib import Path
from typing import Any

from faretra.multiprocessing._rebound import rebound

__all__ = ["ShareableList", "SharedMemory"]

# Where programs look for what the standard module has.
_USE_POSIX = True
_SHM_NAME_PREFIX = standard._SHM_NAME_PREFIX  # type: ignore[attr-defined]
DIRECTORY = Path("/dev/shm")
PREFIX = f".faretra-block-{os.geteuid()}-"

# How long an entry without a block is waited for, in seconds.
PATIENCE = 0.2

# Those that are open here.
_open: weakref.WeakSet[SharedMemory] = weakref.WeakSet()
# By process: a forked child has an exit of its own.
_sweeps_at_exit: int | None = None


class SharedMemory(standard.SharedMemory):
    """A named block of shared memory: made with `create=True`, or attached to by its name.

    `buf` is a memoryview of its bytes, `size` their number, `name` what other processes attach by. `close`
    gives up this process's access, and `unlink` removes the name. With `track=False`, nobody removes it but
    `unlink`.

    Raises `FileExistsError`, `FileNotFoundError`, and `ValueError` for a size or a name that cannot be.

    >>> from faretra.multiprocessing.shared_memory import SharedMemory
    >>> block = SharedMemory(create=True, size=4)
    >>> other = SharedMemory(block.name)  # in any process
    >>> other.buf[0] = 7
    >>> block.buf[0], block.size
    (7, 4)
    >>> other.close()
    >>> block.close()
    >>> block.unlink()
    """

    _entry = -1
    _name: str | None

    def __init__(
        self, name: str | None = None, create: bool = False, size: int = 0, *, track: bool = True
    ) -> None:
        if not size >= 0:
            raise ValueError("'size' must be a positive integer")
        if create and size == 0:
            raise ValueError("'size' must be a positive number different from zero")
        if name is None and not create:
            raise ValueError("'name' can only be None if create=True")
        if name is not None and "\0" in name:
            raise ValueError("embedded null character")
        self._track = track
        sweep()
        if create:
            self._flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
            self._create(name, size)
        else:
            self._attach(f"/{name}")
        try:
            self._size = os.fstat(self._fd).st_size
            self._mmap = mmap.mmap(self._fd, self._size)
        except OSError:
            if create:
                self.unlink()
            self.close()
            raise
        self._buf = memoryview(self._mmap)
        _open.add(self)

    def _create(self, name: str | None, size: int) -> None:
        self._fd = os.open(DIRECTORY, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(self._fd, size)
            while True:
                made = str(vars(standard)["_make_filename"]() if name is None else f"/{name}")
                self._name = made
                try:
                    self._link(made)
                    return
                except FileExistsError:
                    if name is not None:
                        raise
        except BaseException:
            self._name = None
            os.close(self._fd)
            self._fd = -1
            raise

    def _link(self, name: str) -> None:
        path = _path(name)
        if self._track:
            self._entry = _write_entry(name, os.fstat(self._fd))
        try:
            _give_name(self._fd, path)
        except OSError as error:
            if self._entry >= 0:
                _remove(_entry_path(name))
                self._let_go()
            raise type(error)(error.errno, os.strerror(error.errno or 0), f"/{path.name}") from None

    def _attach(self, name: str) -> None:
        path = _path(name)
        self._entry = _hold_entry(name) if self._track else -1
        try:
            # As `shm_open` does.
            self._fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            self._let_go()
            raise type(error)(error.errno, os.strerror(error.errno or 0), name) from None
        self._name = name

    def _let_go(self) -> None:
        if self._entry >= 0:
            os.close(self._entry)
            self._entry = -1

    def close(self) -> None:
        """Give up this process's access. The block stays, for others."""
        super().close()
        self._let_go()

    def unlink(self) -> None:
        """Remove the block's name. Processes that have it open keep it until they close it.

        Raises `FileNotFoundError` if it was removed already.
        """
        if self._name:
            path = _path(self._name)
            try:
                # First the block: an entry without a block is removed by whoever sweeps.
                os.unlink(path)
            except FileNotFoundError as error:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._name) from error
            if self._track:
                _remove(_entry_path(self._name))


class ShareableList(standard.ShareableList):  # type: ignore[type-arg]
    """A list of fixed length in a block of shared memory, of int, float, bool, str, bytes and None.

    >>> from faretra.multiprocessing.shared_memory import ShareableList
    >>> made = ShareableList(["a", 1])
    >>> made[1] = 2
    >>> list(made)
    ['a', 2]
    >>> made.shm.close()
    >>> made.shm.unlink()
    """

    __init__ = rebound(standard.ShareableList.__init__, SharedMemory=SharedMemory)


def sweep(leaving: bool = False) -> None:
    """Remove the blocks that nothing keeps. `leaving`: this process is about to end, and keeps nothing."""
    _sweep_at_exit()
    if leaving:
        for block in list(_open):
            block._let_go()
    try:
        entries = [name for name in os.listdir(DIRECTORY) if name.startswith(PREFIX)]
    except OSError:
        return
    for name in entries:
        _sweep_one(DIRECTORY / name, leaving)


def _sweep_one(path: Path, leaving: bool) -> None:
    entry = _open_entry(path)
    if entry is None:
        return
    try:
        said = _read_entry(entry)
        block = None if said is None else _block_of(said)
        if said is not None and block is not None and any(_lives(owner, leaving) for owner in said["owners"]):
            return
        fcntl.flock(entry, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(entry).st_nlink == 0:
            return
        if block is not None:
            _remove(block)
        _remove(path)
    except OSError:
        # Somebody holds it, or it is not ours to remove.
        return
    finally:
        os.close(entry)


def _block_of(said: dict[str, Any]) -> Path | None:
    """Return the block that an entry is of, if it has its name still."""
    block = _path(said["name"])
    try:
        found = os.stat(block, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return block if [found.st_dev, found.st_ino] == said["block"] else None


def _path(name: str | None) -> Path:
    short = (name or "").lstrip("/")
    if not short or "/" in short:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
    return DIRECTORY / short


def _give_name(file: int, path: Path) -> None:
    """Link a file that has no name."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # With a directory, since `os.link` does not follow links otherwise.
        os.link(f"/proc/self/fd/{file}", path.name, dst_dir_fd=directory, follow_symlinks=True)
    finally:
        os.close(directory)


def _entry_path(name: str) -> Path:
    # The name of a block can be as long as that of a file.
    return DIRECTORY / (
        PREFIX + hashlib.sha256(name.lstrip("/").encode("utf-8", "surrogateescape")).hexdigest()[:24]
    )


def _write_entry(name: str, block: os.stat_result) -> int:
    """Write the entry of a block that has no name yet, and hold it."""
    path = _entry_path(name)
    said = {"name": name, "block": [block.st_dev, block.st_ino], "owners": _owners()}
    entry = os.open(DIRECTORY, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(entry, fcntl.LOCK_SH)
        os.write(entry, json.dumps(said).encode("utf-8", "surrogateescape"))
        until = time.monotonic() + PATIENCE
        while True:
            if _path(name).exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
            try:
                _give_name(entry, path)
                return entry
            except FileExistsError:
                # An entry without a block: of somebody who makes one of this name at this moment, or who was
                # killed while it was removed, and others have that block open still.
                if time.monotonic() >= until:
                    _remove(path)
                _sweep_one(path, leaving=False)
                time.sleep(0.001)
    except BaseException:
        os.close(entry)
        raise


def _hold_entry(name: str) -> int:
    """Hold the entry of a block. -1: it has none."""
    path = _entry_path(name)
    while True:
        entry = _open_entry(path)
        if entry is None:
            return -1
        # Whoever removes it has it for a moment.
        fcntl.flock(entry, fcntl.LOCK_SH)
        if os.fstat(entry).st_nlink != 0:
            return entry
        os.close(entry)


def _open_entry(path: Path) -> int | None:
    try:
        entry = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    if os.fstat(entry).st_uid == os.geteuid():
        return entry
    os.close(entry)
    return None


def _read_entry(entry: int) -> dict[str, Any] | None:
    try:
        said = json.loads(os.pread(entry, 1 << 16, 0).decode("utf-8", "surrogateescape"))
        return {"name": str(said["name"]), "block": list(said["block"]), "owners": list(said["owners"])}
    except (ValueError, KeyError, TypeError):
        return None


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _owners() -> list[list[Any]]:
    """Return the processes that a new block lives for."""
    parent = process.parent_process()
    pids = [os.getpid()] + ([parent.pid] if parent is not None and parent.pid is not None else [])
    space = _space()
    return [[pid, started, space] for pid in pids if (started := _started(pid)) is not None]


def _space() -> str:
    """Whose process ids they are."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """When a process started, in ticks since the machine did. `None`: it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])


def _lives(owner: list[Any], leaving: bool) -> bool:
    pid, started, space = owner
    if space != _space():
        return True
    return not (leaving and pid == os.getpid()) and _started(pid) == started


def _sweep_at_exit() -> None:
    global _sweeps_at_exit
    if _sweeps_at_exit != os.getpid():
        _sweeps_at_exit = os.getpid()
        # After all else: others may still close what they have open.
        util.Finalize(None, sweep, args=(True,), exitpriority=-2000)
