"""Producers and consumers with a bounded queue; a sentinel for each consumer says that there is no more."""

# from multiprocessing import Process, Queue
from faretra.multiprocessing import Process, Queue

PRODUCERS, CONSUMERS, ITEMS = 3, 2, 20


def produce(queue, number):
    """Put items; `put` waits while the queue is full."""
    for item in range(ITEMS):
        queue.put(number * ITEMS + item)


def consume(queue, results):
    """Take items until the sentinel comes."""
    total = 0
    while (item := queue.get()) is not None:
        total += item * item
    results.put(total)


if __name__ == "__main__":
    queue, results = Queue(maxsize=4), Queue()
    producers = [Process(target=produce, args=(queue, number)) for number in range(PRODUCERS)]
    consumers = [Process(target=consume, args=(queue, results)) for _ in range(CONSUMERS)]
    for process in producers + consumers:
        process.start()
    for process in producers:
        process.join()
    for _ in consumers:
        queue.put(None)
    print("sum of squares:", sum(results.get() for _ in consumers))
    for process in consumers:
        process.join()
    print("exit codes:", [process.exitcode for process in producers + consumers])
