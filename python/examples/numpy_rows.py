"""A NumPy array over shared memory, which the workers of a pool fill row by row."""

import numpy as np

# from multiprocessing import Pool, RawArray
from faretra.multiprocessing import Pool, RawArray

ROWS, COLUMNS = 100, 1000


def seen(memory):
    """Return the memory as an array."""
    return np.frombuffer(memory).reshape(ROWS, COLUMNS)


def begin(memory):
    """Keep the array in each worker."""
    global array
    array = seen(memory)


def fill(row):
    """Fill a row."""
    array[row] = np.arange(COLUMNS) * row


if __name__ == "__main__":
    memory = RawArray("d", ROWS * COLUMNS)
    with Pool(4, initializer=begin, initargs=(memory,)) as pool:
        pool.map(fill, range(ROWS))
    array = seen(memory)
    print(array.shape, array[3, :4], array.sum())
