"""One way to make an edit, in a process of its own: says when its first picture is there, then times edits on demand.

A way is "diffusers" or a runtime's name, with "-fast" for lower precision. The process imports what that way needs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

PROMPT = "a dog"
SEED = 0
FAST = "-fast"


class Made(NamedTuple):
    """A picture (H, W, 3), and the milliseconds that went into no network; None where nobody counted."""

    picture: Pixels
    other_ms: float | None


def engine(bundle: str, way: str, steps: int, guidance_scale: float) -> Callable[[], Made]:
    """The engine on one runtime."""
    from engine.bundle import open_bundle
    from engine.edit_request import EditRequest
    from engine.editor import Editor
    from engine.runtimes import RuntimeOptions

    options = RuntimeOptions("fast" if way.endswith(FAST) else "exact")
    editor = Editor(open_bundle(bundle, way.removesuffix(FAST), options), buckets=(2,))
    request = EditRequest(PROMPT, seed=SEED, guidance_scale=guidance_scale, num_inference_steps=steps)

    def make() -> Made:
        result = editor.edit([request])[0]
        return Made(result.image, result.timings.other_ms)

    return make


def diffusers(model: str, steps: int, guidance_scale: float) -> Callable[[], Made]:
    """Diffusers' own pipeline as its documentation shows it, on the CPU in fp32, with the same starting noise."""
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    from hiper.model_folder import find_folder
    from hiper.sample import draw_noise

    folder = find_folder(model)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, dtype=torch.float32)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    side = pipeline.unet.config.sample_size
    options: dict[str, Any] = {"num_inference_steps": steps, "guidance_scale": guidance_scale, "output_type": "np"}

    def make() -> Made:
        with torch.inference_mode():
            image = pipeline(PROMPT, latents=draw_noise([SEED], side, side), **options).images[0]
        return Made((image * 255).round().astype(np.uint8), None)

    return make


def main(way: str, model: str, bundle: str, steps: str, guidance_scale: str, picture: str) -> None:
    """Make the first picture, then one more for every line on stdin."""
    if way == "diffusers":
        make = diffusers(model, int(steps), float(guidance_scale))
    else:
        make = engine(bundle, way, int(steps), float(guidance_scale))
    np.save(picture, make().picture)
    print(json.dumps({"resident_bytes": resident_bytes()}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        made = make()
        edit_ms = 1e3 * (time.perf_counter() - start)
        print(json.dumps({"edit_ms": edit_ms, "other_ms": made.other_ms}), flush=True)


def resident_bytes() -> int:
    """Memory of this process that is in RAM, libraries included."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
