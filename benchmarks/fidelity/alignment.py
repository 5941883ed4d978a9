"""Find where an animal stands in a picture, and how far it is from the truth standing there."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample

from hiper.menagerie.render import render, render_mask
from hiper.menagerie.world import Content, Framing, Identity

# Pixels fully inside the animal, where no scenery shines through.
INSIDE = 255

# The search warps one render instead of rendering every candidate, at half the size of a picture.
_SIZE = 64
_HOME = Framing(x=0.5, ground=0.9, scale=0.5)
_HOME_SIZE = 96
_STEPS = (0.03, 0.02, 0.015, 0.01, 0.007, 0.005, 0.0025)
_NEIGHBOURS = torch.tensor(list(product((-1.0, 0.0, 1.0), repeat=3)))
# A little more than what `sample_framing` draws: x, ground, scale.
_LOW, _HIGH = torch.tensor([0.36, 0.78, 0.50]), torch.tensor([0.64, 1.00, 0.76])


def subject_error(picture: NDArray[np.uint8], identity: Identity, content: Content, framing: Framing) -> float:
    """Mean absolute difference inside the animal to the truth in that framing, in 8-bit levels, 0..255.

    Args:
        picture: (128, 128, 3).
        identity: who should be seen.
        content: doing what.
        framing: where, as `align` finds it.
    """
    inside = render_mask(identity, content, framing) == INSIDE
    difference = np.abs(render(identity, content, framing).astype(int) - picture.astype(int))
    return float(difference[inside].mean())


def align(picture: NDArray[np.uint8], identity: Identity, content: Content, start: Framing) -> Framing:
    """The framing near `start`, mirrored or not, in which the truth lies closest to a picture.

    Args:
        picture: (128, 128, 3).
        identity: who should be seen.
        content: doing what.
        start: what a probe reads; the search reaches about 0.09 to either side.
    """
    small = avg_pool2d(torch.from_numpy(picture).permute(2, 0, 1).float(), picture.shape[0] // _SIZE)
    figure = _figure(identity, content)
    centre = torch.tensor([start.x, start.ground, start.scale], dtype=torch.float32).clamp(_LOW, _HIGH)
    _, mirrored = min((_step(small, figure, centre, side, _STEPS[0])[0], side) for side in (False, True))
    for step in _STEPS:
        _, centre = _step(small, figure, centre, mirrored, step)
    x, ground, scale = centre.tolist()
    return Framing(x, ground, scale, mirrored)


def _step(small: Tensor, figure: Tensor, centre: Tensor, mirrored: bool, step: float) -> tuple[float, Tensor]:
    """The lowest error among a framing and its neighbours, and where it is."""
    places = (centre + step * _NEIGHBOURS).clamp(_LOW, _HIGH)
    errors = _errors(small, figure, places, mirrored)
    best = int(errors.argmin())
    return float(errors[best]), places[best]


def _errors(small: Tensor, figure: Tensor, places: Tensor, mirrored: bool) -> Tensor:
    """Errors at many (x, ground, scale), (places,)."""
    grid = affine_grid(_to_home(places, mirrored), [len(places), 4, _SIZE, _SIZE], align_corners=False)
    warped = grid_sample(figure.expand(len(places), -1, -1, -1), grid, align_corners=False)
    inside = (warped[:, 3] > 0.99).float()
    difference = (warped[:, :3] - small).abs().mean(1)
    return (difference * inside).sum((1, 2)) / inside.sum((1, 2))


def _to_home(places: Tensor, mirrored: bool) -> Tensor:
    """From picture to `_HOME`, whose coordinates both run from -1 to 1, (places, 2, 3)."""
    x, ground, scale = places.unbind(1)
    ratio = _HOME.scale / scale
    across = -ratio if mirrored else ratio
    zero = torch.zeros_like(x)
    return torch.stack(
        [
            torch.stack([across, zero, across * (1 - 2 * x) + 2 * _HOME.x - 1], 1),
            torch.stack([zero, ratio, ratio * (1 - 2 * ground) + 2 * _HOME.ground - 1], 1),
        ],
        1,
    )


@lru_cache(maxsize=256)
def _figure(identity: Identity, content: Content) -> Tensor:
    """The truth at `_HOME`: red, green, blue in 0..255, and coverage in 0..1, (4, side, side)."""
    colours = render(identity, content, _HOME, _HOME_SIZE)
    coverage = render_mask(identity, content, _HOME, _HOME_SIZE)[..., None] / 255
    return torch.from_numpy(np.concatenate([colours, coverage], 2)).permute(2, 0, 1).float()
