"""What the methods under test have in common, and the two bounds between which every edit lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from benchmarks.fidelity.cases import Case, Shot, shots
from benchmarks.fidelity.studio import Studio
from hiper.images import from_uint8


class Setting(NamedTuple):
    """A method and the one knob that a curve turns; without a knob, the method as its users would run it."""

    method: str
    knob: str = ""
    value: float = 0.0

    def __str__(self) -> str:
        return f"{self.method} {self.knob} {self.value:g}" if self.knob else self.method


class Outcome(NamedTuple):
    """Pictures of one setting, (shots, 3, 128, 128) in [-1, 1]."""

    setting: Setting
    shots: list[Shot]
    images: Tensor


def truth(studio: Studio, cases: Sequence[Case]) -> Iterator[Outcome]:
    """The upper bound: the ground truth through the autoencoder, as sharp as the model can be."""
    takes = shots(cases, seeds=1)
    latents = studio.model.encode_image(from_uint8([shot.truth() for shot in takes]))
    yield Outcome(Setting("truth"), takes, studio.model.decode_latents(latents).cpu())


def source(studio: Studio, cases: Sequence[Case]) -> Iterator[Outcome]:
    """The other bound: the untouched source picture."""
    takes = shots(cases, seeds=1)
    yield Outcome(Setting("source"), takes, from_uint8([shot.case.picture() for shot in takes]))


def text(studio: Studio, cases: Sequence[Case]) -> Iterator[Outcome]:
    """The target prompt alone."""
    takes = shots(cases, studio.settings.seeds)
    yield Outcome(Setting("text"), takes, studio.paint(studio.noise(takes), studio.encode_prompts(takes)))
