"""What there is in Menagerie: who an animal is, what it does where, and how the picture is framed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]  # red, green, blue in [0, 1]

SPECIES = ("dog", "cat", "rabbit", "bear")
POSES = ("standing", "sitting", "lying", "jumping")
PLACES = ("beach", "meadow", "snow", "forest", "room", "night")
STYLES = ("cartoon", "pencil")
PATTERNS = ("plain", "spots", "stripes", "patch")

COLOURS: dict[str, Colour] = {
    "white": (0.95, 0.94, 0.92),
    "cream": (0.95, 0.86, 0.68),
    "yellow": (0.96, 0.80, 0.24),
    "orange": (0.93, 0.53, 0.17),
    "red": (0.80, 0.22, 0.18),
    "pink": (0.95, 0.62, 0.70),
    "brown": (0.58, 0.37, 0.20),
    "chocolate": (0.33, 0.20, 0.13),
    "grey": (0.60, 0.61, 0.63),
    "black": (0.16, 0.16, 0.19),
    "blue": (0.28, 0.45, 0.80),
    "teal": (0.20, 0.62, 0.62),
    "green": (0.38, 0.66, 0.28),
    "purple": (0.55, 0.38, 0.70),
}
COATS = ("white", "cream", "yellow", "orange", "pink", "brown", "chocolate", "grey", "black", "blue", "teal", "purple")
COLLARS = ("red", "yellow", "blue", "green", "purple", "white", "black")
EYES = ("brown", "green", "blue", "yellow", "black")

HELD_OUT_STREAM = 2303_08767
"""The second word of a seed that training never uses."""


@dataclass(frozen=True)
class Identity:
    """An individual: everything that stays the same when it moves. Lengths are factors around 1."""

    coat: Colour
    marks: Colour
    eyes: Colour
    collar: Colour | None
    pattern: str
    spots: tuple[tuple[float, float, float], ...]
    """Where its marks sit on the body: (along, across, radius), each in [0, 1]."""
    belly: bool
    blaze: bool
    socks: bool
    tail_tip: bool
    ear_length: float
    ear_tilt: float
    tail_length: float
    leg_length: float
    girth: float
    head_size: float
    muzzle: float
    eye_size: float


@dataclass(frozen=True)
class Content:
    """What a prompt asks for: the part of a picture that an edit changes."""

    species: str
    pose: str
    place: str
    style: str = "cartoon"


@dataclass(frozen=True)
class Framing:
    """What no caption tells: where the animal stands, how large, which way, and how the scenery falls."""

    x: float = 0.5
    ground: float = 0.90
    scale: float = 0.64
    mirrored: bool = False
    scenery: int = 0


def colour_name(colour: Colour) -> str:
    """The named colour nearest to `colour`."""
    return min(COLOURS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLOURS[name], colour, strict=True)))


def sample_identity(rng: np.random.Generator) -> Identity:
    """Draw an individual; its two coat colours always differ clearly."""
    coat_name = str(rng.choice(COATS))
    coat = _near(coat_name, rng)
    others = [name for name in COATS if _distance(COLOURS[name], coat) > 0.45]
    return Identity(
        coat=coat,
        marks=_near(str(rng.choice(others)), rng),
        eyes=_near(str(rng.choice(EYES)), rng),
        collar=_near(str(rng.choice(COLLARS)), rng) if rng.random() < 0.6 else None,
        pattern=str(rng.choice(PATTERNS)),
        spots=tuple((_between(rng, 0, 1), _between(rng, 0, 1), _between(rng, 0, 1)) for _ in range(5)),
        belly=bool(rng.random() < 0.5),
        blaze=bool(rng.random() < 0.4),
        socks=bool(rng.random() < 0.4),
        tail_tip=bool(rng.random() < 0.5),
        ear_length=_between(rng, 0.7, 1.45),
        ear_tilt=_between(rng, -1.0, 1.0),
        tail_length=_between(rng, 0.6, 1.4),
        leg_length=_between(rng, 0.75, 1.25),
        girth=_between(rng, 0.8, 1.25),
        head_size=_between(rng, 0.85, 1.2),
        muzzle=_between(rng, 0.8, 1.25),
        eye_size=_between(rng, 0.8, 1.3),
    )


def sample_content(rng: np.random.Generator, pencil: float = 0.12) -> Content:
    """Draw a content uniformly; `pencil` is the share of pencil drawings."""
    style = "pencil" if rng.random() < pencil else "cartoon"
    return Content(str(rng.choice(SPECIES)), str(rng.choice(POSES)), str(rng.choice(PLACES)), style)


def sample_framing(rng: np.random.Generator) -> Framing:
    """Draw a framing in which the animal stays in the picture, but for the tip of a tail."""
    return Framing(
        x=_between(rng, 0.42, 0.58),
        ground=_between(rng, 0.84, 0.94),
        scale=_between(rng, 0.56, 0.70),
        mirrored=bool(rng.random() < 0.5),
        scenery=int(rng.integers(1 << 31)),
    )


def held_out(index: int) -> tuple[Identity, Content, Framing]:
    """An individual that no training ever saw, with something it does and a framing."""
    rng = np.random.default_rng((index, HELD_OUT_STREAM))
    return sample_identity(rng), sample_content(rng, pencil=0), sample_framing(rng)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _near(name: str, rng: np.random.Generator) -> Colour:
    jittered = np.clip(np.asarray(COLOURS[name]) + rng.normal(0.0, 0.035, 3), 0.02, 0.98)
    return (float(jittered[0]), float(jittered[1]), float(jittered[2]))


def _distance(a: Colour, b: Colour) -> float:
    return float(np.linalg.norm(np.subtract(a, b)))
