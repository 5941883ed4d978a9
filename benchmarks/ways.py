"""The ways to make an edit that are compared, by name.

| way | what runs |
|---|---|
| `diffusers`, with any of `-bf16`, `-fp16`, `-nhwc`, `-compiled` | diffusers' pipeline as its documentation shows it |
| `reference`, likewise, and with `-graph` | `hiper.sample` in PyTorch; every call of the UNet one CUDA graph |
| a runtime's name, with `-fast` for lower precision, or `-graph` | the engine on a bundle; calls as CUDA graphs |
| `openvino-genai`, with `-fast` for bf16 | OpenVINO GenAI's Text2ImagePipeline |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.edit_request import Timings
from engine.runtimes import RUNTIMES, Precision, RuntimeOptions

Pixels = NDArray[np.uint8]

FAST = "-fast"
GRAPH = "-graph"
GENAI = "openvino-genai"
IN_TORCH = ("diffusers", "reference")
OPTIONS = ("bf16", "fp16", "nhwc", "compiled", "graph")


@dataclass(frozen=True)
class Job:
    """An edit, the same for every way.

    Attributes:
        model: what `load_model` takes.
        bundle: what `hiper-export` made of it.
        steps: of DDIM.
        guidance_scale: of classifier-free guidance.
        device: where PyTorch computes.
        prompt: the wish, without a tail, since diffusers knows none.
        seed: of the starting noise, which is the same for all.
        peers: folder for what peers need of the model.
    """

    model: str
    bundle: str
    steps: int = 50
    guidance_scale: float = 7.5
    device: str = "cpu"
    prompt: str = "a dog"
    seed: int = 0
    peers: str = ""


class Made(NamedTuple):
    """A picture (H, W, 3) and where its time went."""

    picture: Pixels
    timings: Timings


@dataclass(frozen=True)
class Opened:
    """A way that is ready.

    Attributes:
        make: makes the edit of the job once.
        path: what really runs, for the record.
    """

    make: Callable[[], Made]
    path: dict[str, Any] = field(default_factory=dict)


def check_way(way: str) -> None:
    """Refuse a name that is no way.

    Raises:
        ValueError: it is none.
    """
    base, *options = way.split("-")
    known = way.removesuffix(FAST) == GENAI or runtime_of(way)[0] in RUNTIMES
    # Diffusers' pipeline calls its UNet with words that no recording takes.
    allowed = {"diffusers": OPTIONS[:-1], "reference": OPTIONS}.get(base)
    if not known and (allowed is None or not set(options) <= set(allowed)):
        names = ", ".join((*IN_TORCH, GENAI, *RUNTIMES))
        options_of = ", ".join(f"-{option}" for option in OPTIONS)
        raise ValueError(f"there is no way {way!r}; use one of {names}, with -fast, or {options_of}")


def runtime_of(way: str) -> tuple[str, RuntimeOptions]:
    """The runtime of a way that is the engine's, and its options."""
    name = way.removesuffix(GRAPH)
    precision: Precision = "fast" if name.endswith(FAST) else "exact"
    return name.removesuffix(FAST), RuntimeOptions(precision, cuda_graph=way.endswith(GRAPH))


def is_exact(way: str) -> bool:
    """Whether a way computes in the model's own precision."""
    return not way.endswith(FAST) and not {"bf16", "fp16"} & set(way.split("-"))


def open_way(way: str, job: Job) -> Opened:
    """Load what a way needs; imports nothing that it does not."""
    check_way(way)
    if way.split("-")[0] in IN_TORCH:
        from benchmarks import torch_ways

        return torch_ways.open_way(way, job)
    if way.removesuffix(FAST) == GENAI:
        from benchmarks import peers

        return peers.open_genai(job, fast=way.endswith(FAST))
    return _open_engine(way, job)


def _open_engine(way: str, job: Job) -> Opened:
    from engine.bundle import open_bundle
    from engine.edit_request import EditRequest
    from engine.editor import Editor

    runtime, options = runtime_of(way)
    bundle = open_bundle(Path(job.bundle), runtime, options)
    editor = Editor(bundle, buckets=(2,))
    request = EditRequest(job.prompt, seed=job.seed, guidance_scale=job.guidance_scale, num_inference_steps=job.steps)

    def make() -> Made:
        result = editor.edit([request])[0]
        return Made(result.image, result.timings)

    path = {"runtime": bundle.runtime, "precision": options.precision, "cuda_graph": options.cuda_graph}
    return Opened(make, path | {"rows_on_gpu": editor.rows_on_gpu})
