"""From the start of a process to its first picture."""

from __future__ import annotations

from benchmarks import bootstrap
from benchmarks.report import text
from benchmarks.report.bar_plot import Bar, bars
from benchmarks.report.book import Book
from benchmarks.report.colours import colour
from benchmarks.report.page import Block, Plot, Section, Table
from benchmarks.report.records import Record


def section(record: Record, book: Book) -> Section:
    """Seconds and memory."""
    found = {way: _seconds(figures["samples_ms"]) for way, figures in record.results.items()}
    drawn = [Bar(way, *estimate, colour(way)) for way, estimate in found.items()]
    rows = [[way, text.estimate(estimate), _cold(record, way), _size(record, way)] for way, estimate in found.items()]
    caption = "Median time from the start of a process to its first picture, of one step"
    header = ("way", "s", "the first start, files not in memory", "MiB then")
    blocks: list[Block] = [Plot(bars(drawn, "s"), caption), Table(header, rows)]
    return Section(f"Start: {record.settings['model']}", blocks, [record])


def _seconds(samples_ms: list[float]) -> bootstrap.Estimate:
    return bootstrap.median([sample / 1e3 for sample in samples_ms])


def _cold(record: Record, way: str) -> str:
    return f"{record.results[way]['warm_up_ms'][0] / 1e3:.2f}"


def _size(record: Record, way: str) -> str:
    return text.mebibytes(record.results[way]["resident_bytes"])
