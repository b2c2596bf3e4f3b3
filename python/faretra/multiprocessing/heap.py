"""Memory for shared ctypes (the standard's until ours replaces it)."""
from multiprocessing.heap import *  # noqa: F403
