"""Runs CPython's own tests of `multiprocessing` against `faretra.multiprocessing`.

    python python/tests/cpython.py --method spawn TestQueue TestLock
    python python/tests/cpython.py --method fork            # all of them
    python python/tests/cpython.py --method fork TestLock.test_repr_lock

The tests are `test/_test_multiprocessing.py` of the interpreter that runs this: a copy, in which each import
of `multiprocessing` is one of ours, is written to a temporary directory, where the processes that the tests
start find it too. A class is named as it is in that file, with or without what it runs on before it
(`WithProcessesTestQueue`, `WithManagerTestQueue`, `WithThreadsTestQueue`).

Prints what passed, failed and was skipped. What is known to differ is listed with its reason in
`cpython_differences.toml`; the run fails if anything else does, and if what is listed passes. `--standard`
runs the unchanged tests, to compare.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import os
import re
import signal
import sys
import tempfile
import time
import tomllib
import unittest
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DIFFERENCES = HERE / "cpython_differences.toml"
# The modules of ours that stand for one of the standard's; the others are the standard's own.
OURS = "connection|context|heap|managers|pool|queues|shared_memory|sharedctypes|synchronize"
# How long one test may take, in seconds.
PATIENCE = 90

# What each line of an import becomes; it may stand in a program that a test has as a string.
CHANGES: list[tuple[str, str]] = [
    (
        r"import multiprocessing\.(?P<name>\w+)",
        r"import multiprocessing.\g<name>; import faretra.multiprocessing as multiprocessing",
    ),
    (r"import multiprocessing as (?P<name>\w+)", r"import faretra.multiprocessing as \g<name>"),
    (r"import multiprocessing(?=\s*$)", r"import faretra.multiprocessing as multiprocessing"),
    (rf"from multiprocessing\.(?P<name>{OURS}) import", r"from faretra.multiprocessing.\g<name> import"),
    (r"from multiprocessing import", r"from faretra.multiprocessing import"),
]

# What the tests look up inside the standard's `Condition`, and where ours has it.
INSIDE = [
    (
        r"cond\._sleeping_count\.get_value\(\) -\s+cond\._woken_count\.get_value\(\)",
        "cond._waiters.waiting()",
    ),
    (r"cond\._wait_semaphore\.get_value\(\)", "cond._waiters.lost()"),
]

# After the imports: interpreters that a test starts must find `faretra` and this copy, so they may not be
# isolated.
PROLOGUE = """
for _name in ("assert_python_ok", "assert_python_failure"):
    _found = getattr(script_helper, _name)
    setattr(script_helper, _name, functools.partial(_found, PYTHONPATH=os.environ["PYTHONPATH"]))
"""


def changed(text: str) -> str:
    """The tests' text, with our modules in place of the standard's."""
    for old, new in CHANGES:
        text = re.sub(rf"^(?P<before>[ \t]*){old}", rf"\g<before>{new}", text, flags=re.MULTILINE)
    for old, new in INSIDE:
        text = re.sub(old, new, text)
    text = text.replace("'-E', ", "").replace(
        "from test._test_multiprocessing import", "from faretra_tests import"
    )
    return text.replace("'test.test_multiprocessing_forkserver'", "'faretra_tests_forkserver'")


def write_copy(directory: Path, method: str, standard: bool) -> str:
    """Writes the copy and the module of one start method; returns the module's name."""
    import test._test_multiprocessing as original  # type: ignore[import-not-found, unused-ignore]

    text = Path(original.__file__).read_text()
    text = text if standard else changed(text)
    before = "\n# Skip tests if _multiprocessing wasn't built."
    if before not in text:
        raise SystemExit(
            f"{original.__file__} has no line {before.strip()!r}: this interpreter's tests are not known"
        )
    text = text.replace(before, PROLOGUE + before, 1)
    (directory / "faretra_tests.py").write_text(text)
    name = f"faretra_tests_{method}"
    (directory / f"{name}.py").write_text(
        "import faretra_tests\n"
        # Children import this module: they do not set the start method.
        f"faretra_tests.install_tests_in_module_dict(globals(), {method!r})\n"
    )
    return name


class TooLong(Exception):
    """A test took longer than `PATIENCE`."""


