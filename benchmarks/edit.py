"""What does an edit cost with the engine, on each runtime, against diffusers' own pipeline and other people's?

python -m benchmarks.edit MODEL BUNDLE
"""

from __future__ import annotations

import base64
import io
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.record import RECORDS, ROOT, Samples, describe, fail_if, interleave, summary, write_record
from benchmarks.ways import FAST, GENAI, Job, check_way, is_exact
from benchmarks.worker import Worker
from engine.bundle_files import read_manifest
from hiper.psnr import psnr_db

QUESTION = "Time of a guided edit from prompt to pixels, start to first picture, and memory: the engine, and others"
WAYS = ("diffusers", "onnxruntime", "openvino", "openvino-fast")
# Below, a picture is not the same edit: whoever is faster by doing less has not won.
LEAST_PSNR_DB = {"exact": 35.0, "fast": 20.0}
_THUMBNAIL = 256


def measure(
    ways: Sequence[str], job: Job, rounds: int, errors: dict[str, str], exact_bundle: bool = True
) -> dict[str, dict[str, Any]]:
    """Time every way in turns, each in its own process, which is idle while others work.

    Args:
        ways: the first is what the others are compared with.
        job: what each does.
        rounds: timed edits of each.
        errors: takes what went wrong, by way.
        exact_bundle: whether the bundle computes in fp32.

    Raises:
        RuntimeError: the first way failed.
    """
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        workers: dict[str, Worker] = {}
        for way in ways:
            try:
                worker = stack.enter_context(Worker(way, _prepared(way, job), Path(folder)))
                _check_picture(worker, workers.get(ways[0], worker), exact_bundle)
                workers[way] = worker
            except RuntimeError as error:
                errors[way] = describe(error)
                _refuse_without(ways[0], errors)
        samples = interleave({way: worker.edit for way, worker in workers.items()}, rounds, errors=errors)
    _refuse_without(ways[0], errors)
    return {way: _figures(workers[way], samples[way], workers[ways[0]], samples[ways[0]]) for way in samples}


def _refuse_without(reference: str, errors: Mapping[str, str]) -> None:
    if reference in errors:
        raise RuntimeError(f"nothing can be compared, since {reference} failed: {errors[reference]}")


def _prepared(way: str, job: Job) -> Job:
    """The job, once the files are there that this way needs."""
    if way.removesuffix(FAST) != GENAI:
        return job
    folder = Path(job.peers) / GENAI
    command = [sys.executable, "-m", "benchmarks.genai_files", job.model, str(folder)]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"its files cannot be written: {done.stderr.strip().splitlines()[-1]}")
    return replace(job, peers=str(folder))


def _check_picture(worker: Worker, reference: Worker, exact_bundle: bool) -> None:
    least = LEAST_PSNR_DB["exact" if is_exact(worker.way) and exact_bundle else "fast"]
    found = psnr_db(worker.picture, reference.picture)
    if found < least:
        raise RuntimeError(
            f"its picture is {found:.1f} dB from that of {reference.way} but must be at least {least:.0f}; "
            "it does not do the same work"
        )


def _figures(worker: Worker, samples: Samples, first: Worker, reference: Samples) -> dict[str, Any]:
    difference = np.abs(worker.picture.astype(int) - first.picture.astype(int))
    timed = worker.timings[-len(samples.timed_ms) :]
    found = summary(samples)
    pairs = zip(reference.timed_ms, samples.timed_ms, strict=True)
    return {
        **found,
        "speed_up": statistics.median(slow / fast for slow, fast in pairs),
        "outside_networks": statistics.median(edit["other_ms"] for edit in timed) / found["median_ms"],
        "stages": {name: [_rounded(edit[name]) for edit in timed] for name in timed[0] if name != "total_ms"},
        "first_picture_s": worker.first_picture_s,
        "resident_bytes": worker.resident_bytes,
        "device_bytes": worker.device_bytes,
        "path": worker.path,
        "psnr_db": psnr_db(worker.picture, first.picture),
        "largest_pixel_difference": int(difference.max()),
        "mean_pixel_difference": float(difference.mean()),
        "picture_webp": thumbnail(worker.picture),
    }


def _rounded(found: Any) -> Any:
    return [round(one, 3) for one in found] if isinstance(found, list) else round(found, 3)


def thumbnail(picture: NDArray[np.uint8]) -> str:
    """A small picture in base64, so that a record can show what was made."""
    small, buffer = Image.fromarray(picture), io.BytesIO()
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    small.save(buffer, "WEBP", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()


def main(
    model: Annotated[str, typer.Argument(help="what the bundle was exported from")],
    bundle: Annotated[Path, typer.Argument(help="what hiper-export made of it")],
    way: Annotated[list[str] | None, typer.Option(help="see benchmarks/ways.py; the first is the reference")] = None,
    steps: Annotated[int, typer.Option(help="DDIM steps", min=1)] = 50,
    guidance_scale: Annotated[float, typer.Option(help="of classifier-free guidance")] = 7.5,
    rounds: Annotated[int, typer.Option(help="edits that are timed, of each way", min=1)] = 7,
    device: Annotated[str, typer.Option(help="of PyTorch")] = "cpu",
    peers: Annotated[Path, typer.Option(help="folder for what peers need of the model")] = ROOT / "build" / "peers",
    records: Annotated[Path, typer.Option(help="folder of the record")] = RECORDS,
    label: Annotated[str, typer.Option(help="at the end of the record's name")] = "",
) -> None:
    """Measure edits one at a time and write a record; exits with 1 if a way failed."""
    ways, manifest = way or list(WAYS), read_manifest(bundle)
    for name in ways:
        check_way(name)
    job = Job(model, str(bundle.absolute()), steps, guidance_scale, device, peers=str(peers.absolute()))
    precision = manifest.networks["unet"].precision
    errors: dict[str, str] = {}
    results = measure(ways, job, rounds, errors, precision == "fp32")
    settings = {
        "model": manifest.model_id,
        "image_size": manifest.image_size,
        "bundle_precision": precision,
        "steps": steps,
        "guidance_scale": guidance_scale,
        "prompt": job.prompt,
        "device": device,
        "rounds": rounds,
    }
    name = f"edit-{Path(manifest.model_id).name}" + (f"-{label}" if label else "")
    path = write_record(name, QUESTION, settings, results, records, model_digest=manifest.model_digest, errors=errors)
    Console().print(table(results), f"record: {path}")
    fail_if(errors)


def table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """The figures of a record, a row a way."""
    shown = Table("way", "ms per edit", "speed-up", "outside networks", "first picture s", "MiB", "pixels differ by")
    for way, found in results.items():
        shown.add_row(
            way,
            f"{found['median_ms']:.0f}",
            f"{found['speed_up']:.2f}",
            f"{found['outside_networks']:.1%}",
            f"{found['first_picture_s']:.2f}",
            f"{found['resident_bytes'] / 2**20:.0f}",
            f"{found['largest_pixel_difference']} at most, {found['mean_pixel_difference']:.2f} on average",
        )
    return shown


if __name__ == "__main__":
    typer.run(main)
