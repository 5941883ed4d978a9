"""What a report consists of, before it becomes HTML or Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.report.records import Record


@dataclass(frozen=True)
class Text:
    """A paragraph; `loud` for what nobody may overlook."""

    text: str
    loud: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells; all but the first column are numbers.

    Attributes:
        header: of each column.
        rows: cells.
        note: below it.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """A drawing as SVG, with the words that say what it shows."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Picture:
    """Pixels as a data URI, with the words that stand for them."""

    uri: str
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Small pictures side by side."""

    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Pair:
    """Narrow plots side by side."""

    plots: Sequence[Plot]


Block = Text | Table | Plot | Picture | Gallery | Pair


@dataclass(frozen=True)
class Tile:
    """A figure that deserves large letters."""

    value: str
    meaning: str
    detail: str = ""


def pick(tiles: Iterable[Tile]) -> list[Tile]:
    """The first tile of every meaning: a report has few large letters."""
    return list({tile.meaning: tile for tile in reversed([*tiles])}.values())[::-1]


@dataclass(frozen=True)
class Section:
    """An answer to one question.

    Attributes:
        title: in a few words.
        blocks: the answer.
        records: where it comes from.
        tiles: what of it belongs at the top of the report.
    """

    title: str
    blocks: Sequence[Block]
    records: Sequence[Record] = ()
    tiles: Sequence[Tile] = field(default_factory=tuple)

    @property
    def question(self) -> str:
        """As the record has it."""
        return str(self.records[0].content.get("question", "")) if self.records else ""
