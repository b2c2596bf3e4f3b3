"""Shared ctypes (the standard's until ours replace them)."""
from multiprocessing.sharedctypes import *  # noqa: F403
