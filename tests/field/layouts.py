"""Random CSV files: each cell comes back as the same text, number or instant, or the file is refused in words."""

import csv
import dataclasses
import io
import math
import re
import struct
from decimal import ROUND_HALF_EVEN, Context, Decimal

import pyarrow.parquet as pq

import tables
from texts import load
from tool import Wrong
from values import decimal, instant, of_clock, plain

NAME = "layouts"


@dataclasses.dataclass
class Input:
    names: list
    rows: list
    kinds: list
    delimiter: str
    end: str
    quoting: int
    mark: bool  # a byte order mark at the beginning
    last: bool  # the last line has an end
    header: bool

    def bytes(self):
        text = io.StringIO(newline="")
        # With lone carriage returns between rows, Python's writer does not quote line feeds.
        quoting = csv.QUOTE_ALL if self.end == "\r" else self.quoting
        writer = csv.writer(text, delimiter=self.delimiter, lineterminator=self.end, quoting=quoting)
        if self.header:
            writer.writerow(self.names)
        writer.writerows(self.rows)
        text = text.getvalue()
        text = text if self.last else text.removesuffix(self.end)
        # What begins with a mark has one, whatever it was meant to be.
        mark = "\ufeff" if self.mark or text.startswith("\ufeff") else ""
        return mark.encode() + text.encode()

    def __str__(self):
        return f"{self.kinds} {self.bytes()[:3000]!r}"


def digits(r, n):
    return "".join(r.choice("0123456789") for _ in range(n))


def fraction(r, longest):
    text = f"{r.choice(['', '-'])}{r.choice(['0', str(r.randint(1, 999)), digits(r, r.randint(1, longest)).lstrip('0') or '0'])}"
    return f"{text}.{digits(r, r.randint(1, longest))}"


def date(r):
    year = r.choice([1, 999, 1582, 1677, 1678, 1900, 1970, 2024, 2262, 2263, 9999, r.randint(1, 9999)])
    month = r.randint(1, 12)
    return f"{year:04}-{month:02}-{r.randint(1, 28 if month == 2 else 30):02}"


def clock(r, places):
    text = f"{r.choice([0, 23, r.randint(0, 23)]):02}:{r.choice([0, 59, r.randint(0, 59)]):02}:{r.choice([0, 59, r.randint(0, 59)]):02}"
    return text + (f".{digits(r, places)}" if places else "")


# Each makes one cell of a column of its kind; `n` is one number of the column.
CELLS = {
    "small integers": lambda r, n: str(r.randint(-1000, 1000)),
    "big integers": lambda r, n: f"{r.choice(['', '-'])}{r.randint(1, 9)}{digits(r, r.randint(14, 24))}",
    "64 bits": lambda r, n: str(r.choice([2**63 - 1, -(2**63), 2**53, 2**53 + 1, 0, r.randint(-(2**63), 2**63 - 1)])),
    "unsigned": lambda r, n: str(r.choice([2**64 - 1, 2**63, 1, r.randint(0, 2**64)])),
    "big integers and fractions": lambda r, n: r.choice([str(r.randint(2**53, 2**63)), "0.5", "NaN", "1"]),
    "short fractions": lambda r, n: fraction(r, 6),
    "long fractions": lambda r, n: fraction(r, 20),
    "floats in 17 digits": lambda r, n: f"{struct.unpack('<d', r.randbytes(8))[0] if n % 3 == 0 else r.uniform(-1000, 1000):.17g}",
    "exponents": lambda r, n: f"{fraction(r, 5)}{r.choice('eE')}{r.choice(['', '+', '-'])}{r.choice([r.randint(0, 20), r.randint(0, 330)])}",
    "odd numbers": lambda r, n: r.choice(["NaN", "nan", "inf", "-inf", "Infinity", "-0", "-0.0", "0.0", ".5", "5.", "+1", "1e400",
                                          "5e-324", "1_000", "0x10", "1", "2.5"]),
    "leading zeros": lambda r, n: digits(r, 5),
    "booleans": lambda r, n: r.choice(["true", "false"] if n % 2 else ["True", "FALSE", "true"]),
    "yes and no": lambda r, n: r.choice(["yes", "no", "t", "f", "0", "1"]),
    "dates": lambda r, n: date(r),
    "dates that are not": lambda r, n: r.choice(["2023-02-29", "0000-01-01", "2024-13-01", "2024-1-1", "1/2/2024", "9999-12-31"]),
    "instants": lambda r, n: f"{date(r)}{'T ' [n % 2]}{clock(r, n % 13)}",
    "instants of all lengths": lambda r, n: f"{date(r)} {clock(r, r.randint(0, 9))}",
    "instants with zones": lambda r, n: f"{date(r)}T{clock(r, n % 7)}{r.choice(['Z', '+02:00', '-0830', '+00'])}",
    "leap seconds": lambda r, n: r.choice(["2016-12-31 23:59:60", "2016-12-31T23:59:60.5", "2024-01-01 10:20:30"]),
    "odd instants": lambda r, n: r.choice(["2024-01-01 24:00:00", "2024-01-01 10:20", "2024-01-01T10:20:30.", "2024-01-01"]),
    "for ever": lambda r, n: r.choice(["9999-12-31 23:59:59.9999999", "2024-01-01 00:00:00.0000000", "0001-01-01 00:00:00.0000000"]),
    "times": lambda r, n: clock(r, n % 10),
    "words": lambda r, n: r.choice(["", "a", "Grüße", "日本語", "😀", 'say "hi"', "a,b", "a;b", "a\tb", "a|b", " lead", "trail ", "two\nlines",
                                    "two\r\nlines", "'", '"', '""', "#", "\\N", "NA", "NULL", "null", "-", "=1+1", "\u200b", "\ufeff", "x" * 500]),
    "mixed": lambda r, n: r.choice(["1", "2.5", "true", "2024-01-01", "x", "", "-"]),
    "nothing": lambda r, n: "",
}  # fmt: skip


