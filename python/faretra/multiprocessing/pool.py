"""Pools (the standard's until ours replace them)."""
from multiprocessing import ProcessError, pool
from typing import Any, Literal
WhenLost = Literal["raise", "retry"]
class WorkerLost(ProcessError):
    """A worker died in a task."""
class Pool(pool.Pool):
    def __init__(self, *args: Any, when_lost: WhenLost = "raise", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
