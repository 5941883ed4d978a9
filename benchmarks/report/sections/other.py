"""Records whose script has no section of its own: all that they found, as it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.report import text
from benchmarks.report.book import Book
from benchmarks.report.page import Section, Table
from benchmarks.report.records import Record


def section(record: Record, book: Book) -> Section:
    """Every number that stands alone."""
    rows = [[name, text.number(value)] for name, value in numbers(record.results)]
    return Section(record.name, [Table(("figure", "value"), rows)], [record])


def numbers(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    """Numbers by their path, outside of lists."""
    for name, value in node.items():
        inner = f"{path} / {name}" if path else name
        if isinstance(value, Mapping):
            yield from numbers(value, inner)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield inner, float(value)
