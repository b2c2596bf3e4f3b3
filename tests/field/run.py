"""The field suite: files as people really have them, put, printed and written again by the command.

Shows that a value is never changed silently: what comes out is what went in, or the command says in one
line why it cannot be done. The oracles are pyarrow, DuckDB and numpy. First come the cases, each with its
right answer (`cases.py`); then, until the time is over, random arrays, CSV files, tables and damaged files.
The same seed makes the same trials. Prints the counts of each kind, what was refused, and where the smallest
input of each finding was kept.

    python tests/field/run.py --binary target/debug/faretra --seconds 60 --seed 1
    python tests/field/run.py --binary target/debug/faretra --seed 1 --trial tables:57   # one trial again
    python tests/field/run.py --binary target/debug/faretra --case 01                    # one case again
"""

import argparse
import collections
import json
import os
import pathlib
import random
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

try:
    import arrays
    import cases
    import damage
    import layouts
    import tables
except ModuleNotFoundError as missing:
    if missing.name not in ("duckdb", "numpy", "pyarrow"):
        raise
    print(f"skipped: no Python package {missing.name}: pip install --requirement python-check/requirements.txt")
    sys.exit(77)
from tool import Tool, Wrong

KINDS = {kind.NAME: kind for kind in (arrays, layouts, tables, damage)}
# One of these after the other: tables have the most to find.
TURNS = ["tables", "layouts", "tables", "arrays", "tables", "layouts", "damage", "damage"]
WORKERS = 2
SHRINKING = 8  # seconds at most for each finding


def arguments():
    parser = argparse.ArgumentParser(description="the field suite", allow_abbrev=False)
    parser.add_argument("--binary", type=pathlib.Path, required=True, help="the faretra command")
    parser.add_argument("--seconds", type=float, default=60, help="in all; the cases come first, each whole")
    parser.add_argument("--trials", type=int, default=10**9, help="at most so many, in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--long", action="store_true", help="also the cases that need gigabytes or many seconds")
    parser.add_argument("--only", choices=[*KINDS, "cases"], help="no other kind")
    parser.add_argument("--trial", metavar="KIND:N", help="one trial again")
    parser.add_argument("--case", metavar="NAME", help="the cases whose names begin so")
    parser.add_argument("--keep", type=pathlib.Path, help="directory for the inputs of findings [default: a new one]")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=pathlib.Path, help=argparse.SUPPRESS)
    return parser.parse_args()


# --- a worker ---


def tell(**facts):
    print(json.dumps(facts), flush=True)


