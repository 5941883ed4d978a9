"""Tells how long each network of a PyTorch pipeline takes, from outside the pipeline."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch

from engine.edit_request import Timings


class StageClock:
    """Watches functions and adds up their durations by stage.

    On a GPU it lets events record the times and reads them at the end, so that nothing waits that did not wait before.

    Args:
        device: where the functions compute.
    """

    def __init__(self, device: str) -> None:
        self._on_gpu = torch.device(device).type == "cuda"
        self._marks: dict[str, list[tuple[Any, Any]]] = defaultdict(list)

    def watch(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that does the same and is timed as part of a stage."""

        def timed(*args: Any, **options: Any) -> Any:
            start = self._mark()
            result = function(*args, **options)
            self._marks[stage].append((start, self._mark()))
            return result

        return timed

    def run(self, work: Callable[[], Any]) -> tuple[Any, Timings]:
        """Do work in which the stages "text", "unet" and "decode" occur, and say where its time went."""
        self._marks.clear()
        start = time.perf_counter()
        result = work()
        if self._on_gpu:
            torch.cuda.synchronize()
        total_ms = 1e3 * (time.perf_counter() - start)
        found = {stage: [self._between(*pair) for pair in pairs] for stage, pairs in self._marks.items()}
        return result, Timings(
            sum(found.get("text", [])), tuple(found.get("unet", [])), sum(found.get("decode", [])), total_ms
        )

    def _mark(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, start: Any, end: Any) -> float:
        return float(start.elapsed_time(end)) if self._on_gpu else 1e3 * float(end - start)
