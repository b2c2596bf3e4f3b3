"""How fast the command is beside pyarrow, on the same files in the same run. Prints; asserts nothing.

    python tests/field/speed.py --binary target/release/faretra [FILE.parquet ...] [--made 1GB] [--rounds 5]

For each file: put, cat --format csv, export to Parquet, CSV and Arrow, and send with a receiver, each beside
pyarrow doing that conversion in one process of its own, start included. Rounds are interleaved: command,
pyarrow, command, pyarrow. What is written goes to a tmpfs, so that the disk is not measured.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# What pyarrow does for each: `source` is the Parquet file, `target` what is written.
PYARROW = {
    "start alone": "",
    "put": "t = pq.read_table(source)",
    "cat csv": "csv.write_csv(ipc.open_file(pa.memory_map(arrow)).read_all(), target)",
    "export csv": "csv.write_csv(ipc.open_file(pa.memory_map(arrow)).read_all(), target)",
    "export parquet": "pq.write_table(ipc.open_file(pa.memory_map(arrow)).read_all(), target, compression='zstd', compression_level=1)",
    "export arrow": "ipc.new_file(target, (t := ipc.open_file(pa.memory_map(arrow)).read_all()).schema).write_table(t)",
    "send and recv": "w = ipc.new_file(target, (f := pq.ParquetFile(source)).schema_arrow)\nfor b in f.iter_batches(65536): w.write_batch(b)\nw.close()",
}  # fmt: skip
IMPORTS = "import sys, pyarrow as pa, pyarrow.csv as csv, pyarrow.ipc as ipc, pyarrow.parquet as pq\nsource, arrow, target = sys.argv[1:]\n"


def made(path, size):
    """A table of about so many bytes: integers, floats, times, short texts that repeat and some that do not."""
    rng, rows = np.random.default_rng(1), 1_000_000
    written, writer = 0, None
    while written < size:
        words = np.array(["Paris", "New York", "Kathmandu", "São Paulo", "a longer name of a place"])
        table = pa.table({
            "id": np.arange(rows), "small": rng.integers(0, 100, rows), "x": rng.normal(size=rows), "y": rng.normal(size=rows),
            "when": rng.integers(0, 2**40, rows).view("M8[us]"), "place": words[rng.integers(0, 5, rows)],
            "key": pa.array(rng.integers(0, 2**62, rows)).cast(pa.string()), "flag": rng.integers(0, 2, rows).astype(bool),
        })  # fmt: skip
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        written += table.nbytes
    writer.close()


class Sides:
    def __init__(self, binary, root, source):
        self.binary, self.source = str(binary.resolve()), str(source)
        self.root = pathlib.Path(tempfile.mkdtemp(dir=root))
        self.environment = os.environ | {"FARETRA_DIR": str(self.root)}
        self.arrow = str(self.root / "whole.arrow")
        self.command("create", "speed", "--limit", "8GiB")
        self.command("put", "speed", "t", self.source)
        self.command("export", "speed", "t", self.arrow)

    def command(self, *words, out=subprocess.DEVNULL):
        return subprocess.run([self.binary, *words], env=self.environment, check=True, stdout=out, stderr=subprocess.DEVNULL)

    def ours(self, what):
        target = str(self.root / "ours")
        if what == "start alone":
            self.command("ls", "speed")
        elif what == "put":
            self.command("put", "speed", "p", self.source)
        elif what == "cat csv":
            with open(target, "wb") as file:
                self.command("cat", "speed", "t", "--format", "csv", out=file)
        elif what == "send and recv":
            words = [self.binary, "recv", "speed", "ch", "--export", target + ".arrow", "--force"]
            with subprocess.Popen(words, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as receiver:
                self.command("send", "speed", "ch", self.source, "--capacity", "1024")
            assert receiver.returncode == 0, "the receiver failed"
            self.command("rm", "speed", "ch")
        else:
            style = what.split()[1]
            self.command("export", "speed", "t", target, "--format", style, "--force")

    def theirs(self, what):
        subprocess.run([sys.executable, "-c", IMPORTS + PYARROW[what], self.source, self.arrow, str(self.root / "theirs")], check=True)


def seconds(run, what):
    began = time.monotonic()
    run(what)
    return time.monotonic() - began


def measure(sides, rounds):
    print("| what | faretra, s | pyarrow, s | ratio |\n|---|---|---|---|")
    for what in PYARROW:
        pairs = []
        for _ in range(rounds):
            pairs.append((seconds(sides.ours, what), seconds(sides.theirs, what)))
            for name in ("ours", "ours.arrow", "theirs"):
                (sides.root / name).unlink(missing_ok=True)
        ours, theirs = (statistics.median(side) for side in zip(*pairs))
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"| {what} | {ours:.2f} | {theirs:.2f} | {ratio:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--made", type=float, default=1.0, metavar="GB", help="size of the table that is made; 0 for none")
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    given = parser.parse_args()
    root = pathlib.Path(tempfile.mkdtemp(prefix="faretra-speed.", dir="/dev/shm"))
    try:
        sources = [path.resolve() for path in given.files]
        if given.made:
            made(root / "made.parquet", given.made * 1e9)
            sources.append(root / "made.parquet")
        print(f"pyarrow {pa.__version__}, medians of {given.rounds} interleaved rounds, load {os.getloadavg()[0]:.1f}")
        for source in sources:
            file = pq.ParquetFile(source).metadata
            print(f"\n{source.name}: {file.num_rows:,} rows, {file.num_columns} columns, {source.stat().st_size / 1e6:.0f} MB")
            sides = Sides(given.binary, root, source)
            measure(sides, given.rounds)
            shutil.rmtree(sides.root)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
