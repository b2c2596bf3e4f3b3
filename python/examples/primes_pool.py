"""Primes below 1,000,000, by a pool of workers."""

from math import isqrt

# from multiprocessing import Pool
from faretra.multiprocessing import Pool

LIMIT, STEP = 1_000_000, 50_000


def count_primes(low, high):
    """Count the primes from `low` up to `high`, which is not among them."""
    is_prime = bytearray([1]) * (high - low)
    for factor in range(2, isqrt(high - 1) + 1):
        first = max(factor * factor, -(-low // factor) * factor)
        is_prime[first - low :: factor] = bytes(len(range(first, high, factor)))
    return sum(is_prime) - sum(low <= n < high for n in (0, 1))


if __name__ == "__main__":
    with Pool(4) as pool:
        print(sum(pool.starmap(count_primes, [(low, low + STEP) for low in range(0, LIMIT, STEP)])))
