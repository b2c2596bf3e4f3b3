"""Frames and series of pandas: through Arrow where Arrow can have them, pickled otherwise."""

from __future__ import annotations

from typing import Any

import pytest

import faretra

pd: Any = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")


class Frame(pd.DataFrame):  # type: ignore[misc]
    """A frame of somebody else's class, as those of geopandas are."""

    @property
    def _constructor(self) -> Any:
        return Frame


class Series(pd.Series):  # type: ignore[misc]
    """A series of somebody else's class."""

    @property
    def _constructor(self) -> Any:
        return Series


@pytest.mark.filterwarnings("ignore:an array of Python objects")
@pytest.mark.parametrize("kind", [pd.DataFrame, Frame])
def test_what_arrow_cannot_have_is_pickled(arena: faretra.Arena, kind: Any) -> None:
    """Complex numbers, mixed objects and two columns of one name come back as what they were, index and class included."""
    frames = [
        kind({"c": [1j, 2.5]}, index=["x", "y"]),
        kind({"c": [1, "a"]}),
        kind([[1, 2.5]], columns=["a", "a"]),
    ]
    for frame in frames:
        arena["x"] = frame
        found = arena["x"]
        assert type(found) is kind
        pd.testing.assert_frame_equal(found, frame)


@pytest.mark.filterwarnings("ignore:an array of Python objects")
def test_subclasses(arena: faretra.Arena) -> None:
    """A frame of a subclass is a table with its index; a series of a subclass keeps class and index."""
    arena["frame"] = Frame({"a": [1, 2]}, index=["x", "y"])
    assert isinstance(arena["frame"], faretra.Table)
    assert arena["frame"].to_pandas()["a"].to_dict() == {"x": 1, "y": 2}
    for values in ([1, 2], [1.5, None], [1, "a"]):
        series = Series(values, index=["x", "y"], name="s")
        arena["series"] = series
        found = arena["series"]
        assert type(found) is Series
        pd.testing.assert_series_equal(found, series)


def test_warnings_of_objects(arena: faretra.Arena, recwarn: Any) -> None:
    """Objects in a series are told of; labels are not."""
    arena["labels"] = pd.Series([1.5, 2.5], index=pd.Index(["x", 5], dtype=object))
    assert [str(w.message) for w in recwarn] == []
    with pytest.warns(UserWarning, match="array of Python objects") as caught:
        arena["objects"] = pd.Series([1, "a"], index=pd.Index(["x", 5], dtype=object))
    assert len(caught) == 1
