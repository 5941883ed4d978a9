"""Other people's pipelines that run on the same model, steps, guidance and noise: OpenVINO GenAI's."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.optional import optional
from benchmarks.ways import Job, Made, Opened
from engine.edit_request import Timings
from engine.noise import unit_noise


def open_genai(job: Job, fast: bool) -> Opened:
    """GenAI's Text2ImagePipeline on what `benchmarks.genai_files` wrote; loads no PyTorch."""
    import openvino

    openvino_genai: Any = optional("openvino_genai", "bench-peers")

    class Noise(openvino_genai.Generator):  # type: ignore[misc]
        """The starting noise that everybody gets."""

        def randn_tensor(self, shape: Any) -> Any:
            return openvino.Tensor(unit_noise(tuple(shape)[1:], job.seed)[None])

        def next(self) -> float:
            raise RuntimeError("GenAI drew noise that was not given to it; its scheduler must be deterministic")

        def seed(self, new_seed: int) -> None:
            del new_seed  # it is the job's

    precision = "bf16" if fast else "f32"
    pipeline = openvino_genai.Text2ImagePipeline(job.peers, "CPU", INFERENCE_PRECISION_HINT=precision)
    options = {"num_inference_steps": job.steps, "guidance_scale": job.guidance_scale}

    def make() -> Made:
        start = time.perf_counter()
        image = pipeline.generate(job.prompt, generator=Noise(), **options)
        picture: NDArray[np.uint8] = np.array(image.data)[0]
        total_ms = 1e3 * (time.perf_counter() - start)
        return Made(picture, _timings(pipeline.get_performance_metrics(), total_ms))

    return Opened(make, {"pipeline": "Text2ImagePipeline", "precision": precision})


def _timings(metrics: Any, total_ms: float) -> Timings:
    """GenAI counts the UNet's calls in microseconds and the rest in milliseconds."""
    unet_ms = tuple(1e-3 * float(found) for found in metrics.raw_metrics.unet_inference_durations)
    text_ms = sum(float(found) for found in metrics.get_text_encoder_infer_duration().values())
    return Timings(text_ms, unet_ms, float(metrics.get_vae_decoder_infer_duration()), total_ms)
