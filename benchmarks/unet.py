"""What does a guided call of the UNet, two rows, cost on each runtime, against diffusers' UNet in fp32?

python -m benchmarks.unet --model sd1
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.record import RECORDS, interleave, summary, write_record
from benchmarks.ways import FAST
from benchmarks.workload import model_digest, workload
from engine.runtimes import RuntimeOptions, load_network
from export.example import example_inputs
from export.modules import UNet
from export.profiles import SIGNATURES, Sizes
from export.to_onnx import write_onnx
from export.verify import relative_error
from hiper.models import StableDiffusion

QUESTION = "Time of one UNet call of two rows: each runtime on the exported file, and diffusers in fp32"
REFERENCE = "diffusers"
WAYS = ("onnxruntime", "openvino", "openvino-fast")
VAE_FACTOR = 8


def measure(model: str, ways: Sequence[str], rounds: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Export, then time each way in turns with diffusers; one at a time is in memory beside it."""
    work = workload(model)
    unet = UNet(cast(StableDiffusion, SimpleNamespace(unet=work.unet))).eval()
    side = VAE_FACTOR * work.latents.shape[-1]
    sizes = Sizes(2, side, side, VAE_FACTOR, *work.prompt_embedding.shape[1:])
    path = write_onnx(unet, SIGNATURES["unet"], sizes, folder / "unet.onnx")[0]
    tensors = example_inputs(SIGNATURES["unet"], sizes)
    inputs = {name: tensor.numpy() for name, tensor in tensors.items()}

    def reference() -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(unet(*tensors.values()))

    results: dict[str, dict[str, Any]] = {}
    expected = reference()
    for way in ways:
        options = RuntimeOptions("fast" if way.endswith(FAST) else "exact")
        network = load_network(path, way.removesuffix(FAST), options)
        found = network(inputs)["out_sample"]
        samples = interleave({REFERENCE: reference, way: partial(network, inputs)}, rounds)
        pairs = zip(samples[REFERENCE].timed_ms, samples[way].timed_ms, strict=True)
        results[way] = {
            **summary(samples[way]),
            "reference": summary(samples[REFERENCE]),
            "speed_up": statistics.median(slow / fast for slow, fast in pairs),
            "relative_error": relative_error(found, expected),
        }
        del network
    return results


def main(
    model: Annotated[str, typer.Option(help="tiny, sd1, or what hiper-fit takes")] = "sd1",
    way: Annotated[list[str] | None, typer.Option(help="RUNTIME or RUNTIME-fast; may be repeated")] = None,
    rounds: Annotated[int, typer.Option(help="calls that are timed, of each", min=1)] = 5,
    records: Annotated[Path, typer.Option(help="folder of the record")] = RECORDS,
) -> None:
    """Measure the UNet alone and write a record to benchmarks/records."""
    with tempfile.TemporaryDirectory() as folder:
        results = measure(model, way or WAYS, rounds, Path(folder))
    settings = {"model": model, "rounds": rounds}
    name, digest = f"unet-{Path(model).name}", model_digest(model)
    path = write_record(name, QUESTION, settings, results, records, model_digest=digest)
    Console().print(table(results), f"record: {path}")


def table(results: dict[str, dict[str, Any]]) -> Table:
    """The figures of a record, a row a way."""
    shown = Table("way", "ms per call", "diffusers ms", "speed-up", "relative error")
    for way, found in results.items():
        times = (f"{found['median_ms']:.1f}", f"{found['reference']['median_ms']:.1f}", f"{found['speed_up']:.2f}")
        shown.add_row(way, *times, f"{found['relative_error']:.1e}")
    return shown


if __name__ == "__main__":
    typer.run(main)
