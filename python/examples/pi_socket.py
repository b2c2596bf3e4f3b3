"""Pi by ten children, which connect to a socket of the parent."""

import socket

# from multiprocessing import Process
from faretra.multiprocessing import Process

CHILDREN, STEPS = 10, 100_000


def part(first):
    """Return every tenth strip of the integral, from this one on."""
    return sum(4 / (1 + ((i + 0.5) / STEPS) ** 2) for i in range(first, STEPS, CHILDREN)) / STEPS


def child(address, first):
    """Connect and send one part."""
    with socket.create_connection(address) as connection:
        connection.sendall(repr(part(first)).encode())


def received(server):
    """Return what the next child sends until it closes the connection."""
    connection, _ = server.accept()
    with connection, connection.makefile() as text:
        return float(text.read())


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as server:
        children = [Process(target=child, args=(server.getsockname(), first)) for first in range(CHILDREN)]
        for process in children:
            process.start()
        pi = sum(received(server) for _ in children)
        for process in children:
            process.join()
    print(f"{pi:.6f}")
