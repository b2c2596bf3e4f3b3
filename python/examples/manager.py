"""A manager's dict and list, which live in a server process, and are changed by all."""

# from multiprocessing import Manager, Process
from faretra.multiprocessing import Manager, Process


def note(squares, log, lock, number):
    """Change the dict and the list."""
    squares[number] = number * number
    log.append(number)
    with lock:
        squares["total"] = squares.get("total", 0) + number


if __name__ == "__main__":
    with Manager() as manager:
        squares, log, lock = manager.dict(), manager.list(), manager.Lock()
        children = [Process(target=note, args=(squares, log, lock, number)) for number in range(8)]
        for process in children:
            process.start()
        for process in children:
            process.join()
        print(sorted(squares.items(), key=str))
        print(sorted(log), len(squares), 3 in squares)
