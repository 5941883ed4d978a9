"""Curves and points in a frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

from benchmarks.report.svg import WIDTH, Axis, legend, short, svg

Point = tuple[float, float]

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 26, 44
# Room that a word takes: width of a letter, height.
_LETTER, _WORD = 6.4, 14.0


@dataclass(frozen=True)
class Line:
    """A curve, or points.

    Attributes:
        label: in the legend, once for all curves of that label; empty for none.
        points: (x, y).
        colour: name of a CSS class.
        band: (low, high) around each point; empty for none.
        notes: words beside each point, as far as there is room; empty for none.
        dots: whether points are marked.
        joined: whether they are joined, and the band drawn as an area; otherwise it is a line through each point.
        dashed: whether the line is.
    """

    label: str
    points: Sequence[Point]
    colour: str
    band: Sequence[tuple[float, float]] = ()
    notes: Sequence[str] = ()
    dots: bool = True
    joined: bool = True
    dashed: bool = False


@dataclass(frozen=True)
class Frame:
    """What surrounds curves.

    Attributes:
        x: name and unit of the horizontal axis.
        y: likewise.
        log_x: logarithmic, with a tick at every point.
        log_y: logarithmic.
        zero_y: whether the vertical axis starts at 0.
        less_is_up: whether the vertical axis grows downwards.
        x_names: words in place of numbers at x = 0, 1, 2, ...
        width: in pixels.
        height: in pixels.
    """

    x: str
    y: str
    log_x: bool = False
    log_y: bool = False
    zero_y: bool = True
    less_is_up: bool = False
    x_names: Sequence[str] = ()
    width: int = WIDTH
    height: int = 300


def lines(curves: Sequence[Line], frame: Frame) -> str:
    """Curves in one frame, with a legend above."""
    names = list(dict.fromkeys((curve.label, curve.colour) for curve in curves if curve.label))
    plot = _Plot(frame, *_axes(curves, frame), top=_TOP + 18 * (max(0, len(names) - 1) // 4))
    drawn = [legend(names, _LEFT), *plot.ticks(curves), *plot.names()]
    for curve in curves:
        drawn += plot.curve(curve)
    for curve in curves:
        drawn += plot.notes(curve)
    return svg(frame.height, drawn, frame.width)


@dataclass
class _Plot:
    """From values to places in the frame."""

    frame: Frame
    x_axis: Axis
    y_axis: Axis
    top: float
    taken: list[tuple[float, float, float]] = field(default_factory=list)

    @property
    def right(self) -> float:
        return self.frame.width - _RIGHT

    @property
    def bottom(self) -> float:
        return self.frame.height - _BOTTOM

    def place(self, x: float, y: float) -> Point:
        share = self.y_axis.at(y)
        down = share if self.frame.less_is_up else 1 - share
        return _LEFT + (self.right - _LEFT) * self.x_axis.at(x), self.top + (self.bottom - self.top) * down

    def ticks(self, curves: Sequence[Line]) -> Iterator[str]:
        for tick in self.y_axis.ticks:
            y = self.place(self.x_axis.low, tick)[1]
            yield f'<line class="grid" x1="{_LEFT}" x2="{self.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text class="tick end" x="{_LEFT - 8}" y="{y + 4:.1f}">{short(tick)}</text>'
        for tick, name in _x_ticks(curves, self.frame, self.x_axis):
            x = self.place(tick, self.y_axis.low)[0]
            yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{self.top}" y2="{self.bottom}"/>'
            yield f'<text class="tick middle" x="{x:.1f}" y="{self.bottom + 17}">{escape(name)}</text>'

    def names(self) -> Iterator[str]:
        middle, turned = (_LEFT + self.right) / 2, f"translate(14 {(self.top + self.bottom) / 2}) rotate(-90)"
        yield f'<text class="name middle" x="{middle}" y="{self.frame.height - 6}">{escape(self.frame.x)}</text>'
        yield f'<text class="name middle" transform="{turned}">{escape(self.frame.y)}</text>'

    def curve(self, curve: Line) -> Iterator[str]:
        places = [self.place(*point) for point in curve.points]
        above, below = (
            [self.place(x, pair[end]) for (x, _), pair in zip(curve.points, curve.band, strict=False)] for end in (1, 0)
        )
        if curve.joined and above:
            yield f'<polygon class="{curve.colour} band" points="{_points([*above, *reversed(below)])}"/>'
        if curve.joined and len(places) > 1:
            dashed = " dashed" if curve.dashed else ""
            yield f'<polyline class="line {curve.colour}{dashed}" points="{_points(places)}"/>'
        if not curve.joined:
            for pair in zip(above, below, strict=True):
                yield f'<polyline class="line {curve.colour}" points="{_points(pair)}"/>'
        for place, point in zip(places if curve.dots else (), curve.points, strict=False):
            yield _dot(place, curve.colour, f"{curve.label}: {', '.join(map(short, point))}")

    def notes(self, curve: Line) -> Iterator[str]:
        """Words where nothing else stands, to the right of a point if there is room, or else to the left."""
        for (x, y), note in zip((self.place(*point) for point in curve.points), curve.notes, strict=False):
            length = _LETTER * len(note)
            right, left = x + 7, x - 7 - length
            tried = ((right, y - 6), (left, y - 6), (right, y + 14), (left, y + 14))
            found = next((place for place in tried if note and self._is_free(*place, length)), None)
            if found:
                self.taken.append((*found, length))
                yield f'<text class="tick" x="{found[0]:.1f}" y="{found[1]:.1f}">{escape(note)}</text>'

    def _is_free(self, start: float, middle: float, length: float) -> bool:
        inside = start > _LEFT and start + length < self.frame.width
        return inside and not any(
            abs(middle - other) < _WORD and start < begin + size + 4 and begin < start + length + 4
            for begin, other, size in self.taken
        )


def _dot(place: Point, colour: str, title: str) -> str:
    x, y = place
    return f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{escape(title)}</title></circle>'


def _axes(curves: Sequence[Line], frame: Frame) -> tuple[Axis, Axis]:
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points] + [y for curve in curves for pair in curve.band for y in pair]
    low, high = (0.0 if frame.zero_y else min(ys)), max(ys)
    margin = 0.06 * ((high - low) or abs(high) or 1.0)
    upright = Axis(low if frame.zero_y else low - margin, high + margin)
    if frame.log_y:
        upright = Axis(min(ys) / 1.15, high * 1.15, log=True)
    pad = 0.5 if frame.x_names else 0.0
    ends = (min(xs) - pad, max(xs) + pad)
    if ends[0] == ends[1]:
        ends = (ends[0] * 0.8, ends[1] * 1.25) if frame.log_x else (ends[0] - 0.5, ends[1] + 0.5)
    return Axis(*ends, log=frame.log_x), upright


def _x_ticks(curves: Sequence[Line], frame: Frame, axis: Axis) -> list[tuple[float, str]]:
    if frame.x_names:
        return [(float(index), name) for index, name in enumerate(frame.x_names)]
    if frame.log_x:
        return [(x, short(x)) for x in sorted({x for curve in curves for x, _ in curve.points})]
    whole = all(float(x).is_integer() for curve in curves for x, _ in curve.points)
    return [(tick, short(tick)) for tick in axis.ticks if not whole or float(tick).is_integer()]


def _points(places: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
