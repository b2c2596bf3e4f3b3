"""The backend of joblib."""

from __future__ import annotations

import os
import signal
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import pytest
from mp_programs import METHODS, is_mapped

joblib = pytest.importorskip("joblib")

import faretra.joblib  # noqa: E402 - only where joblib is


@pytest.fixture(params=METHODS)
def parallel(request: pytest.FixtureRequest) -> Any:
    faretra.joblib.register()
    with joblib.parallel_config("faretra", n_jobs=2, method=request.param):
        yield joblib.Parallel()


def square(x: int) -> int:
    return x * x


def work(array: Any) -> Any:
    return array * 2, is_mapped(array), os.getpid()


def die(x: int) -> int:
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def fail(x: int) -> int:
    raise KeyError(x)


def test_calls_are_done_by_workers(parallel: Any) -> None:
    """Results come in order, from other processes, and large arrays without a copy."""
    assert parallel(joblib.delayed(square)(n) for n in range(30)) == [n * n for n in range(30)]
    results = parallel(joblib.delayed(work)(np.full(100_000, n)) for n in range(6))
    for n, (result, mapped, pid) in enumerate(results):
        assert (result == 2 * n).all()
        assert mapped and is_mapped(result)
        assert pid != os.getpid()


def test_lambdas_and_generators(parallel: Any) -> None:
    """A function without a name works, and so do results as they come."""
    three = 3
    assert parallel(joblib.delayed(lambda x: x * three)(n) for n in range(5)) == [0, 3, 6, 9, 12]
    lazy = joblib.Parallel(return_as="generator")
    assert list(lazy(joblib.delayed(square)(n) for n in range(5))) == [0, 1, 4, 9, 16]


def test_errors_and_deaths_raise(parallel: Any) -> None:
    """An error of a call is raised, as is the death of a worker; the next call works."""
    with pytest.raises(KeyError):
        parallel(joblib.delayed(fail)(n) for n in range(4))
    with pytest.raises(BrokenProcessPool):
        joblib.Parallel()(joblib.delayed(die)(n) for n in range(8))
    # A `Parallel` of joblib keeps batches of a call that raised: another one has none.
    assert joblib.Parallel()(joblib.delayed(square)(n) for n in range(4)) == [0, 1, 4, 9]


def test_workers_are_kept_in_a_block() -> None:
    """With `with`, several calls have the same workers."""
    faretra.joblib.register()
    with joblib.parallel_config("faretra", method="fork"), joblib.Parallel(n_jobs=2) as parallel:
        first = set(parallel(joblib.delayed(os.getpid)() for _ in range(8)))
        second = set(parallel(joblib.delayed(os.getpid)() for _ in range(8)))
    assert len(first | second) <= 2
