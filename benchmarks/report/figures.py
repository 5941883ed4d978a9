"""The figures of a record with the samples behind them, whatever script wrote it.

A record names its figures with their units, so most can be found without knowing the script.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks import bootstrap
from benchmarks.report.records import Record

# Ending of a name → unit, its size, and whether less is better. The first that fits counts.
_ENDINGS: dict[str, tuple[str, float, bool]] = {
    "_per_s": ("/s", 1, False),
    "_ms": ("ms", 1, True),
    "_s": ("s", 1, True),
    "_bytes": ("MiB", 2**20, True),
    "_db": ("dB", 1, False),
    "speed_up": ("x", 1, False),
    "success": ("", 1, False),
    "_error": ("", 1, True),
}
# Derived from samples that are figures themselves, or no property of the program.
_SKIPPED = ("median_ms", "p50_ms", "p95_ms", "p99_ms", "slowest_ms", "before_bytes", "work_s", "wall_s")


@dataclass(frozen=True)
class Figure:
    """One figure of one run.

    Attributes:
        name: path to it within the record.
        unit: of the samples.
        less_is_better: whether a user would want less of it.
        samples: raw; a single one where nothing tells the noise.
    """

    name: str
    unit: str
    less_is_better: bool
    samples: tuple[float, ...]

    @property
    def estimate(self) -> bootstrap.Estimate:
        """The median with its 95 % interval."""
        return bootstrap.median(self.samples)


def figures_of(record: Record) -> dict[str, Figure]:
    """All figures of a record by name."""
    finders = {"fidelity": _fidelity, "fidelity-gate": _shares, "presets": _presets, "edit": _edit, "images": _images}
    found = finders.get(record.kind, _walk)(record.results)
    return {figure.name: figure for figure in found}


def _walk(node: Mapping[str, Any], path: str = "") -> Iterator[Figure]:
    for name, value in node.items():
        inner = f"{path} / {name}" if path else name
        if name == "samples_ms":
            yield Figure(f"{path or 'time'}", "ms", True, tuple(value))
        elif name == "latencies_ms":
            yield Figure(f"{path} / latency", "ms", True, tuple(latency for played in value for latency in played))
        elif isinstance(value, Mapping):
            yield from _walk(value, inner)
        elif isinstance(value, int | float) and not isinstance(value, bool) and name not in _SKIPPED:
            ending = next((ending for ending in _ENDINGS if name.endswith(ending)), None)
            if ending is not None:
                unit, size, less_is_better = _ENDINGS[ending]
                yield Figure(inner, unit, less_is_better, (value / size,))


def _edit(results: Mapping[str, Any]) -> Iterator[Figure]:
    """With speed-ups in pairs of rounds, which are steadier than times: the machine's moods meet both sides."""
    reference = next(iter(results.values()))["samples_ms"] if results else []
    for figure in _walk(results):
        way, _, name = figure.name.partition(" / ")
        samples = results[way]["samples_ms"]
        if name == "speed_up" and len(samples) == len(reference):
            pairs = zip(reference, samples, strict=True)
            yield Figure(figure.name, "x", False, tuple(slow / fast for slow, fast in pairs))
        else:
            yield figure


def _fidelity(results: Mapping[str, Any]) -> Iterator[Figure]:
    """By identity, of the settings as users would run them."""
    for row in results["settings"]:
        label = " ".join([row["method"], *([row["knob"], f"{row['value']:g}"] if row["knob"] else [])])
        for name, less in (("success", False), ("identity_error", True)):
            yield Figure(f"{label} / {name}", "", less, tuple(row["by_identity"][name]))


def _presets(results: Mapping[str, Any]) -> Iterator[Figure]:
    """By subject; steps of both presets together with their times."""
    subjects = results["subjects"]
    for name in ("times_fewer_rows", "times_less_time"):
        if found := tuple(subject[name] for subject in subjects if name in subject):
            yield Figure(name, "x", False, found)
    for preset in ("paper", "fast"):
        steps_ms = [1e3 * statistics.median(subject[f"{preset}_step_s"]) for subject in subjects]
        yield Figure(f"{preset} / step", "ms", True, tuple(steps_ms))
        yield Figure(f"{preset} / best loss", "", True, tuple(subject[f"{preset}_best_loss"] for subject in subjects))


def _shares(results: Mapping[str, Any], path: str = "") -> Iterator[Figure]:
    """Every number is a share of pictures that are right, or a PSNR."""
    for name, value in results.items():
        if isinstance(value, Mapping):
            yield from _shares(value, f"{path}{name} / ")
        else:
            yield Figure(f"{path}{name}", "", False, (float(value),))


def _images(results: Mapping[str, Any]) -> Iterator[Figure]:
    for metric, found in results.items():
        yield Figure(metric, "", metric == "lpips", tuple(found["by_subject"]))
