"""Pi by ten children, through a queue: each child sums a tenth of the integral of 4 / (1 + x²)."""

# from multiprocessing import Process, Queue
from faretra.multiprocessing import Process, Queue

CHILDREN, STEPS = 10, 100_000


def part(first):
    """Return every tenth strip of the integral, from this one on."""
    return sum(4 / (1 + ((i + 0.5) / STEPS) ** 2) for i in range(first, STEPS, CHILDREN)) / STEPS


def child(queue, first):
    """Send one part."""
    queue.put(part(first))


if __name__ == "__main__":
    queue = Queue()
    children = [Process(target=child, args=(queue, first)) for first in range(CHILDREN)]
    for process in children:
        process.start()
    pi = sum(queue.get() for _ in children)
    for process in children:
        process.join()
    print(f"{pi:.6f}")
