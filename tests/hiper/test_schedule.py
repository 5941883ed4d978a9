"""Oracle: diffusers' schedulers, built from the same configuration."""

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

from hiper.errors import ModelError
from hiper.schedule import NoiseSchedule

SCALED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
CONFIGS: dict[str, dict[str, Any]] = {
    "stable diffusion": SCALED,
    "linear": {"beta_schedule": "linear", "steps_offset": 1},
    "trained betas": {"trained_betas": [0.001 * (1 + i / 100) for i in range(1000)], "steps_offset": 1},
    "zero terminal SNR": {**SCALED, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_alphas_cumprod_is_that_of_diffusers(config: dict[str, Any]) -> None:
    expected = DDIMScheduler.from_config(config).alphas_cumprod
    found = NoiseSchedule.from_config(config).alphas_cumprod
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("spacing", [None, "leading", "linspace", "trailing"])
@pytest.mark.parametrize(("solver", "scheduler"), [("ddim", DDIMScheduler), ("dpmpp_2m", DPMSolverMultistepScheduler)])
def test_timesteps_are_those_of_diffusers(solver: Any, scheduler: Any, spacing: str | None) -> None:
    config = SCALED if spacing is None else {**SCALED, "timestep_spacing": spacing}
    for num_inference_steps in (1, 2, 7, 20, 30, 50, 333, 500):
        theirs = scheduler.from_config(config)
        theirs.set_timesteps(num_inference_steps)
        ours = NoiseSchedule.from_config(config).timesteps(solver, num_inference_steps)
        assert ours == theirs.timesteps.tolist()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"prediction_type": "sample"},
            "the model predicts 'sample', supported are epsilon and v_prediction; use another",
        ),
        (
            {"beta_schedule": "squaredcos_cap_v2"},
            "beta_schedule is 'squaredcos_cap_v2', supported are linear and scaled",
        ),
        (
            {"timestep_spacing": "random"},
            "timestep_spacing is 'random', not leading, linspace or trailing; use another",
        ),
        ({"rescale_betas_zero_snr": True}, "predicts noise from nothing but noise at its last timestep; use one that"),
    ],
)
def test_unsupported_schedules(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        NoiseSchedule.from_config({**SCALED, **change})


def test_impossible_requests() -> None:
    schedule = NoiseSchedule.from_config(SCALED)
    with pytest.raises(ValueError, match="num_inference_steps is 1001; use 1 to 1000"):
        schedule.timesteps("ddim", 1001)
    with pytest.raises(ValueError, match="num_inference_steps is 1000, too many for ddim; use fewer"):
        schedule.timesteps("ddim", 1000)
    with pytest.raises(ValueError, match="num_inference_steps is 1000, too many for dpmpp_2m; use fewer"):
        schedule.timesteps("dpmpp_2m", 1000)
    with pytest.raises(ValueError, match="solver is 'plms'; use one of ddim, dpmpp_2m"):
        schedule.timesteps("plms", 10)  # type: ignore[arg-type]
