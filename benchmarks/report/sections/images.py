"""Edits of a published dataset, as networks judge them."""

from __future__ import annotations

from benchmarks import bootstrap
from benchmarks.report import text
from benchmarks.report.book import Book
from benchmarks.report.page import Section, Table
from benchmarks.report.records import Record

NAMES = {"clip_t": "CLIP-T", "clip_i": "CLIP-I", "dinov2": "DINOv2", "lpips": "LPIPS"}


def section(record: Record, book: Book) -> Section:
    """A row a metric, a column a group."""
    results, settings = record.results, record.settings
    groups = list(next(iter(results.values()))["by_group"])
    rows = []
    for metric, found in results.items():
        overall = bootstrap.Estimate(found["value"], found["low"], found["high"])
        by_group = [text.number(found["by_group"][group]) for group in groups]
        rows.append([NAMES[metric], text.estimate(overall), *by_group])
    note = "95 % intervals over subjects. LPIPS: less is nearer to the source, which a free edit need not be."
    title = f"{settings['dataset']}: {settings['subjects']} subjects, {settings['model']}"
    return Section(title, [Table(("metric", "all", *groups), rows, note)], [record])
