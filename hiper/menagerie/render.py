"""Render an animal in a place: the ground truth of every edit in Menagerie."""

from __future__ import annotations

import numpy as np
import skia
from numpy.typing import NDArray

from hiper.menagerie.animal import PAPER, AnimalPainter
from hiper.menagerie.places import draw_place, ground_shadow
from hiper.menagerie.world import Content, Framing, Identity


def render(identity: Identity, content: Content, framing: Framing | None = None, size: int = 128) -> NDArray[np.uint8]:
    """Draw a picture, (size, size, 3) in 0..255. The same arguments give the same bytes."""
    framing = framing or Framing()
    surface = skia.Surface(size, size)
    canvas = surface.getCanvas()
    canvas.scale(size, size)
    draw_place(canvas, content.place, framing.scenery)
    if content.style == "pencil":
        canvas.drawPaint(skia.Paint(Color4f=skia.Color4f(PAPER.fR, PAPER.fG, PAPER.fB, 0.72)))
    ground_shadow(canvas, framing.x, framing.ground, 0.5 * framing.scale)
    _draw_animal(canvas, identity, content, framing)
    return _pixels(surface)[..., :3].copy()


def render_mask(
    identity: Identity, content: Content, framing: Framing | None = None, size: int = 128
) -> NDArray[np.uint8]:
    """The animal alone as coverage, (size, size) in 0..255."""
    surface = skia.Surface(size, size)
    canvas = surface.getCanvas()
    canvas.clear(skia.ColorTRANSPARENT)
    canvas.scale(size, size)
    _draw_animal(canvas, identity, content, framing or Framing())
    return _pixels(surface)[..., 3].copy()


def _draw_animal(canvas: skia.Canvas, identity: Identity, content: Content, framing: Framing) -> None:
    canvas.save()
    canvas.translate(framing.x, framing.ground)
    canvas.scale(-framing.scale if framing.mirrored else framing.scale, framing.scale)
    AnimalPainter(canvas, identity, content.species, pencil=content.style == "pencil").draw(content.pose)
    canvas.restore()


def _pixels(surface: skia.Surface) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = surface.makeImageSnapshot().toarray(colorType=skia.kRGBA_8888_ColorType)
    return pixels
