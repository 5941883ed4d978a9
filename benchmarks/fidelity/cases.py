"""Held-out animals and the edits asked of them, from a stream that no training draws from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from hiper.menagerie.captions import terse_caption
from hiper.menagerie.render import render
from hiper.menagerie.world import (
    HELD_OUT_STREAM,
    PLACES,
    POSES,
    SPECIES,
    Content,
    Framing,
    Identity,
    held_out,
    sample_framing,
)

# What each edit changes.
EDITS = {"pose": ("pose",), "place": ("place",), "species": ("species",), "pose+place": ("pose", "place")}


@dataclass(frozen=True)
class Case:
    """One individual, its picture, and what is asked of it.

    Attributes:
        index: in the stream; the same index is the same case for ever.
        identity: who it is.
        source: what it does in its picture.
        framing: how its picture is framed.
        targets: what is asked, by name of edit.
        elsewhere: how the truth is framed where it is shown; no edit is asked to match it.
    """

    index: int
    identity: Identity
    source: Content
    framing: Framing
    targets: Mapping[str, Content]
    elsewhere: Framing

    @property
    def prompt(self) -> str:
        """A terse source prompt, which leaves the individual to the tail."""
        return terse_caption(self.source)

    def picture(self) -> NDArray[np.uint8]:
        """The source picture, (128, 128, 3)."""
        return render(self.identity, self.source, self.framing)


@dataclass(frozen=True)
class Shot:
    """One picture to make: an edit of a case from one seed."""

    case: Case
    edit: str
    seed: int

    @property
    def target(self) -> Content:
        """What the picture should show."""
        return self.case.targets[self.edit]

    @property
    def prompt(self) -> str:
        """A terse target prompt."""
        return terse_caption(self.target)

    @property
    def noise_seed(self) -> int:
        """Of the starting noise: the same for every method and edit, so that methods are compared in pairs."""
        return 1000 * self.case.index + self.seed

    def truth(self) -> NDArray[np.uint8]:
        """What a perfect edit could look like, (128, 128, 3)."""
        return render(self.case.identity, self.target, self.case.elsewhere)


def held_out_case(index: int) -> Case:
    """The case of an index."""
    identity, source, framing = held_out(index)
    rng = np.random.default_rng((index, HELD_OUT_STREAM, 1))
    changed = {
        name: str(rng.choice([option for option in options if option != getattr(source, name)]))
        for name, options in (("species", SPECIES), ("pose", POSES), ("place", PLACES))
    }
    targets = {edit: replace(source, **{name: changed[name] for name in names}) for edit, names in EDITS.items()}
    return Case(index, identity, source, framing, targets, sample_framing(rng))


def shots(cases: Sequence[Case], seeds: int) -> list[Shot]:
    """Every edit of every case from every seed; cases outermost, seeds innermost."""
    return [Shot(*combination) for combination in product(cases, EDITS, range(seeds))]
