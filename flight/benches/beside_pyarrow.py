"""How fast pyarrow's client streams a table from a server, beside pyarrow's own server with the same table in its memory.

Arguments: the address of the server, the name of the table, the number of rounds. Prints a JSON object: seconds of each round for
each server, in turn, and the bytes of the table. `cargo bench -p faretra-flight` runs it.
"""

import json
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.flight as flight


class Server(flight.FlightServerBase):
    """Serves one table from memory."""

    def __init__(self, table):
        super().__init__("grpc://127.0.0.1:0")
        self.table = table

    def do_get(self, context, ticket):
        """Stream the table."""
        return flight.RecordBatchStream(self.table)


def fetch(address, name):
    """Return a client, and the ticket of a table."""
    client = flight.connect(address)
    return client, client.get_flight_info(flight.FlightDescriptor.for_path(name)).endpoints[0].ticket


def serve(address, name):
    """Serve the table that another server has, until standard input ends."""
    client, ticket = fetch(address, name)
    with Server(client.do_get(ticket).read_all()) as server:
        print(server.port, flush=True)
        sys.stdin.read()


def streamed(client, ticket):
    """Stream all of it, and return the time and the bytes."""
    begun, size = time.perf_counter(), 0
    for chunk in client.do_get(ticket):
        size += chunk.data.nbytes
    return time.perf_counter() - begun, size


def main(address, name, rounds):
    """Ask both servers in turn."""
    command = [sys.executable, __file__, "serve", address, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        own = (flight.connect(f"grpc://127.0.0.1:{int(other.stdout.readline())}"), flight.Ticket(b""))
        servers = {"faretra": fetch(address, name), "pyarrow": own}
        times = {who: [] for who in servers}
        for round in range(rounds + 1):
            for who, (client, ticket) in servers.items():
                seconds, size = streamed(client, ticket)
                # The first round is to warm up.
                if round > 0:
                    times[who].append(seconds)
        other.stdin.close()
    print(json.dumps({**times, "bytes": size, "version": pa.__version__}))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], sys.argv[3])
    else:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
