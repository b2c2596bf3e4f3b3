"""Managers (the standard's until ours replace them)."""
from multiprocessing.managers import *  # noqa: F403
from multiprocessing.managers import BaseManager, BaseProxy, RemoteError, SyncManager  # noqa: F401
