"""Reads a table's rows as they are: CSV, JSON lines or Parquet."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from engine.bulk.errors import TableError
from engine.record import parse

RawRow = dict[str, Any]


def read_table(path: Path) -> list[RawRow]:
    """Read a table whole; cells that are empty or null are left out of their row.

    Args:
        path: its suffix says what it is: .csv, .jsonl, .ndjson or .parquet.

    Raises:
        TableError: it is missing, damaged, empty or of another kind.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise TableError(f"{path} is no table by its name; let it end in one of {', '.join(_READERS)}")
    try:
        rows = [_filled(row) for row in reader(path)]
    except (OSError, ValueError, csv.Error) as error:
        raise TableError(f"{path} cannot be read as a table: {error}; name a file in UTF-8 with a header") from error
    if not rows:
        raise TableError(f"{path} has no rows; give it one at least")
    return rows


def _filled(row: Mapping[str, Any]) -> RawRow:
    # What is unequal to itself is NaN, in which programs for tables keep an empty cell among numbers.
    return {name: value for name, value in row.items() if value not in (None, "") and value == value}


def _read_csv(path: Path) -> list[RawRow]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        _check_header(reader.fieldnames or [])
        rows = [*reader]
    for number, row in enumerate(rows, start=1):
        if None in row:
            raise ValueError(f"row {number} has more cells than the header")
    return rows


def _check_header(names: Any) -> None:
    if len({*names}) < len(names):
        raise ValueError("its header has a name twice")


def _read_json_lines(path: Path) -> list[RawRow]:
    # Not splitlines, which also ends lines at characters that prompts may have.
    lines = path.read_text("utf-8-sig").split("\n")
    rows = [parse(line.encode()) for line in lines if line.strip()]
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise ValueError(f"row {number} is no object")
    return rows


def _read_parquet(path: Path) -> list[RawRow]:
    from pyarrow import parquet  # type: ignore[import-untyped]  # comes with ray[data]; other kinds do without

    rows: list[RawRow] = parquet.read_table(path).to_pylist()
    return rows


_READERS: Final[dict[str, Callable[[Path], list[RawRow]]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}
