"""A backend of `joblib` over `faretra.ProcessPoolExecutor`.

    import joblib, faretra.joblib

    faretra.joblib.register()
    with joblib.parallel_config("faretra"):
        joblib.Parallel(n_jobs=4)(joblib.delayed(work)(array) for array in arrays)

Large arrays among arguments and results go through shared memory, copied once, without files. A worker that is killed makes
the `Parallel` call raise `BrokenProcessPool`, as with joblib's own backend.

Functions that have no name in a module (lambdas, functions of functions) are handed over by `cloudpickle`, as joblib does.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import joblib
from joblib._parallel_backends import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)

from faretra._executor import ProcessPoolExecutor
from faretra.multiprocessing.context import default

__all__ = ["register"]

NAME = "faretra"


def register(make_default: bool = False) -> None:
    """Make the backend known to joblib as "faretra"; with `make_default`, also as the one that is used otherwise.

    >>> import faretra.joblib, joblib
    >>> faretra.joblib.register()
    >>> with joblib.parallel_config("faretra"):
    ...     joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(n) for n in (-1, 2, -3))
    [1, 2, 3]
    """
    joblib.register_parallel_backend(NAME, Backend, make_default=make_default)  # pyright: ignore[reportAttributeAccessIssue]


def _set_environment(environment: dict[str, str]) -> None:
    os.environ.update(environment)


class Backend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Batches of calls, each a call of an executor. `method` says how workers are started."""

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True

    _executor: ProcessPoolExecutor | None = None

    # joblib's sources say of both methods that they return nothing.
    def configure(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, n_jobs: int = 1, parallel: Any = None, method: str | None = None, **_: Any
    ) -> int:
        """Make an executor with `n_jobs` workers, and return how many that are."""
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        method = method or getattr(self, "backend_kwargs", {}).get("method")
        environment = {name: str(value) for name, value in self._prepare_worker_env(n_jobs=n_jobs).items()}
        self._executor = ProcessPoolExecutor(
            n_jobs, default.get_context(method), initializer=_set_environment, initargs=(environment,)
        )
        self.parallel = parallel
        return n_jobs

    def effective_n_jobs(self, n_jobs: int | None) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return how many calls go on at the same time for this `n_jobs`."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or multiprocessing.current_process().daemon:
            return 1
        if n_jobs < 0:
            return max(int(joblib.cpu_count()) + 1 + n_jobs, 1)  # pyright: ignore[reportAttributeAccessIssue]
        return n_jobs

    def submit(self, func: Any, callback: Callable[[Any], object] | None = None) -> Future[Any]:
        """Have a batch of calls done."""
        assert self._executor is not None
        items = getattr(func, "items", None)
        if items is not None:
            func.items = [(_portable(function), args, named) for function, args, named in items]
        future = self._executor.submit(func)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    # The name that versions before 1.5 call it by.
    apply_async = submit

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Return what a batch of calls returned."""
        return out.result()

    def terminate(self) -> None:
        """End the workers."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(cancel_futures=True)
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End the workers in the middle of what they do; with `ensure_ready`, start others."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)
            if executor._flow.pool is not None:
                executor._flow.pool.terminate()
        if ensure_ready:
            self.configure(
                n_jobs=self.parallel.n_jobs, parallel=self.parallel, **self.parallel._backend_kwargs
            )


def _portable(function: Any) -> Any:
    if "<" in getattr(function, "__qualname__", ""):
        return joblib.wrap_non_picklable_objects(function)  # pyright: ignore[reportAttributeAccessIssue]
    return function
