"""The UNet alone, each runtime beside diffusers."""

from __future__ import annotations

from benchmarks import bootstrap
from benchmarks.report import text
from benchmarks.report.book import Book
from benchmarks.report.page import Section, Table
from benchmarks.report.records import Record


def section(record: Record, book: Book) -> Section:
    """Times in pairs with diffusers, since only one runtime is in memory at a time."""
    rows = []
    for way, found in record.results.items():
        reference = found["reference"]["samples_ms"]
        pairs = zip(reference, found["samples_ms"], strict=True)
        speed_up = bootstrap.median([slow / fast for slow, fast in pairs])
        times = [text.estimate(bootstrap.median(samples)) for samples in (found["samples_ms"], reference)]
        rows.append([way, *times, text.estimate(speed_up, "x"), f"{found['relative_error']:.0e}"])
    header = ("way", "ms a call", "diffusers ms", "speed-up", "relative error")
    return Section(f"The UNet alone, two rows: {record.settings['model']}", [Table(header, rows)], [record])
