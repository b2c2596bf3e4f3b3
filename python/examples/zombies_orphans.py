"""Zombies and orphans: what becomes of a child that nobody joined, and of one whose parent was killed.

A zombie is an ended child whose exit code nobody has asked for. Whatever looks at children, such as `active_children` or the
start of another one, asks for it. To Faretra a zombie is dead: its locks and leases are free from the moment it ended.

An orphan goes on, and everything that it was given goes on with it: the shared memory stays until the last process of the
program has ended, and goes with that one.
"""

import os
import signal
import time

# import multiprocessing as mp
from faretra import multiprocessing as mp


def state(pid):
    """Return a process's state, as the kernel's letter: Z is a zombie. None is no process at all."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return None


def wait_for(what):
    """Wait until it is so."""
    while not what():
        time.sleep(0.01)


def orphan(parent, queue, go_on):
    """Outlive the parent."""
    queue.put(os.getpid())
    go_on.acquire()
    queue.put("the orphan goes on" if os.getppid() != parent else "its parent lives")


def middle(queue, go_on):
    """Start a child, and be killed."""
    child = mp.Process(target=orphan, args=(os.getpid(), queue, go_on))
    child.start()
    child.join()


if __name__ == "__main__":
    child = mp.Process(target=time.sleep, args=(0,))
    child.start()
    wait_for(lambda: state(child.pid) == "Z")
    print("ended, not joined: a zombie")
    print("children that run:", mp.active_children())
    print("after active_children:", state(child.pid))

    queue, go_on = mp.Queue(), mp.Semaphore(0)
    parent = mp.Process(target=middle, args=(queue, go_on))
    parent.start()
    pid = queue.get()
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    print("the parent's exit code:", parent.exitcode)
    go_on.release()
    print(queue.get())
    wait_for(lambda: state(pid) in (None, "Z"))
    print("and has ended")
