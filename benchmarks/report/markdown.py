"""A report as Markdown: its words and tables, for a terminal, a review or an issue."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.report.doubts import doubts
from benchmarks.report.page import Block, Gallery, Pair, Picture, Plot, Section, Table, Text, pick


def markdown(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The report; plots and pictures are only named, since they are in the HTML page."""
    shown = pick(tile for section in sections for tile in section.tiles)
    tiles = [f"- **{tile.value}** {tile.meaning}: {tile.detail}" for tile in shown]
    paragraphs = [f"# {title}", lead, "\n".join(tiles), *(one for section in sections for one in _section(section))]
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def markdown_table(table: Table) -> str:
    """One line a row; numbers to the right."""
    rule = ["---", *["---:"] * (len(table.header) - 1)]
    lines = [f"| {' | '.join(_cell(cell) for cell in cells)} |" for cells in (table.header, rule, *table.rows)]
    return "\n".join(lines) + (f"\n\n{table.note}" if table.note else "")


def _section(section: Section) -> list[str]:
    errors = [f"> **{side} failed.** {reason}" for record in section.records for side, reason in record.errors.items()]
    origins = [
        f"`{record.path.name}`, commit {', '.join([record.commit, *doubts(record)])}, "
        f"load {record.hardware['load_average']:.2f}"
        for record in section.records
    ]
    return [f"## {section.title}", section.question, *errors, *map(_block, section.blocks), *origins]


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"> **{block.text}**" if block.loud else block.text
    if isinstance(block, Plot | Picture):
        return f"*{block.caption}: see the page.*"
    if isinstance(block, Pair):
        return "\n\n".join(map(_block, block.plots))
    if isinstance(block, Gallery):
        return f"*Pictures of {', '.join(picture.caption for picture in block.pictures)}: see the page.*"
    return markdown_table(block)


def _cell(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
