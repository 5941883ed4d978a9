"""Plots as SVG by hand: small, sharp, in the page's own type and colours, with values on hover."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 760


@dataclass(frozen=True)
class Axis:
    """From values to places.

    Attributes:
        low: value at the start.
        high: value at the end.
        log: logarithmic.
    """

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """0 at the start, 1 at the end."""
        low, high, value = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return (value - low) / (high - low) if high > low else 0.5

    @property
    def ticks(self) -> list[float]:
        """Round numbers along it."""
        if self.log and self.high / self.low >= 8:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            marks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        else:
            step = round_step((self.high - self.low) / 5)
            first = math.ceil(self.low / step - 1e-9)
            marks = [step * index for index in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [mark for mark in marks if self.low * (1 - 1e-9) <= mark <= self.high * (1 + 1e-9)]


def round_step(rough: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def legend(names: Sequence[tuple[str, str]], left: float) -> str:
    """Names with their colours, four in a line."""
    drawn, x, y = [], left, 4
    for index, (name, colour) in enumerate(names):
        if index and index % 4 == 0:
            x, y = left, y + 18
        drawn.append(f'<rect class="{colour}" x="{x:.0f}" y="{y}" width="11" height="11" rx="2"/>')
        drawn.append(f'<text class="tick" x="{x + 16:.0f}" y="{y + 10}">{escape(name)}</text>')
        x += 34 + 6.6 * len(name)
    return "".join(drawn)


def short(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def svg(height: float, drawn: Sequence[str], width: int = WIDTH) -> str:
    """The whole drawing."""
    return f'<svg viewBox="0 0 {width} {height:.0f}" role="img" style="max-width:{width}px">{"".join(drawn)}</svg>'
