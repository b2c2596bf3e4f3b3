"""Publishes versions of a table for the Rust example `consumer`, which reads each of them where it lies.

In two terminals, in either order:

    python python/examples/with_rust/producer.py prices
    cargo run --example consumer -- prices

Kill the consumer with `kill -9`: this one goes on. Needs pyarrow, as any table does that Python makes.
"""

import sys
import time

import numpy as np
import pyarrow as pa

import faretra

VERSIONS, ROWS = 50, 1000
SCHEMA = pa.schema([pa.field("item", pa.uint64(), False), pa.field("price", pa.float64(), False)])


def produce(name):
    """Publish, and say when that was all."""
    with faretra.Arena.open_or_create(name, limit="64MiB", keep=False) as arena:
        while all(holder.this_process for holder in arena.who()):
            time.sleep(0.01)
        print(f"producer: somebody is there, so here are {VERSIONS} versions")
        item = np.arange(ROWS, dtype=np.uint64)
        for version in range(VERSIONS):
            # Row k of version i has the price i + k / 1000.
            arena["prices"] = pa.record_batch([item, version + item / 1000], schema=SCHEMA)
            time.sleep(0.01)
        # By agreement of the two programs, no rows means: that was all.
        last = arena.put("prices", pa.RecordBatch.from_pylist([], schema=SCHEMA))
        print(f"producer: done, the last version is {last}")


if __name__ == "__main__":
    produce(sys.argv[1])
