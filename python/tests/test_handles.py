"""Handles: values of an arena as something small that other processes read in place; in Dask and Ray, too."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from places import array_lies_in

import faretra
from faretra._handle import Handle, arrived, content, handle_of_table

pa = pytest.importorskip("pyarrow")

ENVIRONMENT = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))


def python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_other_processes_read_in_place(arena: faretra.Arena) -> None:
    """A handle is small, and is read in another process where the value lies, whatever kind it is."""
    arena["x"], arena["object"], arena["t"] = np.arange(1000), {"a": 1}, pa.table({"x": [1, 2]})
    for name in ("x", "object", "t"):
        handle = arena.handle(name)
        sent = pickle.dumps(handle)
        assert len(sent) < 500
        assert pickle.loads(sent) == handle and hash(pickle.loads(sent)) == hash(handle)
        assert (handle.arena, handle.name, handle.version) == (arena.name, name, 1)
        code = "import pickle, sys; print(pickle.loads(bytes.fromhex(sys.argv[1])).get())"
        assert python(code, sent.hex()).startswith({"x": "[", "object": "{", "t": "<faretra.Table"}[name])
    again = arena.handle("x").get()
    assert again.tolist() == list(range(1000)) and array_lies_in(arena, again)


def test_other_arenas_are_not_taken(fresh_name: Callable[[], str]) -> None:
    """Another version, host, file or arena of the same name is an error, and never another value."""
    name = fresh_name()
    first = faretra.Arena.create(name, limit="16MiB")
    first["x"] = np.arange(3)
    handle = first.handle("x")
    with pytest.raises(faretra.NotFoundError):
        first.handle("nothing")
    place = handle._place
    for wrong, why in (
        (place._replace(host="z" + place.host[1:]), "is not on this host"),
        (place._replace(file=place.file._replace(inode=place.file.inode + 1)), "cannot be opened here"),
        (place._replace(name=fresh_name()), "cannot be opened here"),
    ):
        with pytest.raises(faretra.ArenaNotFoundError, match=why):
            Handle(wrong, "x", 1).get()
    first["x"] = np.arange(4)
    with pytest.raises(faretra.NotFoundError, match=r"at version 2 by now.*of version 1"):
        handle.get()
    del first["x"]
    with pytest.raises(faretra.NotFoundError, match="was removed"):
        handle.get()
    first["x"] = np.arange(5)
    sent = pickle.dumps(first.handle("x")).hex()
    # Another arena has the name by now, with such a value in it; who has the first one open reads it as before.
    faretra.remove(name)
    second = faretra.Arena.create(name, limit="16MiB", keep=False)
    try:
        for value in range(3):
            second["x"] = np.arange(value)
        code = """
import pickle, sys, faretra
try:
    print(pickle.loads(bytes.fromhex(sys.argv[1])).get())
except faretra.ArenaNotFoundError as error:
    print("refused")
