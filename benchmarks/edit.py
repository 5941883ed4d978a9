"""What does an edit cost with the engine, on each runtime, against diffusers' own pipeline?

python -m benchmarks.edit MODEL BUNDLE
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.record import RECORDS, ROOT, interleave, summary, write_record
from engine.bundle_files import read_manifest

QUESTION = "Time of a guided edit from prompt to pixels, start to first picture, and memory: the engine and diffusers"
REFERENCE = "diffusers"
WAYS = (REFERENCE, "onnxruntime", "openvino", "openvino-fast")


class Worker:
    """A process that makes edits in one way; see `benchmarks.edit_worker`.

    Attributes:
        way: which.
        first_picture_s: seconds from the start of the process.
        resident_bytes: after the first picture.
        picture: the first one, (H, W, 3) uint8.
        other_ms: of each edit so far, what went into no network.
    """

    def __init__(self, way: str, model: str, bundle: Path, steps: int, guidance_scale: float, folder: Path) -> None:
        self.way = way
        path = folder / f"{way}.npy"
        arguments = [way, model, str(bundle), str(steps), str(guidance_scale), str(path)]
        command = [sys.executable, "-m", "benchmarks.edit_worker", *arguments]
        start = time.perf_counter()
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.resident_bytes = int(self._read()["resident_bytes"])
        self.first_picture_s = time.perf_counter() - start
        self.picture = np.load(path)
        self.other_ms: list[float] = []

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def edit(self) -> None:
        """Make one more."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found = self._read()
        if found["other_ms"] is not None:
            self.other_ms.append(found["other_ms"])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.way} ended with exit code {self._process.wait()}; its message is above")
        found: dict[str, Any] = json.loads(line)
        return found


def measure(
    ways: Sequence[str], model: str, bundle: Path, steps: int, guidance_scale: float, rounds: int
) -> dict[str, dict[str, Any]]:
    """Time every way in turns, each in its own process, which is idle while others work."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        workers = {
            way: stack.enter_context(Worker(way, model, bundle, steps, guidance_scale, Path(folder))) for way in ways
        }
        samples = interleave({way: worker.edit for way, worker in workers.items()}, rounds)
    return {way: _figures(worker, samples[way], samples[ways[0]], workers[ways[0]]) for way, worker in workers.items()}


def _figures(worker: Worker, samples: list[float], reference: list[float], first: Worker) -> dict[str, Any]:
    difference = np.abs(worker.picture.astype(int) - first.picture.astype(int))
    return {
        **summary(samples),
        "speed_up": statistics.median(slow / fast for slow, fast in zip(reference, samples, strict=True)),
        "outside_networks": statistics.median(worker.other_ms) / statistics.median(samples)
        if worker.other_ms
        else None,
        "first_picture_s": worker.first_picture_s,
        "resident_bytes": worker.resident_bytes,
        "largest_pixel_difference": int(difference.max()),
        "mean_pixel_difference": float(difference.mean()),
    }


def main(
    model: Annotated[str, typer.Argument(help="what the bundle was exported from")],
    bundle: Annotated[Path, typer.Argument(help="what hiper-export made of it")],
    way: Annotated[list[str] | None, typer.Option(help="diffusers or RUNTIME or RUNTIME-fast; may be repeated")] = None,
    steps: Annotated[int, typer.Option(help="DDIM steps", min=1)] = 50,
    guidance_scale: Annotated[float, typer.Option(help="of classifier-free guidance")] = 7.5,
    rounds: Annotated[int, typer.Option(help="edits that are timed, of each way", min=1)] = 7,
    records: Annotated[Path, typer.Option(help="folder of the record")] = RECORDS,
) -> None:
    """Measure edits one at a time and write a record to benchmarks/records."""
    manifest = read_manifest(bundle)
    results = measure(way or WAYS, model, bundle.absolute(), steps, guidance_scale, rounds)
    settings = {
        "model": manifest.model_id,
        "image_size": manifest.image_size,
        "steps": steps,
        "guidance_scale": guidance_scale,
        "rounds": rounds,
    }
    path = write_record(f"edit-{Path(manifest.model_id).name}", QUESTION, settings, results, records)
    Console().print(table(results), f"record: {path}")


def table(results: dict[str, dict[str, Any]]) -> Table:
    """The figures of a record, a row a way."""
    shown = Table("way", "ms per edit", "speed-up", "outside networks", "first picture s", "MiB", "pixels differ by")
    for way, found in results.items():
        share = found["outside_networks"]
        shown.add_row(
            way,
            f"{found['median_ms']:.0f}",
            f"{found['speed_up']:.2f}",
            "" if share is None else f"{share:.1%}",
            f"{found['first_picture_s']:.2f}",
            f"{found['resident_bytes'] / 2**20:.0f}",
            f"{found['largest_pixel_difference']} at most, {found['mean_pixel_difference']:.2f} on average",
        )
    return shown


if __name__ == "__main__":
    typer.run(main)
