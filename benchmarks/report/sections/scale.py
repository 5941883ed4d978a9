"""A second edit engine on Ray, and Ray itself."""

from __future__ import annotations

from typing import Any

from benchmarks import bootstrap
from benchmarks.report import text
from benchmarks.report.book import Book
from benchmarks.report.page import Section, Table
from benchmarks.report.records import Record


def section(record: Record, book: Book) -> Section:
    """Throughput of each side, and gains in pairs of rounds."""
    settings = record.settings
    sides = [[name, _per_s(found, settings["edits"])] for name, found in record.results["Offline"].items()]
    gains = [[name, _ratio(found)] for name, found in record.results["gain"].items()]
    title = f"Engines on Ray: {settings['model']}, {settings['runtime']}, {settings['precision']}"
    blocks = [
        Table((f"{settings['edits']} edits there at once", "edits/s"), sides),
        Table(("what it brings", "times the throughput"), gains, "Below 1: it costs. Ratios within rounds."),
    ]
    return Section(title, blocks, [record])


def _per_s(found: dict[str, Any], edits: int) -> str:
    return text.estimate(bootstrap.median([1e3 * edits / took_ms for took_ms in found["samples_ms"]]))


def _ratio(found: dict[str, Any] | None) -> str:
    return text.NONE if found is None else text.estimate(bootstrap.median(found["ratios"]))
