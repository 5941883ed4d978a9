"""Judge pictures: is the edit there, and is it still the same animal?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.fidelity.alignment import align, subject_error
from benchmarks.fidelity.cases import EDITS, Shot
from benchmarks.fidelity.methods import Outcome
from hiper.images import to_uint8
from hiper.menagerie.probe import CLASSES, Probe, Reading
from hiper.menagerie.world import Content, Framing, Identity

# What a probe's class tells of an individual.
MARKS = ("pattern", "collar", "belly", "blaze", "socks", "tail_tip")
# Ear lengths run from 0.7 to 1.45.
EAR_TOLERANCE = 0.15


@dataclass(frozen=True)
class Score:
    """The verdict on one picture.

    Attributes:
        method: and the two that follow, its Setting.
        knob: turned by a curve; empty for the method as its users would run it.
        value: of the knob.
        identity: index of the case.
        edit: what was asked.
        seed: of the shot.
        asked: what was asked for is read.
        success: it is read, and so is all of the source's content that was not to change.
        identity_error: mean absolute difference inside the animal to the edit's truth, aligned, 0..255.
        subject_error: the same to the same animal doing what the picture shows, whether asked for or not.
        coat_error: distance of the coat's colour as read to the true one, 0..441.
        agrees: by attribute of the individual, whether the probe reads it as it should be.
    """

    method: str
    knob: str
    value: float
    identity: int
    edit: str
    seed: int
    asked: bool
    success: bool
    identity_error: float
    subject_error: float
    coat_error: float
    agrees: dict[str, bool]


def judge(probe: Probe, outcome: Outcome) -> Iterator[Score]:
    """The scores of an outcome's pictures."""
    reading = probe.read(outcome.images)
    for index, (shot, picture) in enumerate(zip(outcome.shots, to_uint8(outcome.images), strict=True)):
        read, framing = reading.content(index), reading.framing(index)
        identity = shot.case.identity
        # Scenery is behind the animal and does not count, so what is found differs in body and style only.
        found = replace(read, place=shot.target.place)
        errors = {content: _aligned_error(picture, identity, content, framing) for content in {shot.target, found}}
        yield Score(
            *outcome.setting,
            identity=shot.case.index,
            edit=shot.edit,
            seed=shot.seed,
            asked=was_asked_for(shot, read),
            success=read == shot.target,
            identity_error=errors[shot.target],
            subject_error=errors[found],
            coat_error=_coat_error(reading, index, identity),
            agrees=_agreements(reading, index, identity),
        )


def was_asked_for(shot: Shot, read: Content) -> bool:
    """Whether the part of the content that the edit names is as asked; the rest may be anything."""
    return all(getattr(read, name) == getattr(shot.target, name) for name in EDITS[shot.edit])


def _aligned_error(picture: NDArray[np.uint8], identity: Identity, content: Content, start: Framing) -> float:
    return subject_error(picture, identity, content, align(picture, identity, content, start))


def _coat_error(reading: Reading, index: int, identity: Identity) -> float:
    coat = [float(reading.values[f"coat.{channel}"][index]) for channel in "rgb"]
    return 255 * float(np.linalg.norm(np.subtract(coat, identity.coat)))


def _agreements(reading: Reading, index: int, identity: Identity) -> dict[str, bool]:
    facts: dict[str, Any] = {**vars(identity), "collar": identity.collar is not None}
    agrees = {name: CLASSES[name][int(reading.classes[name][index])] == facts[name] for name in MARKS}
    ears = float(reading.values["ear_length"][index])
    return {**agrees, "ears": abs(ears - identity.ear_length) <= EAR_TOLERANCE}
