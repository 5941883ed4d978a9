"""Oracles: an editor that needs no time, and a policy whose latencies are known."""

import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from benchmarks.batching import RequestBatcher, measure
from benchmarks.load import LOADS, Load, play
from engine.edit_request import EditRequest, EditResult, Timings

REQUESTS = [EditRequest("a dog", seed=seed) for seed in range(6)]


def picture(request: EditRequest) -> EditResult:
    return EditResult(np.full((2, 2, 3), request.seed, np.uint8), request, Timings(0, (), 0, 0))


class Editor:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.permits = threading.Semaphore(0)

    def edit(self, requests: Sequence[EditRequest]) -> list[EditResult]:
        assert self.permits.acquire(timeout=30)
        self.batches.append([request.seed for request in requests])
        return [picture(request) for request in requests]


class Sleeper:
    """Answers every edit by itself after a fixed time."""

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s

    def submit(self, request: EditRequest) -> "Future[EditResult]":
        future: Future[EditResult] = Future()
        threading.Timer(self.latency_s, lambda: future.set_result(picture(request))).start()
        return future

    def close(self) -> None:
        pass


def test_a_request_batch_takes_what_waits_and_nobody_joins_it() -> None:
    editor: Any = Editor()
    batcher = RequestBatcher(editor, most=3)
    futures = [batcher.submit(REQUESTS[0])]
    time.sleep(0.05)
    futures += [batcher.submit(request) for request in REQUESTS[1:]]
    editor.permits.release(10)
    batcher.close()
    assert editor.batches == [[0], [1, 2, 3], [4, 5]]
    assert [future.result().request.seed for future in futures] == [*range(6)]


@pytest.mark.parametrize("arrivals_s", [None, [0.0] * 6, [0.02 * index for index in range(6)]])
def test_latency_counts_from_arrival_and_throughput_to_the_last_picture(arrivals_s: list[float] | None) -> None:
    played = play(Sleeper(0.05), REQUESTS, arrivals_s)
    assert all(50 <= latency < 500 for latency in played.latencies_ms)
    shortest_s = 0.05 * 6 if arrivals_s is None else arrivals_s[-1] + 0.05
    assert len(REQUESTS) / (shortest_s + 0.5) < played.edits_per_s <= len(REQUESTS) / shortest_s
    assert [image[0, 0, 0] for image in played.pictures] == [*range(6)]


def test_arrivals_have_the_rate_that_the_load_asks_for() -> None:
    arrivals_s = Load("server", 0.5).arrivals_s(np.random.default_rng(0), 10.0, 2000)
    assert arrivals_s is not None and arrivals_s == sorted(arrivals_s)
    assert len(arrivals_s) / arrivals_s[-1] == pytest.approx(5.0, rel=0.1)
    assert Load("offline", math.inf).arrivals_s(np.random.default_rng(0), 10.0, 3) == [0.0] * 3


def test_every_load_is_played_to_every_policy() -> None:
    results = measure({"slow": lambda: Sleeper(0.01), "fast": lambda: Sleeper(0.001)}, REQUESTS, rounds=2)
    assert list(results) == [load.name for load in LOADS]
    for figures in results.values():
        assert list(figures) == ["slow", "fast"]
        assert figures["slow"]["largest_picture_difference"] == 0
        assert [len(latencies) for latencies in figures["slow"]["latencies_ms"]] == [6, 6]
        assert figures["slow"]["p50_ms"] >= 10
