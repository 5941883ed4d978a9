"""Calls of diffusers' UNet at several numbers of rows, each waiting for its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.torch_ways import dtype_of
from hiper.execution import Execution, make_ready
from hiper.models import load_model

CALLS = 5


def unet_calls(way: str, model: str, device: str, rows: Sequence[int]) -> Iterator[Callable[[], list[float]]]:
    """For each number of rows a function that makes CALLS calls and returns the milliseconds of each.

    Args:
        way: "diffusers" or "reference" with their options; see `benchmarks.ways`.
        model: what `load_model` takes.
        device: where it computes.
        rows: of a call.
    """
    loaded = load_model(model, device=device)
    options = way.split("-")
    layout, compiled = "nhwc" in options, "compiled" in options
    make_ready(loaded.unet, Execution(device, dtype_of(way), channels_last=layout, compile=compiled))
    side, generator = loaded.image_size // loaded.vae_factor, torch.Generator().manual_seed(0)
    kind: Any = {"device": loaded.unet.device, "dtype": loaded.unet.dtype}

    def call(count: int) -> list[float]:
        sample = torch.randn(count, 4, side, side, generator=generator).to(**kind)
        embedding = torch.randn(count, loaded.max_tokens, loaded.dim, generator=generator).to(**kind)
        timestep = torch.full((count,), 500, device=kind["device"])
        return [_timed(loaded.unet, sample, timestep, embedding) for _ in range(CALLS)]

    for count in rows:
        yield partial(call, count)


@torch.inference_mode()
def _timed(unet: Any, *inputs: torch.Tensor) -> float:
    start = time.perf_counter()
    unet(*inputs).sample.cpu()
    return 1e3 * (time.perf_counter() - start)
