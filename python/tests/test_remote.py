"""`faretra.connect`: arenas of a server, in place on this host and streamed from another."""

from __future__ import annotations

import datetime
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flight import TLS, Served, served, serving
from mp_programs import stop
from places import arrow_lies_in, pins

import faretra
from faretra._place import Place, Spot, host

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.flight")


def table(rows: int = 1000) -> Any:
    return pa.table(
        {
            "id": np.arange(rows),
            "text": [f"text {i}" for i in range(rows)],
            "number": pa.array([None if i % 3 == 0 else i / 2 for i in range(rows)]),
        }
    )


@pytest.fixture
def server(arena: faretra.Arena) -> Iterator[Served]:
    with serving(arena) as running:
        yield running


class Relay:
    """Passes bytes on between a client and a server, and counts what the server sends."""

    def __init__(self, port: int) -> None:
        self.received = 0
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.location = f"grpc://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self._to))
            threading.Thread(target=self._pass, args=(client, there, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(there, client, True), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, count: bool) -> None:
        try:
            while data := one.recv(1 << 16):
                self.received += len(data) * count
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        self._listening.close()


@pytest.mark.parametrize("in_place", [True, False])
def test_reads_as_an_arena_does(arena: faretra.Arena, server: Served, in_place: bool) -> None:
    """Names, `in`, lengths, tables and what is told of them are those of the arena, in place and streamed."""
    arena["b"], arena['a name/with "quotes" & ü + %20 =?'] = table(10), table(7)
    arena["array"], arena["object"] = np.arange(3), {"x": 1}
    arena.put_many("day", {"delays": table(5), "note": b"text"})
    names = ['a name/with "quotes" & ü + %20 =?', "b", "day/delays"]
    with faretra.connect(server.location, in_place=in_place) as remote:
        assert list(remote) == remote.keys() == names
        assert len(remote) == 3 and "b" in remote and names[0] in remote
        assert all(name not in remote for name in ("nothing", "array", "object", "day", "", "\ud800", 5))
        assert remote.get("nothing") is None and remote.version("nothing") == 0
        for name, rows in zip(names, (7, 10, 5), strict=True):
            got = remote[name]
            assert pa.table(got) == table(rows)
            assert (got.name.rpartition("/")[2], len(got), got.shape) == (
                name.rpartition("/")[2],
                rows,
                (rows, 3),
            )
            assert got["id"].tolist() == list(range(rows)) and not got["id"].flags.writeable
            assert got.fields == arena["b"].fields and got.column_names == ["id", "text", "number"]
        assert isinstance(remote["b"], faretra.Table if in_place else faretra.StreamedTable)
        assert [name for name, _ in remote.items()] == names and len(remote.values()) == 3
        told, here = remote.info("b"), arena.info("b")
        assert isinstance(here, faretra.TableInfo)
        for fact in ("name", "version", "rows", "nbytes", "fields", "shape", "batches"):
            assert getattr(told, fact) == getattr(here, fact), fact
        assert told.published == pytest.approx(here.published, abs=1e-3)
        assert told.copied == (0 if in_place else told.nbytes)
        assert [(entry.name, entry.version, entry.rows) for entry in remote.entries()] == [
            (names[0], 1, 7),
            ("b", 1, 10),
            ("day/delays", remote.version("day/delays"), 5),
        ]
        assert remote.get_versioned("b")[1] == remote.version("b") == arena.version("b")
        # A version that is current can be asked for, others cannot.
        assert len(remote["b@1"]) == 10 and isinstance(remote["b@1"], type(remote["b"]))
        with pytest.raises(faretra.NotFoundError, match="`b` is at version 1"):
            remote["b@7"]
        with pytest.raises(faretra.NotFoundError, match="nothing") as caught:
            remote["nothing"]
        assert caught.value.name == "nothing"
        with pytest.raises(faretra.InvalidError, match="is of kind array"):
            remote["array"]
        with pytest.raises(faretra.InvalidError, match="name one of its members"):
            remote["day"]


def test_in_place_nothing_goes_through_the_socket(arena: faretra.Arena, server: Served) -> None:
    """Of a table on this host no payload is received: what is read lies in the arena, and is pinned by this process."""
    rows = 1_000_000
    arena["t"] = pa.table({"x": np.random.default_rng(1).integers(0, 1 << 60, rows)})
    relay = Relay(server.port)
    try:
        with faretra.connect(relay.location) as remote:
            got = remote["t"]
            assert isinstance(got, faretra.Table)
            assert arrow_lies_in(arena, pa.table(got)["x"])
            assert pins(arena) >= 1
            assert relay.received < 10_000
            # What was read stays while somebody has it, whatever becomes of the name and the connection.
            total = int(got["x"].sum())
            arena["t"] = pa.table({"x": [1]})
        assert int(got["x"].sum()) == total
        with faretra.connect(relay.location, in_place=False) as remote:
            before = relay.received
            assert remote["t"]["x"].tolist() == [1]
            arena["t"] = pa.table({"x": np.random.default_rng(2).integers(0, 1 << 60, rows)})
            assert isinstance(remote["t"], faretra.StreamedTable)
            assert relay.received - before > 8 * rows
    finally:
        relay.close()


def test_a_server_that_offers_no_memory_is_streamed_from(arena: faretra.Arena) -> None:
    """With `--no-shm` everything comes through the socket, and is the same."""
    arena["t"] = table()
    with serving(arena, options=("--no-shm",)) as server, faretra.connect(server.location) as remote:
        got = remote["t"]
        assert isinstance(got, faretra.StreamedTable) and pa.table(got) == table()


def test_locations_name_one_object(arena: faretra.Arena, fresh_name: Callable[[], str]) -> None:
    """An arena is taken only if host, file and version are those of the location: its name alone is not enough."""
    name, rows = 'a name/with "quotes" & ü + %20 =?', pa.table({"x": [1]})
    arena[name] = rows
    again = faretra.Arena.open(arena.name)
    place = Place.of(again)
    assert place is not None and place.host == host() and place.file.inode == os.stat(arena.path).st_ino
    for wrong in (
        place._replace(host="z" + place.host[1:]),
        place._replace(file=place.file._replace(inode=place.file.inode + 1)),
        place._replace(file=place.file._replace(device="0" + place.file.device)),
        place._replace(name=fresh_name()),
        place._replace(dir="/dev"),
    ):
        assert wrong.open() is None
    opened = place.open()
    assert opened is not None
    opened.close()
    again.close()
    location = "faretra-shm://boot/air%20%C3%BC+?name=a+b%26&version=7&dir=%2Fdev%2Fshm&dev=00%3A1a&ino=12"
    spot = Spot.parse(location)
    assert spot == Spot(Place("boot", "/dev/shm", "air ü+", ("00:1a", 12)), "a b&", 7)  # type: ignore[arg-type]
    for text in (
        "grpc://x:1",
        "faretra-shm://",
        "faretra-shm://a/b?name=c",
        "nonsense",
        location.replace("ino=12", "ino=x"),
    ):
        assert Spot.parse(text) is None, text


def test_another_arena_of_that_name_is_another(fresh_name: Callable[[], str], tmp_path: Path) -> None:
    """An arena that was removed and made anew under its name is not taken for the server's: that one is streamed."""
    name = fresh_name()
    first = faretra.Arena.create(name, limit="16MiB")
    first["t"] = pa.table({"x": [1]})
    with serving(first) as server:
        faretra.remove(name)
        second = faretra.Arena.create(name, limit="16MiB", keep=False)
        try:
            second["t"] = pa.table({"x": [2]})
            with faretra.connect(server.location) as remote:
                got = remote["t"]
                assert isinstance(got, faretra.StreamedTable)
                assert got["x"].tolist() == [1]
        finally:
            second.close()
            first.close()


def test_versions_are_never_mixed(arena: faretra.Arena, server: Served) -> None:
    """While a name is replaced, each read is one version whole, and the one that it says."""
    arena["t"] = pa.table({"x": np.full(10_000, 1)})
    with faretra.connect(server.location) as remote:
        # What the server told of is read, though the name has another value by then.
        info = remote._info("t")
        assert remote._find(info) is not None
        arena["t"] = pa.table({"x": [2]})
        assert remote._find(info) is None
        old = remote._streamed("t", info)
        assert (old.version, set(old["x"].tolist())) == (1, {1})
    start = arena.put("t", pa.table({"x": np.full(10_000, arena.version("t") + 1)}))
    stop = threading.Event()

    def replace() -> None:
        version = start
        while not stop.is_set():
            version += 1
            assert arena.put("t", pa.table({"x": np.full(10_000, version)})) == version

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        kinds = set()
        with faretra.connect(server.location) as remote:
            for _ in range(100):
                got = remote["t"]
                kinds.add(type(got))
                assert set(got["x"].tolist()) == {got.version}
    finally:
        stop.set()
        writer.join()
    assert kinds <= {faretra.Table, faretra.StreamedTable}


def test_several_arenas(arena: faretra.Arena, fresh_name: Callable[[], str]) -> None:
    """Of a server of several arenas, one is named; without a name, the error says which there are."""
    with faretra.Arena.create(fresh_name(), limit="16MiB", keep=False) as other:
        arena["t"], other["u"] = pa.table({"x": [1]}), pa.table({"x": [2]})
        with served(arena, other) as location:
            with faretra.connect(location, arena=other.name) as remote:
                assert remote.keys() == ["u"] and remote.name == other.name
                assert remote["u"]["x"].tolist() == [2]
                assert "t" not in remote
                assert remote.sql(f'SELECT x FROM "{other.name}".u')["x"].tolist() == [2]
            with faretra.connect(location) as remote:
                for read in (lambda: remote["t"], remote.keys):
                    with pytest.raises(faretra.InvalidError, match=arena.name):
                        read()
            with faretra.connect(location, arena="nothing") as remote:
                with pytest.raises(faretra.NotFoundError, match="is not served here"):
                    remote["t"]
                assert remote.keys() == []


def test_feeds_have_no_end(arena: faretra.Arena, server: Served) -> None:
    """A feed is none of the values; its snapshot is read, and a reader follows it until it is closed."""
    feed = arena.feed("ticks", capacity=10, mixed=False)
    feed.append(pa.record_batch({"price": [1.5]}))
    feed.append(pa.record_batch({"price": [2.5]}))
    with faretra.connect(server.location) as remote:
        assert len(remote) == 0
        with pytest.raises(faretra.MismatchError, match="no end"):
            remote["ticks"]
        assert remote.snapshot("ticks")["price"].tolist() == [1.5, 2.5]
        prices = []
        for batch in remote.reader("ticks"):
            prices += batch["price"].to_pylist()
            if len(prices) == 2:
                feed.append(pa.record_batch({"price": [3.5]}))
                feed.close()
        assert prices == [1.5, 2.5, 3.5]
        with pytest.raises(faretra.NotFoundError):
            remote.reader("nothing")


@pytest.mark.parametrize("in_place", [True, False])
def test_readers_give_batch_by_batch(arena: faretra.Arena, server: Served, in_place: bool) -> None:
    """A reader gives the rows in pieces; in place they are the arena's own."""
    with arena.draft_table("t") as draft:
        for start in range(3):
            draft.append(pa.table({"x": np.arange(start * 100, start * 100 + 100)}))
    with faretra.connect(server.location, in_place=in_place) as remote:
        batches = list(remote.reader("t"))
        assert [batch.num_rows for batch in batches] == [100] * 3
        assert pa.Table.from_batches(batches)["x"].to_pylist() == list(range(300))
        assert all(arrow_lies_in(arena, batch["x"]) for batch in batches) or not in_place


def test_statements(arena: faretra.Arena, server: Served) -> None:
    """Statements run at the server; a wrong one is an error that says what the engine says."""
    arena['a "t"'] = table(100)
    with faretra.connect(server.location) as remote:
        got = remote.sql('SELECT sum(id) AS s, count(number) AS n FROM "a ""t"""')
        assert (got["s"].tolist(), got["n"].tolist()) == ([4950], [66])
        long = " + ".join(["1"] * 200)
        assert remote.sql(f"SELECT {long} AS n")["n"].tolist() == [200]
        with pytest.raises(faretra.InvalidError, match="nothing"):
            remote.sql("SELECT * FROM nothing")
        with pytest.raises(faretra.InvalidError, match="SQL"):
            remote.sql("SELEKT")


def test_tokens(arena: faretra.Arena, tmp_path: Path) -> None:
    """Who knows the token gets in; without, and with another, connecting is an error that says so."""
    arena["t"] = pa.table({"x": [1]})
    (tmp_path / "token").write_text("a-secret\n")
    with serving(arena, options=("--token-file", str(tmp_path / "token"))) as server:
        for token in ("a-secret", "a-secret\n"):
            with faretra.connect(server.location, token=token) as remote:
                assert remote["t"]["x"].tolist() == [1]
        for given, why in ((None, "asks for a token"), ("another", "not this server's")):
            with pytest.raises(faretra.DeniedError, match=why) as caught:
                faretra.connect(server.location, token=given)
            assert isinstance(caught.value, PermissionError) and "token=" in str(caught.value)
            assert "secret" not in str(caught.value)
        for wrong in ("", " \n", "tokén", "a\nb"):
            with pytest.raises(faretra.InvalidError, match="printable"):
                faretra.connect(server.location, token=wrong)


def test_tls(arena: faretra.Arena) -> None:
    """TLS with the right certificate works; with another one, without TLS, or where there is none, errors say what to do."""
    if not TLS.exists():
        pytest.skip("the certificates are in the sources only")
    arena["t"] = table()
    options = ("--tls-cert", str(TLS / "server.pem"), "--tls-key", str(TLS / "server.key"))
    with serving(arena, options=options) as server:
        assert server.location.startswith("grpc+tls://")
        for certificate in (TLS / "server.pem", str(TLS / "server.pem"), (TLS / "server.pem").read_bytes()):
            with faretra.connect(server.location, tls_root_certs=certificate, in_place=False) as remote:
                assert pa.table(remote["t"]) == table()
        plain = server.location.replace("+tls", "")
        cases: list[tuple[str, Path | None]] = [(server.location, TLS / "other.pem"), (plain, None)]
        for location, another in cases:
            with pytest.raises(faretra.ConnectionError, match=r"grpc\+tls://"):
                faretra.connect(location, tls_root_certs=another, timeout=20)
        with pytest.raises(faretra.InvalidError, match="certificates are for TLS"):
            faretra.connect(plain, tls_root_certs=TLS / "server.pem")
        with pytest.raises(faretra.InvalidError, match="PEM"):
            faretra.connect(server.location, tls_root_certs=b"nothing")
        with pytest.raises(FileNotFoundError):
            faretra.connect(server.location, tls_root_certs="/nothing/there.pem")
    with serving(arena) as server:
        secure = server.location.replace("grpc:", "grpc+tls:")
        with pytest.raises(faretra.ConnectionError):
            faretra.connect(secure, tls_root_certs=TLS / "server.pem", timeout=20)


def test_wrong_locations() -> None:
    """What is no location is refused in words, before anything is called."""
    for wrong in (
        "127.0.0.1:50051",
        "http://127.0.0.1:50051",
        "grpc://",
        "grpc://127.0.0.1",
        "grpc:/x:1",
        "",
    ):
        with pytest.raises(faretra.InvalidError, match="write it as grpc"):
            faretra.connect(wrong)
    for wrong_time in (0, -1, float("nan")):
        with pytest.raises(faretra.InvalidError, match="timeout"):
            faretra.connect("grpc://127.0.0.1:1", timeout=wrong_time)
    with pytest.raises(faretra.ConnectionError, match=r"no server answers at grpc://127\.0\.0\.1:1"):
        faretra.connect("grpc://127.0.0.1:1")


def test_a_server_that_goes(arena: faretra.Arena, server: Served) -> None:
    """A server that was killed is an error of each call; what was read before stays."""
    arena["t"] = table()
    with faretra.connect(server.location) as remote:
        got, streamed = remote["t"], faretra.connect(server.location, in_place=False)["t"]
        server.end()
        for call in (lambda: remote["t"], remote.keys, lambda: "t" in remote, lambda: remote.sql("SELECT 1")):
            with pytest.raises(faretra.ConnectionError, match="no server answers") as caught:
                call()
            assert isinstance(caught.value, ConnectionError)
        assert pa.table(got) == pa.table(streamed) == table()


def test_a_server_that_stands_still(arena: faretra.Arena, server: Served) -> None:
    """A call to a server that does not answer ends at its timeout."""
    arena["t"] = table()
    with faretra.connect(server.location, timeout=datetime.timedelta(seconds=0.5)) as remote:
        stop(server.process.pid)
        try:
            begun = time.monotonic()
            with pytest.raises(faretra.TimeoutError, match=r"within 0\.5 s"):
                remote["t"]
            assert time.monotonic() - begun >= 0.4
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert len(remote["t"]) == 1000


def test_closed_connections(arena: faretra.Arena, server: Served) -> None:
    """A closed connection says so; the arena that it had opened is left, and what was read stays."""
    arena["t"] = table()
    remote = faretra.connect(server.location)
    got = remote["t"]
    with remote:
        pass
    assert remote.closed and "closed" in repr(remote)
    remote.close()
    for call in (lambda: remote["t"], remote.keys, lambda: "t" in remote):
        with pytest.raises(faretra.InvalidError, match="closed"):
            call()
    assert pa.table(got) == table()
    assert [holder.pid for holder in arena.who() if holder.this_process]


def test_in_a_forked_child(arena: faretra.Arena, server: Served) -> None:
    """A child of a fork is told to connect anew, ends at once, and does not disturb its parent's connection."""
    arena["t"] = table()
    code = f"""
import os, sys
import faretra
remote = faretra.connect({server.location!r})
remote["t"]
pid = os.fork()
if pid == 0:
    try:
        remote["t"]
    except faretra.ForkedError as error:
        said = "connect" in str(error)
    remote.close()
    del remote
    sys.exit(0 if said else 1)
assert os.waitpid(pid, 0)[1] == 0
print(len(remote["t"]))
"""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment
    )
    assert (done.returncode, done.stdout) == (0, "1000\n"), done.stderr


