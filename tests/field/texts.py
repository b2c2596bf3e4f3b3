"""Whether a text, as it stands in CSV or JSON, says the same value as an Arrow array."""

import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.types as is_

from values import decimal, duration, instant, interval, number, of_clock, storage

# Nanoseconds of the years 1 to 9999, which every text form agrees on; beyond them, a raw number will do.
FIRST, LAST = -62135596800 * 10**9, 253402300800 * 10**9
UNIT = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


class Repeated(Exception):
    """An object of JSON has a key twice."""


def pairs(items):
    found = dict(items)
    if len(found) != len(items):
        raise Repeated([key for key, _ in items])
    return found


def constant(text):
    raise ValueError(f"{text} is not JSON")


def whole(text):
    # Python has no integer -0, but the number that JSON says has its sign.
    return Decimal(text) if text == "-0" else int(text)


def load(text):
    """JSON read strictly, with exact numbers."""
    return json.loads(text, parse_float=Decimal, parse_int=whole, parse_constant=constant, object_pairs_hook=pairs)


def inner(kind):
    """The type of the values that a dictionary, run-end encoded or extension type stands for."""
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = storage(kind)
        elif is_.is_dictionary(kind) or is_.is_run_end_encoded(kind):
            kind = kind.value_type
        else:
            return kind


def raw(kind, value):
    """The numbers, as texts, that an array may hold for a time: a date is days or milliseconds."""
    units = (86400 * 10**9, 10**6) if is_.is_date(kind) else (UNIT[kind.unit],)
    return [str(value[1] // unit) for unit in units]


def same_text(kind, value, text):
    """Whether this text of a CSV cell, or in a JSON string, says the value."""
    kind = inner(kind)
    if value is None:
        return text == ""
    if is_.is_boolean(kind):
        return text == str(value).lower()
    if is_.is_integer(kind):
        return text == str(value)
    if is_.is_floating(kind):
        return same_float(kind, value, text)
    if is_.is_decimal(kind):
        return decimal(text) is not None and Decimal(text) == value
    if isinstance(value, bytes):
        return text.lower() == value.hex()
    if isinstance(value, str):
        return text == value
    if is_.is_timestamp(kind) or is_.is_date(kind):
        if not FIRST <= value[1] < LAST and text in raw(kind, value):
            return True
        zoned = is_.is_timestamp(kind) and kind.tz is not None
        has_zone = text.endswith(("Z", "UTC")) or "+" in text[1:] or "-" in text[11:]
        return instant(text) == value[1] and zoned == has_zone
    if is_.is_time(kind):
        return of_clock(text) == value[1]
    if is_.is_duration(kind):
        return duration(text) == value[1] or (abs(value[1]) > 2**63 and text in raw(kind, value))
    if is_.is_interval(kind):
        return interval(text) == tuple(value[1:])
    return False


def same_float(kind, value, text):
    if value == "NaN":
        return text.lower() == "nan"
    if value in (float("inf"), float("-inf")):
        return text.lower().replace("infinity", "inf") == str(value)
    if decimal(text) is None:
        return False
    narrow = {16: np.float16, 32: np.float32, 64: float}[kind.bit_width]
    with np.errstate(over="ignore"):
        return number(narrow(text)) == value


def same_json(kind, value, found):
    """Whether this value of a JSON document says the value."""
    kind = inner(kind)
    if value is None:
        return found is None
    if is_.is_union(kind):
        return found is not None
    if is_.is_floating(kind) and (value == "NaN" or value in (float("inf"), float("-inf"))):
        return found is None or (isinstance(found, str) and same_text(kind, value, found))
    if isinstance(found, bool):
        return is_.is_boolean(kind) and found == value
    if isinstance(found, (int, Decimal)):
        return same_text(kind, value, str(found))
    if is_.is_map(kind):
        return same_map(kind, value, found)
    if is_.is_struct(kind):
        names = [field.name for field in kind]
        return (isinstance(found, dict) and list(found) == names
                and all(same_json(f.type, v, found[f.name]) for f, v in zip(kind, value)))  # fmt: skip
    if isinstance(value, list):
        child = kind.value_type
        return (isinstance(found, list) and len(found) == len(value)
                and all(same_json(child, v, f) for v, f in zip(value, found)))  # fmt: skip
    return isinstance(found, str) and same_text(kind, value, found)


def same_map(kind, value, found):
    """An object, or a list of pairs or of objects with a key and a value each."""
    if isinstance(found, dict):
        found = list(found.items())
    if not isinstance(found, list) or len(found) != len(value):
        return False
    for (key, item), entry in zip(value, found):
        key_there, item_there = entry.values() if isinstance(entry, dict) else entry
        same_key = same_text(kind.key_type, key, key_there) if isinstance(key_there, str) else False
        if not (same_key or same_json(kind.key_type, key, key_there)) or not same_json(kind.item_type, item, item_there):
            return False
    return True
