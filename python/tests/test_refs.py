"""References: the newest value of a name, read once for each version."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

import numpy as np
import pytest
from children import Child

import faretra


def test_a_value_is_read_once(arena: faretra.Arena) -> None:
    """While the version has not changed, `get` gives the same object; then it gives the new one."""
    arena["model"] = {"w": np.arange(1000)}
    model = arena.ref("model")
    assert (model.name, model.version) == ("model", 0)
    first = model.get()
    assert model.get() is first and model.version == 1
    arena["other"] = b"x"
    assert model.get() is first
    arena["model"] = {"w": np.ones(5)}
    second = model.get()
    assert second is not first and second["w"].sum() == 5 and model.version == 2
    assert first["w"].sum() == 499500, "who has the old value keeps it"


def test_a_removed_name_is_missing(arena: faretra.Arena) -> None:
    """After a name was removed, `get` raises and keeps nothing; what is put later is found."""
    weights = arena.ref("weights")
    with pytest.raises(faretra.NotFoundError):
        weights.get()
    arena["weights"] = np.zeros(1 << 20, "u1")
    weights.get()
    live = arena.stats().live
    del arena["weights"]
    with pytest.raises(KeyError, match="weights"):
        weights.get()
    gc.collect()
    assert arena.stats().live <= live - (1 << 20)
    arena["weights"] = np.ones(3)
    assert weights.get().tolist() == [1, 1, 1] and weights.version > 1


def test_old_versions_are_freed(arena: faretra.Arena) -> None:
    """A reference that is looked at keeps one version, however many there were."""
    weights = arena.ref("weights")
    arena["weights"] = np.zeros(1 << 20, "u1")
    weights.get()
    live = arena.stats().live
    for i in range(20):
        arena["weights"] = np.full(1 << 20, i, "u1")
        assert weights.get()[0] == i
    assert arena.stats().live <= live + 8192


def test_waiting_for_the_next_version(arena: faretra.Arena) -> None:
    """`wait` returns each version that was not returned before, from whatever process, or says that none came."""
    model = arena.ref("model")
    with pytest.raises(faretra.TimeoutError):
        model.wait(timeout=0)
    program = """
        for step in range(3):
            arena["model"] = {"step": step}
            print(step)
            sys.stdin.readline()
    """
    arena["model"] = "first"
    assert model.wait(timeout=5) == "first"
    with pytest.raises(TimeoutError):
        model.wait(timeout=0.05)
    with Child(arena, program) as child:
        assert model.wait(timeout=20)["step"] in (0, 1, 2)
        assert child.line() == "0"
    assert model.get() is model.get()


def test_threads_see_one_object(arena: faretra.Arena) -> None:
    """Threads that ask at the same time get the newest value, never an older one than before."""
    arena["n"] = 0
    ref, end, wrong = arena.ref("n"), threading.Event(), []

    def look() -> None:
        last = 0
        while not end.is_set():
            now = ref.get()
            if now < last:
                wrong.append((last, now))
            last = now

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(1, 2000):
        arena["n"] = i
    end.set()
    for thread in threads:
        thread.join(20)
    assert wrong == [] and ref.get() == 1999


def test_a_reference_to_what_is_no_name(arena: faretra.Arena) -> None:
    """What cannot be a name is refused when the reference is made, and locks have no value."""
    names: list[Any] = ["", "a\n", 5]
    for name in names:
        with pytest.raises((ValueError, TypeError)):
            arena.ref(name)
    arena.mutex("m")
    with pytest.raises(faretra.MismatchError):
        arena.ref("m").get()


def test_a_reference_is_quick(arena: faretra.Arena) -> None:
    """Looking at a value that did not change takes about a microsecond (here: 20, for a busy machine and a slow build)."""
    arena["w"] = np.zeros(1 << 20)
    ref = arena.ref("w")
    best = 1.0
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(1000):
            ref.get()
        best = min(best, time.perf_counter() - began)
    assert best / 1000 < 20e-6
