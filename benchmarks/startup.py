"""How long from the start of a process to its first picture, and how much memory, again and again?

python -m benchmarks.startup MODEL BUNDLE
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.record import RECORDS, Samples, describe, fail_if, in_turns, summary, write_record
from benchmarks.ways import Job, check_way
from benchmarks.worker import Worker
from engine.bundle_files import read_manifest

QUESTION = "Time from the start of a process to its first picture of one step, and memory then"
WAYS = ("diffusers", "onnxruntime", "openvino", "openvino-fast")


def measure(ways: Sequence[str], job: Job, rounds: int, errors: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Start every way in turns; the first start of each finds cold files and is its warm-up."""
    samples = {way: Samples([], []) for way in ways}
    resident: dict[str, list[int]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        for turn, way in enumerate([*ways, *in_turns(ways, rounds)]):
            if way in errors:
                continue
            try:
                with Worker(way, job, Path(folder)) as worker:
                    taken = samples[way].warm_up_ms if turn < len(ways) else samples[way].timed_ms
                    taken.append(1e3 * worker.first_picture_s)
                    resident[way].append(worker.resident_bytes)
            except RuntimeError as error:
                errors[way] = describe(error)
    return {way: {**summary(samples[way]), "resident_bytes": max(resident[way])} for way in ways if way not in errors}


def main(
    model: Annotated[str, typer.Argument(help="what the bundle was exported from")],
    bundle: Annotated[Path, typer.Argument(help="what hiper-export made of it")],
    way: Annotated[list[str] | None, typer.Option(help="see benchmarks/ways.py; the first is the reference")] = None,
    rounds: Annotated[int, typer.Option(help="starts that are timed, of each way", min=1)] = 5,
    device: Annotated[str, typer.Option(help="of PyTorch")] = "cpu",
    records: Annotated[Path, typer.Option(help="folder of the record")] = RECORDS,
) -> None:
    """Measure starts and write a record; exits with 1 if a way failed."""
    ways, manifest = way or list(WAYS), read_manifest(bundle)
    for name in ways:
        check_way(name)
    errors: dict[str, str] = {}
    results = measure(ways, Job(model, str(bundle.absolute()), steps=1, device=device), rounds, errors)
    settings = {"model": manifest.model_id, "image_size": manifest.image_size, "device": device, "rounds": rounds}
    name = f"startup-{Path(manifest.model_id).name}"
    path = write_record(name, QUESTION, settings, results, records, model_digest=manifest.model_digest, errors=errors)
    Console().print(table(results), f"record: {path}")
    fail_if(errors)


def table(results: dict[str, dict[str, Any]]) -> Table:
    """The figures of a record, a row a way."""
    shown = Table("way", "s to the first picture", "MiB")
    for way, found in results.items():
        shown.add_row(way, f"{found['median_ms'] / 1e3:.2f}", f"{found['resident_bytes'] / 2**20:.0f}")
    return shown


if __name__ == "__main__":
    typer.run(main)
