"""The reference sampler, which every fast path is compared with: DDIM and DPM-Solver++(2M) as the papers write them."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from hiper.schedule import NoiseSchedule, Solver

# Where a schedule ends without any signal, diffusers gives DPM-Solver this much, so that its logarithms exist.
LEAST_ALPHA_CUMPROD = 2.0**-24


class SampleStep(NamedTuple):
    """A finished step (0, 1, ...), as a callback sees it."""

    step: int
    timestep: int
    latents: Tensor


class Prediction(NamedTuple):
    """What a network's answer says about noisy latents: they are signal * `clean` + sigma * `noise`."""

    clean: Tensor
    noise: Tensor


Predict = Callable[[Tensor, int, float], Prediction]


def draw_noise(seeds: Sequence[int], height: int, width: int, channels: int = 4) -> Tensor:
    """Draw starting noise, one CPU generator an image: a seed means one picture, whatever the batch and the device.

    Returns:
        (len(seeds), channels, height, width) fp32 on the CPU.
    """
    shape = (channels, height, width)
    return torch.stack([torch.randn(shape, generator=Generator().manual_seed(seed)) for seed in seeds])


def draw_from(generator: Generator | Sequence[Generator], shape: tuple[int, ...]) -> Tensor:
    """Draw starting noise as diffusers does: all pictures from one generator, or each from its own.

    Args:
        generator: one, or one a picture.
        shape: (pictures, 4, h, w).

    Raises:
        ValueError: several generators, but not one a picture.
    """
    if isinstance(generator, Generator):
        return torch.randn(shape, generator=generator, device=generator.device)
    if len(generator) != shape[0]:
        raise ValueError(f"there are {len(generator)} generators for {shape[0]} pictures; give one, or one a picture")
    return torch.cat([torch.randn((1, *shape[1:]), generator=one, device=one.device).cpu() for one in generator])


@torch.no_grad()
def sample(
    unet: Any,
    noise: Tensor,
    prompt_embedding: Tensor,
    negative_embedding: Tensor | None = None,
    *,
    schedule: NoiseSchedule,
    solver: Solver = "ddim",
    num_inference_steps: int = 50,
    guidance_scale: float = 7.5,
    callback: Callable[[SampleStep], None] | None = None,
) -> Tensor:
    """Walk from noise to latents.

    Args:
        unet: the denoiser, on the device where the work happens.
        noise: unit normal, (batch, 4, h, w).
        prompt_embedding: with the tail spliced in, (batch, 77, dim), or (1, 77, dim) for all images.
        negative_embedding: of the negative prompt, as `prompt_embedding`; unused if `guidance_scale` is at most 1.
        schedule: the model's own.
        solver: "ddim" (Song et al. 2021, eta 0) or "dpmpp_2m" (Lu et al. 2022, algorithm 2).
        num_inference_steps: evaluations of the network an image.
        guidance_scale: Ho and Salimans 2022, w + 1; at most 1 skips the negative branch.
        callback: called after every step; what it raises ends the sampling and reaches the caller.

    Returns:
        Latents (batch, 4, h, w) fp32 on the network's device.

    Raises:
        ValueError: the step count or the solver is impossible, or guidance lacks its negative embedding.
    """
    timesteps = schedule.timesteps(solver, num_inference_steps)
    solve = {"ddim": _ddim, "dpmpp_2m": _dpmpp_2m}[solver]
    conditions = _conditions(len(noise), prompt_embedding, negative_embedding, guidance_scale)
    predict = _guided(unet, conditions.to(unet.device, unet.dtype), guidance_scale, schedule.prediction_type)
    latents = start = noise.to(unet.device, torch.float32)
    for step, latents in enumerate(solve(predict, start, timesteps, schedule)):
        if callback is not None:
            callback(SampleStep(step, timesteps[step], latents))
    return latents


def _ddim(predict: Predict, latents: Tensor, timesteps: list[int], schedule: NoiseSchedule) -> Iterator[Tensor]:
    """Denoising diffusion implicit models, eta 0 (Song et al. 2021, eq. 12)."""
    alphas_cumprod = schedule.alphas_cumprod.tolist()
    final = 1.0 if schedule.set_alpha_to_one else alphas_cumprod[0]
    # Each step spans this many timesteps, also where the spacing would lead elsewhere: so does diffusers.
    stride = len(alphas_cumprod) // len(timesteps)
    for timestep in timesteps:
        clean, noise = predict(latents, timestep, alphas_cumprod[timestep])
        next_alpha = alphas_cumprod[timestep - stride] if timestep >= stride else final
        latents = math.sqrt(next_alpha) * clean + math.sqrt(1 - next_alpha) * noise
        yield latents


def _dpmpp_2m(predict: Predict, latents: Tensor, timesteps: list[int], schedule: NoiseSchedule) -> Iterator[Tensor]:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2); its first and last steps are of first order."""
    alphas_cumprod = schedule.alphas_cumprod.clamp(min=LEAST_ALPHA_CUMPROD).tolist()
    levels = [*(alphas_cumprod[timestep] for timestep in timesteps), 1.0]
    previous, h_previous = None, 0.0
    for timestep, alpha, next_alpha in zip(timesteps, levels, levels[1:], strict=False):
        clean, _ = predict(latents, timestep, alpha)
        h = _half_log_snr(next_alpha) - _half_log_snr(alpha)
        estimate = clean
        if previous is not None and next_alpha < 1:
            estimate = clean + h / (2 * h_previous) * (clean - previous)
        latents = (
            math.sqrt((1 - next_alpha) / (1 - alpha)) * latents - math.sqrt(next_alpha) * math.expm1(-h) * estimate
        )
        yield latents
        previous, h_previous = clean, h


def _half_log_snr(alpha_cumprod: float) -> float:
    """Lambda of the DPM-Solver papers: log(signal / sigma)."""
    return math.inf if alpha_cumprod == 1 else math.log(alpha_cumprod / (1 - alpha_cumprod)) / 2


def _guided(unet: Any, conditions: Tensor, guidance_scale: float, prediction_type: str) -> Predict:
    """The network as a function of latents, timestep and alpha_cumprod; `conditions` has one or two rows an image."""

    def predict(latents: Tensor, timestep: int, alpha_cumprod: float) -> Prediction:
        rows = latents.repeat(len(conditions) // len(latents), 1, 1, 1).to(conditions.dtype)
        timesteps = torch.full((len(rows),), timestep, device=rows.device)
        answer = unet(rows, timesteps, encoder_hidden_states=conditions).sample.float()
        if len(rows) > len(latents):
            negative, positive = answer.chunk(2)
            answer = negative + guidance_scale * (positive - negative)
        signal, sigma = math.sqrt(alpha_cumprod), math.sqrt(1 - alpha_cumprod)
        if prediction_type == "v_prediction":  # v = signal * noise - sigma * clean (Salimans and Ho 2022)
            return Prediction(signal * latents - sigma * answer, sigma * latents + signal * answer)
        return Prediction((latents - sigma * answer) / signal, answer)

    return predict


def _conditions(batch: int, prompt: Tensor, negative: Tensor | None, guidance_scale: float) -> Tensor:
    """encoder_hidden_states of all rows: the negative prompts first, then the prompts."""
    if guidance_scale <= 1:
        return prompt.expand(batch, -1, -1)
    if negative is None:
        raise ValueError(f"guidance_scale is {guidance_scale} but there is no negative embedding; encode one, or use 1")
    return torch.cat([negative.expand(batch, -1, -1), prompt.expand(batch, -1, -1)])
