"""Latency over load, and over the number of devices, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {"p50_ms": "#3f8f5b", "p95_ms": "#3b6fb5", "p99_ms": "#d2601a"}


def picture(loads: Sequence[Mapping[str, Any]], devices: Sequence[Mapping[str, Any]], p99_ms: float) -> Figure:
    """Draw what `load_curve` and `devices_needed` found, with the bound that was asked for."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw(left, loads, "arrivals_per_s", p99_ms)
    left.set(xlabel="edits that arrive at one device, 1/s", ylabel="latency, ms")
    _draw(right, devices, "devices", p99_ms)
    right.set(xlabel="devices for all users", xticks=[one["devices"] for one in devices])
    left.legend(frameon=False)
    return figure


def _draw(axes: Axes, found: Sequence[Mapping[str, Any]], x: str, p99_ms: float) -> None:
    for name, colour in COLOURS.items():
        points = [(one[x], one[name]) for one in found if one[name] is not None]
        axes.plot(*zip(*points, strict=True), "o-", color=colour, label=name.removesuffix("_ms"), markersize=4)
    axes.axhline(p99_ms, color="#6e6e73", linestyle="--", linewidth=1, label="bound on p99")
    axes.set_ylim(0)
    axes.grid(color="#e4e4e8")
