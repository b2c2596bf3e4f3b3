"""Connections and pipes (the standard's until ours replace them)."""
from multiprocessing.connection import *  # noqa: F403
from multiprocessing.connection import Connection, Pipe  # noqa: F401
