"""The step batcher in simulated time: edits arrive, share calls of the UNet, and leave; nothing is painted.

Who gets rows is decided by `engine.urgency`, as in `engine.batcher`; only the clock is another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.urgency import Shares, by_urgency, fit

MAX_EDITS = 64


@dataclass(frozen=True)
class Costs:
    """What the time of an engine goes into, in milliseconds; each time one of the samples is drawn.

    Attributes:
        step_ms: a step with a call of so many rows; the keys are the buckets.
        text_ms: before the first step of an edit, while all others wait.
        decode_ms: after its last step, likewise.
    """

    step_ms: Mapping[int, Sequence[float]]
    text_ms: Sequence[float] = (0.0,)
    decode_ms: Sequence[float] = (0.0,)

    @property
    def max_rows(self) -> int:
        """Of a call."""
        return max(self.step_ms)

    def means(self) -> dict[str, Any]:
        """The means of all samples, for a record."""
        return {
            "step_ms": {str(rows): float(np.mean(samples)) for rows, samples in self.step_ms.items()},
            "text_ms": float(np.mean(self.text_ms)),
            "decode_ms": float(np.mean(self.decode_ms)),
        }


@dataclass(eq=False)
class Edit:
    """An edit that arrives; a `Job` of `engine.urgency`.

    Attributes:
        arrival_ms: when.
        steps: that it needs.
        rows: that each takes.
        user: who wants it.
        left: steps that have no rows yet.
        end_ms: when its picture is there; infinite until then, and for good if it was refused.
        start: on the clock of `Shares`.
        deadline: the same for all, counted from their arrivals; nobody is given up.
    """

    arrival_ms: float
    steps: int
    rows: int = 2
    user: str = ""
    left: int = field(init=False)
    end_ms: float = field(default=math.inf, init=False)
    start: float = field(default=0.0, init=False)
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.steps
        self.deadline = self.arrival_ms

    @property
    def latency_ms(self) -> float:
        """From arrival to picture."""
        return self.end_ms - self.arrival_ms


class Device:
    """An engine and its batcher.

    Args:
        costs: of what it does.
        random: draws from the costs.
        max_edits: that may be under way.

    Attributes:
        rows: wanted of each call, in order.
        busy_ms: spent on anything but waiting.
    """

    def __init__(self, costs: Costs, random: np.random.Generator, max_edits: int = MAX_EDITS) -> None:
        self.rows: list[int] = []
        self.busy_ms = 0.0
        self._costs, self._random, self._max_edits = costs, random, max_edits
        self._buckets = sorted(costs.step_ms)
        self._now_ms = 0.0
        self._shares = Shares()
        self._edits: list[Edit] = []
        self._stepping: list[Edit] = []

    def run_until(self, time_ms: float) -> None:
        """Make all turns that begin before."""
        while self._now_ms < time_ms and any(math.isinf(edit.end_ms) for edit in self._edits):
            self._turn()

    def under_way(self, time_ms: float) -> int:
        """How many edits have no picture at a time to which the device has been run."""
        return sum(edit.end_ms > time_ms for edit in self._edits)

    def accept(self, edit: Edit) -> bool:
        """Take up an edit at its arrival, to which the device has been run; false if there is no room."""
        self._edits = [other for other in self._edits if other.end_ms > edit.arrival_ms]
        if len(self._edits) >= self._max_edits:
            return False
        self._now_ms = max(self._now_ms, edit.arrival_ms)
        edit.start = self._shares.start(edit.user, edit.rows * edit.steps, self._edits)
        self._edits.append(edit)
        return True

    def _turn(self) -> None:
        """What `Batcher` does between two waits: begin, finish the last call's edits, call."""
        chosen = fit(by_urgency(edit for edit in self._edits if edit.left), self._costs.max_rows)
        for edit in chosen:
            if edit.left == edit.steps:
                self._spend(self._costs.text_ms)
        for edit in self._stepping:
            if not edit.left:
                self._spend(self._costs.decode_ms)
                edit.end_ms = self._now_ms
        for edit in chosen:
            edit.left -= 1
        self._stepping = chosen
        if rows := sum(edit.rows for edit in chosen):
            self.rows.append(rows)
            self._spend(self._costs.step_ms[next(size for size in self._buckets if size >= rows)])

    def _spend(self, samples_ms: Sequence[float]) -> None:
        spent_ms = samples_ms[int(self._random.random() * len(samples_ms))]
        self._now_ms += spent_ms
        self.busy_ms += spent_ms


def simulate(
    edits: Sequence[Edit], costs: Costs, devices: int = 1, max_edits: int = MAX_EDITS, seed: int = 0
) -> list[Device]:
    """Let devices work on edits to the end.

    An edit goes to the less busy of two devices that are drawn, as in Ray Serve (Mitzenmacher 2001).

    Args:
        edits: in the order of their arrivals; get their ends.
        costs: of every device.
        devices: how many.
        max_edits: under way on each; an edit that finds no room is refused.
        seed: of all draws.
    """
    random = np.random.default_rng(seed)
    fleet = [Device(costs, random, max_edits) for _ in range(devices)]
    for edit in edits:
        asked = _two_of(fleet, random)
        for device in asked:
            device.run_until(edit.arrival_ms)
        min(asked, key=lambda device: device.under_way(edit.arrival_ms)).accept(edit)
    for device in fleet:
        device.run_until(math.inf)
    return fleet


def _two_of(fleet: Sequence[Device], random: np.random.Generator) -> list[Device]:
    if len(fleet) == 1:
        return [*fleet]
    first = int(random.random() * len(fleet))
    second = (first + 1 + int(random.random() * (len(fleet) - 1))) % len(fleet)
    return [fleet[first], fleet[second]]


def poisson(rate_per_s: float, count: int, steps: Sequence[int], seed: int = 0) -> list[Edit]:
    """Edits of as many users that come at random, all equally likely at any time.

    Args:
        rate_per_s: of arrivals.
        count: how many.
        steps: that edits have, in turns.
        seed: of the arrivals.
    """
    gaps_ms = np.random.default_rng(seed).exponential(1e3 / rate_per_s, count)
    return [
        Edit(float(arrival_ms), steps[index % len(steps)], user=str(index))
        for index, arrival_ms in enumerate(np.cumsum(gaps_ms))
    ]
