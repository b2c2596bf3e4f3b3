"""What the programs of the package print."""

from __future__ import annotations

import os
import sys


def say(text: str) -> None:
    """Print; if nobody reads any more (`| head`), say nothing from then on."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # What is still buffered goes nowhere when the interpreter ends, instead of failing again.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
