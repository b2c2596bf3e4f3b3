"""Inserts into SQLite by many processes, of which a semaphore lets two in at a time."""

import os
import sqlite3
import tempfile
from contextlib import closing

# from multiprocessing import Process, Semaphore
from faretra.multiprocessing import Process, Semaphore

PROCESSES, ROWS = 6, 5


def insert(path, semaphore, number):
    """Insert rows, one transaction for each."""
    for row in range(ROWS):
        with semaphore, closing(sqlite3.connect(path, timeout=60)) as database, database:
            database.execute("insert into log values (?, ?)", (number, row))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path, semaphore = os.path.join(folder, "log.db"), Semaphore(2)
        with closing(sqlite3.connect(path)) as database:
            database.execute("create table log (process integer, number integer)")
        children = [Process(target=insert, args=(path, semaphore, number)) for number in range(PROCESSES)]
        for process in children:
            process.start()
        for process in children:
            process.join()
        with closing(sqlite3.connect(path)) as database:
            for process, rows in database.execute("select process, count(*) from log group by process"):
                print(f"process {process}: {rows} rows")
