"""Whole fits: held-out loss over rows and seconds."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.report import text
from benchmarks.report.book import Book
from benchmarks.report.line_plot import Frame, Line, lines
from benchmarks.report.page import Pair, Plot, Section, Table, Tile
from benchmarks.report.records import Record

_COLOURS = {"paper": "them", "fast": "us"}


def section(record: Record, book: Book) -> Section:
    """A curve a preset and subject."""
    subjects = record.results["subjects"]
    plots = [
        _plot(record, subjects, True, "UNet rows", "Held-out loss by work, a curve a subject"),
        _plot(record, subjects, False, "seconds of steps, without looks at the loss", "The same by time"),
    ]
    header = ("subject", "paper rows", "s", "ends at", "fast rows", "s", "ends at", "times fewer rows", "less time")
    rows = [_row(index, found) for index, found in enumerate(subjects)]
    note = (
        "Fewer and less: until each preset first is at the loss at which paper ends; never: fast does not get there. "
        "Ends at: held-out loss after the last step."
    )
    title = f"Whole fits: {record.settings['model']}, {len(subjects)} subject{'s' * (len(subjects) > 1)}"
    return Section(title, [Pair(plots), Table(header, rows, note)], [record], _tiles(subjects))


def _plot(record: Record, subjects: list[dict[str, Any]], in_rows: bool, axis: str, caption: str) -> Plot:
    curves = [curve for preset in _COLOURS for curve in _curves(record, preset, subjects, in_rows)]
    return Plot(lines(curves, Frame(axis, "held-out loss", zero_y=False, width=400)), caption)


def _curves(record: Record, preset: str, subjects: list[dict[str, Any]], in_rows: bool) -> list[Line]:
    drawn = []
    for found in subjects:
        step_s = statistics.median(found[f"{preset}_step_s"])
        unit = record.settings[preset]["timesteps_per_step"] if in_rows else step_s
        points = [(unit * int(step), loss) for step, loss in found[f"{preset}_held_out_losses"].items()]
        drawn.append(Line(preset, points, _COLOURS[preset], dots=False))
    return drawn


def _row(index: int, found: dict[str, Any]) -> list[str]:
    ratios = [f"{found[name]:.2f}" if name in found else "never" for name in ("times_fewer_rows", "times_less_time")]
    return [str(index), *_cost(found, "paper"), *_cost(found, "fast"), *ratios]


def _cost(found: dict[str, Any], preset: str) -> list[str]:
    """Records of before have only some of it."""
    values = (found.get(f"{preset}_{what}") for what in ("rows", "wall_s", "end_loss"))
    return [text.NONE if value is None else text.number(value) for value in values]


def _tiles(subjects: list[dict[str, Any]]) -> list[Tile]:
    ratios = sorted(found["times_less_time"] for found in subjects if "times_less_time" in found)
    if len(ratios) < len(subjects):
        return []
    detail = f"{ratios[0]:.2f} to {ratios[-1]:.2f} over {len(ratios)} subjects, to the same held-out loss"
    return [Tile(f"{statistics.median(ratios):.2f}x", "less time to fit than the paper's recipe", detail)]