"""
        assert python(code, sent) == "refused\n"
    finally:
        second.close()
        first.close()


def test_many_arenas_are_left_again(fresh_name: Callable[[], str]) -> None:
    """Handles of many arenas do not keep all of them open."""
    arenas = [faretra.Arena.create(fresh_name(), limit="16MiB", keep=False) for _ in range(7)]
    for number, arena in enumerate(arenas):
        arena["x"] = np.arange(number)
    for _ in range(3):
        for number, arena in enumerate(arenas):
            assert len(arena.handle("x").get()) == number
    paths = [arena.path for arena in arenas]
    for arena in arenas:
        arena.close()
    assert sum(path.exists() for path in paths) <= 4


def test_in_a_forked_child(arena: faretra.Arena) -> None:
    """A child of a fork reads handles through a seat of its own."""
    arena["x"] = np.arange(3)
    handle = arena.handle("x")
    handle.get()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if handle.get().tolist() == [0, 1, 2] else 1)
    assert os.waitpid(pid, 0)[1] == 0
    # The child ended without leaving.
    arena.recover()


def test_tables_by_handle_or_content(arena: faretra.Arena) -> None:
    """A table that a name has is a handle; others, such as members of a bundle, and replaced ones, are their content."""
    rows = pa.table({"x": np.arange(100)})
    arena["t"] = rows
    arena.put_many("day", {"t": pa.table({"x": np.arange(100) + 1})})
    handle = handle_of_table(arena["t"])
    assert handle is not None and pa.table(handle.get()) == rows
    member = arena["day"]["t"]
    assert handle_of_table(member) is None
    # One that is called as the member is, and looks like it.
    arena["day/t"] = rows
    assert handle_of_table(member) is None
    arena["empty"] = rows.slice(0, 0)
    assert handle_of_table(arena["empty"]) is None
    old = arena["t"]
    arena["t"] = rows
    assert handle_of_table(old) is None
    feed = arena.feed("ticks", capacity=3)
    feed.append(rows)
    assert handle_of_table(arena.snapshot("ticks")) is None
    for table in (member, old, arena["empty"], arena.snapshot("ticks")):
        came = arrived(None, content(table))
        assert isinstance(came, faretra.StreamedTable) and pa.table(came) == pa.table(table)
        assert (came.name, came.version) == (table.name, table.version)
    # What cannot be read by its handle is read from its content.
    assert pa.table(arrived(handle, content(old))) == rows
    with pytest.raises(faretra.NotFoundError):
        arrived(handle, None)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    import faretra.dask

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=40
        ) as made,
        distributed.Client(made) as client,
    ):
        faretra.dask.register(client)
        yield client


def test_dask_workers_of_one_host_get_handles(cluster: Any, arena: faretra.Arena) -> None:
    """What a task returns is read in place by a task of another worker; what no name has any more comes as bytes."""
    arena["t"] = pa.table({"x": np.arange(100_000), "text": [f"text {i}" for i in range(100_000)]})
    name = arena.name

    def read(version: int) -> Any:
        import faretra

        return faretra.Arena.open(name)["t"]

    def look(table: Any) -> Any:
        return type(table).__name__, int(table["x"].sum()), os.getpid()

    first, second = list(cluster.scheduler_info()["workers"])
    made = cluster.submit(read, 1, workers=[first], pure=False)
    looked = cluster.submit(look, made, workers=[second], pure=False)
    here = cluster.submit(look, made, workers=[first], pure=False)
    kind, total, pid = looked.result(timeout=60)
    assert (kind, total) == ("Table", 4999950000)
    assert here.result(timeout=60)[:2] == ("Table", 4999950000) and here.result()[2] != pid
    # The scheduler passes on what it is given, so the client is given bytes.
    assert pa.table(made.result(timeout=60)) == pa.table(arena["t"])
    # The name has another value by the time that the other worker asks.
    arena["t"] = pa.table({"x": [1]})
    late = cluster.submit(look, made, workers=[second], pure=False, key="late")
    assert late.result(timeout=60)[1] == 4999950000
    old = cluster.submit(read, 2, workers=[first], pure=False)
    old.result(timeout=60)
    arena["t"] = pa.table({"x": [2]})
    kind, total, _ = cluster.submit(look, old, workers=[second], pure=False).result(timeout=60)
    assert (kind, total) == ("StreamedTable", 1)


def test_dask_processes_that_do_not_know_each_other_get_bytes(arena: faretra.Arena) -> None:
    """Who said nothing, or is of another host, is given bytes."""
    pytest.importorskip("distributed")
    import faretra.dask
    from faretra.dask import _deserialize, _here, _serialize

    arena["t"] = pa.table({"x": [1, 2]})
    peers: list[Any] = [None, {}, {"recipient": {}}, {"recipient": {"faretra": ["z", 1, 2]}}]
    for peer in peers:
        header, frames = _serialize(arena["t"], peer)
        assert frames and isinstance(_deserialize(header, frames), faretra.StreamedTable)
    header, frames = _serialize(arena["t"], {"recipient": {"faretra": _here()}})
    assert not frames and isinstance(_deserialize(header, frames), faretra.Table)


def test_handles_are_arguments_of_dask_tasks(cluster: Any, arena: faretra.Arena) -> None:
    """A handle goes to a task as an argument, whatever its value is."""
    arena["x"] = np.arange(1000)
    assert (
        cluster.submit(lambda handle: int(handle.get().sum()), arena.handle("x")).result(timeout=60) == 499500
    )


def test_ray_tasks_get_handles(arena: faretra.Arena) -> None:
    """A table that is given to a task of Ray, and one that a task returns, is read in place."""
    ray = pytest.importorskip("ray")
    import faretra.ray

    arena["t"] = pa.table({"x": np.arange(1000)})
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        faretra.ray.register()
        look = ray.remote(lambda table: (type(table).__name__, int(table["x"].sum())))
        assert ray.get(look.remote(ray.put(arena["t"])), timeout=60) == ("Table", 499500)
        assert isinstance(ray.get(ray.put(arena["t"])), faretra.Table)
    finally:
        ray.shutdown()
        # Its workers are killed.
        arena.recover()
