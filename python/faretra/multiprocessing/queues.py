"""Queues (the standard's until ours replace them)."""
from multiprocessing.queues import JoinableQueue, Queue, SimpleQueue  # noqa: F401
