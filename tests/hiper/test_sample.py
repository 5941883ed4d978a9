"""Oracle: diffusers' StableDiffusionPipeline, given the same embeddings and the same noise."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, StableDiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from hiper.images import to_uint8
from hiper.models import StableDiffusion, load_model
from hiper.sample import SampleStep, draw_noise, sample
from hiper.schedule import NoiseSchedule, Solver

SCHEDULERS: dict[Solver, Any] = {"ddim": DDIMScheduler, "dpmpp_2m": DPMSolverMultistepScheduler}
SCALED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


@pytest.fixture(scope="module", params=["sd1_folder", "sd2_folder"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def model(folder: Path) -> StableDiffusion:
    return load_model(folder)


@pytest.fixture
def pipeline(folder: Path) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pixels_of_diffusers(pipeline: StableDiffusionPipeline, **arguments: Any) -> np.ndarray:
    return (pipeline(output_type="np", **arguments).images * 255).round().astype(int)


@pytest.mark.parametrize("solver", SCHEDULERS)
@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
@pytest.mark.parametrize("num_inference_steps", [1, 2, 20])
def test_pixels_equal_those_of_diffusers(
    model: StableDiffusion,
    pipeline: StableDiffusionPipeline,
    solver: Solver,
    guidance_scale: float,
    num_inference_steps: int,
) -> None:
    prompt = model.encode_prompt(["a sitting dog", "a cat"])
    negative = model.encode_prompt(["", "tail"])
    noise = draw_noise([1, 2], 8, 8)
    steps: dict[str, Any] = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
    pipeline.scheduler = SCHEDULERS[solver].from_config(pipeline.scheduler.config)
    theirs = pixels_of_diffusers(
        pipeline, prompt_embeds=prompt, negative_prompt_embeds=negative, latents=noise.clone(), **steps
    )
    latents = sample(model.unet, noise, prompt, negative, schedule=model.schedule, solver=solver, **steps)
    ours = to_uint8(model.decode_latents(latents)).astype(int)
    assert theirs.std() > 20
    assert np.abs(ours - theirs).max() <= 1


class SmallNetwork:
    """A smooth function of everything a UNet sees, which notes the rows it is called with."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, latents: Tensor, timesteps: Tensor, encoder_hidden_states: Tensor) -> SimpleNamespace:
        self.rows.append(len(latents))
        words = encoder_hidden_states.mean((1, 2)).reshape(-1, 1, 1, 1)
        times = timesteps.reshape(-1, 1, 1, 1) / 1000
        return SimpleNamespace(sample=torch.sin(latents * (1 + words) + times))


EMBEDDINGS = torch.randn(2, 77, 6, generator=torch.Generator().manual_seed(0))
PROMPT, NEGATIVE = EMBEDDINGS[:1], EMBEDDINGS[1:]


def small_sample(seeds: list[int], network: SmallNetwork | None = None, **options: Any) -> Tensor:
    options = {"schedule": NoiseSchedule.from_config(SCALED), "num_inference_steps": 5, **options}
    return sample(network or SmallNetwork(), draw_noise(seeds, 8, 8), PROMPT, NEGATIVE, **options)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"set_alpha_to_one": False},
        {"timestep_spacing": "linspace"},
        {"timestep_spacing": "trailing", "prediction_type": "v_prediction"},
        {"timestep_spacing": "trailing", "prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("solver", SCHEDULERS)
def test_schedules_equal_those_of_diffusers(solver: Solver, config: dict[str, Any]) -> None:
    scheduler = SCHEDULERS[solver].from_config({**SCALED, "clip_sample": False, **config})
    scheduler.set_timesteps(12)
    latents, network = draw_noise([3], 8, 8), SmallNetwork()
    for timestep in scheduler.timesteps:
        answer = network(latents, timestep[None], PROMPT).sample
        latents = scheduler.step(answer, timestep, latents).prev_sample
    schedule = NoiseSchedule.from_config({**SCALED, **config})
    ours = small_sample([3], schedule=schedule, solver=solver, num_inference_steps=12, guidance_scale=1)
    torch.testing.assert_close(ours, latents, rtol=1e-4, atol=1e-4)


def test_noise_is_that_of_diffusers_generators() -> None:
    generators = [torch.Generator().manual_seed(seed) for seed in (7, 8)]
    assert torch.equal(draw_noise([7, 8], 8, 16), randn_tensor((2, 4, 8, 16), generator=generators))


@pytest.mark.parametrize("solver", SCHEDULERS)
def test_a_seed_means_one_picture_in_any_batch(model: StableDiffusion, solver: Solver) -> None:
    prompts = model.encode_prompt(["a dog", "a cat", "a sitting dog"])
    negative = model.encode_prompt("")
    options: dict[str, Any] = {"schedule": model.schedule, "solver": solver, "num_inference_steps": 3}
    batch = sample(model.unet, draw_noise([1, 2, 3], 8, 8), prompts, negative, **options)
    alone = sample(model.unet, draw_noise([2], 8, 8), prompts[1:2], negative, **options)
    torch.testing.assert_close(batch[1:2], alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("guidance_scale", "rows"), [(7.5, 4), (1.0, 2), (0.0, 2)])
def test_guidance_up_to_one_costs_one_row_an_image(guidance_scale: float, rows: int) -> None:
    network = SmallNetwork()
    small_sample([1, 2], network, guidance_scale=guidance_scale)
    assert network.rows == [rows] * 5


def test_guidance_just_above_one_is_no_jump() -> None:
    torch.testing.assert_close(
        small_sample([1], guidance_scale=1.0001), small_sample([1], guidance_scale=1), atol=1e-3, rtol=0
    )


def test_the_callback_sees_every_step_and_may_end_it() -> None:
    steps: list[SampleStep] = []
    latents = small_sample([1], callback=steps.append)
    assert [(step.step, step.timestep) for step in steps] == [(0, 801), (1, 601), (2, 401), (3, 201), (4, 1)]
    assert torch.equal(steps[-1].latents, latents)

    def cancel(step: SampleStep) -> None:
        if step.step == 2:
            raise KeyboardInterrupt

    network = SmallNetwork()
    with pytest.raises(KeyboardInterrupt):
        small_sample([1], network, callback=cancel)
    assert len(network.rows) == 3


def test_half_precision_keeps_latents_in_fp32(sd1_folder: Path) -> None:
    model = load_model(sd1_folder, dtype=torch.bfloat16)
    full = load_model(sd1_folder)
    prompt = model.encode_prompt("a dog")
    options: dict[str, Any] = {"schedule": model.schedule, "num_inference_steps": 3, "guidance_scale": 1}
    half = sample(model.unet, draw_noise([1], 8, 8), prompt, **options)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, sample(full.unet, draw_noise([1], 8, 8), prompt, **options), rtol=0.05, atol=0.05)


def test_impossible_settings() -> None:
    with pytest.raises(
        ValueError, match=r"guidance_scale is 7\.5 but there is no negative embedding; encode one, or use 1"
    ):
        sample(SmallNetwork(), draw_noise([1], 8, 8), PROMPT, schedule=NoiseSchedule.from_config(SCALED))
    with pytest.raises(ValueError, match="num_inference_steps is 0; use 1 to 1000"):
        small_sample([1], num_inference_steps=0)
