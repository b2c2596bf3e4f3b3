"""Value and Array, with a lock of their own, and RawValue and RawArray, without one."""

from ctypes import Structure, c_double

# from multiprocessing import Array, Process, RawArray, RawValue, Value
from faretra.multiprocessing import Array, Process, RawArray, RawValue, Value


class Point(Structure):
    """What C calls a struct."""

    _fields_ = (("x", c_double), ("y", c_double))


def work(counter, numbers, last, row, points, which):
    """Change what is shared: raw ones where nobody else writes."""
    for _ in range(1000):
        with counter.get_lock():
            counter.value += 1
    with numbers.get_lock():
        for i in range(len(numbers)):
            numbers[i] += which
    row[which] = which * 1.5
    points[which].x, points[which].y = which, -which
    if which == 3:
        last.value = b"x"


if __name__ == "__main__":
    counter, numbers = Value("i", 0), Array("d", [0.5, 1.5])
    last, row, points = RawValue("c", b"-"), RawArray("d", 4), Array(Point, 4, lock=False)
    shared = (counter, numbers, last, row, points)
    children = [Process(target=work, args=(*shared, which)) for which in range(4)]
    for process in children:
        process.start()
    for process in children:
        process.join()
    print(counter.value, numbers[:], last.value, row[:])
    print([(point.x, point.y) for point in points])
