"""Signals while a process waits: a handler runs at once, and the wait goes on, unless the handler raises."""

import signal
import sys

# import multiprocessing as mp
from faretra import multiprocessing as mp


class Late(Exception):
    """Nothing came in time."""


def remind(number, frame):
    """Say that we still wait."""
    print("still waiting", flush=True)


def give_up(number, frame):
    """End the wait."""
    raise Late


def end_neatly(number, frame):
    """End after a SIGTERM."""
    print("the child ends neatly", flush=True)
    sys.exit(3)


def child(ready, never):
    """Wait for what never comes, until a SIGTERM."""
    signal.signal(signal.SIGTERM, end_neatly)
    ready.set()
    never.acquire()


def answer(asked, queue):
    """Put when asked."""
    asked.wait()
    queue.put("an answer")


if __name__ == "__main__":
    asked, queue = mp.Event(), mp.Queue()
    process = mp.Process(target=answer, args=(asked, queue))
    process.start()

    # A handler that returns: `get` goes on.
    signal.signal(signal.SIGALRM, remind)
    signal.alarm(1)
    try:
        queue.get(timeout=1.5)
    except mp.queues.Empty:
        print("nothing yet")
    asked.set()
    print(queue.get())
    process.join()

    # A handler that raises: the wait ends.
    signal.signal(signal.SIGALRM, give_up)
    for name, wait in (("get", queue.get), ("acquire", mp.Semaphore(0).acquire), ("wait", mp.Event().wait)):
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            wait()
        except Late:
            print(f"{name} was ended by the alarm")

    # A child that waits for a lock ends in its own way.
    ready, never = mp.Event(), mp.Lock()
    never.acquire()
    process = mp.Process(target=child, args=(ready, never))
    process.start()
    ready.wait()
    process.terminate()
    process.join()
    print("exit code:", process.exitcode)
