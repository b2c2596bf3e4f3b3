"""Torch tensors over an arena: with torch where it is installed, with a stand-in of its interfaces where not.

To run all of them: `pip install torch`, then `pytest tests/test_torch.py -rs`.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
import types
import warnings
from collections import namedtuple
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import faretra
import faretra.torch

HAVE_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAVE_TORCH, reason="torch is not installed")


class Tensor:
    """What `torch.from_numpy` gives, as far as the tests look at it."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        if not array.flags.writeable:
            warnings.warn("The given NumPy array is not writable", UserWarning, stacklevel=2)
        if array.dtype.kind not in "biufc" or not array.dtype.isnative:
            raise TypeError(f"can't convert np.ndarray of type {array.dtype}")
        self.array = array

    def numpy(self) -> np.ndarray[Any, Any]:
        return self.array


@pytest.fixture(autouse=True)
def torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give torch, or a stand-in that takes arrays as torch does."""
    if HAVE_TORCH:
        import torch

        yield torch
        return
    fake, utils, data = (types.ModuleType(name) for name in ("torch", "torch.utils", "torch.utils.data"))
    fake.from_numpy = Tensor  # type: ignore[attr-defined]
    fake.utils, utils.data = utils, data  # type: ignore[attr-defined]
    data.get_worker_info = lambda: None  # type: ignore[attr-defined]
    for module in (fake, utils, data):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    yield fake


def _address(tensor: Any) -> int:
    return int(tensor.numpy().__array_interface__["data"][0])


def test_a_tensor_can_be_written_and_nobody_sees_it(arena: faretra.Arena) -> None:
    """The default is a private writable view: writing changes neither the arena nor another tensor."""
    arena["x"] = np.arange(6.0).reshape(2, 3)
    one, two = faretra.torch.tensor(arena, "x"), faretra.torch.tensor(arena, "x")
    one.numpy()[...] = 7
    assert arena["x"].tolist() == two.numpy().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_tensor_that_is_only_read_is_the_arena_itself(arena: faretra.Arena) -> None:
    """`writable=False` copies nothing, gives no warning, and keeps the memory when the name goes."""
    arena["x"] = np.arange(6.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = faretra.torch.tensor(arena, "x", writable=False)
    assert _address(tensor) == arena["x"].__array_interface__["data"][0]
    del arena["x"]
    arena["y"] = np.full(6, 9.0)
    assert tensor.numpy().tolist() == [0, 1, 2, 3, 4, 5]
    before = arena.stats().live
    del tensor
    assert arena.stats().live < before


def test_what_cannot_be_a_tensor_is_told(arena: faretra.Arena) -> None:
    """Tables, missing names and dtypes that torch has not are errors in words."""
    arena["dates"] = np.array(["2026-11-27"], "datetime64[D]")
    arena["object"] = {"a": 1}
    with pytest.raises(TypeError, match=r"torch has no dtype for datetime64\[D\]"):
        faretra.torch.tensor(arena, "dates")
    with pytest.raises(TypeError, match="'object' is an object"):
        faretra.torch.tensor(arena, "object")
    with pytest.raises(KeyError):
        faretra.torch.tensor(arena, "nothing")


def test_without_torch_it_says_so() -> None:
    """Importing the module needs no torch, and the first call says how to get it."""
    code = (
        "import sys; sys.modules['torch'] = None; import faretra, faretra.torch\n"
        f"arena = faretra.Arena.create('pytest-{os.getpid()}-no-torch', keep=False); arena['x'] = b'1'\n"
        "try: faretra.torch.tensor(arena, 'x')\n"
        "except ImportError as error: print(error)"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)
    assert "pip install torch" in printed


Pair = namedtuple("Pair", "x y")


def test_collate_keeps_structure(arena: faretra.Arena) -> None:
    """Dicts, tuples and named tuples keep their structure; arrays and numbers are stacked; text becomes a list."""
    stack = faretra.torch.collate(arena)
    samples = [{"p": Pair(np.full(3, i, "float32"), i), "t": (i * 0.5, str(i)), "n": None} for i in range(4)]
    batch = stack(samples)
    assert isinstance(batch["p"], Pair)
    assert batch["p"].x.numpy().tolist() == [[i] * 3 for i in range(4)]
    assert batch["p"].y.numpy().tolist() == [0, 1, 2, 3]
    assert batch["t"][0].numpy().tolist() == [0.0, 0.5, 1.0, 1.5]
    assert batch["t"][1] == ["0", "1", "2", "3"]
    assert batch["n"] == [None] * 4
    assert arena.entries() == []


def test_memory_of_a_batch_comes_back(arena: faretra.Arena) -> None:
    """A batch that is dropped frees its memory, and a batch that cannot be made leaves nothing."""
    stack = faretra.torch.collate(arena)
    batch = stack([np.zeros(100_000), np.ones(100_000)])
    assert arena.stats().live > 1_600_000
    del batch
    assert arena.stats().live < 100_000
    for wrong, error in (([np.zeros(2), np.zeros(3)], ValueError), ([], ValueError)):
        with pytest.raises(error):
            stack(wrong)
    with pytest.raises(ValueError, match="different shapes"):
        stack([(np.zeros(2), np.zeros(2)), (np.zeros(2), np.zeros(3))])
    with pytest.raises(TypeError, match="no such dtype"):
        stack([np.array("text"), np.array("text")])
    assert arena.entries() == []


def test_a_sent_batch_is_a_name(arena: faretra.Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a worker, `collate` gives what pickles to a few hundred bytes and unpickles to the batch, zero-copy."""
    monkeypatch.setattr(faretra.torch, "_in_worker", lambda: True)
    stack = pickle.loads(pickle.dumps(faretra.torch.collate(arena, "b", writable=False)))
    sent = pickle.dumps(stack([np.full(100_000, i) for i in range(8)]))
    assert len(sent) < 1000
    (name,) = arena
    address = arena[name].__array_interface__["data"][0]
    batch = pickle.loads(sent)
    assert _address(batch) == address
    assert arena.entries() == []
    assert batch.numpy()[7, 0] == 7


