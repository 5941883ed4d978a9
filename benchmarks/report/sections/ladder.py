"""What should each version of a fit and an edit take on a GPU, and what did it take?"""

from __future__ import annotations

from benchmarks.report import performance
from benchmarks.report.book import Book
from benchmarks.report.page import Block, Section, Text
from benchmarks.report.records import Record, newest


def section(record: Record, book: Book) -> Section:
    """The counts, then a table a device and ladder."""
    blocks: list[Block] = [performance.counts(record)]
    for device, ladders in record.results["predictions"].items():
        blocks.append(Text(f"{record.settings['datasheets'][device]['name']}:"))
        blocks += [performance.rungs(kind, device, record, newest(book.records)) for kind in ladders]
    return Section(f"Expected on a GPU: {record.settings['model']}", blocks, [record])
