"""What ran, and what did not."""

from __future__ import annotations

from benchmarks.report.book import Book
from benchmarks.report.page import Block, Section, Table, Text
from benchmarks.report.records import Record


def section(record: Record, book: Book) -> Section:
    """Steps with their times; what was left out is said, with its reason."""
    rows = [
        [name, f"{found['wall_s']:.0f}", "done" if not found["exit_code"] else f"failed: {record.errors.get(name, '')}"]
        for name, found in record.results.items()
    ]
    total = sum(found["wall_s"] for found in record.results.values())
    blocks: list[Block] = [Table(("step", "s", "result"), rows, f"{total / 60:.1f} minutes in all.")]
    settings = record.settings
    blocks += [Text(f"Left out: {name}, since {reason}.") for name, reason in settings["left_out"].items()]
    if settings["waiting"]:
        blocks.append(Text(f"Not run yet: {', '.join(settings['waiting'])}. Call the suite again.", loud=True))
    return Section(f"The run: suite {settings['suite']}", blocks, [record])
