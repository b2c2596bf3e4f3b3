"""Producer and consumer with a pipe: it ends with EOFError when the producer has closed its end."""

import numpy as np

# from multiprocessing import Pipe, Process
from faretra.multiprocessing import Pipe, Process


def consume(receiver, sender):
    """Receive arrays until the producer closes its end."""
    # A forked child has this end too, and would wait for itself.
    sender.close()
    total = 0.0
    while True:
        try:
            array = receiver.recv()
        except EOFError:
            break
        total += array.sum()
    print(f"the sum of all elements is {total:.0f}")


if __name__ == "__main__":
    receiver, sender = Pipe(duplex=False)
    consumer = Process(target=consume, args=(receiver, sender))
    consumer.start()
    receiver.close()
    for number in range(5):
        sender.send(np.full(200_000, number))
    sender.close()
    consumer.join()
    print("exit code:", consumer.exitcode)
