"""Contact sheets: pictures in a grid with labels, readable at a glance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, zip_longest
from typing import Final

from PIL import Image, ImageDraw, ImageFont, ImageOps

INK: Final = "#1c1c1e"
FAINT: Final = "#6e6e73"
PAPER: Final = "#ffffff"
EMPTY: Final = "#f0f0f2"

_GAP: Final = 10
_MARGIN: Final = 20


def contact_sheet(
    pictures: Sequence[Sequence[Image.Image | None]],
    *,
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
    title: str = "",
    cell: int = 224,
) -> Image.Image:
    """Lay pictures out in a grid.

    Args:
        pictures: by row; None leaves a place empty. Each is scaled into a square and keeps its proportions.
        columns: a label above each column.
        rows: a label left of each row.
        captions: words below each picture, by row.
        title: above everything.
        cell: side of the squares in pixels.

    Returns:
        An RGB picture.

    Raises:
        ValueError: there is no picture.
    """
    if not any(pictures):
        raise ValueError("a contact sheet needs at least one picture")
    table = [
        [_captioned(picture, caption or "", cell) for picture, caption in zip_longest(row, words or ())]
        for row, words in zip_longest(pictures, captions)
    ]
    if rows:
        table = [[label, *cells] for label, cells in zip(_row_labels(rows, cell), table, strict=True)]
    if columns:
        corner = [Image.new("RGB", (1, 1), PAPER)] if rows else []
        table.insert(0, [*corner, *(_text(label, cell) for label in columns)])
    sheet = _grid(table)
    if title:
        sheet = _grid([[_text(title, sheet.width, size=24, align="left")], [sheet]])
    return ImageOps.expand(sheet, _MARGIN, PAPER)


def font(size: int) -> ImageFont.FreeTypeFont:
    """The typeface that comes with Pillow."""
    typeface = ImageFont.load_default(size)
    assert isinstance(typeface, ImageFont.FreeTypeFont)
    return typeface


def wrap(text: str, width: float, typeface: ImageFont.FreeTypeFont, max_lines: int = 3) -> list[str]:
    """Break text into lines of at most `width` pixels; what does not fit in `max_lines` becomes an ellipsis."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if typeface.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    kept = lines[:max_lines]
    if len(lines) > max_lines:
        kept[-1] += "…"
    return [_shortened(line, width, typeface) for line in kept]


def _shortened(line: str, width: float, typeface: ImageFont.FreeTypeFont) -> str:
    if typeface.getlength(line) <= width:
        return line
    cuts = (line[:end].rstrip(" …") + "…" for end in range(len(line) - 1, 0, -1))
    return next((cut for cut in cuts if typeface.getlength(cut) <= width), "…")


def _text(
    text: str, width: int, *, size: int = 18, colour: str = INK, align: str = "centre", max_lines: int = 3
) -> Image.Image:
    """Words as a picture `width` wide and as high as they need."""
    typeface, line_height = font(size), round(size * 1.3)
    lines = wrap(text, width, typeface, max_lines)
    picture = Image.new("RGB", (width, line_height * len(lines)), PAPER)
    canvas = ImageDraw.Draw(picture)
    x, anchor = {"left": (0, "l"), "centre": (width / 2, "m"), "right": (width, "r")}[align]
    for index, line in enumerate(lines):
        # By the middle of its letters, so that lines with and without descenders stand alike.
        canvas.text((x, (index + 0.5) * line_height), line, fill=colour, font=typeface, anchor=f"{anchor}m")
    return picture


def _captioned(picture: Image.Image | None, caption: str, cell: int) -> Image.Image:
    square = Image.new("RGB", (cell, cell), EMPTY)
    if picture is not None:
        square = ImageOps.pad(picture.convert("RGB"), (cell, cell), Image.Resampling.LANCZOS, color=EMPTY)
    if not caption:
        return square
    return _grid([[square], [_text(caption, cell, size=15, colour=FAINT)]], gap=4)


def _row_labels(texts: Sequence[str], cell: int) -> list[Image.Image]:
    """As high as the pictures they stand beside, and no wider than the words need."""
    width = min(cell * 2 // 3, math.ceil(max(font(18).getlength(text) for text in texts)))
    labels = [_text(text, width, align="right", max_lines=5) for text in texts]
    return [ImageOps.pad(label, (width, cell), color=PAPER) for label in labels]


def _grid(table: Sequence[Sequence[Image.Image]], gap: int = _GAP) -> Image.Image:
    """Paste pictures on a grid whose columns are as wide, and rows as high, as the largest picture in them."""
    widths = [max(cell.width for cell in column if cell) for column in zip_longest(*table)]
    heights = [max(cell.height for cell in row) for row in table]
    grid = Image.new("RGB", (sum(widths) + gap * (len(widths) - 1), sum(heights) + gap * (len(heights) - 1)), PAPER)
    for y, row in zip(_starts(heights, gap), table, strict=True):
        for x, cell in zip(_starts(widths, gap), row, strict=False):
            grid.paste(cell, (x, y))
    return grid


def _starts(lengths: Sequence[int], gap: int) -> list[int]:
    return [0, *accumulate(length + gap for length in lengths[:-1])]
