"""What does a step cost with more edits in its batch, each with a tail of its own, or all with the same?

python -m benchmarks.rows BUNDLE --model menagerie
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.batching import make_requests
from benchmarks.record import RECORDS, Samples, describe, fail_if, in_turns, summary, write_record
from benchmarks.ways import IN_TORCH, check_way, runtime_of
from engine.bundle import open_bundle
from engine.bundle_files import read_manifest
from engine.edit_request import EditRequest
from engine.editor import Edit, Editor, Progress
from engine.manifest import Manifest
from engine.runtimes.buckets import BUCKETS

QUESTION = "Time of a step by edits in the batch, two rows each: with as many tails as edits, and with one tail for all"
WAYS = ("diffusers", "onnxruntime", "openvino", "openvino-fast")
COUNTS = (1, 2, 4, 8)
STEPS = 6

# One call gives the milliseconds of several steps.
Steps = Callable[[], list[float]]


class StepClock:
    """Notes when the first edit that it hears of takes its steps."""

    def __init__(self) -> None:
        self._edit: Edit | None = None
        self._times: list[float] = []

    def __call__(self, progress: Progress) -> None:
        """Hear of a step; for `Editor.edit`."""
        self._edit = self._edit or progress.edit
        if progress.edit is self._edit:
            self._times.append(time.perf_counter())

    @property
    def steps_ms(self) -> list[float]:
        """From each step to the next."""
        return [1e3 * (after - before) for before, after in pairwise(self._times)]


def measure(cases: dict[tuple[str, int, str], Steps], rounds: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Time cases by way, edits and tails, in turns.

    Returns:
        Figures by way, edits and tails; throughput counts steps of single edits.
    """
    names = {" ".join(map(str, case)): case for case in cases}
    samples = {case: Samples(make(), []) for case, make in cases.items()}
    for name in in_turns(list(names), rounds):
        samples[names[name]].timed_ms.extend(cases[names[name]]())
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for (way, count, tails), found in samples.items():
        figures = {**summary(found), "edit_steps_per_s": 1e3 * count / statistics.median(found.timed_ms)}
        results.setdefault(way, {}).setdefault(str(count), {})[tails] = figures
    return results


def engine_cases(way: str, bundle: Path, counts: Sequence[int]) -> Iterator[tuple[tuple[str, int, str], Steps]]:
    """The engine on one runtime: whole edits, of which the steps are timed with all that the host does in between."""
    opened = open_bundle(bundle, *runtime_of(way))
    editor = Editor(opened, buckets=[size for size in BUCKETS if size <= 2 * max(counts)])
    for count in counts:
        distinct = requests(opened.manifest, count)
        shared = [EditRequest(r.target_prompt, distinct[0].tail, r.seed, num_inference_steps=STEPS) for r in distinct]
        for tails, asked in (("distinct", distinct), ("shared", shared)) if count > 1 else (("distinct", distinct),):
            yield (way, count, tails), _steps_of(editor, asked)


def requests(manifest: Manifest, count: int) -> list[EditRequest]:
    """Edits of as many users, all of the same number of steps."""
    return [
        EditRequest(request.target_prompt, request.tail, request.seed, num_inference_steps=STEPS)
        for request in make_requests(manifest, count)
    ]


def _steps_of(editor: Editor, asked: list[EditRequest]) -> Steps:
    def run() -> list[float]:
        clock = StepClock()
        editor.edit(asked, clock)
        return clock.steps_ms

    return run


def torch_cases(
    way: str, model: str, device: str, counts: Sequence[int]
) -> Iterator[tuple[tuple[str, int, str], Steps]]:
    """Diffusers' UNet alone on as many rows, without the solver's and the guidance's arithmetic."""
    from benchmarks.unet_calls import unet_calls

    for count, call in zip(counts, unet_calls(way, model, device, [2 * count for count in counts]), strict=True):
        yield (way, count, "shared"), call


def main(
    bundle: Annotated[Path, typer.Argument(help="what hiper-export made")],
    model: Annotated[str, typer.Option(help="what it was made of, for ways in PyTorch")] = "menagerie",
    way: Annotated[list[str] | None, typer.Option(help="see benchmarks/ways.py")] = None,
    edits: Annotated[list[int] | None, typer.Option(help="in the batch; may be repeated")] = None,
    rounds: Annotated[int, typer.Option(help="batches that are timed", min=1)] = 4,
    device: Annotated[str, typer.Option(help="of PyTorch")] = "cpu",
    records: Annotated[Path, typer.Option(help="folder of the record")] = RECORDS,
) -> None:
    """Measure batches of edits and write a record; exits with 1 if a way failed."""
    ways, counts, manifest = way or list(WAYS), edits or list(COUNTS), read_manifest(bundle)
    cases: dict[tuple[str, int, str], Steps] = {}
    errors: dict[str, str] = {}
    for name in ways:
        check_way(name)
        try:
            if name.split("-")[0] in IN_TORCH:
                cases.update(torch_cases(name, model, device, counts))
            else:
                cases.update(engine_cases(name, bundle, counts))
        except Exception as error:
            errors[name] = describe(error)
    settings = {"model": manifest.model_id, "image_size": manifest.image_size, "edits": counts, "device": device}
    settings |= {
        "rounds": rounds,
        "steps_of_a_round": STEPS - 1,
        "bundle_precision": manifest.networks["unet"].precision,
    }
    results = measure(cases, rounds)
    name = f"rows-{Path(manifest.model_id).name}"
    path = write_record(name, QUESTION, settings, results, records, model_digest=manifest.model_digest, errors=errors)
    Console().print(table(results), f"record: {path}")
    fail_if(errors)


def table(results: dict[str, dict[str, dict[str, Any]]]) -> Table:
    """The figures of a record, a row per way and number of edits."""
    shown = Table("way", "edits", "tails", "ms a step", "edit-steps/s")
    for way, by_count in results.items():
        for count, by_tails in by_count.items():
            for tails, found in by_tails.items():
                shown.add_row(way, count, tails, f"{found['median_ms']:.1f}", f"{found['edit_steps_per_s']:.1f}")
    return shown


if __name__ == "__main__":
    typer.run(main)