class Result(unittest.TextTestResult):
    """Keeps what became of each test."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.passed: list[str] = []
        self.failed: dict[str, str] = {}
        self.skips: dict[str, str] = {}
        self.slowest: list[tuple[float, str]] = []

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.began = time.monotonic()
        signal.alarm(PATIENCE)
        faulthandler.dump_traceback_later(PATIENCE + 20, exit=True)

    def stopTest(self, test: unittest.TestCase) -> None:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        self.slowest.append((time.monotonic() - self.began, _id(test)))
        super().stopTest(test)

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.passed.append(_id(test))

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self.skips[_id(test)] = reason

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self.failed[_id(test)] = f"{err[0].__name__}: {err[1]}"

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self.failed[_id(test)] = f"{err[0].__name__}: {err[1]}"

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.failed[_id(test)] = f"{err[0].__name__}: {err[1]}"


def _id(test: unittest.TestCase) -> str:
    return ".".join(test.id().split(".")[-2:])


def known(method: str) -> tuple[dict[str, str], set[str]]:
    """The differences that hold for this method and version, and those that do not always show."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    reasons, sometimes = {}, set()
    for entry in tomllib.loads(DIFFERENCES.read_text()).get("difference", []):
        if method in entry.get("methods", [method]) and version in entry.get("versions", [version]):
            for test in entry["tests"]:
                reasons[test] = entry["reason"]
                if entry.get("sometimes", False):
                    sometimes.add(test)
    return reasons, sometimes


def wanted(module: Any, names: list[str], threads: bool) -> unittest.TestSuite:
    """The tests that were asked for: classes, or methods of classes."""
    loader, suite = unittest.TestLoader(), unittest.TestSuite()
    asked = [(name.partition(".")[0], name.partition(".")[2]) for name in names]
    found = set()
    for name, case in sorted(vars(module).items()):
        if not (isinstance(case, type) and issubclass(case, unittest.TestCase)):
            continue
        short = re.sub(r"^With(Processes|Manager|Threads)", "", name)
        if name.startswith("WithThreads") and not threads and name not in dict(asked):
            continue
        for cls, method in asked:
            if cls in (name, short, f"_{short}"):
                found.add(cls)
                suite.addTests([case(method)] if method else loader.loadTestsFromTestCase(case))
        if not asked:
            suite.addTests(loader.loadTestsFromTestCase(case))
    missing = {cls for cls, _ in asked} - found
    if missing:
        raise SystemExit(f"this interpreter has no test classes {', '.join(sorted(missing))}")
    if set(vars(module)) & {"setUpModule"}:
        # The suite's classes know the module by its name.
        sys.modules[module.__name__] = module
    return suite


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", choices=["fork", "spawn", "forkserver"], default="spawn")
    parser.add_argument("--standard", action="store_true", help="run the tests against the standard's module")
    parser.add_argument(
        "--threads", action="store_true", help="also those of multiprocessing.dummy, which is the standard's"
    )
    parser.add_argument("--verbose", "-v", action="store_true")
    parser.add_argument("tests", nargs="*", help="classes, or Class.test_method; all without")
    args = parser.parse_args()
    try:
        import test._test_multiprocessing  # noqa: F401
    except ModuleNotFoundError:
        print(f"{sys.executable} comes without the package `test`: CPython's tests did not run")
        return 0
    with tempfile.TemporaryDirectory(prefix="faretra-cpython-") as directory:
        name = write_copy(Path(directory), args.method, args.standard)
        paths = [directory, str(HERE.parent)]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths + [p for p in [os.environ.get("PYTHONPATH")] if p])
        sys.path[:0] = paths
        module = importlib.import_module(name)
        suite = wanted(module, args.tests, args.threads)

        def late(*_: Any) -> None:
            raise TooLong(f"the test took longer than {PATIENCE} s")

        signal.signal(signal.SIGALRM, late)
        runner = unittest.TextTestRunner(sys.stdout, verbosity=2 if args.verbose else 1, resultclass=Result)
        result: Any = runner.run(suite)
    return report(result, args.method, args.standard)


def report(result: Result, method: str, standard: bool) -> int:
    reasons, sometimes = ({}, set()) if standard else known(method)
    differ = {test: why for test, why in result.failed.items() if test in reasons}
    fail = {test: why for test, why in result.failed.items() if test not in reasons}
    stale = [test for test in result.passed if test in reasons and test not in sometimes]
    print(
        "slowest:",
        ", ".join(f"{test} {seconds:.1f} s" for seconds, test in sorted(result.slowest)[-3:][::-1]),
    )
    for test, why in result.skips.items():
        print(f"skipped {test}: {why}")
    for test in differ:
        print(f"differs {test}: {reasons[test]}")
    for test in stale:
        print(f"PASSES  {test}, which is listed in {DIFFERENCES.name}: {reasons[test]}")
    for test, why in fail.items():
        print(f"FAILED  {test}: {why.splitlines()[0][:160]}")
    version = ".".join(map(str, sys.version_info[:3]))
    print(
        f"{'multiprocessing' if standard else 'faretra.multiprocessing'}, {method}, Python {version}: "
        f"{len(result.passed)} passed, "
        f"{len(fail)} failed, {len(differ)} differ as listed, {len(result.skips)} skipped"
    )
    return 1 if fail or stale else 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.exit(status)