def test_there_is_nothing_that_writes(arena: faretra.Arena, server: Served) -> None:
    """A remote arena is a mapping that nobody changes."""
    with faretra.connect(server.location) as remote:
        for write in ("put", "remove", "pop", "update", "clear", "draft_array", "sender", "mutex"):
            assert not hasattr(remote, write)
        with pytest.raises(TypeError):
            remote["x"] = 1  # type: ignore[index]


def test_without_pyarrow() -> None:
    """Without pyarrow, `connect` says what to install."""
    code = """
import sys
sys.modules["pyarrow"] = None
import faretra
try:
    faretra.connect("grpc://127.0.0.1:1")
except ModuleNotFoundError as error:
    print(error)
"""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment
    )
    assert "pip install pyarrow" in done.stdout, done.stdout + done.stderr


def test_streamed_columns_are_as_local_ones(arena: faretra.Arena, server: Served) -> None:
    """Numpy columns of a streamed table have the types of the arena's, and the same are refused."""
    rows = 70_000
    columns = {
        "f": np.arange(rows) / 3,
        "when": np.arange(rows).astype("datetime64[us]"),
        "span": np.arange(rows).astype("timedelta64[ns]"),
        "raw": pa.array([i.to_bytes(4, "big") for i in range(rows)], pa.binary(4)),
        "pair": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(2 * rows)), 2),
        "flag": np.arange(rows) % 2 == 0,
        "text": [str(i) for i in range(rows)],
    }
    arena["t"] = pa.table(columns)
    local = arena["t"]
    with faretra.connect(server.location, in_place=False) as remote:
        streamed = remote["t"]
        assert streamed.num_batches > 1
        for name in ("f", "when", "span", "raw", "pair"):
            here, there = local[name], streamed[name]
            assert (here.dtype, here.shape) == (there.dtype, there.shape)
            assert (here == there).all() and not there.flags.writeable
        for name in ("flag", "text"):
            for one in (local, streamed):
                with pytest.raises(ValueError, match="its type is"):
                    one[name]
        for one in (local, streamed):
            with pytest.raises(KeyError, match="no column named `x`"):
                one["x"]
        assert streamed.head(3).num_rows == 3 and streamed.select(["f"]).column_names == ["f"]
        assert streamed.to_pandas().shape == (rows, 7)
        assert re.match(r"<faretra.StreamedTable 't' version 1: 70000 rows", repr(streamed))
        assert "in this process" in streamed._repr_html_()
