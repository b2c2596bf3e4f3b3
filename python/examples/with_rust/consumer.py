"""Reads what the Rust example `producer` publishes, each version as soon as it is there, as numpy arrays over the arena.

In two terminals, in either order:

    python python/examples/with_rust/consumer.py prices
    cargo run --example producer -- prices
"""

import sys
import time

import faretra


def opened(name):
    """Open the arena; wait for it if the producer has not made it yet."""
    for _ in range(3000):
        try:
            return faretra.Arena.open(name)
        except faretra.ArenaNotFoundError:
            time.sleep(0.01)
    raise SystemExit(f"nobody made an arena `{name}` for 30 s")


def consume(name):
    """Look at one version after the other."""
    seen = version = 0
    with opened(name) as arena:
        while True:
            # Sleeps until there is a version that was not seen. Who is slow misses some, and holds up nobody.
            table = arena.wait_for("prices", newer_than=version, timeout=10)
            version = table.version
            if table.num_rows == 0:
                print(f"consumer: saw {seen} versions, up to {version}")
                return
            # Read-only, and not copied: the memory that the Rust process wrote.
            price = table.column("price")
            assert not price.flags.writeable and not price.flags.owndata
            seen += 1
            if seen % 10 == 1:
                print(f"consumer: version {version}, mean price {price.mean():.3f}")


if __name__ == "__main__":
    consume(sys.argv[1])
