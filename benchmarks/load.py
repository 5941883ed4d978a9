"""Edits that arrive over time, and what became of them: the scenarios of MLPerf Inference."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.edit_request import EditRequest, EditResult


class Policy(Protocol):
    """Whatever takes edits and gives pictures."""

    def submit(self, request: EditRequest) -> Future[EditResult]:
        """Accept an edit."""

    def close(self) -> None:
        """Finish what was accepted."""


@dataclass(frozen=True)
class Load:
    """When edits arrive; names are MLPerf's.

    Attributes:
        name: of the scenario.
        rate: of a Poisson process, over what one at a time can serve; infinite for all at once, None for each when the
            last one is back.
    """

    name: str
    rate: float | None

    def arrivals_s(self, random: np.random.Generator, capacity_per_s: float, count: int) -> list[float] | None:
        """Draw the times of arrival."""
        if self.rate is None:
            return None
        return [float(time) for time in np.cumsum(random.exponential(1 / (self.rate * capacity_per_s), count))]


LOADS = (
    Load("single stream", None),
    Load("server at 0.5", 0.5),
    Load("server at 0.9", 0.9),
    Load("server at 1.3", 1.3),
    Load("offline", math.inf),
)


@dataclass(frozen=True, eq=False)
class Played:
    """What came of a load: latencies from arrival to picture, throughput from first arrival to last picture."""

    latencies_ms: list[float]
    edits_per_s: float
    pictures: list[NDArray[np.uint8]]


def play(policy: Policy, requests: Sequence[EditRequest], arrivals_s: Sequence[float] | None) -> Played:
    """Send edits at their times, or each when the last one is back, and wait for all pictures."""
    begins, ends, pictures = [0.0] * len(requests), [0.0] * len(requests), []
    arrived = threading.Semaphore(0)

    def note_end(index: int, _: object) -> None:
        ends[index] = time.perf_counter()
        arrived.release()

    start = time.perf_counter()
    futures = []
    for index, request in enumerate(requests):
        begins[index] = time.perf_counter() if arrivals_s is None else start + arrivals_s[index]
        time.sleep(max(0.0, begins[index] - time.perf_counter()))
        futures.append(policy.submit(request))
        futures[-1].add_done_callback(partial(note_end, index))
        if arrivals_s is None:
            futures[-1].result()
    pictures = [future.result().image for future in futures]
    for _ in requests:
        arrived.acquire()
    latencies_ms = [1e3 * (end - begin) for begin, end in zip(begins, ends, strict=True)]
    return Played(latencies_ms, len(requests) / (max(ends) - begins[0]), pictures)
