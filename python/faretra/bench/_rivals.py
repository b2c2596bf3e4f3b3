"""The ways that a value goes to another process, and the time until that process can use it, and until it has read it."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import numpy as np

import faretra
from faretra.bench._measure import Use, part, used
from faretra.demo import deaf

# How long the other process may take for one value, in seconds.
_PATIENCE = 300.0


class Unsuited(Exception):
    """The way cannot carry this kind of value, or is not installed: why."""


class Way:
    """One way between two processes. `open` is called by the sender; the object goes to the receiver by pickle."""

    name = ""
    # Values it carries.
    carries: tuple[str, ...] = ("array", "dict", "table")

    def check(self) -> None:
        """Raise `Unsuited` if this way is not installed."""

    @contextmanager
    def open(self, nbytes: int) -> Iterator[None]:
        """Make what the way needs for values of `nbytes`."""
        yield

    def send(self, value: Any) -> None:
        """Send a value."""
        raise NotImplementedError

    def receive(self) -> Any:
        """Return the next value, in the receiver."""
        raise NotImplementedError

    def forget(self) -> None:
        """Drop what the last value left in the receiver."""

    def clear(self) -> None:
        """Drop what the last value left in the sender."""


class Faretra(Way):
    """A put here, a wait there."""

    name = "faretra"

    @contextmanager
    def open(self, nbytes: int) -> Iterator[None]:
        self._name = f"bench-{os.getpid()}-{time.monotonic_ns()}"
        self._version = 0
        with faretra.Arena.create(self._name, limit=3 * nbytes + (64 << 20), keep=False) as self._arena:
            yield

    def __getstate__(self) -> Any:
        return {"_name": self._name, "_version": 0}

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state)
        self._arena = faretra.Arena.open(self._name)

    def send(self, value: Any) -> None:
        self._arena.put("x", value)

    def receive(self) -> Any:
        value = self._arena.wait_for("x", newer_than=self._version, timeout=_PATIENCE)
        self._version += 1
        return value


class Queue(Way):
    """`multiprocessing.Queue`."""

    name = "multiprocessing.Queue"

    @contextmanager
    def open(self, nbytes: int) -> Iterator[None]:
        self._queue = multiprocessing.get_context("spawn").Queue()
        yield
        self._queue.close()

    def send(self, value: Any) -> None:
        self._queue.put(value)

    def receive(self) -> Any:
        return self._queue.get(timeout=_PATIENCE)


class Pipe(Way):
    """`multiprocessing.Pipe`."""

    name = "multiprocessing.Pipe"

    @contextmanager
    def open(self, nbytes: int) -> Iterator[None]:
        self._to, self._from = multiprocessing.get_context("spawn").Pipe()
        with self._to, self._from:
            yield

    def send(self, value: Any) -> None:
        self._to.send(value)

    def receive(self) -> Any:
        return self._from.recv()


class Manager(Pipe):
    """`multiprocessing.Manager().dict()`, and a pipe to say that it is there."""

    name = "multiprocessing.Manager"

    @contextmanager
    def open(self, nbytes: int) -> Iterator[None]:
        with super().open(nbytes), multiprocessing.get_context("spawn").Manager() as manager:
            self._dict = manager.dict()
            yield

    def send(self, value: Any) -> None:
        self._dict["x"] = value
        self._to.send(None)

    def receive(self) -> Any:
        self._from.recv()
        return self._dict["x"]


class SharedMemory(Pipe):
    """`multiprocessing.shared_memory`, and a pipe for its name, shape and dtype."""

    name = "shared_memory"
    carries = ("array",)

    def send(self, value: Any) -> None:
        self._memory = shared_memory.SharedMemory(create=True, size=value.nbytes)
        np.ndarray(value.shape, value.dtype, self._memory.buf)[...] = value
        self._to.send((self._memory.name, value.shape, value.dtype))

    def receive(self) -> Any:
        name, shape, dtype = self._from.recv()
        self._memory = shared_memory.SharedMemory(name)
        return np.ndarray(shape, dtype, self._memory.buf)

    def forget(self) -> None:
        self._memory.close()

    def clear(self) -> None:
        self._memory.close()
        self._memory.unlink()

    def __getstate__(self) -> Any:
        return {"_to": self._to, "_from": self._from}


class ArrowFile(Pipe):
    """Arrow's IPC file on a tmpfs, memory-mapped by the receiver, and a pipe for its path."""

    name = "pyarrow IPC on tmpfs"
    carries = ("array", "table")

    def check(self) -> None:
        try:
            import_module("pyarrow")
        except ImportError:
            raise Unsuited("pyarrow is not installed") from None

    @contextmanager
    def open(self, nbytes: int) -> Iterator[None]:
        folder = os.environ.get("FARETRA_DIR", "/dev/shm")
        with super().open(nbytes), tempfile.TemporaryDirectory(dir=folder) as made:
            self._path = str(Path(made) / "x.arrow")
            yield

    def send(self, value: Any) -> None:
        pa: Any = import_module("pyarrow")
        with pa.OSFile(self._path, "wb") as sink:
            if isinstance(value, np.ndarray):
                pa.ipc.write_tensor(pa.Tensor.from_numpy(value), sink)
            else:
                with pa.ipc.new_file(sink, value.schema) as writer:
                    writer.write_table(value)
        self._to.send(None)

    def receive(self) -> Any:
        pa: Any = import_module("pyarrow")
        self._from.recv()
        source = pa.memory_map(self._path)
        try:
            return pa.ipc.open_file(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
            return pa.ipc.read_tensor(source).to_numpy()

    def clear(self) -> None:
        os.unlink(self._path)


class SharedArray(Pipe):
    """The package SharedArray, and a pipe to say that the array is there."""

    name = "SharedArray"
    carries = ("array",)

    def check(self) -> None:
        try:
            import_module("SharedArray")
        except ImportError:
            raise Unsuited("SharedArray is not installed") from None

    def send(self, value: Any) -> None:
        shared: Any = import_module("SharedArray")
        self._name = f"shm://faretra-bench-{os.getpid()}"
        shared.create(self._name, value.shape, value.dtype)[...] = value
        self._to.send(self._name)

    def receive(self) -> Any:
        shared: Any = import_module("SharedArray")
        return shared.attach(self._from.recv())

    def clear(self) -> None:
        shared: Any = import_module("SharedArray")
        shared.delete(self._name)


class Vineyard(Pipe):
    """The vineyard server that runs here, and a pipe for the object's id."""

    name = "vineyard"

    def check(self) -> None:
        try:
            vineyard: Any = import_module("vineyard")
            vineyard.connect()
        except ImportError:
            raise Unsuited("vineyard is not installed") from None
        except Exception as error:
            raise Unsuited(f"no vineyard server runs here ({type(error).__name__})") from error

    def send(self, value: Any) -> None:
        vineyard: Any = import_module("vineyard")
        self._id = vineyard.connect().put(value)
        self._to.send(self._id)

    def receive(self) -> Any:
        vineyard: Any = import_module("vineyard")
        return vineyard.connect().get(self._from.recv())

    def clear(self) -> None:
        vineyard: Any = import_module("vineyard")
        vineyard.connect().delete([self._id])


WAYS = (Faretra, Pipe, Queue, Manager, SharedMemory, SharedArray, ArrowFile, Vineyard)


def touch(value: Any) -> None:
    """Look at the first and the last element of a value."""
    if isinstance(value, np.ndarray):
        float(value.flat[0]), float(value.flat[-1])
    elif isinstance(value, dict):
        for part in value.values():
            touch(part)
    elif hasattr(value, "num_rows"):
        int(value.num_rows)


def total(value: Any) -> int:
    """Return the sum of all 8-byte words of a value: whoever knows it has read every byte."""
    if isinstance(value, np.ndarray):
        return int(value.reshape(-1, copy=False).view("uint64").sum(dtype="uint64"))
    if isinstance(value, dict):
        return sum(map(total, value.values())) % (1 << 64)
    if not hasattr(value, "columns"):
        pa: Any = import_module("pyarrow")
        value = pa.table(value)
    found = 0
    for column in value.columns:
        for chunk in column.chunks:
            for buffer in chunk.buffers():
                if buffer is not None:
                    found += int(np.frombuffer(buffer, "uint64", buffer.size // 8).sum(dtype="uint64"))
    return found % (1 << 64)


def rewrite(value: Any) -> None:
    """Write every element of an array, or of a dict of arrays, so that no value is the one before. Tables stay."""
    if isinstance(value, np.ndarray):
        value += 1
    elif isinstance(value, dict):
        for one in value.values():
            rewrite(one)


@dataclass(frozen=True)
class HandedOver:
    """Times in seconds, from the sender's call: until the other process can use the value, and until it has read it all."""

    usable: float
    read: float
    use: Use


def _receiver(way: Way, control: Any) -> None:
    control.send(())
    while True:
        try:
            if not control.recv():
                return
            before = used()
            value = way.receive()
            touch(value)
            usable = time.perf_counter()
            found = total(value)
            read = time.perf_counter()
            del value
            way.forget()
            spent = [now - then for now, then in zip(used(), before, strict=True)]
            control.send((usable, read, found, *spent))
        except EOFError:
            return


def hand_over(way: Way, make: Callable[[], Any], nbytes: int, *, budget: float, least: int = 3) -> HandedOver:
    """Send values to another process one by one, each written anew, and return how long that took."""
    context = multiprocessing.get_context("spawn")
    value = make()
    with way.open(nbytes), ExitStack() as stack:
        control, theirs = context.Pipe()
        process = context.Process(target=_receiver, args=(way, theirs), daemon=True)
        with deaf():
            process.start()
        theirs.close()
        stack.callback(_end, process, control)
        _answer(control, way)
        usable: list[float] = []
        read: list[float] = []
        both: list[tuple[float, ...]] = []
        end = time.perf_counter() + budget
        # The first two are not counted: until a second value is there, none can take the first one's place.
        while len(usable) < least + 2 or (len(usable) < 200 and time.perf_counter() < end):
            rewrite(value)
            sent = total(value)
            control.send(True)
            # Give the receiver time to wait.
            time.sleep(0.0005)
            before = used()
            begin = time.perf_counter()
            way.send(value)
            mine = [now - then for now, then in zip(used(), before, strict=True)]
            there, done, found, *theirs_used = _answer(control, way)
            if found != sent and not hasattr(value, "num_rows"):
                raise Unsuited(f"{way.name}: what came is not what was sent")
            usable.append(there - begin)
            read.append(done - begin)
            both.append(tuple(one + other for one, other in zip(mine, theirs_used, strict=True)))
            way.clear()
        cpu, minor, major = (statistics.fmean(column) for column in zip(*both[2:], strict=True))
        use = Use(part(read[2:], 0.99), part(read[2:], 0.999), cpu, minor, major)
        return HandedOver(statistics.median(usable[2:]), statistics.median(read[2:]), use)


def _answer(control: Any, way: Way) -> Any:
    if not control.poll(_PATIENCE):
        raise Unsuited(f"{way.name}: no answer within {_PATIENCE:.0f} s")
    try:
        return control.recv()
    except EOFError:
        raise Unsuited(f"{way.name}: the receiver ended") from None


def _end(process: Any, control: Any) -> None:
    with suppress(OSError):
        control.send(False)
    process.join(5)
    if process.is_alive():
        process.kill()
        process.join()
    control.close()


class Ray:
    """Ray's object store: a put here, a get in an actor of its own process."""

    name = "ray"

    def check(self) -> None:
        """Raise `Unsuited` if Ray is not installed."""
        try:
            import_module("ray")
        except ImportError:
            raise Unsuited("ray is not installed") from None

    @contextmanager
    def open(self, nbytes: int) -> Iterator[None]:
        """Start Ray on this machine, and stop it."""
        ray: Any = import_module("ray")
        try:
            ray.init(
                num_cpus=1,
                object_store_memory=3 * nbytes + (256 << 20),
                include_dashboard=False,
                logging_level="ERROR",
                log_to_driver=False,
            )
        except Exception as error:
            raise Unsuited(f"ray does not start ({type(error).__name__})") from error
        try:
            yield
        finally:
            ray.shutdown()

    def hand_over(self, value: Any, *, budget: float, least: int = 3) -> HandedOver:
        """Put values and let an actor of another process get them, and return how long that took.

        What the actor uses is not known, so the use is that of this process alone.
        """
        ray: Any = import_module("ray")
        actor = ray.remote(_Looker).remote()
        usable: list[float] = []
        read: list[float] = []
        before = used()
        end = time.perf_counter() + budget
        while len(usable) < least + 2 or (len(usable) < 200 and time.perf_counter() < end):
            rewrite(value)
            begin = time.perf_counter()
            reference = ray.put(value)
            there, done = ray.get(actor.look.remote([reference]))
            usable.append(there - begin)
            read.append(done - begin)
            del reference
        cpu, minor, major = ((now - then) / len(usable) for now, then in zip(used(), before, strict=True))
        use = Use(part(read[2:], 0.99), part(read[2:], 0.999), cpu, minor, major)
        return HandedOver(statistics.median(usable[2:]), statistics.median(read[2:]), use)


class _Looker:
    def look(self, references: list[Any]) -> tuple[float, float]:
        ray: Any = import_module("ray")
        value = ray.get(references[0])
        touch(value)
        usable = time.perf_counter()
        total(value)
        return usable, time.perf_counter()
