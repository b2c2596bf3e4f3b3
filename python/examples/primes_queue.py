"""Primes below 1,000,000: workers take ranges from one queue and put counts into another."""

from math import isqrt

# import multiprocessing as mp
from faretra import multiprocessing as mp

LIMIT, STEP, WORKERS = 1_000_000, 50_000, 4


def count_primes(low, high):
    """Count the primes from `low` up to `high`, which is not among them."""
    is_prime = bytearray([1]) * (high - low)
    for factor in range(2, isqrt(high - 1) + 1):
        first = max(factor * factor, -(-low // factor) * factor)
        is_prime[first - low :: factor] = bytes(len(range(first, high, factor)))
    return sum(is_prime) - sum(low <= n < high for n in (0, 1))


def work(ranges, counts):
    """Count until there is nothing more to do."""
    for low, high in iter(ranges.get, None):
        counts.put(count_primes(low, high))


if __name__ == "__main__":
    ranges, counts = mp.Queue(), mp.Queue()
    workers = [mp.Process(target=work, args=(ranges, counts)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    starts = range(0, LIMIT, STEP)
    for low in starts:
        ranges.put((low, low + STEP))
    for _ in workers:
        ranges.put(None)
    print(sum(counts.get() for _ in starts))
    for worker in workers:
        worker.join()
