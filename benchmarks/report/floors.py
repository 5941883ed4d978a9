"""The least time that the arithmetic of an edit, a step or a fit allows: a roofline (Williams et al. 2009)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.report.page import Text
from benchmarks.report.records import Record
from benchmarks.ways import is_exact

# A backward pass to the inputs costs another forward pass, one to the weights too.
PASSES_OF_A_FIT = {"frozen": 2, "published": 3}


@dataclass(frozen=True)
class Floors:
    """Counts of a model and peaks of a device.

    Attributes:
        record: where they come from.
    """

    record: Record

    def edit_ms(self, way: str, steps: int) -> float:
        """Of a guided edit: two prompts, two rows a step, one picture."""
        counts = {"text_encoder": 2, "unet": 2 * steps, "decoder": 1}
        flops = sum(rows * self._networks[name]["flops"] for name, rows in counts.items())
        calls = {"text_encoder": 1, "unet": steps, "decoder": 1}
        moved = sum(times * self._networks[name]["weight_bytes"] for name, times in calls.items())
        return self._least_ms(flops, moved, self._precision(way))

    def step_ms(self, way: str, rows: int) -> float:
        """Of one call of the UNet."""
        unet = self._networks["unet"]
        return self._least_ms(rows * unet["flops"], unet["weight_bytes"], self._precision(way))

    def fit_step_ms(self, case: str, rows: int) -> float:
        """Of one step of a fit."""
        passes = PASSES_OF_A_FIT["published" if case == "published" else "frozen"]
        unet = self._networks["unet"]
        precision = next((name for name in ("bf16", "fp16") if case.startswith(name)), "fp32")
        return self._least_ms(passes * rows * unet["flops"], passes * unet["weight_bytes"], precision)

    def peak(self, precision: str) -> float:
        """Operations in a second; of fp32 where lower precision is not faster or not there."""
        peaks = self.record.results["peaks"]
        fp32 = max(found["flops_per_s"] for name, found in peaks.items() if name.startswith("fp32"))
        return max(float(peaks.get(precision, {}).get("flops_per_s", 0)), float(fp32))

    @property
    def bytes_per_s(self) -> float:
        """Of a copy of memory, reading and writing."""
        return float(self.record.results["peaks"]["copy"]["bytes_per_s"])

    @property
    def _networks(self) -> dict[str, Any]:
        return dict(self.record.results["networks"])

    def _precision(self, way: str) -> str:
        lowered = "fp16" if "fp16" in self.record.results["peaks"] else "bf16"
        return "fp32" if is_exact(way) and self.record.settings["device"] == "cpu" else lowered

    def _least_ms(self, flops: float, moved_bytes: float, precision: str) -> float:
        cache = self.record.hardware.get("cache_bytes") or 0
        # Weights that fit into the last cache need not come from memory again.
        fits = self.record.settings["device"] == "cpu" and self._networks["unet"]["weight_bytes"] <= cache
        size = 1.0 if precision == "fp32" else 0.5
        memory_s = 0.0 if fits else size * moved_bytes / self.bytes_per_s
        return 1e3 * max(flops / self.peak(precision), memory_s)


def doubt(least: Mapping[str, float], found: Mapping[str, Mapping[str, Any]]) -> list[Text]:
    """What to say where a figure lies below its floor, which nothing can.

    Args:
        least: floors in milliseconds, by side.
        found: figures by side, with their `median_ms`.
    """
    below = [side for side, floor_ms in least.items() if found[side]["median_ms"] < floor_ms]
    if not below:
        return []
    words = "lies below its floor, so the peaks were measured on a busier machine; run benchmarks.floors again"
    return [Text(f"{below[0]} {words}.", loud=True)]


def find_floors(record: Record, records: Sequence[Record]) -> Floors | None:
    """The newest floors of a record's model on its hardware; None where nobody measured them."""
    for other in reversed(records):
        if other.kind == "floors" and _same_model(record, other) and _same_device(record, other):
            return Floors(other)
    return None


def _same_model(record: Record, other: Record) -> bool:
    if record.model_digest and other.model_digest:
        return record.model_digest == other.model_digest
    return str(record.settings.get("model")).split("/")[-1] == str(other.settings.get("model")).split("/")[-1]


def _same_device(record: Record, other: Record) -> bool:
    names = ("cpu", "cores")
    here, there = record.hardware, other.hardware
    gpus = [[gpu.get("name") for gpu in found.get("gpus", [])] for found in (here, there)]
    device = str(record.settings.get("device", "cpu")).split(":")[0]
    same = device == str(other.settings.get("device", "cpu")).split(":")[0]
    return same and gpus[0] == gpus[1] and all(here.get(name) == there.get(name) for name in names)
