"""How fast should each version of a fit step and of an edit be on a GPU? Written down before anything is measured.

python -m benchmarks.ladder --model sd1

A kernel takes what its arithmetic or its traffic takes at a share of the device's peaks, and a little for itself; the
host takes something for every operation that it launches; the slower of device and host decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.datasheets import DATASHEETS, Datasheet
from benchmarks.operations import Gradients, Operation, Traced, flops, trace_decoder, trace_unet
from benchmarks.random_model import ARCHITECTURES
from benchmarks.record import RECORDS, write_record

QUESTION = "Floors and predicted times of every version of a fit step and of an edit, before they are measured"
EDIT_STEPS = 50
EDITS_IN_A_BATCH = 16

# What good kernels reach of a peak: large matrix products get 80 % of Hopper's datasheet (790 of 989 TFLOP/s), and
# those of a UNet are small.
ARITHMETIC_SHARE = 0.55
MEMORY_SHARE = 0.8
# From the end of one kernel to full speed of the next: launched by the host, and within a graph.
KERNEL_S = 3e-6
KERNEL_IN_GRAPH_S = 2e-6
# PyTorch's host time an operation, views included; diffusers in eager fp16 takes 18.3 ms a guided step of SD 1.x on an
# H100 (54.5 a second, stable-fast's README), so that 1616 operations take 11 us each. A backward pass has no Python.
HOST_FORWARD_S = 11e-6
HOST_BACKWARD_S = 6e-6
HOST_COMPILED_S = 5e-6
HOST_RUNTIME_S = 4e-6
# Random numbers on the CPU, the state after the step and the loss to the host, 5 waits; and Adam, if not in a graph.
HOST_FIT_STEP_S = 0.4e-3
HOST_FIT_STEP_IN_GRAPH_S = 0.25e-3

Fusion = Literal["none", "pointwise", "epilogue"]


@dataclass(frozen=True)
class Rung:
    """A version.

    Attributes:
        name: what is new in it.
        case: of benchmarks.fit, or way of benchmarks.edit, that measures it.
        rows: of a call of the UNet.
        half: in fp16 or bf16.
        gradients: see `trace_unet`.
        fused_attention: likewise.
        transposes: cuDNN rearranges the feature maps of each convolution, as it does where they are NCHW.
        fusion: of what lies between matrix products: not at all, into a kernel of its own, or into the product.
        host: who launches.
        whole_edits: so many edits in a batch, each of EDIT_STEPS steps; 0 is a fit step.
    """

    name: str
    case: str
    rows: int = 1
    half: bool = True
    gradients: Gradients = "none"
    fused_attention: bool = True
    transposes: bool = False
    fusion: Fusion = "none"
    host: Literal["eager", "compiled", "runtime", "graph"] = "eager"
    whole_edits: int = 0


FIT = (
    Rung("eager, weights collect gradients", "published", half=False, gradients="weights", transposes=True),
    Rung("frozen", "fp32", half=False, gradients="tail", transposes=True),
    Rung("half precision (bf16)", "bf16-sdpa", gradients="tail", transposes=True),
    Rung("channels_last", "bf16-nhwc-sdpa", gradients="tail"),
    Rung("attention kernel: xformers for flash", "bf16-nhwc-xformers", gradients="tail"),
    Rung("attention kernel: cuDNN for flash", "bf16-nhwc-cudnn", gradients="tail"),
    Rung("torch.compile", "bf16-nhwc-compiled", gradients="tail", fusion="pointwise", host="compiled"),
    Rung("CUDA graph", "bf16-nhwc-compiled-graph", gradients="tail", fusion="pointwise", host="graph"),
    Rung(
        "4 timesteps a step",
        "bf16-nhwc-compiled-graph",
        rows=4,
        gradients="tail",
        fusion="pointwise",
        host="graph",
    ),
    Rung("not a rung: attention in parts", "bf16-nhwc-plain", gradients="tail", fused_attention=False),
)
_TENSORRT = "TensorRT, one graph a call"
EDIT = (
    Rung("eager, fp32", "diffusers", 2, half=False, transposes=True, whole_edits=1),
    Rung("fp16", "diffusers-fp16", 2, transposes=True, whole_edits=1),
    Rung("channels_last", "diffusers-fp16-nhwc", 2, whole_edits=1),
    Rung(
        "torch.compile",
        "reference-fp16-nhwc-compiled",
        2,
        fusion="pointwise",
        host="compiled",
        whole_edits=1,
    ),
    Rung(
        "CUDA graph",
        "reference-fp16-nhwc-compiled-graph",
        2,
        fusion="pointwise",
        host="graph",
        whole_edits=1,
    ),
    Rung("ONNX Runtime, IO binding", "onnxruntime-cuda", 2, transposes=True, host="runtime", whole_edits=1),
    Rung("ONNX Runtime, CUDA graph", "onnxruntime-cuda-graph", 2, transposes=True, host="graph", whole_edits=1),
    Rung(_TENSORRT, "tensorrt", 2, fusion="epilogue", host="graph", whole_edits=1),
    Rung(
        f"{EDITS_IN_A_BATCH} edits in a batch, TensorRT",
        "tensorrt",
        32,
        fusion="epilogue",
        host="graph",
        whole_edits=16,
    ),
)


def predict(rung: Rung, architecture: str, device: Datasheet) -> dict[str, float]:
    """The least time of a rung, and the expected one; of a fit step a row, or of an edit.

    Returns:
        `floor_ms`: all arithmetic at the peak of its precision, or all weights read once a pass, whichever is longer;
        `predicted_ms`; `host_ms` and `device_ms`, the slower of which decides.
    """
    dtype = torch.float16 if rung.half else torch.float32
    unet = _unet(architecture, rung.rows, dtype, rung.gradients, rung.fused_attention)
    if not rung.whole_edits:
        found = _call_s(rung, unet, device)
        scale, more_s = 1e3 / rung.rows, HOST_FIT_STEP_IN_GRAPH_S if rung.host == "graph" else HOST_FIT_STEP_S
    else:
        decoder = _call_s(rung, _decoder(architecture, dtype), device)
        call = _call_s(rung, unet, device)
        found = {name: EDIT_STEPS * call[name] / rung.whole_edits + decoder[name] for name in call}
        scale, more_s = 1e3, 0.0
    times_ms = {f"{name}_ms": scale * value for name, value in found.items()}
    return {**times_ms, "predicted_ms": max(times_ms["host_ms"], times_ms["device_ms"]) + scale * more_s}


def count(architecture: str) -> dict[str, dict[str, float]]:
    """Operations and bytes in half precision: of a step of a fit, of a guided step of an edit, and of the decoder."""
    fit = _unet(architecture, 1, torch.float16, "tail")
    edit = _unet(architecture, 2, torch.float16)
    decoder = _decoder(architecture, torch.float16)
    parts = {
        "fit step, forward": (fit.forward, fit),
        "fit step, backward to the tail": (fit.backward, fit),
        "guided step of an edit": (edit.forward, edit),
        "decoder, one picture": (decoder.forward, decoder),
    }
    return {name: _counted(operations, traced.weight_bytes) for name, (operations, traced) in parts.items()}


@cache
def _unet(
    architecture: str, rows: int, dtype: torch.dtype, gradients: Gradients = "none", fused_attention: bool = True
) -> Traced:
    return trace_unet(ARCHITECTURES[architecture][1], rows, dtype, gradients, fused_attention)


@cache
def _decoder(architecture: str, dtype: torch.dtype) -> Traced:
    _, unet_config, vae_config = ARCHITECTURES[architecture]
    return trace_decoder(vae_config, unet_config["sample_size"], dtype)


def _counted(operations: Sequence[Operation], weight_bytes: int) -> dict[str, float]:
    products = [operation for operation in operations if operation.flops]
    return {
        "flops": flops(operations),
        "weight_bytes": weight_bytes,
        "product_bytes": sum(operation.moved_bytes for operation in products),
        "all_bytes": sum(operation.moved_bytes for operation in operations),
        "products": len(products),
        "kernels": sum(not operation.free for operation in operations),
        "operations": len(operations),
    }


def _call_s(rung: Rung, traced: Traced, device: Datasheet) -> dict[str, float]:
    passes = [part for part in (traced.forward, traced.backward) if part]
    arithmetic_s = sum(_arithmetic_s(operation, rung, device) for part in passes for operation in part)
    weights_s = len(passes) * traced.weight_bytes / device.bytes_per_s
    return {
        "floor": max(arithmetic_s, weights_s),
        "device": sum(_device_s(rung, part, traced.weight_bytes, device) for part in passes),
        "host": _host_s(rung, traced),
    }


def _arithmetic_s(operation: Operation, rung: Rung, device: Datasheet) -> float:
    """At the peak; PyTorch lets cuDNN, but not cuBLAS, round fp32 to TF32."""
    in_fp32 = device.tf32_flops_per_s if operation.is_convolution else device.fp32_flops_per_s
    return operation.flops / (device.half_flops_per_s if rung.half else in_fp32)


def _device_s(rung: Rung, operations: Sequence[Operation], weight_bytes: int, device: Datasheet) -> float:
    bytes_per_s = MEMORY_SHARE * device.bytes_per_s
    kernel_s = KERNEL_IN_GRAPH_S if rung.host == "graph" else KERNEL_S
    products = [operation for operation in operations if operation.flops]
    others = [operation for operation in operations if not operation.flops and not operation.free]
    total_s = sum(
        kernel_s + max(_arithmetic_s(one, rung, device) / ARITHMETIC_SHARE, one.moved_bytes / bytes_per_s)
        for one in products
    )
    if rung.transposes:
        # Feature maps and filters are read and written once more each way.
        total_s += sum(2 * (kernel_s + one.moved_bytes / bytes_per_s) for one in products if one.is_convolution)
    if rung.fusion == "none":
        return total_s + sum(kernel_s + one.moved_bytes / bytes_per_s for one in others)
    # What a product wrote is read, and what the next one reads is written, in one kernel a product.
    between_s = len(products) * kernel_s + (sum(one.moved_bytes for one in products) - weight_bytes) / bytes_per_s
    return total_s + (between_s if rung.fusion == "pointwise" else between_s / 2)


def _host_s(rung: Rung, traced: Traced) -> float:
    both = (*traced.forward, *traced.backward)
    if rung.host == "eager":
        return HOST_FORWARD_S * len(traced.forward) + HOST_BACKWARD_S * len(traced.backward)
    if rung.host == "compiled":
        return HOST_COMPILED_S * 2 * sum(operation.flops > 0 for operation in both)
    return HOST_RUNTIME_S * sum(not operation.free for operation in both) if rung.host == "runtime" else 0.0


def main(
    model: Annotated[str, typer.Option(help=f"one of {', '.join(ARCHITECTURES)}")] = "sd1",
    device: Annotated[list[str] | None, typer.Option(help=f"some of {', '.join(DATASHEETS)}")] = None,
    records: Annotated[Path, typer.Option(help="folder of the record")] = RECORDS,
) -> None:
    """Count, predict, and write a record; runs anywhere, since nothing is computed."""
    devices = device or list(DATASHEETS)
    ladders = {"fit": FIT, "edit": EDIT}
    predictions = {
        name: {
            kind: [
                {"rung": rung.name, "case": rung.case, "rows": rung.rows, **predict(rung, model, DATASHEETS[name])}
                for rung in rungs
            ]
            for kind, rungs in ladders.items()
        }
        for name in devices
    }
    settings = {
        "model": model,
        "edit_steps": EDIT_STEPS,
        "datasheets": {name: vars(DATASHEETS[name]) for name in devices},
    }
    results = {"counts": count(model), "predictions": predictions}
    path = write_record(f"ladder-{model}", QUESTION, settings, results, records)
    Console().print(*tables(results), f"record: {path}")


def tables(results: dict[str, Any]) -> list[Table]:
    """The predictions of a record, a table a device and ladder."""
    made = []
    for device, ladders in results["predictions"].items():
        for kind, rungs in ladders.items():
            shown = Table(f"{kind} on {device}", "floor ms", "predicted ms", "device ms", "host ms")
            for found in rungs:
                figures = (found[f"{name}_ms"] for name in ("floor", "predicted", "device", "host"))
                shown.add_row(found["rung"], *(f"{figure:.1f}" for figure in figures))
            made.append(shown)
    return made


if __name__ == "__main__":
    typer.run(main)
