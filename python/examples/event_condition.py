"""An event starts all runners at once; a condition tells the referee when they are there, and has them wait their turn."""

# from multiprocessing import Condition, Event, Process, Value
from faretra.multiprocessing import Condition, Event, Process, Value

RUNNERS = 4


def run(start, condition, ready, turn, number):
    """Wait for the start, and then for one's turn."""
    with condition:
        ready.value += 1
        condition.notify_all()
    start.wait()
    with condition:
        condition.wait_for(lambda: turn.value == number)
        print(f"runner {number}", flush=True)
        turn.value += 1
        condition.notify_all()


if __name__ == "__main__":
    start, condition = Event(), Condition()
    ready, turn = Value("i", 0), Value("i", 0)
    runners = [Process(target=run, args=(start, condition, ready, turn, n)) for n in range(RUNNERS)]
    for runner in runners:
        runner.start()
    with condition:
        condition.wait_for(lambda: ready.value == RUNNERS)
    print("go:", not start.is_set(), flush=True)
    start.set()
    with condition:
        print("done:", condition.wait_for(lambda: turn.value == RUNNERS, timeout=60))
    for runner in runners:
        runner.join()
