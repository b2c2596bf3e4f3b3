"""The standard's own functions, with classes of ours in place of its own."""

from __future__ import annotations

import types
from typing import Any


def rebound(function: Any, **names: Any) -> Any:
    """Return a copy of a function of the standard's that finds `names` where it looks up globals.

    So it stays the function of whatever version of Python this is, and the standard module stays as it is.
    """
    where = {**function.__globals__, **names}
    made = types.FunctionType(
        function.__code__, where, function.__name__, function.__defaults__, function.__closure__
    )
    made.__kwdefaults__ = function.__kwdefaults__
    made.__doc__ = function.__doc__
    return made
