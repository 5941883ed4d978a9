"""The ways to make an edit that run in PyTorch: diffusers' pipeline, and our reference sampler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from torch import Tensor

from benchmarks.stage_clock import StageClock
from benchmarks.ways import Job, Made, Opened
from hiper.execution import TORCH_DTYPES, Dtype, Execution, graphed, make_ready
from hiper.images import to_uint8
from hiper.model_folder import find_folder
from hiper.models import load_model
from hiper.sample import draw_noise, sample


def open_way(way: str, job: Job) -> Opened:
    """Open `diffusers` or `reference` with their options; see `benchmarks.ways`."""
    base, *options = way.split("-")
    opened = (_diffusers if base == "diffusers" else _reference)(job, dtype_of(way), options)
    return _checked(opened) if "compiled" in options else opened


def dtype_of(way: str) -> Dtype:
    """What a way computes in."""
    options = way.split("-")
    return "bf16" if "bf16" in options else "fp16" if "fp16" in options else "fp32"


def _diffusers(job: Job, dtype: Dtype, options: Sequence[str]) -> Opened:
    """As diffusers' documentation shows it, with the same solver and starting noise as everybody."""
    pipeline: Any = StableDiffusionPipeline.from_pretrained(
        find_folder(job.model), safety_checker=None, dtype=TORCH_DTYPES[dtype]
    ).to(job.device)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    unet, side = pipeline.unet, pipeline.unet.config.sample_size
    if "nhwc" in options:
        unet.to(memory_format=torch.channels_last)
    clock = StageClock(job.device)
    _watch(clock, pipeline.text_encoder, unet, pipeline.vae, options)
    settings: dict[str, Any] = {
        "num_inference_steps": job.steps,
        "guidance_scale": job.guidance_scale,
        "output_type": "np",
    }
    latents = draw_noise([job.seed], side, side).to(job.device, TORCH_DTYPES[dtype])

    def edit() -> Any:
        with torch.inference_mode():
            return (pipeline(job.prompt, latents=latents, **settings).images[0] * 255).round().astype(np.uint8)

    return Opened(lambda: Made(*clock.run(edit)), {"dtype": str(unet.dtype), "device": str(unet.device)})


def _reference(job: Job, dtype: Dtype, options: Sequence[str]) -> Opened:
    """The sampler that every fast path is compared with."""
    model = load_model(job.model, device=job.device, dtype=TORCH_DTYPES[dtype])
    graph = "graph" in options
    made = make_ready(model.unet, Execution(job.device, dtype, channels_last="nhwc" in options, cuda_graph=graph))
    side = model.image_size // model.vae_factor
    clock = StageClock(job.device)
    _watch(clock, model.text_encoder, model.unet, model.vae, options)

    def edit() -> Any:
        embedding, negative = model.encode_prompt([job.prompt, ""]).split(1)
        latents = sample(
            model.unet,
            draw_noise([job.seed], side, side),
            embedding,
            negative,
            schedule=model.schedule,
            num_inference_steps=job.steps,
            guidance_scale=job.guidance_scale,
        )
        return to_uint8(model.decode_latents(latents).cpu())[0]

    return Opened(lambda: Made(*clock.run(edit)), {"dtype": made.dtype, "attention": made.attention})


def _watch(clock: StageClock, text_encoder: Any, unet: Any, vae: Any, options: Sequence[str]) -> None:
    """Time the networks where the pipeline calls them; a compiled UNet is compiled inside of what is timed."""
    forward = torch.compile(unet.forward, dynamic=False) if "compiled" in options else unet.forward
    unet.forward = clock.watch("unet", _captured(forward) if "graph" in options else forward)
    text_encoder.forward = clock.watch("text", text_encoder.forward)
    vae.decode = clock.watch("decode", vae.decode)


def _captured(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A UNet that is recorded at its first call and replayed ever after, at that call's shapes."""
    replay: list[Callable[..., tuple[Tensor, ...]]] = []

    def call(sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Any:
        inputs = (sample, timestep, encoder_hidden_states)
        if not replay:
            replay.append(graphed(lambda *values: (forward(*values).sample,), *inputs))
        return SimpleNamespace(sample=replay[0](*inputs)[0])

    return call


def _checked(opened: Opened) -> Opened:
    """torch.compile falls back to eager code in silence; here that is an error."""

    def make() -> Made:
        made = opened.make()
        opened.path["compiled_graphs"] = graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        if not graphs:
            raise RuntimeError("torch.compile was asked for but no graph was compiled; leave -compiled out")
        return made

    return Opened(make, opened.path)
