"""All records of a report, and how to find what belongs to one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.report.floors import Floors, find_floors
from benchmarks.report.records import Record, newest


@dataclass(frozen=True, eq=False)
class Book:
    """Records, oldest first."""

    records: Sequence[Record]

    def of(self, kind: str) -> list[Record]:
        """The newest record of each name of a kind."""
        return [record for record in newest(self.records) if record.kind == kind]

    def floors(self, record: Record) -> Floors | None:
        """What a record's figures are to be compared with."""
        return find_floors(record, self.records)

    def history(self, record: Record) -> list[Record]:
        """All runs of a record's name on its machine and with its settings, oldest first."""
        return [other for other in self.records if other.name == record.name and comparable(record, other) == ""]


def comparable(record: Record, other: Record) -> str:
    """Why figures of two records must not be compared; empty where they may."""
    for name in ("cpu", "cores"):
        here, there = record.hardware.get(name), other.hardware.get(name)
        if here != there:
            return f"{name} is {here} in {record.path.name} and {there} in {other.path.name}"
    gpus = [[gpu.get("name") for gpu in found.hardware.get("gpus", [])] for found in (record, other)]
    if gpus[0] != gpus[1]:
        return f"GPUs are {gpus[0]} in {record.path.name} and {gpus[1]} in {other.path.name}"
    if record.model_digest and other.model_digest and record.model_digest != other.model_digest:
        return f"{record.path.name} and {other.path.name} are of models with other weights"
    here, there = (_settings(found.settings) for found in (record, other))
    different = sorted(name for name in here.keys() & there.keys() if here[name] != there[name])
    if different:
        name = different[0]
        return f"{name} is {here[name]} in {record.path.name} and {there[name]} in {other.path.name}"
    return ""


# How often something was measured changes the noise, not the figure.
_FREE = ("rounds", "left_out", "waiting", "samples", "digest", "probe_digest")


def _settings(settings: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Settings of settings by their path."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and name not in _FREE:
            found |= _settings(value, f"{path}{name}.")
        elif name not in _FREE:
            found[f"{path}{name}"] = value
    return found
