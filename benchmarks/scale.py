"""What does a second edit engine on Ray bring, and what does Ray itself cost?

python -m benchmarks.scale BUNDLE

Everything is asked for at once (Offline of MLPerf Inference) of one hiper-serve, of one engine on Ray and of two, in
turns. Each engine has one thread, so two of them need two cores that nobody else uses; with fewer they cannot gain, and
the record says how many there were.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import bootstrap
from benchmarks.record import RECORDS, Samples, fail_if, interleave, summary, write_record
from benchmarks.report import text
from benchmarks.servers.client import Answer, play
from benchmarks.servers.process import OURS, Served, Setup
from benchmarks.servers.wishes import guidance_scale_of, make_wishes
from engine.bundle_files import read_manifest

QUESTION = "Throughput of two edit engines on Ray against one, and of one on Ray against one without"
ONE, ON_RAY, TWO = "hiper-serve", "one engine on Ray", "two engines on Ray"
_THREAD = ("--threads", "1")
CASES = {
    ONE: _THREAD,
    ON_RAY: (*_THREAD, "--ray", "--replicas", "1"),
    TWO: (*_THREAD, "--ray", "--replicas", "2"),
}
_STEPS = 20


def measure(setup: Setup, edits: int, rounds: int, errors: dict[str, str]) -> dict[str, Any]:
    """Ask each side for all edits at once, in turns; the others are idle meanwhile.

    Args:
        setup: what they paint with.
        edits: in a round.
        rounds: of each side.
        errors: takes what went wrong, by side; so does a picture that is not the one of the first side.

    Raises:
        RuntimeError: a server was never ready.
    """
    bodies = make_wishes(read_manifest(Path(setup.bundle)), edits, [_STEPS])
    last: dict[str, list[Answer]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sides: dict[str, Served] = {}
        for number, (name, options) in enumerate(CASES.items()):
            (own := folder / str(number)).mkdir()
            sides[name] = stack.enter_context(Served(OURS, setup, own, options))
        plays = {name: partial(_play, served, bodies, last, name) for name, served in sides.items()}
        samples = interleave(plays, rounds, errors=errors)
    errors |= _strangers(last)
    return results(samples, edits)


def _play(served: Served, bodies: Sequence[bytes], last: dict[str, list[Answer]], name: str) -> None:
    last[name] = play(served.address, bodies, [0.0] * len(bodies))
    refused = [answer for answer in last[name] if answer.status != 200]
    if refused:
        raise RuntimeError(f"{len(refused)} of {len(bodies)} edits were refused: {refused[0].body[:200]!r}")


def _strangers(last: Mapping[str, Sequence[Answer]]) -> dict[str, str]:
    """The sides whose pictures are not those of the first side."""
    first, *others = last
    painted = {name: [answer.picture() for answer in answers] for name, answers in last.items()}
    equal = {name: all(map(np.array_equal, painted[first], painted[name])) for name in others}
    return {name: f"its pictures are not those of {first}" for name, same in equal.items() if not same}


def results(samples: Mapping[str, Samples], edits: int) -> dict[str, Any]:
    """Throughput of each side, and ratios of throughput round by round, told by their median and its 95 % interval."""
    sides = {
        name: {**summary(one), "edits_per_s": 1e3 * edits / statistics.median(one.timed_ms)}
        for name, one in samples.items()
    }
    return {
        "Offline": sides,
        "gain": {"a second engine": _gain(samples, TWO, ON_RAY), "Ray": _gain(samples, ON_RAY, ONE)},
    }


def _gain(samples: Mapping[str, Samples], side: str, base: str) -> dict[str, Any] | None:
    if side not in samples or base not in samples:
        return None
    ratios = [old / new for new, old in zip(samples[side].timed_ms, samples[base].timed_ms, strict=True)]
    estimate = bootstrap.median(ratios)
    return {"median_ratio": estimate.value, "interval": [estimate.low, estimate.high], "ratios": ratios}


def main(
    bundle: Annotated[Path, typer.Argument(help="what hiper-export made")],
    runtime: str = "onnxruntime",
    precision: Annotated[str, typer.Option(help="exact or fast")] = "exact",
    edits: Annotated[int, typer.Option(help="at once", min=2)] = 32,
    rounds: Annotated[int, typer.Option(help="of each side", min=1)] = 7,
    records: Annotated[Path, typer.Option(help="folder of the record")] = RECORDS,
) -> None:
    """Measure and write a record to benchmarks/records; exits with 1 if a side failed."""
    manifest = read_manifest(bundle)
    errors: dict[str, str] = {}
    found = measure(Setup(manifest.model_id, str(bundle.absolute()), runtime, precision), edits, rounds, errors)
    settings = {
        "model": manifest.model_id,
        "image_size": manifest.image_size,
        "num_inference_steps": _STEPS,
        "guidance_scale": guidance_scale_of(manifest),
        "threads_per_engine": 1,
        "runtime": runtime,
        "precision": precision,
        "edits": edits,
        "rounds": rounds,
    }
    name = f"scale-{Path(manifest.model_id).name}"
    path = write_record(name, QUESTION, settings, found, records, model_digest=manifest.model_digest, errors=errors)
    Console().print(*tables(found), f"record: {path}")
    fail_if(errors)


def tables(found: Mapping[str, Any]) -> list[Table]:
    """The figures of a record."""
    sides, gains = Table("Offline", "edits/s"), Table("gain", "ratio of throughputs")
    for name, one in found["Offline"].items():
        sides.add_row(name, f"{one['edits_per_s']:.2f}")
    for name, gain in found["gain"].items():
        gains.add_row(name, text.NONE if gain is None else text.estimate(bootstrap.median(gain["ratios"])))
    return [sides, gains]


if __name__ == "__main__":
    typer.run(main)
