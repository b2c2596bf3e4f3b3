"""Locks (the standard's until ours replace them)."""
from multiprocessing.synchronize import (  # noqa: F401
    Barrier, BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore, SEM_VALUE_MAX)
