"""Where memory lies: whether an address is in an arena, and what keeps an arena's objects."""

from __future__ import annotations

import gc
import os
from typing import Any

import numpy as np

import faretra


def maps(arena: faretra.Arena) -> list[range]:
    """Return where the arena's file is mapped in this process."""
    file, found = str(os.stat(arena.path).st_ino), []
    with open("/proc/self/maps") as lines:
        for line in lines:
            place, _, _, _, inode = line.split()[:5]
            if inode == file:
                start, _, end = place.partition("-")
                found.append(range(int(start, 16), int(end, 16)))
    return found


def lies_in(arena: faretra.Arena, address: int, nbytes: int) -> bool:
    """Return whether these bytes are the arena's: none of them was copied."""
    return any(address in place and address + nbytes <= place.stop for place in maps(arena))


def array_lies_in(arena: faretra.Arena, array: np.ndarray[Any, Any]) -> bool:
    """Return whether the elements of an array are the arena's."""
    low, high = np.lib.array_utils.byte_bounds(array)
    return lies_in(arena, low, high - low)


def arrow_lies_in(arena: faretra.Arena, column: Any) -> bool:
    """Return whether every buffer of a pyarrow array, or chunked array, is the arena's."""
    chunks = column.chunks if hasattr(column, "chunks") else [column]
    buffers = [b for chunk in chunks for b in chunk.buffers() if b is not None and b.size]
    buffers += [
        b
        for chunk in chunks
        if hasattr(chunk, "dictionary")
        for b in chunk.dictionary.buffers()
        if b is not None
    ]
    assert buffers, "there is nothing to look at"
    return all(lies_in(arena, b.address, b.size) for b in buffers)


def pins(arena: faretra.Arena) -> int:
    """Return how many objects this process keeps in the arena."""
    gc.collect()
    return sum(holder.pins for holder in arena.who() if holder.this_process)
