"""Producer and daemon consumers with a JoinableQueue: `join` waits until each item was worked on."""

# from multiprocessing import JoinableQueue, Process
from faretra.multiprocessing import JoinableQueue, Process


def consume(queue):
    """Take items for ever: a daemon ends with the program."""
    while True:
        name = queue.get()
        print(f"{name} was eaten", flush=True)
        queue.task_done()


if __name__ == "__main__":
    queue = JoinableQueue()
    consumers = [Process(target=consume, args=(queue,), daemon=True) for _ in range(3)]
    for consumer in consumers:
        consumer.start()
    for number in range(10):
        queue.put(f"bun {number}")
    queue.join()
    print("all were eaten")
