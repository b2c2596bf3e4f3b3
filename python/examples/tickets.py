"""A hundred buyers and ten tickets: a lock keeps two buyers from getting the same one."""

import time

# import multiprocessing as mp
from faretra import multiprocessing as mp

BUYERS, TICKETS = 100, 10


def buy(tickets, lock, sold):
    """Buy a ticket if there is one."""
    with lock:
        left = tickets.value
        # What another buyer would need to see the same number of tickets, if there were no lock.
        time.sleep(0.001)
        if left:
            tickets.value = left - 1
            sold.put(left)


if __name__ == "__main__":
    tickets, lock, sold = mp.RawValue("i", TICKETS), mp.Lock(), mp.Queue()
    buyers = [mp.Process(target=buy, args=(tickets, lock, sold)) for _ in range(BUYERS)]
    for buyer in buyers:
        buyer.start()
    for buyer in buyers:
        buyer.join()
    print("sold:", sorted(sold.get() for _ in range(TICKETS)))
    print("left:", tickets.value, "and nobody else got one:", sold.empty())
