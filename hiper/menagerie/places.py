"""Draw the places of Menagerie on a canvas of unit size; the scenery differs from picture to picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import skia

from hiper.menagerie.animal import capsule, disc, ellipse, triangle
from hiper.menagerie.world import Colour

Draw = Callable[["Scenery"], None]


class Scenery:
    """A canvas, a horizon and a random generator for what stands around."""

    def __init__(self, canvas: skia.Canvas, seed: int) -> None:
        self.canvas = canvas
        self.rng = np.random.default_rng(seed)
        self.horizon = self.between(0.48, 0.62)

    def between(self, low: float, high: float) -> float:
        """A uniform number."""
        return float(self.rng.uniform(low, high))

    def fill(self, path: skia.Path, colour: Colour) -> None:
        """Fill a path with an opaque colour."""
        self.canvas.drawPath(path, skia.Paint(Color4f=skia.Color4f(*colour, 1.0), AntiAlias=True))

    def sky(self, top: Colour, bottom: Colour) -> None:
        """A vertical gradient over the whole canvas."""
        colours = [skia.Color4f(*colour, 1.0).toColor() for colour in (top, bottom)]
        shader = skia.GradientShader.MakeLinear([skia.Point(0, 0), skia.Point(0, self.horizon)], colours)
        self.canvas.drawPaint(skia.Paint(Shader=shader))

    def floor(self, colour: Colour, below: float = 0.0) -> None:
        """Everything under the horizon, `below` it by a share of the height."""
        path = skia.Path()
        path.addRect(skia.Rect(0, self.horizon + below, 1, 1))
        self.fill(path, colour)


def _beach(scene: Scenery) -> None:
    scene.sky((0.40, 0.72, 0.95), (0.80, 0.93, 0.99))
    if scene.rng.random() < 0.8:
        scene.fill(disc((scene.between(0.1, 0.9), scene.between(0.10, 0.22)), 0.07), (1.0, 0.90, 0.45))
    scene.floor((0.16, 0.50, 0.75))
    scene.floor((0.94, 0.85, 0.62), below=scene.between(0.09, 0.15))
    x = scene.between(0.05, 0.95)
    scene.fill(
        triangle((x - 0.07, scene.horizon + 0.02), (x, scene.horizon - 0.16), (x + 0.05, scene.horizon + 0.02)),
        (0.98, 0.98, 0.98),
    )


def _meadow(scene: Scenery) -> None:
    scene.sky((0.55, 0.80, 0.97), (0.88, 0.95, 0.98))
    scene.fill(ellipse((scene.between(0.0, 1.0), scene.horizon + 0.06), 0.55, 0.17), (0.52, 0.76, 0.40))
    scene.floor((0.47, 0.76, 0.30))
    petals: tuple[Colour, ...] = ((0.98, 0.95, 0.95), (0.98, 0.85, 0.25), (0.93, 0.40, 0.50))
    for _ in range(5):
        centre = (scene.between(0.0, 1.0), scene.between(scene.horizon + 0.06, 0.98))
        scene.fill(disc(centre, 0.026), petals[int(scene.rng.integers(3))])


def _snow(scene: Scenery) -> None:
    scene.sky((0.66, 0.74, 0.84), (0.84, 0.88, 0.93))
    for x in (scene.between(0.05, 0.3), scene.between(0.7, 0.95)):
        for step in range(3):
            y, width = scene.horizon + 0.03 - 0.09 * step, 0.12 - 0.028 * step
            scene.fill(triangle((x - width, y), (x, y - 0.16), (x + width, y)), (0.25, 0.43, 0.42))
    scene.floor((0.95, 0.97, 0.99))
    for _ in range(6):
        scene.fill(disc((scene.between(0, 1), scene.between(0, scene.horizon)), 0.018), (1.0, 1.0, 1.0))


def _forest(scene: Scenery) -> None:
    scene.sky((0.20, 0.38, 0.24), (0.36, 0.55, 0.33))
    for index in range(5):
        x = (index + scene.between(0.2, 0.8)) / 5
        scene.fill(capsule((x, -0.1), (x, scene.horizon + 0.04), 0.035, 0.045), (0.36, 0.25, 0.17))
        scene.fill(disc((x + scene.between(-0.05, 0.05), scene.between(0.0, 0.1)), 0.15), (0.15, 0.33, 0.17))
    scene.floor((0.40, 0.36, 0.19))


def _room(scene: Scenery) -> None:
    walls: tuple[Colour, ...] = ((0.93, 0.80, 0.70), (0.78, 0.72, 0.86), (0.95, 0.88, 0.72))
    wall = walls[int(scene.rng.integers(3))]
    scene.sky(wall, wall)
    scene.floor((0.62, 0.42, 0.26))
    scene.floor((0.72, 0.50, 0.32), below=0.03)
    x, y = scene.between(0.12, 0.70), scene.between(0.08, 0.16)
    for margin, colour in ((0.0, (0.97, 0.96, 0.93)), (0.025, (0.60, 0.82, 0.95))):
        window = skia.Path()
        window.addRect(skia.Rect(x + margin, y + margin, x + 0.26 - margin, y + 0.26 - margin))
        scene.fill(window, colour)


def _night(scene: Scenery) -> None:
    scene.sky((0.06, 0.08, 0.22), (0.18, 0.20, 0.42))
    for _ in range(5):
        scene.fill(disc((scene.between(0, 1), scene.between(0, scene.horizon)), 0.016), (0.95, 0.95, 0.80))
    x, y = scene.between(0.1, 0.9), scene.between(0.10, 0.20)
    scene.fill(disc((x, y), 0.08), (0.97, 0.95, 0.80))
    scene.fill(disc((x + 0.035, y - 0.015), 0.07), (0.09, 0.11, 0.27))
    scene.floor((0.13, 0.22, 0.24))


PLACE_DRAWERS: dict[str, Draw] = {
    "beach": _beach,
    "meadow": _meadow,
    "snow": _snow,
    "forest": _forest,
    "room": _room,
    "night": _night,
}


def draw_place(canvas: skia.Canvas, place: str, seed: int) -> None:
    """Fill the unit square of `canvas` with a place; the same seed gives the same scenery."""
    PLACE_DRAWERS[place](Scenery(canvas, seed))


def ground_shadow(canvas: skia.Canvas, x: float, ground: float, width: float) -> None:
    """A soft shadow under an animal."""
    paint = skia.Paint(Color4f=skia.Color4f(0.0, 0.0, 0.0, 0.22), AntiAlias=True)
    canvas.drawPath(ellipse((x, ground), width, 0.14 * width), paint)
