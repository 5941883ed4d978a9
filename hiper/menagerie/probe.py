"""Read content, identity and framing off a picture of Menagerie: the referee of every edit."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hiper.menagerie.world import PATTERNS, PLACES, POSES, SPECIES, STYLES, Content, Framing, Identity

CLASSES: dict[str, tuple[object, ...]] = {
    "species": SPECIES,
    "pose": POSES,
    "place": PLACES,
    "style": STYLES,
    "pattern": PATTERNS,
    "mirrored": (False, True),
    "collar": (False, True),
    "belly": (False, True),
    "blaze": (False, True),
    "socks": (False, True),
    "tail_tip": (False, True),
}
COLOURS = ("coat", "marks", "collar_colour", "eyes")
LENGTHS = ("ear_length", "tail_length", "leg_length", "girth", "head_size", "x", "ground", "scale")
VALUES = (*(f"{name}.{channel}" for name in COLOURS for channel in "rgb"), *LENGTHS)
OUTPUTS = sum(len(options) for options in CLASSES.values()) + len(VALUES)


@dataclass(frozen=True)
class Reading:
    """What a probe sees in a batch of pictures: class indices by name, (batch,), and values by name."""

    classes: dict[str, Tensor]
    values: dict[str, Tensor]

    def content(self, index: int) -> Content:
        """The content of one picture."""
        picked = {name: CLASSES[name][int(self.classes[name][index])] for name in ("species", "pose", "place", "style")}
        return Content(**picked)  # type: ignore[arg-type]

    def framing(self, index: int) -> Framing:
        """Where the animal of one picture stands."""
        x, ground, scale = (float(self.values[name][index]) for name in ("x", "ground", "scale"))
        return Framing(x, ground, scale, bool(self.classes["mirrored"][index]))


class Probe(nn.Module):
    """A small convolutional network, (batch, 3, 128, 128) in [-1, 1] to (batch, OUTPUTS)."""

    def __init__(self) -> None:
        super().__init__()
        channels = (3, 32, 64, 128, 192)
        stages: list[nn.Module] = []
        for inner, outer in pairwise(channels):
            stages += [nn.Conv2d(inner, outer, 3, stride=2, padding=1), nn.GroupNorm(8, outer), nn.SiLU()]
        self.layers = nn.Sequential(
            nn.AvgPool2d(2),
            *stages,
            nn.Conv2d(192, 192, 3, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(192 * 16, 256),
            nn.SiLU(),
            nn.Linear(256, OUTPUTS),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Class scores one after the other, then the values."""
        outputs: Tensor = self.layers(images)
        return outputs

    @torch.no_grad()
    def read(self, images: Tensor) -> Reading:
        """Read pictures (batch, 3, 128, 128) in [-1, 1]."""
        scores, values = split_outputs(self(images))
        return Reading(
            {name: score.argmax(1) for name, score in scores.items()},
            dict(zip(VALUES, values.unbind(1), strict=True)),
        )


def split_outputs(outputs: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """A probe's outputs as scores by class name, and values (batch, len(VALUES))."""
    sizes = [len(options) for options in CLASSES.values()]
    *scores, values = outputs.split([*sizes, len(VALUES)], dim=1)
    return dict(zip(CLASSES, scores, strict=True)), values


def true_outputs(identity: Identity, content: Content, framing: Framing) -> tuple[list[int], list[float]]:
    """What a probe should read: class indices as in CLASSES, values as in VALUES, NaN for what is hidden."""
    facts = {**vars(identity), **vars(content), **vars(framing), "collar": identity.collar is not None}
    classes = [options.index(facts[name]) for name, options in CLASSES.items()]
    marked = identity.pattern != "plain" or identity.blaze or identity.socks or identity.tail_tip
    hidden = (float("nan"),) * 3
    colours = (identity.coat, identity.marks if marked else hidden, identity.collar or hidden, identity.eyes)
    return classes, [channel for colour in colours for channel in colour] + [float(facts[name]) for name in LENGTHS]


def load_probe(path: Path) -> Probe:
    """The probe that ships with Menagerie."""
    probe = Probe()
    probe.load_state_dict({name: weight.float() for name, weight in load_file(path).items()})
    return probe.eval()
