"""Every public name has documentation, and its examples run."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from multiprocessing.synchronize import SemLock
from types import ModuleType
from typing import Any, NamedTuple

import flight
import numpy as np
import pytest

import faretra

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Documented(NamedTuple):
    name: str
    value: Any
    module: ModuleType
    needs_example: bool


def modules() -> Iterator[ModuleType]:
    """Give the package and its modules; those that need a library that is not here are left out."""
    yield faretra
    for info in pkgutil.walk_packages(faretra.__path__, "faretra."):
        if info.name.rpartition(".")[2] == "__main__" or info.name == "faretra._native":
            continue
        try:
            yield importlib.import_module(info.name)
        except ImportError as error:
            if (error.name or "faretra").startswith("faretra"):
                raise


def is_ours(value: Any) -> bool:
    return str(getattr(value, "__module__", None) or "").split(".")[0] == "faretra"


def is_the_standards(module: ModuleType, *names: str) -> bool:
    """Whether this stands for a name of `multiprocessing`: it does what Python's documentation shows of that one."""
    if not module.__name__.startswith("faretra.multiprocessing"):
        return False
    try:
        value: Any = importlib.import_module(module.__name__.removeprefix("faretra."))
        for name in names:
            # Each lock of the standard's has these as attributes of its own.
            if name in ("acquire", "release") and issubclass(value, SemLock):
                return True
            value = getattr(value, name)
    except (ImportError, AttributeError):
        return False
    return True


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """Give the public attributes that the class has from this package, whichever half of it."""
    seen = set()
    for base in cls.__mro__:
        if not is_ours(base):
            continue
        # The compiled half has them in an order that differs from process to process.
        for name, value in sorted(vars(base).items(), key=lambda member: member[0]):
            # Methods that the standard's `BaseManager.register` makes are its own.
            made = getattr(value, "__qualname__", "").startswith("BaseManager.register.<locals>")
            if name not in seen and not name.startswith("_") and not made:
                seen.add(name)
                yield name, value


def is_record(cls: type) -> bool:
    """Whether this is a class of plain facts, which its documentation tells whole."""
    return dataclasses.is_dataclass(cls) or issubclass(cls, BaseException) or hasattr(cls, "_fields")


def of_class(name: str, cls: type, module: ModuleType) -> Iterator[Documented]:
    short = name.rpartition(".")[2]
    yield Documented(name, cls, module, not is_record(cls) and not is_the_standards(module, short))
    for member, value in members(cls):
        if callable(getattr(cls, member)) and not isinstance(value, type):
            needs = not is_the_standards(module, short, member)
            yield Documented(f"{name}.{member}", getattr(cls, member), module, needs)
        elif inspect.isdatadescriptor(value) and not inspect.ismemberdescriptor(value):
            yield Documented(f"{name}.{member}", value, module, False)


def public() -> dict[str, Documented]:
    """Collect every public name: those of `__all__`, where there is one, and what the classes have."""
    found: dict[str, Documented] = {}
    known: set[int] = set()
    for module in modules():
        private = any(part.startswith("_") for part in module.__name__.split("."))
        names = [] if private else getattr(module, "__all__", [])
        for name in names:
            value = getattr(module, name)
            if not is_ours(value) or id(value) in known:
                continue
            known.add(id(value))
            full = f"{module.__name__}.{name}"
            if isinstance(value, type):
                found.update((one.name, one) for one in of_class(full, value, module))
            elif callable(value):
                found[full] = Documented(full, value, module, not is_the_standards(module, name))
    return found


def inner() -> dict[str, Documented]:
    """Collect the functions of the package's own modules that have examples."""
    found = {}
    for module in modules():
        for name, value in vars(module).items():
            if (
                inspect.isfunction(value)
                and value.__globals__ is vars(module)
                and ">>>" in (value.__doc__ or "")
            ):
                found[f"{module.__name__}.{name}"] = Documented(name, value, module, False)
    return found


PUBLIC = public()
EXAMPLES = {
    name: one
    for name, one in {"faretra": Documented("faretra", faretra, faretra, True), **PUBLIC, **inner()}.items()
    if ">>>" in (inspect.getdoc(one.value) or "")
}


@pytest.mark.parametrize("name", PUBLIC)
def test_has_documentation(name: str) -> None:
    """Each public class, function, method and attribute is documented, and what can be called has an example.

    What stands for a name of `multiprocessing` needs none: it is used as Python's documentation shows.
    """
    one = PUBLIC[name]
    text = inspect.getdoc(one.value) or ""
    assert text.strip(), f"{name} has no docstring"
    assert not one.needs_example or ">>>" in text, f"the docstring of {name} has no example"


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each example in a docstring does what it says, with `faretra`, `np` and `served`, a server, in scope."""
    one = EXAMPLES[name]
    for library in re.findall(r"import (\w+) as", inspect.getdoc(one.value) or ""):
        pytest.importorskip(library)
    names = {**vars(one.module), "faretra": faretra, "np": np}
    if "served(" in (inspect.getdoc(one.value) or ""):
        pytest.importorskip("pyarrow.flight")
        flight.program()
        names["served"] = flight.served
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(one.value) or "", names, name, None, None)
    told: list[str] = []
    results = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=told.append)
    assert results.failed == 0, "".join(told)


def test_collects_both_halves() -> None:
    """What is written in Rust is looked at, too."""
    assert {
        "faretra.Arena.create",
        "faretra.Arena.put",
        "faretra.Arena.limit",
        "faretra.Table.select",
    } <= set(PUBLIC)