LOADER = """
import sys
import faretra, faretra.torch, numpy as np, torch
from torch.utils.data import DataLoader, Dataset

class Squares(Dataset):
    def __len__(self): return 64
    def __getitem__(self, index): return {"x": np.full((8, 8), index, "float32"), "y": index, "s": str(index)}

if __name__ == "__main__":
    with faretra.Arena.create(sys.argv[1], limit="256MiB", keep=False) as arena:
        stack = faretra.torch.collate(arena)
        total = 0.0
        for batch in DataLoader(Squares(), batch_size=8, num_workers=2, collate_fn=stack,
                                multiprocessing_context=sys.argv[2]):
            assert batch["y"].dtype == torch.int64 and len(batch["s"]) == 8
            batch["x"] += 1
            total += batch["x"].sum().item()
        del batch
        arena.recover()
        assert arena.entries() == [] and arena.verify() == [], (arena.entries(), arena.verify())
        print(total)
"""


@needs_torch
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_data_loader(start: str, tmp_path: Any) -> None:
    """Workers of a `DataLoader` send every batch through the arena, with either start method."""
    script = tmp_path / "loader.py"
    script.write_text(LOADER)
    name = f"pytest-{os.getpid()}-loader-{start}"
    printed = subprocess.check_output([sys.executable, str(script), name, start], text=True, timeout=120)
    assert float(printed) == 64 * (sum(range(64)) + 64)


CONTEXT = """
import os, signal, sys
import numpy as np, torch
from faretra import multiprocessing as mp
from torch.utils.data import DataLoader, Dataset

class Squares(Dataset):
    def __init__(self, die_at=None): self.die_at = die_at
    def __len__(self): return 64
    def __getitem__(self, index):
        if index == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"x": torch.full((64, 256), float(index)), "y": np.full(3, index), "s": str(index)}

def is_private_over_the_arena(tensor):
    with open("/proc/self/maps") as lines:
        for line in lines:
            low, high = (int(end, 16) for end in line.split()[0].split("-"))
            if low <= tensor.data_ptr() < high:
                return line.split()[1] == "rw-p" and "/dev/shm/" in line
    return False

if __name__ == "__main__":
    context = mp.get_context(sys.argv[1])
    loader = DataLoader(Squares(), batch_size=8, num_workers=2, multiprocessing_context=context, persistent_workers=True)
    for epoch in range(2):
        total, numbers = 0.0, []
        for batch in loader:
            assert is_private_over_the_arena(batch["x"]) and len(batch["s"]) == 8
            batch["x"] += 1
            total += batch["x"].mean().item() * 8
            numbers += batch["y"][:, 0].tolist()
        assert numbers == list(range(64))
        print(total)
    del loader, batch
    # What each worker had ready when the other was killed may still come.
    try:
        for batch in DataLoader(Squares(40), batch_size=8, num_workers=2, multiprocessing_context=context):
            pass
    except RuntimeError as error:
        print("killed" if "exited unexpectedly" in str(error) or "Killed" in str(error) else error)
"""


@needs_torch
@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_a_data_loader_with_our_context(start: str, tmp_path: Any) -> None:
    """Given our context alone, a `DataLoader` has its batches in the arena; a killed worker is an error; nothing is left."""
    script = tmp_path / "context.py"
    script.write_text(CONTEXT)
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="faretra-torch-") as shm:
        environment = {**os.environ, "FARETRA_DIR": shm}
        command = [sys.executable, str(script), start]
        printed = subprocess.check_output(command, text=True, timeout=120, env=environment).split()
        assert [float(total) for total in printed[:2]] == [sum(range(64)) + 64] * 2
        assert printed[2:] == ["killed"]
        assert os.listdir(shm) == []


@needs_torch
def test_tensors_go_in_as_arrays(arena: faretra.Arena, torch: Any) -> None:
    """A tensor is put as an array of its dtype, which any process reads without torch."""
    arena["t"] = torch.arange(6, dtype=torch.int32).reshape(2, 3)
    assert arena["t"].dtype == np.int32
    assert arena["t"].tolist() == [[0, 1, 2], [3, 4, 5]]
