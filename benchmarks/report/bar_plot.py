"""Horizontal bars, whole or in parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.report.svg import WIDTH, Axis, legend, short, svg

LABELS = 190
_ROW = 28
_RIGHT = 96


@dataclass(frozen=True)
class Bar:
    """A bar of a figure.

    Attributes:
        label: on its left.
        value: its length.
        low: start of its interval.
        high: end of its interval.
        colour: name of a CSS class.
        floor: the least that is possible, marked.
        text: on its right; the value if empty.
    """

    label: str
    value: float
    low: float
    high: float
    colour: str = "us"
    floor: float | None = None
    text: str = ""


def bars(rows: Sequence[Bar], unit: str) -> str:
    """Horizontal bars from 0, with intervals and floors."""
    reach = max(max(bar.high, bar.floor or 0) for bar in rows) or 1.0
    axis, width = Axis(0, reach), WIDTH - LABELS - _RIGHT
    height = len(rows) * _ROW + 30
    drawn = [_grid_x(axis, width, len(rows) * _ROW, unit)]
    for index, bar in enumerate(rows):
        y, length = index * _ROW + 5, width * axis.at(bar.value)
        text = bar.text or f"{short(bar.value)} {unit}"
        title = f"{bar.label}: {short(bar.value)} {unit}, 95 % interval {short(bar.low)} to {short(bar.high)}"
        drawn.append(f'<text x="{LABELS - 10}" y="{y + 13}" class="end">{escape(bar.label)}</text>')
        drawn.append(_rect(LABELS, y, length, _ROW - 10, bar.colour, title))
        if bar.high > bar.low:
            drawn.append(_whisker(axis, width, bar, y + (_ROW - 10) / 2))
        if bar.floor is not None:
            drawn.append(_floor(LABELS + width * axis.at(bar.floor), y, f"floor: {short(bar.floor)} {unit}"))
        drawn.append(
            f'<text x="{LABELS + max(length, width * axis.at(bar.high)) + 8:.1f}" y="{y + 13}">{escape(text)}</text>'
        )
    return svg(height, drawn)


@dataclass(frozen=True)
class Stack:
    """A bar made of parts, each (name, value)."""

    label: str
    parts: Sequence[tuple[str, float]]


def stacked(rows: Sequence[Stack], unit: str) -> str:
    """Horizontal bars of parts, with a legend."""
    names = list(dict.fromkeys(name for row in rows for name, _ in row.parts))
    totals = [sum(value for _, value in row.parts) for row in rows]
    axis, width = Axis(0, max(totals) or 1.0), WIDTH - LABELS - _RIGHT
    drawn = [legend([(name, f"p{names.index(name)}") for name in names], LABELS)]
    top = 26
    drawn.append(f'<g transform="translate(0 {top})">{_grid_x(axis, width, len(rows) * _ROW, unit)}</g>')
    for index, (row, total) in enumerate(zip(rows, totals, strict=True)):
        x, y = float(LABELS), top + index * _ROW + 5
        drawn.append(f'<text x="{LABELS - 10}" y="{y + 13}" class="end">{escape(row.label)}</text>')
        for name, value in row.parts:
            length = width * axis.at(value)
            title = f"{row.label}, {name}: {short(value)} {unit}, {value / total:.0%}" if total else name
            drawn.append(_rect(x, y, length, _ROW - 10, f"p{names.index(name)}", title))
            x += length
        drawn.append(f'<text x="{x + 8:.1f}" y="{y + 13}">{short(total)} {unit}</text>')
    return svg(top + len(rows) * _ROW + 30, drawn)


def _grid_x(axis: Axis, width: float, height: float, unit: str) -> str:
    drawn = []
    for tick in axis.ticks:
        x = LABELS + width * axis.at(tick)
        drawn.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>')
        drawn.append(f'<text class="tick middle" x="{x:.1f}" y="{height + 16}">{short(tick)}</text>')
    drawn.append(f'<text class="name" x="{LABELS + width + 14:.1f}" y="{height + 16}">{escape(unit)}</text>')
    return "".join(drawn)


def _whisker(axis: Axis, width: float, bar: Bar, y: float) -> str:
    low, high = (LABELS + width * axis.at(max(0.0, end)) for end in (bar.low, bar.high))
    ends = "".join(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 4}" y2="{y + 4}"/>' for x in (low, high))
    return f'<g class="whisker"><line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>{ends}</g>'


def _floor(x: float, y: float, title: str) -> str:
    line = f'<line class="floor" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 3}" y2="{y + _ROW - 7}">'
    return f"{line}<title>{escape(title)}</title></line>"


def _rect(x: float, y: float, width: float, height: float, colour: str, title: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height}"'
    return f'<rect class="{colour}" {place} rx="2"><title>{escape(title)}</title></rect>'
