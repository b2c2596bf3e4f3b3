"""Values as plain Python ones that can be compared exactly, whatever type holds them.

Times are whole nanoseconds, floats are compared bit for bit except that all NaN are one, a dictionary or
run-end encoded value is the value that it stands for.
"""

import datetime
import math
import re
from decimal import Decimal

import pyarrow as pa
import pyarrow.types as is_

UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
DAY = 86400 * 10**9


def storage(data_type):
    return data_type.storage_type if isinstance(data_type, pa.BaseExtensionType) else data_type


def plain(array):
    """The values of an array, as a list."""
    if isinstance(array, pa.ChunkedArray):
        return [value for chunk in array.chunks for value in plain(chunk)]
    if isinstance(array, pa.ExtensionArray):
        return plain(array.storage)
    kind = array.type
    if is_.is_null(kind):
        return [None] * len(array)
    if is_.is_dictionary(kind):
        values = plain(array.dictionary)
        return [None if i is None else values[i] for i in array.indices.to_pylist()]
    if is_.is_run_end_encoded(kind):
        values = plain(array.values)
        ends = array.run_ends.to_pylist()
        found, run = [], 0
        for row in range(array.offset, array.offset + len(array)):
            while ends[run] <= row:
                run += 1
            found.append(values[run])
        return found
    if is_.is_floating(kind):
        return [number(v) for v in array.to_pylist()]
    if is_.is_timestamp(kind):
        return scaled(array, pa.int64(), "instant", UNITS[kind.unit])
    if is_.is_duration(kind):
        return scaled(array, pa.int64(), "duration", UNITS[kind.unit])
    if is_.is_time32(kind):
        return scaled(array, pa.int32(), "time", UNITS[kind.unit])
    if is_.is_time64(kind):
        return scaled(array, pa.int64(), "time", UNITS[kind.unit])
    if is_.is_date32(kind):
        return scaled(array, pa.int32(), "date", DAY)
    if is_.is_date64(kind):
        return scaled(array, pa.int64(), "date", 10**6)
    if is_.is_interval(kind):
        return [None if v is None else ("interval", *v) for v in array.to_pylist()]
    if is_.is_map(kind):
        return [None if not v.is_valid else entries(v.values) for v in array]
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind) or list_view(kind):
        return [None if not v.is_valid else plain(v.values) for v in array]
    if is_.is_struct(kind):
        columns = [plain(array.field(i)) for i in range(kind.num_fields)]
        valid = array.is_valid().to_pylist()
        return [tuple(c[i] for c in columns) if ok else None for i, ok in enumerate(valid)]
    if is_.is_union(kind):
        return [plain_one(v.value) for v in array]
    return array.to_pylist()


def plain_one(scalar):
    if scalar is None or not scalar.is_valid:
        return None
    return plain(pa.array([scalar], scalar.type) if not is_.is_dictionary(scalar.type) else pa.array([scalar.value]))[0]


def entries(pairs):
    return list(zip(plain(pairs.field(0)), plain(pairs.field(1))))


def list_view(kind):
    return is_.is_list_view(kind) or is_.is_large_list_view(kind)


def number(value):
    if value is None:
        return None
    value = float(value)
    if math.isnan(value):
        return "NaN"
    return "-0.0" if value == 0 and math.copysign(1, value) < 0 else value


def scaled(array, integer, tag, unit):
    return [None if v is None else (tag, v * unit) for v in array.view(integer).to_pylist()]


# --- text ---

STAMP = re.compile(
    r"([+-]?\d{4,})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?\s*(Z|UTC|[+-]\d\d:?\d\d(?::?\d\d)?)?$"
)
CLOCK = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?$")


def days(year, month, day):
    """Days since 1970-01-01 in the Gregorian calendar, of any year."""
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    if day > 28:
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        if day > [31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]:
            return None
    cycles, rest = divmod(year, 400)
    return (datetime.date(rest + 400, month, day).toordinal() - 719163) + (cycles - 1) * 146097


def clock(hour, minute, second, fraction):
    second = int(second or 0)
    if int(hour) > 23 or int(minute) > 59 or second > 59:
        return None
    fraction = (fraction or "")
    if fraction[9:].strip("0"):
        return None
    return (int(hour) * 3600 + int(minute) * 60 + second) * 10**9 + int(fraction[:9].ljust(9, "0"))


def instant(text):
    """The nanoseconds since 1970 that a text stands for; None if it is no instant of that precision."""
    found = STAMP.match(text)
    if not found:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    date = days(int(year), int(month), int(day))
    of_day = clock(hour or 0, minute or 0, second, fraction)
    if date is None or of_day is None:
        return None
    shift = 0
    if zone and zone not in ("Z", "UTC"):
        digits = zone[1:].replace(":", "").ljust(6, "0")
        shift = int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:6])
        shift = -shift if zone[0] == "-" else shift
    return date * DAY + of_day - shift * 10**9


def of_clock(text):
    found = CLOCK.match(text)
    return clock(*found.groups()) if found else None


def decimal(text):
    """The number that a text stands for, exactly and with its sign; None if it is none."""
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", text):
        return None
    value = Decimal(text)
    return (value.is_signed(), value.normalize(LONG) if value else 0)


def exactly():
    import decimal as d

    return d.Context(prec=6000, Emax=10**9, Emin=-(10**9))


LONG = exactly()
PERIOD = re.compile(r"(-?)P(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?\d+)(?:\.(\d+))?S)?)?$")
SPAN = re.compile(r"(-?\d+(?:\.\d+)?) (mon|month|day|hour|min|sec|year)[a-z]*")


def duration(text):
    """The nanoseconds of an ISO 8601 duration."""
    found = PERIOD.match(text)
    if not found:
        return None
    sign, day, hour, minute, second, fraction = found.groups()
    whole = int(day or 0) * 86400 + int(hour or 0) * 3600 + int(minute or 0) * 60 + int(second or 0)
    part = int((fraction or "").ljust(9, "0"))
    part = -part if (second or "").startswith("-") else part
    total = whole * 10**9 + part
    return -total if sign else total


def interval(text):
    """Months, days and nanoseconds of `1 mons 2 days 3 hours 4 mins 5.6 secs`."""
    if text == "":
        return (0, 0, 0)
    if SPAN.sub("", text).strip():
        return None
    months = day = nanos = 0
    for count, unit in SPAN.findall(text):
        if unit in ("mon", "month", "year"):
            months += int(count) * (12 if unit == "year" else 1)
        elif unit == "day":
            day += int(count)
        else:
            nanos += int(Decimal(count) * {"hour": 3600, "min": 60, "sec": 1}[unit] * 10**9)
    return (months, day, nanos)
