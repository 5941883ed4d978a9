"""Oracle: diffusers' schedulers, driven by a fixed network over whole trajectories."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

from engine.schedule import NoiseSchedule, Solver, step_table

SCHEDULERS: dict[Solver, Any] = {
    "ddim": DDIMScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
}
SETTINGS: list[dict[str, Any]] = [
    {},
    {"timestep_spacing": "leading", "steps_offset": 1},
    {"timestep_spacing": "leading", "steps_offset": 0},
    {"timestep_spacing": "linspace"},
    {"timestep_spacing": "trailing"},
    {"prediction_type": "v_prediction", "timestep_spacing": "leading", "steps_offset": 1},
    {"prediction_type": "v_prediction", "timestep_spacing": "trailing", "rescale_betas_zero_snr": True},
]


def network(latents: torch.Tensor, timestep: float) -> torch.Tensor:
    """As large and as varied as a real answer, and dependent on all that a network is given."""
    return torch.tanh(0.9 * latents.roll(1, -1) + 0.3 * latents + np.sin(timestep / 50))


def diffusers_scheduler(solver: Solver, settings: dict[str, Any]) -> Any:
    common = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    if solver == "ddim":
        common["clip_sample"] = False
    return SCHEDULERS[solver](**common, **settings)


def our_schedule(scheduler: Any, settings: dict[str, Any]) -> NoiseSchedule:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    signal = torch.cumprod(1 - betas, 0).sqrt()
    if settings.get("rescale_betas_zero_snr"):
        signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
    return NoiseSchedule(
        alphas_cumprod=(signal**2).numpy(),
        prediction_type=settings.get("prediction_type", "epsilon"),
        timestep_spacing=settings.get("timestep_spacing"),
        steps_offset=settings.get("steps_offset", 0),
        set_alpha_to_one=scheduler.config.get("set_alpha_to_one", True),
    )


def reference_trajectory(scheduler: Any, noise: torch.Tensor, steps: int) -> list[torch.Tensor]:
    scheduler.set_timesteps(steps)
    latents, visited = noise * scheduler.init_noise_sigma, []
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(latents, timestep)
        visited.append(scaled)
        latents = scheduler.step(network(scaled, float(timestep)), timestep, latents).prev_sample
    return [*visited, latents]


def our_trajectory(schedule: NoiseSchedule, solver: Solver, noise: torch.Tensor, steps: int) -> list[torch.Tensor]:
    table = step_table(schedule, solver, steps)
    latents, x0_prev, visited = noise * table.noise_scale, torch.zeros_like(noise), []
    for timestep, (p_x, p_m, k_x, k_0, k_1) in zip(table.timesteps, table.coefficients, strict=True):
        visited.append(latents)
        x0 = p_x * latents + p_m * network(latents, float(timestep))
        latents, x0_prev = k_x * latents + k_0 * x0 + k_1 * x0_prev, x0
    return [*visited, latents]


@pytest.mark.parametrize("solver", SCHEDULERS)
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: " ".join(map(str, settings.values())) or "default")
@pytest.mark.parametrize("steps", [1, 2, 7, 20, 50])
def test_whole_trajectories_equal_diffusers(solver: Solver, settings: dict[str, Any], steps: int) -> None:
    scheduler = diffusers_scheduler(solver, settings)
    schedule = our_schedule(scheduler, settings)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(steps))
    # Diffusers' Euler subtracts fp32 numbers of size sigma, 4096 at no signal, and keeps the rounding.
    tolerance = 1e-3 if solver == "euler" and "rescale_betas_zero_snr" in settings else 1e-5
    expected = reference_trajectory(scheduler, noise, steps)
    for ours, theirs in zip(our_trajectory(schedule, solver, noise, steps), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("to_one", [True, False])
def test_the_last_ddim_step_ends_where_the_model_says(to_one: bool) -> None:
    scheduler = diffusers_scheduler("ddim", {"set_alpha_to_one": to_one})
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = reference_trajectory(scheduler, noise, 10)[-1]
    torch.testing.assert_close(our_trajectory(our_schedule(scheduler, {}), "ddim", noise, 10)[-1], expected)


@pytest.mark.parametrize("solver", SCHEDULERS)
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("steps", [3, 30, 100, 333, 999])
def test_timesteps_equal_diffusers(solver: Solver, spacing: str, steps: int) -> None:
    settings = {"timestep_spacing": spacing, "steps_offset": 1 if spacing == "leading" else 0}
    scheduler = diffusers_scheduler(solver, settings)
    schedule = our_schedule(scheduler, settings)
    scheduler.set_timesteps(steps)
    if len(np.unique(scheduler.timesteps)) < steps or scheduler.timesteps[0] > 999:
        with pytest.raises(ValueError, match="take fewer steps"):
            step_table(schedule, solver, steps)
    else:
        np.testing.assert_allclose(step_table(schedule, solver, steps).timesteps, scheduler.timesteps, rtol=1e-6)


def test_a_perfect_network_recovers_the_clean_latents() -> None:
    """With noise_pred = the true noise, every solver ends exactly at the clean latents."""
    schedule = our_schedule(diffusers_scheduler("ddim", {}), {})
    clean = np.linspace(-2, 2, 64)
    for solver in SCHEDULERS:
        table = step_table(schedule, solver, 12)
        latents, x0_prev = np.linspace(3, -3, 64), np.zeros(64)
        for p_x, p_m, k_x, k_0, k_1 in table.coefficients.astype(np.float64):
            x0 = p_x * latents + p_m * (clean - p_x * latents) / p_m
            latents, x0_prev = k_x * latents + k_0 * x0 + k_1 * x0_prev, x0
        np.testing.assert_allclose(latents, clean, atol=1e-5)


WRONG: dict[str, Callable[[NoiseSchedule], object]] = {
    r"num_inference_steps is 0; use 1 to 1000": lambda it: step_table(it, "ddim", 0),
    r"num_inference_steps is 1001; use 1 to 1000": lambda it: step_table(it, "ddim", 1001),
    r"solver is 'plms'; use one of ddim, dpmpp_2m, euler": lambda it: step_table(it, "plms", 10),  # type: ignore[arg-type]
    r"leading spacing has no 1001 different timesteps below 1000": lambda it: step_table(it, "dpmpp_2m", 1000),
    r"prediction_type is 'sample'": lambda it: NoiseSchedule(it.alphas_cumprod, "sample"),
    r"timestep_spacing is 'random'": lambda it: NoiseSchedule(it.alphas_cumprod, "epsilon", "random"),
    r"alphas_cumprod is not a list": lambda it: NoiseSchedule(it.alphas_cumprod[::-1], "epsilon"),
    r"alphas_cumprod is not a list of": lambda it: NoiseSchedule(np.full(1000, np.nan), "epsilon"),
    r"ends at 0, where noise": lambda it: NoiseSchedule(np.linspace(0.9, 0, 1000), "epsilon"),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_requests_are_refused(message: str) -> None:
    schedule = our_schedule(diffusers_scheduler("ddim", {}), {"timestep_spacing": "leading"})
    with pytest.raises(ValueError, match=message):
        WRONG[message](schedule)
