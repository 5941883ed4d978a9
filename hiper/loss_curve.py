"""The course of a fit as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw

from hiper.sheet import FAINT, INK, PAPER, font

SIZE: Final = (720, 420)

_RAW: Final = "#c9d6e8"
_SMOOTH: Final = "#3b6fb5"
_HELD_OUT: Final = "#d2601a"
_RULE: Final = "#e4e4e8"
_FRAME: Final = (64, 44, 20, 48)  # left, top, right, bottom
_TICKS: Final = 5
_FINER: Final = 2  # drawn larger and scaled down, since Pillow's lines are jagged

Points = Sequence[tuple[float, float]]


def loss_curve(losses: Points, held_out_losses: Mapping[int, float] | None = None) -> Image.Image:
    """Draw a fit's losses: each step's faintly, their running mean, and the held-out loss with its lowest point marked.

    Args:
        losses: (step, loss) pairs, at least one.
        held_out_losses: by step.

    Returns:
        An RGB picture of SIZE.

    Raises:
        ValueError: there are no losses.
    """
    if not losses:
        raise ValueError("a loss curve needs at least one loss")
    mean: Points = _running_mean(losses)
    held_out: Points = sorted((held_out_losses or {}).items())
    plot = _Plot.around([*mean, *held_out])
    plot.draw_axes()
    plot.draw_line(losses, _RAW, 1)
    plot.draw_line(mean, _SMOOTH, 3)
    legend = [("mean loss", _SMOOTH)]
    if held_out:
        plot.draw_line(held_out, _HELD_OUT, 3)
        best = min(held_out, key=lambda point: point[1])
        plot.draw_dot(best, _HELD_OUT)
        legend.append((f"held-out loss, best {best[1]:.4g} at step {best[0]}", _HELD_OUT))
    plot.draw_legend(legend)
    return plot.picture.resize(SIZE, Image.Resampling.LANCZOS)


def nice_ticks(low: float, high: float) -> list[float]:
    """A handful of round numbers, 1, 2 or 5 times a power of ten apart, from at most `low` to at least `high`."""
    rough = max(high - low, abs(high) / 100, 1e-12) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    stride = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / stride), max(math.ceil(high / stride), math.floor(low / stride) + 1)
    return [index * stride for index in range(first, last + 1)]


def _running_mean(losses: Points) -> list[tuple[float, float]]:
    """Each point's mean with its neighbours, a tenth of all to either side."""
    reach = max(1, len(losses) // 10)
    windows = (losses[max(0, index - reach) : index + reach + 1] for index in range(len(losses)))
    return [(step, sum(loss for _, loss in near) / len(near)) for (step, _), near in zip(losses, windows, strict=True)]


@dataclass(frozen=True)
class _Plot:
    """A picture being drawn, and where values lie on it."""

    picture: Image.Image
    canvas: ImageDraw.ImageDraw
    x_ticks: list[float]
    y_ticks: list[float]

    @classmethod
    def around(cls, points: Points) -> _Plot:
        picture = Image.new("RGB", (SIZE[0] * _FINER, SIZE[1] * _FINER), PAPER)
        x_ticks = nice_ticks(0, max(x for x, _ in points))
        y_ticks = nice_ticks(min(y for _, y in points), max(y for _, y in points))
        return cls(picture, ImageDraw.Draw(picture), x_ticks, y_ticks)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Pixels; a value beyond the axes lies on their edge."""
        left, top, right, bottom = (side * _FINER for side in _FRAME)
        width, height = self.picture.width - left - right, self.picture.height - top - bottom
        return left + width * _share(x, self.x_ticks), top + height * (1 - _share(y, self.y_ticks))

    def draw_axes(self) -> None:
        typeface, right, foot = font(14 * _FINER), self.x_ticks[-1], self.y_ticks[0]
        for value in self.y_ticks:
            start = self.place(0, value)
            self.canvas.line([start, self.place(right, value)], fill=_RULE, width=_FINER)
            self.canvas.text((start[0] - 10, start[1]), f"{value:.4g}", fill=FAINT, font=typeface, anchor="rm")
        for value in self.x_ticks:
            x, y = self.place(value, foot)
            self.canvas.text((x, y + 10), f"{value:.4g}", fill=FAINT, font=typeface, anchor="ma")
        x, y = self.place(right / 2, foot)
        self.canvas.text((x, y + 24 * _FINER), "step", fill=INK, font=typeface, anchor="ma")

    def draw_line(self, points: Points, colour: str, width: int) -> None:
        self.canvas.line([self.place(x, y) for x, y in points], fill=colour, width=width * _FINER, joint="curve")

    def draw_dot(self, point: tuple[float, float], colour: str) -> None:
        self.canvas.circle(self.place(*point), 5 * _FINER, fill=colour, outline=PAPER, width=_FINER)

    def draw_legend(self, entries: Sequence[tuple[str, str]]) -> None:
        typeface, x = font(16 * _FINER), float(_FRAME[0] * _FINER)
        for text, colour in entries:
            self.canvas.text((x, _FRAME[1] * _FINER / 2), text, fill=colour, font=typeface, anchor="lm")
            x += typeface.getlength(text) + 24 * _FINER


def _share(value: float, ticks: Sequence[float]) -> float:
    return min(1.0, max(0.0, (value - ticks[0]) / (ticks[-1] - ticks[0])))
