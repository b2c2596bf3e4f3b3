"""Connections and pipes (the standard's until ours replace them)."""
from multiprocessing.connection import *  # noqa: F403
from multiprocessing.connection import AuthenticationError, Connection, Pipe, _ForkingPickler, answer_challenge, deliver_challenge, wait  # noqa: F401
