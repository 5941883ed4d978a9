"""A measured server beside the simulated one: the same edits at the same times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from benchmarks.capacity.costs import OURS, Measured
from benchmarks.capacity.simulation import Costs, Edit, simulate
from benchmarks.servers.client import Answer
from benchmarks.servers.rates import RUNG, figures, poisson_arrivals_s

COMPARED = ("edits_per_s", "p50_ms", "p95_ms", "p99_ms", "slowest_ms")


def replay(measured: Measured, costs: Costs) -> dict[str, dict[str, Any]]:
    """Play the scenarios of a serve record to the simulation.

    Returns:
        By scenario (Offline, and Server at every rate that was tried) the figures `measured` and `simulated`, and by
        how much of the measured ones the latter are `off`.
    """
    assert measured.serve is not None
    found, settings = measured.serve.results, measured.serve.settings
    steps = [settings["steps"][index % len(settings["steps"])] for index in range(settings["edits"])]
    scenarios = {"Offline": (found["Offline"][OURS], [0.0] * settings["edits"])}
    for play in found["Server"][OURS]["plays"]:
        rung = round(math.log(play["arrivals_per_s"], RUNG))
        arrivals_s = poisson_arrivals_s(rung, settings["seconds"])
        scenarios[f"Server at {play['arrivals_per_s']:.2f}/s"] = (play, arrivals_s)
    return {
        name: _beside(real, _simulated(arrivals_s, steps, costs, measured.outside_ms))
        for name, (real, arrivals_s) in scenarios.items()
    }


def _simulated(arrivals_s: Sequence[float], steps: Sequence[int], costs: Costs, outside_ms: float) -> dict[str, Any]:
    edits = [
        Edit(1e3 * arrival_s, steps[index % len(steps)], user="local") for index, arrival_s in enumerate(arrivals_s)
    ]
    [device] = simulate(edits, costs)
    answers = [Answer(edit.latency_ms + outside_ms, (edit.end_ms + outside_ms) / 1e3, 200, b"") for edit in edits]
    found = {name: value for name, value in figures([answers]).items() if name in COMPARED}
    return {**found, "rows_per_call": sum(device.rows) / len(device.rows)}


def _beside(real: dict[str, Any], simulated: dict[str, Any]) -> dict[str, Any]:
    measured = {name: real.get(name) for name in COMPARED}
    off = {
        name: simulated[name] / value - 1 if value and simulated[name] is not None else None
        for name, value in measured.items()
    }
    return {"measured": measured, "simulated": simulated, "off": off}
