"""A client of Arrow Flight that does not know Faretra: pyarrow's. It lists, reads, publishes, and asks in SQL.

    python flight/examples/flight_client.py                           # with the command `faretra`: server and client
    python flight/examples/flight_client.py grpc://127.0.0.1:50051    # client of a server, `faretra serve air`

Needs pyarrow, and `adbc-driver-flightsql` for the last line, which is left out without it. It prints:

    the server has: flights (4 rows)
    4 rows of version 1: LIS, OPO, LIS, FAO
    2 late flights were put back: {"arena":"air","name":"late","rows":2,"version":1}
    in SQL: {'dest': ['FAO', 'LIS', 'OPO'], 'minutes': [22, 64, 3]}
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.flight as flight


@contextmanager
def serving() -> Iterator[str]:
    """Serve an arena with a table of flights, and give the address."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="flight-client-") as folder:
        rows = os.path.join(folder, "flights.csv")
        with open(rows, "w") as file:
            file.write("dest,delay\nLIS,4\nOPO,3\nLIS,60\nFAO,22\n")
        environment = {**os.environ, "FARETRA_DIR": folder}
        for command in (["create", "air", "--limit", "64MiB"], ["put", "air", "flights", rows]):
            subprocess.run(["faretra", *command], env=environment, check=True, stdout=subprocess.DEVNULL)
        command = ["faretra", "serve", "air", "--listen", "127.0.0.1:0", "--json"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as server:
            try:
                assert server.stdout is not None
                yield json.loads(server.stdout.readline())["address"]
            finally:
                server.terminate()


def ask(address: str) -> None:
    """Do what clients do."""
    client = flight.connect(address)
    for info in client.list_flights():
        print(f"the server has: {info.descriptor.path[0].decode()} ({info.total_records} rows)")

    # The info pins the version that is current: its ticket gives that one, whatever is published until then.
    info = client.get_flight_info(flight.FlightDescriptor.for_path("flights"))
    ticket = info.endpoints[0].ticket
    table = client.do_get(ticket).read_all()
    version = json.loads(ticket.ticket)["version"]
    print(f"{table.num_rows} rows of version {version}: {', '.join(table['dest'].to_pylist())}")

    late = table.filter(pc.greater_equal(table["delay"], pa.scalar(15)))
    writer, told = client.do_put(flight.FlightDescriptor.for_path("late"), late.schema)
    with writer:
        writer.write_table(late)
        writer.done_writing()
        print(f"{late.num_rows} late flights were put back: {told.read().to_pybytes().decode()}")
    client.close()

    try:
        from adbc_driver_flightsql import dbapi
    except ImportError:
        return
    with dbapi.connect(address, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT dest, sum(delay) AS minutes FROM flights GROUP BY dest ORDER BY dest")
        print(f"in SQL: {cursor.fetch_arrow_table().to_pydict()}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        ask(sys.argv[1])
    else:
        with serving() as server:
            ask(server)
