"""The diffusion a model was trained with, and the timesteps at which each solver asks it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hiper.errors import ModelError

Solver = Literal["ddim", "dpmpp_2m"]

# Stable Diffusion's timesteps are shifted by one; diffusers' pipelines insist on it whatever a configuration says.
STEPS_OFFSET = 1


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """A model's own noise schedule.

    Attributes:
        alphas_cumprod: cumulative product of 1 - beta over the training timesteps, (1000,) fp64 on the CPU, decreasing.
        prediction_type: "epsilon" or "v_prediction".
        timestep_spacing: "leading", "linspace", "trailing" (Lin et al. 2023, table 2); None leaves it to the solver.
        set_alpha_to_one: whether DDIM's last step ends at 1 instead of at `alphas_cumprod[0]`.
    """

    alphas_cumprod: Tensor
    prediction_type: str
    timestep_spacing: str | None = None
    set_alpha_to_one: bool = True

    @property
    def num_train_timesteps(self) -> int:
        """How many timesteps the model was trained on."""
        return len(self.alphas_cumprod)

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> NoiseSchedule:
        """Read a diffusers scheduler configuration; absent keys mean what they mean there.

        Raises:
            ModelError: the schedule is not one of Stable Diffusion 1.x and 2.x.
        """
        schedule = NoiseSchedule(
            _alphas_cumprod(config),
            config.get("prediction_type", "epsilon"),
            config.get("timestep_spacing"),
            config.get("set_alpha_to_one", True),
        )
        _check(schedule)
        return schedule

    def timesteps(self, solver: Solver, num_inference_steps: int) -> list[int]:
        """The training timesteps that a solver visits, from noise to image, as diffusers' schedulers choose them.

        Raises:
            ValueError: more steps than there are timesteps to visit, or none.
        """
        total = self.num_train_timesteps
        if solver not in get_args(Solver):
            raise ValueError(f"solver is {solver!r}; use one of {', '.join(get_args(Solver))}")
        if not 1 <= num_inference_steps <= total:
            raise ValueError(f"num_inference_steps is {num_inference_steps}; use 1 to {total}")
        spacing = self.timestep_spacing or ("leading" if solver == "ddim" else "linspace")
        # DPM-Solver counts the end of the trajectory among its points, unless they trail.
        points = num_inference_steps + (solver == "dpmpp_2m" and spacing != "trailing")
        timesteps = [int(timestep) for timestep in _spaced(spacing, total, points)[:num_inference_steps]]
        if timesteps[0] >= total or len(set(timesteps)) < num_inference_steps:
            raise ValueError(f"num_inference_steps is {num_inference_steps}, too many for {solver}; use fewer")
        return timesteps


def _spaced(spacing: str, total: int, points: int) -> NDArray[np.floating]:
    """`points` timesteps from high to low (Lin et al. 2023, table 2)."""
    if spacing == "leading":
        return np.arange(points)[::-1] * float(total // points) + STEPS_OFFSET
    if spacing == "linspace":
        return np.linspace(0, total - 1, points).round()[::-1]
    return np.arange(total, 0, -total / points).round() - 1


def _check(schedule: NoiseSchedule) -> None:
    predicted, spacing = schedule.prediction_type, schedule.timestep_spacing
    if predicted not in ("epsilon", "v_prediction"):
        raise ModelError(f"the model predicts {predicted!r}, supported are epsilon and v_prediction; use another model")
    if spacing not in (None, "leading", "linspace", "trailing"):
        raise ModelError(f"the model's timestep_spacing is {spacing!r}, not leading, linspace or trailing; use another")
    if predicted == "epsilon" and schedule.alphas_cumprod[-1] == 0:
        raise ModelError(
            "the model predicts noise from nothing but noise at its last timestep; use one that predicts v"
        )


def _alphas_cumprod(config: Mapping[str, Any]) -> Tensor:
    alphas_cumprod = torch.cumprod(1 - _betas(config), 0)
    return _without_final_signal(alphas_cumprod) if config.get("rescale_betas_zero_snr") else alphas_cumprod


def _betas(config: Mapping[str, Any]) -> Tensor:
    if config.get("trained_betas") is not None:
        return torch.tensor(config["trained_betas"], dtype=torch.float64)
    start, end = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    total, kind = config.get("num_train_timesteps", 1000), config.get("beta_schedule", "linear")
    if kind == "linear":
        return torch.linspace(start, end, total, dtype=torch.float64)
    if kind == "scaled_linear":
        return torch.linspace(math.sqrt(start), math.sqrt(end), total, dtype=torch.float64) ** 2
    raise ModelError(
        f"the model's beta_schedule is {kind!r}, supported are linear and scaled_linear; use another model"
    )


def _without_final_signal(alphas_cumprod: Tensor) -> Tensor:
    """Shift and scale the signal so that it starts as before and ends at zero (Lin et al. 2023, algorithm 1)."""
    signal = alphas_cumprod.sqrt()
    return ((signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])) ** 2
