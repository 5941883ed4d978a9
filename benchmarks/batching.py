"""What does a batch that edits join and leave at every step gain over batches of whole requests, and over no batches?

python -m benchmarks.batching BUNDLE
"""

from __future__ import annotations

import queue
import statistics
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.load import LOADS, Played, Policy, play
from benchmarks.percentiles import percentiles_ms
from benchmarks.record import RECORDS, write_record
from engine.batcher import Batcher
from engine.bundle import open_bundle
from engine.edit_request import EditRequest, EditResult
from engine.editor import Editor
from engine.manifest import Manifest
from engine.runtimes import Precision, RuntimeOptions
from engine.runtimes.buckets import BUCKETS
from engine.tail_file import TailFile
from engine.tail_info import TailInfo

QUESTION = "Latency and throughput of edits of many users: a batch joined at every step, whole requests, one at a time"
PROMPTS = ("a dog", "a sitting dog", "a dog in the snow", "a dog at the sea")
STEPS = (20, 50)


class RequestBatcher:
    """What servers without step-level batching do: whatever waits, up to a number, runs together to its end."""

    def __init__(self, editor: Editor, most: int) -> None:
        self._editor = editor
        self._most = most
        self._waiting: queue.SimpleQueue[tuple[EditRequest, Future[EditResult]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def submit(self, request: EditRequest) -> Future[EditResult]:
        """Accept an edit."""
        future = Future[EditResult]()
        self._waiting.put((request, future))
        return future

    def close(self) -> None:
        """Finish what was accepted."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while first := self._waiting.get():
            batch = [first]
            while len(batch) < self._most and not self._waiting.empty():
                if (another := self._waiting.get()) is None:
                    self._waiting.put(None)
                    break
                batch.append(another)
            for (_, future), result in zip(batch, self._editor.edit([request for request, _ in batch]), strict=True):
                future.set_result(result)


def make_requests(manifest: Manifest, count: int) -> list[EditRequest]:
    """Edits of as many users, each with a tail of its own; some have more steps than others."""
    random, kind = np.random.default_rng(0), manifest.schedule.prediction_type
    info = TailInfo(manifest.model_id, manifest.model_digest, manifest.family, kind, manifest.clip_skip, "a dog")
    tails = random.standard_normal((count, 5, manifest.dim), np.float32)
    return [
        EditRequest(
            PROMPTS[index % len(PROMPTS)],
            TailFile(tail, tail, info),
            seed=index,
            num_inference_steps=int(random.choice(STEPS)),
        )
        for index, tail in enumerate(tails)
    ]


def measure(
    policies: Mapping[str, Callable[[], Policy]], requests: Sequence[EditRequest], rounds: int
) -> dict[str, dict[str, Any]]:
    """Play every load to every policy in turns, the same arrivals to each.

    Returns:
        Figures by load and policy, with the raw latencies behind them and how far pictures are from the first policy's.
    """
    alone = next(iter(policies))
    capacity_per_s = _play(policies[alone], requests[: len(PROMPTS)], None).edits_per_s
    random, played = np.random.default_rng(0), defaultdict[tuple[str, str], list[Played]](list)
    for turn in range(rounds):
        for load in LOADS:
            arrivals_s = load.arrivals_s(random, capacity_per_s, len(requests))
            order = [*policies][turn % len(policies) :] + [*policies][: turn % len(policies)]
            for name in order:
                played[load.name, name].append(_play(policies[name], requests, arrivals_s))
    return {
        load.name: {name: _figures(played[load.name, name], played[LOADS[0].name, alone][0]) for name in policies}
        for load in LOADS
    }


def _play(make: Callable[[], Policy], requests: Sequence[EditRequest], arrivals_s: Sequence[float] | None) -> Played:
    policy = make()
    try:
        return play(policy, requests, arrivals_s)
    finally:
        policy.close()


def _figures(rounds: list[Played], reference: Played) -> dict[str, Any]:
    latencies_ms = [latency for played in rounds for latency in played.latencies_ms]
    pairs = [pair for played in rounds for pair in zip(played.pictures, reference.pictures, strict=True)]
    return {
        "edits_per_s": statistics.median(played.edits_per_s for played in rounds),
        **percentiles_ms(latencies_ms),
        "largest_picture_difference": max(int(np.abs(a.astype(int) - b.astype(int)).max()) for a, b in pairs),
        "latencies_ms": [played.latencies_ms for played in rounds],
    }


def main(
    bundle: Annotated[Path, typer.Argument(help="what hiper-export made")],
    runtime: str = "auto",
    precision: Annotated[str, typer.Option(help="exact or fast")] = "fast",
    threads: Annotated[int | None, typer.Option(help="of one call of a network; all cores if not given")] = None,
    edits: Annotated[int, typer.Option(help="edits of a load", min=4)] = 32,
    rounds: Annotated[int, typer.Option(help="times that every load is played", min=1)] = 3,
    most: Annotated[int, typer.Option(help="guided edits in one call", min=1, max=16)] = 8,
    records: Annotated[Path, typer.Option(help="folder of the record")] = RECORDS,
) -> None:
    """Measure three ways to serve edits and write a record to benchmarks/records."""
    opened = open_bundle(bundle, runtime, RuntimeOptions(cast(Precision, precision), threads))
    editor = Editor(opened, buckets=[size for size in BUCKETS if size <= 2 * most], max_edits=max(edits, 64))
    editor.warm_up()
    policies: dict[str, Callable[[], Policy]] = {
        "one at a time": lambda: RequestBatcher(editor, 1),
        "whole requests": lambda: RequestBatcher(editor, most),
        "every step": lambda: Batcher(editor),
    }
    results = measure(policies, make_requests(opened.manifest, edits), rounds)
    settings = {
        "model": opened.manifest.model_id,
        "runtime": opened.runtime,
        "precision": precision,
        "threads": threads,
        "edits": edits,
        "rounds": rounds,
        "most_edits_in_a_call": most,
        "steps": STEPS,
        "image_size": opened.manifest.image_size,
    }
    name, digest = f"batching-{Path(opened.manifest.model_id).name}", opened.manifest.model_digest
    path = write_record(name, QUESTION, settings, results, records, model_digest=digest)
    Console().print(table(results), f"record: {path}")


def table(results: dict[str, dict[str, Any]]) -> Table:
    """The figures of a record, a row per load and policy."""
    shown = Table("load", "policy", "edits/s", "p50 ms", "p95 ms")
    for load, found in results.items():
        for policy, figures in found.items():
            numbers = (figures[f"p{percent}_ms"] for percent in (50, 95))
            shown.add_row(load, policy, f"{figures['edits_per_s']:.2f}", *map(_milliseconds, numbers))
    return shown


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


if __name__ == "__main__":
    typer.run(main)
