"""Shared memory (the standard's until ours replace it)."""
from multiprocessing.shared_memory import SharedMemory, ShareableList  # noqa: F401
