"""Pi by ten children, each with a pipe of its own to the parent."""

# from multiprocessing import Pipe, Process
from faretra.multiprocessing import Pipe, Process

CHILDREN, STEPS = 10, 100_000


def part(first):
    """Return every tenth strip of the integral, from this one on."""
    return sum(4 / (1 + ((i + 0.5) / STEPS) ** 2) for i in range(first, STEPS, CHILDREN)) / STEPS


def child(pipe, first):
    """Send one part."""
    pipe.send(part(first))
    pipe.close()


if __name__ == "__main__":
    ends, children = [], []
    for first in range(CHILDREN):
        receiver, sender = Pipe(duplex=False)
        process = Process(target=child, args=(sender, first))
        process.start()
        # The child has its own now: when that is closed, or the child dies, the parent gets EOFError.
        sender.close()
        ends.append(receiver)
        children.append(process)
    pi = sum(end.recv() for end in ends)
    for process in children:
        process.join()
    print(f"{pi:.6f}")
