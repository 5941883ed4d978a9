"""From costs to latencies over load, and to the number of devices that a crowd needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.capacity.simulation import Costs, Device, Edit, poisson, simulate
from benchmarks.percentiles import percentiles_ms

# Of what one device can do at most.
LOADS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
# Edits that come before the queues are as long as they will be.
WARM_UP = 0.1
MOST_DEVICES = 1000
# Tried beyond the answer, to show what more devices would give.
SPARE = 2
ROWS = 2


@dataclass(frozen=True)
class Crowd:
    """Who wants what.

    Attributes:
        users: how many.
        edits_per_hour: of each.
        steps: of an edit.
        p99_ms: within which 99 of 100 pictures must come.
        outside_ms: what HTTP and the front add to each latency.
    """

    users: int
    edits_per_hour: float = 20.0
    steps: int = 30
    p99_ms: float = 2000.0
    outside_ms: float = 0.0

    @property
    def edits_per_s(self) -> float:
        """Of all users together."""
        return self.users * self.edits_per_hour / 3600


def most_per_s(costs: Costs, steps: int) -> float:
    """Edits a second of a device that always has as many as its largest call takes."""
    edits = costs.max_rows // ROWS
    step_ms = float(np.mean(costs.step_ms[costs.max_rows]))
    each_ms = float(np.mean(costs.text_ms) + np.mean(costs.decode_ms))
    return 1e3 * edits / (steps * step_ms + edits * each_ms)


def figures(edits: Sequence[Edit], fleet: Sequence[Device], outside_ms: float = 0.0) -> dict[str, Any]:
    """What came of a simulation; percentiles are None where too many were refused."""
    settled = edits[int(WARM_UP * len(edits)) :]
    latencies_ms = [edit.latency_ms + outside_ms for edit in settled]
    finished = [edit for edit in edits if np.isfinite(edit.end_ms)]
    last_ms = max(edit.end_ms for edit in finished)
    calls = [rows for device in fleet for rows in device.rows]
    return {
        "edits": len(edits),
        "refused": len(edits) - len(finished),
        "edits_per_s": 1e3 * len(finished) / (last_ms - edits[0].arrival_ms),
        **percentiles_ms(latencies_ms),
        "busy": sum(device.busy_ms for device in fleet) / len(fleet) / last_ms,
        "rows_per_call": float(np.mean(calls)),
    }


def at_rate(costs: Costs, crowd: Crowd, rate_per_s: float, devices: int, edits: int, seed: int = 0) -> dict[str, Any]:
    """Simulate Poisson arrivals at a rate; `edits` per device."""
    arriving = poisson(rate_per_s, edits * devices, [crowd.steps], seed)
    fleet = simulate(arriving, costs, devices, seed=seed)
    return {"arrivals_per_s": rate_per_s, "devices": devices, **figures(arriving, fleet, crowd.outside_ms)}


def load_curve(costs: Costs, crowd: Crowd, edits: int, seed: int = 0) -> list[dict[str, Any]]:
    """One device under ever more load."""
    most = most_per_s(costs, crowd.steps)
    return [{"load": load, **at_rate(costs, crowd, load * most, 1, edits, seed)} for load in LOADS]


def devices_needed(costs: Costs, crowd: Crowd, edits: int, seed: int = 0) -> list[dict[str, Any]]:
    """Try numbers of devices, from the least that could do until the bound is kept, and two more.

    Raises:
        ValueError: one edit by itself takes longer than the bound, or more than 1000 devices are needed.
    """
    alone_ms = crowd.steps * float(np.mean(costs.step_ms[ROWS])) + float(np.mean(costs.decode_ms)) + crowd.outside_ms
    if alone_ms > crowd.p99_ms:
        raise ValueError(
            f"an edit alone takes {alone_ms:.0f} ms but 99 of 100 must come within {crowd.p99_ms:g} ms; allow more"
        )
    tried: list[dict[str, Any]] = []
    for devices in range(_fewest(costs, crowd), MOST_DEVICES + 1):
        tried.append(at_rate(costs, crowd, crowd.edits_per_s, devices, edits, seed))
        if len(tried) > SPARE and within(tried[-1 - SPARE], crowd.p99_ms):
            return tried
    raise ValueError(f"{MOST_DEVICES} devices do not keep the bound; allow more, or plan for fewer users")


def within(found: Mapping[str, Any], p99_ms: float) -> bool:
    """Whether 99 of 100 pictures came within a bound."""
    return found["p99_ms"] is not None and found["p99_ms"] <= p99_ms


def _fewest(costs: Costs, crowd: Crowd) -> int:
    return max(1, int(np.ceil(crowd.edits_per_s / most_per_s(costs, crowd.steps))))
