"""An arena as a mapping: from names to the values that can be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from faretra import _native

if TYPE_CHECKING:
    from faretra._info import Entries

_MISSING: Any = object()


# What the standard's mappings have as views is a list here: names come and go with other processes.
class Values(_native.Arena, MutableMapping[str, Any]):
    """The values of an arena, by name. Channels and locks have names too, but no values: they are not among them."""

    # As mappings they would be equal when all their values are, and could not be keys.
    __eq__ = object.__eq__
    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> list[str]:  # type: ignore[override]
        """Return the names of the values, sorted, as they are now. `entries` has those of channels and locks, too.

        >>> with faretra.Arena.create("doc-keys", keep=False) as arena:
        ...     arena["b"], arena["a"] = b"1", b"2"
        ...     _ = arena.mutex("m")
        ...     arena.keys(), len(arena), "m" in arena
        (['a', 'b'], 2, False)
        """
        return sorted(self._names())

    def values(self) -> list[Any]:  # type: ignore[override]
        """Return every value, in the order of the names. Channels and locks have none.

        >>> with faretra.Arena.create("doc-values", keep=False) as arena:
        ...     arena["a"] = {"lr": 0.1}
        ...     arena.values()
        [{'lr': 0.1}]
        """
        return [value for _, value in self.items()]

    def items(self) -> list[tuple[str, Any]]:  # type: ignore[override]
        """Return each name and its value. Channels and locks have none, and names that go meanwhile are left out.

        >>> with faretra.Arena.create("doc-items", keep=False) as arena:
        ...     arena["a"] = {"lr": 0.1}
        ...     arena.items()
        [('a', {'lr': 0.1})]
        """
        found = ((name, self.get(name, _MISSING)) for name in self.keys())
        return [(name, value) for name, value in found if value is not _MISSING]

    def entries(self) -> Entries:
        """Return what each name stands for, without reading it: a list, sorted by name, that prints as a table.

        Channels, locks and whatever else has a name are among them.

        >>> with faretra.Arena.create("doc-entries", keep=False) as arena:
        ...     arena["a"] = np.zeros(3)
        ...     arena["b"] = b"bytes"
        ...     print(arena.entries())
        name  kind   rows  size  version
        a     array     3  88 B        1
        b     bytes     5   5 B        1
        """
        from faretra._info import Entries, Entry

        return Entries(sorted((Entry(**fields) for fields in self._entries()), key=lambda entry: entry.name))

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of `name`, or `default` if there is nothing of that name.

        >>> with faretra.Arena.create("doc-get", keep=False) as arena:
        ...     arena.get("nothing", 5)
        5
        """
        try:
            return self[name]
        except KeyError:
            return default

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Return the value of `name`; put `default` first if there is none. `get_or_put` makes it only then.

        Of several processes that do so at the same time, one puts its value, and all get that one.

        >>> with faretra.Arena.create("doc-setdefault", keep=False) as arena:
        ...     arena.setdefault("rate", 0.1), arena.setdefault("rate", 0.2)
        (0.1, 0.1)
        """
        return self.get_or_put(name, lambda: default)

    def pop(self, name: str, default: Any = _MISSING) -> Any:
        """Remove `name`, and return the value that was read before; `default` if there is nothing of that name.

        Of several processes that pop a name, one gets its value. What somebody puts under the name in between goes, too.

        Raises:
            NotFoundError: There is nothing of that name, and no `default`.

        >>> with faretra.Arena.create("doc-pop", keep=False) as arena:
        ...     arena["a"] = [1, 2]
        ...     arena.pop("a"), arena.pop("a", None)
        ([1, 2], None)
        """
        while True:
            try:
                value = self[name]
            except KeyError:
                if default is _MISSING:
                    raise
                return default
            if self.remove(name):
                return value

    def popitem(self) -> tuple[str, Any]:
        """Remove the first name that has a value, and return both.

        Raises:
            KeyError: There are no values.

        >>> with faretra.Arena.create("doc-popitem", keep=False) as arena:
        ...     arena["a"] = [1, 2]
        ...     arena.popitem()
        ('a', [1, 2])
        """
        while names := self.keys():
            for name in names:
                if (value := self.pop(name, _MISSING)) is not _MISSING:
                    return name, value
        raise KeyError("there are no values in the arena")

    def clear(self) -> None:
        """Remove every value. Channels and locks stay.

        >>> with faretra.Arena.create("doc-clear", keep=False) as arena:
        ...     arena["a"] = [1, 2]
        ...     arena.clear()
        ...     len(arena)
        0
        """
        for name in self.keys():
            self.remove(name)

    def update(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **more: Any) -> None:  # type: ignore[override]
        """Put each value under its name, one after the other: of a mapping, of pairs, and of keyword arguments.

        `put_many` puts all or none.

        >>> with faretra.Arena.create("doc-update", keep=False) as arena:
        ...     arena.update({"a": b"1"}, b=b"2")
        ...     arena.update([("c", b"3")])
        ...     arena.keys()
        ['a', 'b', 'c']
        """
        super().update(values, **more)


# They are mappings to who asks; pyright does not know that abstract classes have this method.
Mapping.register(_native.Bundle)  # pyright: ignore[reportAttributeAccessIssue]
Mapping.register(_native.StoredDict)  # pyright: ignore[reportAttributeAccessIssue]
Sequence.register(_native.StoredList)  # pyright: ignore[reportAttributeAccessIssue]
