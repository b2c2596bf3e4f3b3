"""The package as it is installed: what is in it, what things are called, where it refuses to be."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import faretra

HERE = Path(faretra.__file__).parent


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run another Python that finds the package where this one does."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(HERE.parent), *sys.path]))
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, env=environment
    )


@pytest.fixture
def installed() -> importlib.metadata.Distribution:
    """Give the installed distribution; the sources alone are none."""
    try:
        return importlib.metadata.distribution("faretra")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package is not installed")


def test_wheel_has_all(installed: importlib.metadata.Distribution) -> None:
    """The wheel has the library for every CPython from 3.11, the types, the licenses and the command."""
    files = {str(file) for file in installed.files or []}
    assert {"faretra/_native.abi3.so", "faretra/_native.pyi", "faretra/py.typed"} <= files
    assert any("LICENSE-MIT" in file for file in files)
    assert installed.version == faretra.__version__
    wheel = installed.read_text("WHEEL") or ""
    assert "Tag: cp311-abi3-" in wheel
    commands = {
        entry.name: entry.value for entry in installed.entry_points if entry.group == "console_scripts"
    }
    assert commands == {"faretra": "faretra._command:main"}
    required = [line for line in installed.requires or [] if "extra ==" not in line]
    assert [line.split(">")[0] for line in required] == ["numpy"]


def test_import_takes_no_other_library() -> None:
    """Importing the package imports nothing that is not Python's own."""
    code = """
import sys
before = set(sys.modules)
import faretra
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(new - set(sys.stdlib_module_names) - {"faretra"}))
"""
    done = python("-c", code)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("name", [name for name in faretra.__all__ if not name.startswith("_")])
def test_public_names_say_where_they_are(name: str) -> None:
    """A public class or function is `faretra.NAME` in tracebacks, reprs and pickles."""
    value = getattr(faretra, name)
    assert (value.__module__, value.__qualname__) == ("faretra", name)


def test_tracebacks_name_the_exception(fresh_name: Callable[[], str]) -> None:
    """A traceback says `faretra.ArenaNotFoundError`, and what to do."""
    with pytest.raises(faretra.ArenaNotFoundError) as caught:
        faretra.Arena.open(fresh_name())
    last = traceback.format_exception_only(caught.value)[-1]
    assert last.startswith("faretra.ArenaNotFoundError: ")
    assert "faretra.arenas()" in last


def test_errors_and_facts_can_be_pickled(arena: faretra.Arena) -> None:
    """Exceptions and what an arena tells of itself go to other processes whole."""
    with pytest.raises(faretra.NotFoundError) as caught:
        arena["nothing"]
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is faretra.NotFoundError
    assert (str(again), again.name, again.code) == (str(caught.value), "nothing", "not_found")
    for fact in [arena.stats(), arena.who()[0], arena.recover()]:
        assert pickle.loads(pickle.dumps(fact)) == fact


def run_in_subinterpreter(code: str) -> str:
    """Run code in another interpreter of this process, and return what it raises."""
    for name in ["concurrent.interpreters", "_interpreters", "_xxsubinterpreters"]:
        try:
            interpreters: Any = importlib.import_module(name)
        except ImportError:
            continue
        made = interpreters.create()
        try:
            failed = made.exec(code) if hasattr(made, "exec") else run_string(interpreters, made, code)
            return "" if failed is None else str(failed)
        except Exception as error:
            return str(error)
        finally:
            # CPython 3.13 dies in the child of a fork that finds another interpreter.
            made.close() if hasattr(made, "close") else interpreters.destroy(made)
    pytest.skip("this Python has no subinterpreters")


def run_string(interpreters: Any, made: Any, code: str) -> Any:
    failed = interpreters.run_string(made, code)
    return None if failed is None else getattr(failed, "formatted", failed)


def test_subinterpreters_refuse_in_words() -> None:
    """Importing the package in a subinterpreter is an `ImportError` that says so, and no crash."""
    code = f"import sys; sys.path[:] = {sys.path!r}; import faretra._native"
    told = run_in_subinterpreter(code)
    assert "subinterpreter" in told, told