class Worker:
    def __init__(self, given):
        self.given = given
        self.parent = os.getppid()
        self.tool = Tool(given.binary.resolve(), given.root)
        self.known = set()
        self.end = time.monotonic() + given.seconds

    def work(self):
        if self.given.trial:
            kind, _, number = self.given.trial.partition(":")
            self.trial(KINDS[kind], int(number))
        elif self.given.case or self.given.only == "cases":
            self.cases()
        else:
            self.cases()
            self.trials()
        for (what, where, words), count in self.tool.refusals.items():
            tell(refused=[what, where, words], count=count)

    def cases(self):
        chosen = [case for case in cases.CASES if case.name.startswith(self.given.case or "")]
        chosen = [case for case in chosen if self.given.long or self.given.case or not case.long]
        if self.given.only not in (None, "cases"):
            chosen = []
        for case in chosen[self.given.worker :: 1 if self.given.case else WORKERS]:
            if os.getppid() != self.parent:
                return
            tell(begins=f"cases:{case.name}")
            self.judge("cases", case.name, lambda: case.run(self.tool), f"{case.name}: ")
            self.tool.renew()

    def trials(self):
        turns = [self.given.only] if self.given.only else TURNS
        number = self.given.worker
        while number < self.given.trials and time.monotonic() < self.end and os.getppid() == self.parent:
            self.trial(KINDS[turns[number // WORKERS % len(turns)]], number)
            number += WORKERS
            if number % 400 < WORKERS:
                self.tool.renew()
            else:
                self.tool.tidy()

    def trial(self, kind, number):
        tell(begins=f"{kind.NAME}:{number}")
        given = kind.make_input(random.Random(f"{self.given.seed}/{kind.NAME}/{number}"))
        wrongs = self.judge(kind.NAME, number, lambda: kind.check(self.tool, given))
        for wrong in wrongs:
            if wrong.sign not in self.known:
                self.known.add(wrong.sign)
                self.keep(kind, number, given, wrong)

    def judge(self, kind, number, check, prefix=""):
        """Runs a check, and tells how it ended. A fault of the suite itself is a finding too."""
        self.tool.found = []
        why = None
        try:
            with self.tool.noting():
                why = check()
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            sign = f"the suite: {type(error).__name__} at {pathlib.Path(last.filename).name}:{last.lineno}"
            self.tool.found.append(Wrong(sign, traceback.format_exc()))
        found = [(prefix + wrong.sign, wrong.detail) for wrong in self.tool.found]
        tell(kind=kind, number=number, found=found, how=why if isinstance(why, str) else None)
        return self.tool.found

    def keep(self, kind, number, given, wrong):
        """Keeps the smallest input that still shows the fault."""
        end = time.monotonic() + SHRINKING

        def shows(candidate):
            self.tool.found = []
            try:
                with self.tool.noting():
                    kind.check(self.tool, candidate)
            except Exception:
                return None
            return next((w for w in self.tool.found if w.sign == wrong.sign), None)

        refusals = self.tool.refusals.copy()
        while time.monotonic() < end:
            for candidate in kind.smaller(given):
                smaller = shows(candidate)
                if smaller or time.monotonic() > end:
                    break
            else:
                break
            if smaller:
                given, wrong = candidate, smaller
        self.tool.refusals = refusals
        words = "".join(c if c.isalnum() else "-" for c in wrong.sign)[:60].strip("-")
        directory = self.given.keep / f"{kind.NAME}-{number}-{words}"
        directory.mkdir(parents=True, exist_ok=True)
        path = kind.save(given, directory)
        (directory / "finding.txt").write_text(f"{wrong.sign}\n{wrong.detail}\n\n{given}\n")
        tell(kept=str(path), sign=wrong.sign, detail=wrong.detail)


def worker(given):
    def stop(*_):
        raise SystemExit(1)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    at_work = Worker(given)
    try:
        at_work.work()
    finally:
        at_work.tool.close()


# --- the parent ---


class Counts:
    def __init__(self, given):
        self.given = given
        self.passed = collections.Counter()
        self.failed = collections.Counter()
        self.how = collections.Counter()
        self.signs = collections.defaultdict(list)
        self.kept = {}
        self.refused = collections.Counter()
        self.begun = {}

    def take(self, who, facts):
        if "begins" in facts:
            self.begun[who] = facts["begins"]
        elif "refused" in facts:
            self.refused[tuple(facts["refused"])] += facts["count"]
        elif "kept" in facts:
            self.kept.setdefault(facts["sign"], (facts["kept"], facts["detail"]))
        else:
            kind = facts["kind"]
            (self.failed if facts["found"] else self.passed)[kind] += 1
            if facts["how"]:
                self.how[kind, facts["how"]] += 1
            for sign, detail in facts["found"]:
                if sign not in self.signs:
                    print(f"FAILED {kind} {facts['number']}: {sign}: {detail[:300]}", flush=True)
                self.signs[sign].append((kind, facts["number"], detail))

    def broke(self, who, code):
        """A worker that died: pyarrow or DuckDB took it along, or it was killed."""
        kind, _, number = self.begun.get(who, "cases:").partition(":")
        self.failed[kind] += 1
        self.signs[f"a worker ended with {code}"].append((kind, number, f"at {kind} {number}"))

    def print(self):
        if self.refused:
            print("\nrefused in words:\n| input | where | first words | count |\n|---|---|---|---|")
            for (what, where, words), count in sorted(self.refused.items(), key=lambda item: (item[0][:2], -item[1])):
                print(f"| {what} | {where} | {words.replace('|', chr(92) + '|')} | {count} |")
        if self.signs:
            print("\nfindings:")
        for sign, seen in sorted(self.signs.items(), key=lambda item: -len(item[1])):
            kind, number, detail = seen[0]
            kept, detail = self.kept.get(sign, (None, detail))
            again = f"--case '{number}'" if kind == "cases" else f"--trial {kind}:{number}"
            print(f"  {len(seen)} x {sign}\n      {detail[:400]}")
            if kept:
                print(f"      smallest input: {kept}")
            print(f"      again: {sys.executable} {sys.argv[0]} --binary {self.given.binary} --seed {self.given.seed} {again}")
        print()
        for kind in sorted({*self.passed, *self.failed}):
            others = [f", {count} {how}" for (k, how), count in self.how.items() if k == kind]
            print(f"{kind}: passed {self.passed[kind]}, failed {self.failed[kind]}{''.join(others)}")
        print(f"{self.passed.total()} passed, {self.failed.total()} failed", flush=True)


def main():
    given = arguments()
    if given.worker is not None:
        return worker(given)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    if given.keep is None:
        given.keep = pathlib.Path(tempfile.mkdtemp(prefix="faretra-field."))
    given.keep.mkdir(parents=True, exist_ok=True)
    shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
    root = pathlib.Path(tempfile.mkdtemp(prefix="faretra-field.", dir=shared))
    # Removes the directory also when this process is killed: it reads the end of a pipe that we hold.
    guard = subprocess.Popen(["sh", "-c", 'trap "" INT TERM HUP; cat >/dev/null; rm -rf "$0"', root], stdin=subprocess.PIPE)
    workers = []
    counts = Counts(given)
    try:
        one = given.trial or given.case
        selector = selectors.DefaultSelector()
        for number in range(1 if one else WORKERS):
            words = [sys.executable, *sys.argv, "--worker", str(number), "--root", root, "--keep", given.keep]
            child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            workers.append(child)
            selector.register(child.stdout, selectors.EVENT_READ, (number, child))
        while selector.get_map():
            for key, _ in selector.select():
                number, child = key.data
                line = key.fileobj.readline()
                if line:
                    counts.take(number, json.loads(line))
                    continue
                selector.unregister(key.fileobj)
                if child.wait():
                    counts.broke(number, child.returncode)
    finally:
        for child in workers:
            child.terminate()
            child.wait()
        shutil.rmtree(root, ignore_errors=True)
        guard.communicate()
        if not any(given.keep.iterdir()):
            given.keep.rmdir()
    counts.print()
    return 1 if counts.failed else 0


if __name__ == "__main__":
    sys.exit(main())
