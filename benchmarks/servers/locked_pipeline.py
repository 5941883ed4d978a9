"""diffusers' pipeline as a server would use it: kept in memory, one edit at a time, in the order of arrival."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from numpy.typing import NDArray
from torch import Tensor

from engine.edit_request import EditRequest
from hiper.model_folder import find_folder
from hiper.sample import draw_noise
from hiper.tail import splice

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class LockedPipeline:
    """The tail enters by `prompt_embeds`; solver and starting noise are those of hiper-serve.

    One thread is the lock, which is fair. A prompt is encoded once, as in the engine.
    """

    def __init__(self, model: str, dtype: str) -> None:
        self._dtype = _DTYPES[dtype]
        self._thread = ThreadPoolExecutor(1)
        # Loading computes, too. In another thread it would get a team of workers of its own, and OpenMP lets the teams
        # of a process that has more workers than cores sleep between any two operations: twice the time an edit.
        self._pipeline = self._thread.submit(_load, model, self._dtype).result()
        self._encode = cache(lambda prompt: self._pipeline.encode_prompt(prompt, "cpu", 1, True))

    async def paint(self, request: EditRequest) -> NDArray[np.uint8]:
        """Wait for the lock, and paint."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._paint, request)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _paint(self, request: EditRequest) -> NDArray[np.uint8]:
        with torch.inference_mode():
            embedding, negative = self._encode(request.target_prompt)
            picture = self._pipeline(
                prompt_embeds=self._with_tail(embedding, request),
                negative_prompt_embeds=negative,
                latents=self._noise(request.seed),
                num_inference_steps=request.num_inference_steps,
                guidance_scale=request.guidance_scale,
                output_type="np",
            ).images[0]
        pixels: NDArray[np.uint8] = (picture * 255).round().astype(np.uint8)
        return pixels

    def _with_tail(self, embedding: Tensor, request: EditRequest) -> Tensor:
        if request.tail is None:
            return embedding
        return splice(embedding, torch.from_numpy(request.tail.tail).to(self._dtype), request.tail.info.tail_strength)

    def _noise(self, seed: int) -> Tensor:
        side = self._pipeline.unet.config.sample_size
        return draw_noise([seed], side, side).to(self._dtype)


def _load(model: str, dtype: torch.dtype) -> Any:
    pipeline: Any = StableDiffusionPipeline.from_pretrained(find_folder(model), safety_checker=None, dtype=dtype)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
