"""What every test has: an arena of its own, which goes with the test."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

import faretra
from faretra import multiprocessing

sys.path.insert(0, os.path.dirname(__file__))

from mp_programs import METHODS

_numbers = count()

# A shell that runs the tests in the background ignores Ctrl-C for them, and programs that they start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _fresh_name() -> str:
    return f"pytest-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def fresh_name() -> Callable[[], str]:
    """Give names of arenas that nobody else uses."""
    return _fresh_name


@pytest.fixture
def arena() -> Iterator[faretra.Arena]:
    """Give an arena of 256 MiB, without anything in it; it is verified and closed after the test."""
    made = faretra.Arena.create(_fresh_name(), limit="256MiB", keep=False)
    yield made
    if not made.closed:
        assert made.verify() == []
        made.close()


@pytest.fixture(params=METHODS)
def ctx(request: pytest.FixtureRequest) -> Any:
    """Give a context of `faretra.multiprocessing`, of each start method."""
    return multiprocessing.get_context(request.param)
