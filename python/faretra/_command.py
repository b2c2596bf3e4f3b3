"""The command `faretra`: what the console script and `python -m faretra` run."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from faretra import _native


def main() -> NoReturn:
    """Run the command with the arguments of this process, and exit with its code."""
    # A descriptor that is missing would be an arena's, and be printed to.
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # The command handles signals itself; what its parent chose to ignore stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(_native._command(["faretra", *sys.argv[1:]], again()))


def again() -> list[str]:
    """Return how a process that runs the command is started: a program and its first arguments.

    The package is the one that runs now, also when it is not installed; the directory that the user is in is not searched.
    """
    here = str(Path(__file__).parent.parent)
    code = f"import sys; sys.path.append({here!r}); from faretra._command import main; main()"
    return [sys.executable, "-P", "-c", code]