def make_input(r):
    count, rows = r.choice([1, 2, 3, 6]), r.choice([0, 1, 2, 10, 60])
    kinds = [r.choice(list(CELLS)) for _ in range(count)]
    numbers = [r.randint(0, 1000) for _ in kinds]
    empty = [r.choice([0, 0, 0.3]) for _ in kinds]
    cells = [["" if r.random() < e else CELLS[k](r, n) for k, n, e in zip(kinds, numbers, empty)] for _ in range(rows)]
    names = [r.choice([f"c{i}", f"c{i}", f"Name {i}", f"ä,{i}", f'q"{i}', f"line\n{i}", f" s{i} "]) for i in range(count)]
    return Input(
        names, cells, kinds, r.choice([",", ",", ";", "\t", "|", ":", "~", " ", "^"]), r.choice(["\n", "\n", "\r\n", "\r"]),
        r.choice([csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
        r.random() < 0.15, r.random() < 0.85, r.random() < 0.9)  # fmt: skip


def same_cell(before, after):
    """The same text, number, instant or truth."""
    if before == after:
        return True
    if decimal(before) is not None:
        return same_number(before, after)
    if before.lower() in ("true", "false"):
        return after == before.lower()
    if before.lower() in ("nan", "inf", "-inf"):
        return after.lower() == before.lower()
    when = instant(before)
    zoned = re.search(r"\d{2}:\d{2}.*(Z|[+-]\d\d)", before)
    return when is not None and instant(after) == when and not zoned


def same_number(before, after):
    """The same number; or the shortest form of the float that `before` names.

    A number with a fraction or exponent names a float if the float, rounded to as many digits as are written,
    is the number.
    """
    if re.match(r"\+|-?0\d", before):
        return False  # it has to stay the same text
    written, found = decimal(before), decimal(after)
    if found == written:
        return True
    named = float(before)
    if before.lstrip("-").isdigit() or not named or not math.isfinite(named):
        return False
    digits = len(re.sub(r"[eE].*|[^0-9]", "", before).lstrip("0"))
    rounded = Context(digits, ROUND_HALF_EVEN, -(10**6), 10**6).create_decimal(Decimal(named))
    return decimal(str(rounded)) == written and found == decimal(repr(named))


def check(tool, given):
    path = tool.path("in.csv")
    path.write_bytes(given.bytes())
    if not given.rows and not given.header:
        return "an empty file"
    words = ["--delimiter", given.delimiter] if given.delimiter != "," else []
    words += [] if given.header else ["--no-header"]
    ran = tool.put("c", path, *words)
    kinds = " + ".join(sorted(set(given.kinds)))
    if ran.code:
        tool.refused("csv", "put csv", ran)
        raise Wrong(f"put csv refuses: {ran.brief}", f"{kinds}: {ran.why}")
    for target in (tool.path("out.csv"), tool.path("out.tsv")):
        with tool.noting():
            ran = tool.export("c", target)
            if ran.code:
                raise Wrong(f"export csv refuses what was CSV: {ran.brief}", f"{kinds}: {ran.why}")
            delimiter = "\t" if target.suffix == ".tsv" else ","
            with open(target, newline="", encoding="utf-8") as file:
                compare(tool, given, tables.cells(file, "export csv", delimiter))
            tables.duck_csv(target, delimiter)
    with tool.noting():
        typed(tool, given)
    ran = tool.cat("c", "jsonl")
    if ran.code:
        raise Wrong(f"cat jsonl refuses what was CSV: {ran.brief}", f"{kinds}: {ran.why}")
    with tool.noting():
        in_json(tool, given, [load(line) for line in ran.out.split(b"\n") if line])
    return None


def header(given):
    return given.names if given.header else [f"column_{i + 1}" for i in range(len(given.kinds))]


def compare(tool, given, rows):
    if not rows or rows[0] != header(given):
        raise Wrong("csv: names change", f"{header(given)} became {rows[:1]}")
    if len(rows) - 1 != len(given.rows):
        raise Wrong("csv: rows are lost", f"{len(given.rows)} became {len(rows) - 1}")
    for i, kind in enumerate(given.kinds):
        with tool.noting():
            for before, after in zip(given.rows, rows[1:]):
                if not same_cell(before[i], after[i]):
                    raise Wrong(f"csv: {kind} change", f"{before[i]!r} became {after[i]!r}")


def in_json(tool, given, rows):
    if len(rows) != len(given.rows):
        raise Wrong("cat jsonl: other rows", f"{len(given.rows)} became {len(rows)}")
    for i, (name, kind) in enumerate(zip(header(given), given.kinds)):
        with tool.noting():
            for before, row in zip(given.rows, rows):
                if name not in row or not same_json(before[i], row[name]):
                    raise Wrong(f"csv to json: {kind} change", f"{before[i]!r} became {row.get(name)!r}")


def same_json(cell, found):
    """Whether a value of JSON says the cell. Floats that JSON has no number for are null there."""
    if found is None:
        return cell == "" or cell.lower() in ("nan", "inf", "-inf")
    found = str(found).lower() if isinstance(found, bool) else str(found)
    return same_cell(cell, found) or same_cell(cell, found.replace("Infinity", "inf"))


def typed(tool, given):
    """The types that were chosen say the same to pyarrow and DuckDB, in Parquet."""
    path = tool.path("out.parquet")
    ran = tool.export("c", path)
    if ran.code:
        raise Wrong(f"export parquet refuses what was CSV: {ran.brief}", ran.why)
    table = pq.ParquetFile(path).read()
    columns = [plain(column) for column in table.columns]
    for i, kind in enumerate(given.kinds):
        with tool.noting():
            for row, value in zip(given.rows, columns[i]):
                if not same_value(row[i], value):
                    raise Wrong(f"csv to parquet: {kind} change", f"{row[i]!r} became {value!r}, {table.schema.field(i).type}")
    tables.duck_parquet(path, table, columns)


def same_value(cell, value):
    if value is None or cell == "":
        return cell == "" and value in (None, "")
    if isinstance(value, tuple):
        return value[1] == (of_clock(cell) if value[0] == "time" else instant(cell))
    return same_cell(cell, str(value).lower() if isinstance(value, bool) else str(value))


def smaller(given):
    if len(given.kinds) > 1:
        for i in range(len(given.kinds)):
            yield dataclasses.replace(given, names=[given.names[i]], kinds=[given.kinds[i]], rows=[[row[i]] for row in given.rows])
    half = len(given.rows) // 2
    if half:
        yield dataclasses.replace(given, rows=given.rows[:half])
        yield dataclasses.replace(given, rows=given.rows[half:])
        if len(given.rows) <= 12:
            for i in range(len(given.rows)):
                yield dataclasses.replace(given, rows=given.rows[:i] + given.rows[i + 1 :])
    plain = dict(delimiter=",", end="\n", quoting=csv.QUOTE_MINIMAL, mark=False, last=True, header=True)
    for key, value in plain.items():
        if getattr(given, key) != value:
            yield dataclasses.replace(given, **{key: value})


def save(given, directory):
    path = directory / "in.csv"
    path.write_bytes(given.bytes())
    return path
