"""The rate at which a server still answers in time, found on a ladder of rates that all servers share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.percentiles import percentiles_ms
from benchmarks.servers.client import Answer

RUNG = 1.25
# A server is first asked for so much of what it did with all edits there at once.
START = 0.7


def rate_of(rung: int) -> float:
    """Edits a second."""
    return float(RUNG**rung)


def first_rung(offline_per_s: float) -> int:
    """Where the search begins for a server of this throughput."""
    return math.floor(math.log(START * offline_per_s, RUNG))


def next_rung(first: int, passed: Mapping[int, bool]) -> int | None:
    """The rung to try after these; None when the last one that is passed is known."""
    if not passed:
        return first
    failed = [rung for rung, in_time in passed.items() if not in_time]
    if not failed:
        return max(passed) + 1
    below = min(failed) - 1
    return None if below in passed else below


def best_rung(passed: Mapping[int, bool]) -> int | None:
    """The highest rung that was passed."""
    return max((rung for rung, in_time in passed.items() if in_time), default=None)


def poisson_arrivals_s(rung: int, seconds: float) -> list[float]:
    """A Poisson process of this rate, given how many arrive: these lie anywhere, independently (Ross 1996, 2.3).

    The same for every server, and without the luck of a few arrivals more.
    """
    count = max(2, round(rate_of(rung) * seconds))
    random = np.random.default_rng(1000 + rung)
    return [float(arrival) for arrival in np.sort(random.uniform(0, count / rate_of(rung), count))]


def figures(plays: Sequence[Sequence[Answer]]) -> dict[str, Any]:
    """Latencies and throughput of one or several plays; latencies are None where they would be those of a failure."""
    answers = [answer for play in plays for answer in play]
    good = [[answer.latency_ms for answer in play if answer.status == 200] for play in plays]
    failures = sum(answer.status != 200 for answer in answers)
    latencies_ms = [latency for play in good for latency in play] + [math.inf] * failures
    return {
        "edits": len(answers),
        "failures": failures,
        "edits_per_s": float(np.median([throughput(play) for play in plays])),
        **percentiles_ms(latencies_ms),
        "slowest_ms": None if failures else max(latencies_ms),
        "latencies_ms": good,
    }


def throughput(play: Sequence[Answer]) -> float:
    """Pictures a second, from the first arrival to the last answer."""
    begin = min(answer.ended_s - answer.latency_ms / 1e3 for answer in play)
    pictures = sum(answer.status == 200 for answer in play)
    return pictures / (max(answer.ended_s for answer in play) - begin)


def in_time(found: Mapping[str, Any], bound_ms: float) -> bool:
    """Whether 99 of 100 edits had their pictures within the bound; of fewer edits than a hundred, all of them."""
    good = sum(latency <= bound_ms for play in found["latencies_ms"] for latency in play)
    return bool(100 * good >= 99 * found["edits"])
