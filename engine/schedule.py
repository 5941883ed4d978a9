"""Solvers as tables: every step of DDIM, DPM-Solver++(2M) and Euler is the same five numbers per row.

With the latents x, the network's answer m and the previous step's estimate x0_prev of the clean latents,

    x0     = p_x x + p_m m
    x_next = k_x x + k_0 x0 + k_1 x0_prev

so rows of different solvers, lengths and timesteps go through one kernel. Latents always have unit variance: Euler's,
usually written as x0 + sigma noise and divided by sqrt(1 + sigma^2) before each call, stay divided. Its step is then
DDIM's between two of Euler's noise levels, and no solver scales the network's input.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Solver = Literal["ddim", "dpmpp_2m", "euler"]
Float64s = NDArray[np.float64]

COEFFICIENTS: Final = ("p_x", "p_m", "k_x", "k_0", "k_1")

# What diffusers puts in place of no signal at all, so that the solvers that take its logarithm have one.
_LEAST_ALPHA_CUMPROD: Final = 2.0**-24


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The diffusion a model was trained with; the fields mean what they mean in a diffusers scheduler configuration.

    Attributes:
        alphas_cumprod: signal variance at each training timestep, (timesteps,) fp64, decreasing, in [0, 1).
        prediction_type: "epsilon" or "v_prediction".
        timestep_spacing: "leading", "linspace" or "trailing" (Lin et al. 2023, table 2); None leaves it to the solver.
        steps_offset: added to the timesteps of "leading".
        set_alpha_to_one: whether DDIM's last step ends at 1 instead of at `alphas_cumprod[0]`.

    Raises:
        ValueError: a field has an impossible value.
    """

    alphas_cumprod: Float64s
    prediction_type: str
    timestep_spacing: str | None = None
    steps_offset: int = 1
    set_alpha_to_one: bool = True

    def __post_init__(self) -> None:
        values = self.alphas_cumprod
        if values.ndim != 1 or len(values) < 2 or not (np.diff(values) < 0).all() or values[-1] < 0 or values[0] >= 1:
            raise ValueError("alphas_cumprod is not a list of numbers that fall from below 1 to 0 or more")
        if self.prediction_type not in ("epsilon", "v_prediction"):
            raise ValueError(f"prediction_type is {self.prediction_type!r}; use epsilon or v_prediction")
        if self.timestep_spacing not in (None, "leading", "linspace", "trailing"):
            raise ValueError(f"timestep_spacing is {self.timestep_spacing!r}; use leading, linspace or trailing")
        if self.prediction_type == "epsilon" and values[-1] == 0:
            raise ValueError("alphas_cumprod ends at 0, where noise cannot be predicted; such a model predicts v")


@dataclass(frozen=True, eq=False)
class StepTable:
    """One trajectory from noise to image.

    Attributes:
        timesteps: what the network is asked at each step, (steps,) fp32; Euler's lie between training timesteps.
        coefficients: p_x, p_m, k_x, k_0, k_1 of each step, (steps, 5) fp32.
        noise_scale: the first latents are unit noise times this.
    """

    timesteps: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    noise_scale: float

    def __len__(self) -> int:
        return len(self.timesteps)


@dataclass(frozen=True, eq=False)
class _Path:
    """Signal variance at the start and at the end of each step."""

    timesteps: NDArray[Any]
    start: Float64s
    end: Float64s


def step_table(schedule: NoiseSchedule, solver: Solver, num_inference_steps: int) -> StepTable:
    """Tabulate a solver in float64; it equals diffusers' scheduler of that name.

    Sources: DDIM, Song et al. 2020, eq. 12 with eta 0. DPM-Solver++(2M), Lu et al. 2022, algorithm 2, first order at
    both ends. Euler, Karras et al. 2022, algorithm 1.

    Raises:
        ValueError: there is no such solver, or the schedule has not that many steps.
    """
    if solver not in get_args(Solver):
        raise ValueError(f"solver is {solver!r}; use one of {', '.join(get_args(Solver))}")
    if not 1 <= num_inference_steps <= len(schedule.alphas_cumprod):
        raise ValueError(f"num_inference_steps is {num_inference_steps}; use 1 to {len(schedule.alphas_cumprod)}")
    path = _PATHS[solver](schedule, num_inference_steps)
    coefficients = _coefficients(path, schedule.prediction_type, second_order=solver == "dpmpp_2m")
    # Diffusers starts Euler from sigma times unit noise, a little short of unit variance, except for "leading".
    short = solver == "euler" and schedule.timestep_spacing != "leading"
    noise_scale = float(np.sqrt(1 - path.start[0])) if short else 1.0
    return StepTable(path.timesteps.astype(np.float32), coefficients.astype(np.float32), noise_scale)


def _ddim(schedule: NoiseSchedule, steps: int) -> _Path:
    alphas_cumprod = schedule.alphas_cumprod
    timesteps = _timesteps(schedule, schedule.timestep_spacing or "leading", steps)
    last = 1.0 if schedule.set_alpha_to_one else alphas_cumprod[0]
    # DDIM steps by a fixed stride whatever the spacing, as in diffusers.
    ends = timesteps - len(alphas_cumprod) // steps
    return _Path(timesteps, alphas_cumprod[timesteps], np.where(ends < 0, last, alphas_cumprod[ends]))


def _dpmpp_2m(schedule: NoiseSchedule, steps: int) -> _Path:
    spacing = schedule.timestep_spacing or "linspace"
    # It counts the end of the trajectory among its points, except where "trailing" says how they lie.
    points = steps if spacing == "trailing" else steps + 1
    timesteps = _timesteps(schedule, spacing, points)[:steps]
    start = np.maximum(schedule.alphas_cumprod, _LEAST_ALPHA_CUMPROD)[timesteps]
    return _Path(timesteps, start, np.append(start[1:], 1.0))


def _euler(schedule: NoiseSchedule, steps: int) -> _Path:
    alphas_cumprod = np.maximum(schedule.alphas_cumprod, _LEAST_ALPHA_CUMPROD)
    spacing = schedule.timestep_spacing or "linspace"
    if spacing == "linspace":
        timesteps: NDArray[Any] = np.linspace(0, len(alphas_cumprod) - 1, steps)[::-1]
    else:
        timesteps = _timesteps(schedule, spacing, steps)
    sigmas = np.interp(timesteps, np.arange(len(alphas_cumprod)), np.sqrt((1 - alphas_cumprod) / alphas_cumprod))
    start = 1 / (1 + sigmas**2)
    return _Path(timesteps, start, np.append(start[1:], 1.0))


_PATHS: Final = {"ddim": _ddim, "dpmpp_2m": _dpmpp_2m, "euler": _euler}


def _timesteps(schedule: NoiseSchedule, spacing: str, points: int) -> NDArray[np.int64]:
    """Training timesteps from noise to image, chosen as diffusers' schedulers choose them."""
    total = len(schedule.alphas_cumprod)
    if spacing == "leading":
        timesteps = np.arange(points)[::-1] * (total // points) + schedule.steps_offset
    elif spacing == "linspace":
        timesteps = np.linspace(0, total - 1, points).round()[::-1].astype(np.int64)
    else:
        timesteps = np.arange(total, 0, -total / points).round().astype(np.int64)[:points] - 1
    if timesteps[0] >= total or timesteps[-1] < 0 or (np.diff(timesteps) >= 0).any():
        raise ValueError(f"{spacing} spacing has no {points} different timesteps below {total}; take fewer steps")
    return timesteps


def _coefficients(path: _Path, prediction_type: str, second_order: bool) -> Float64s:
    a, s = np.sqrt(path.start), np.sqrt(1 - path.start)
    a_next, s_next = np.sqrt(path.end), np.sqrt(1 - path.end)
    p_x, p_m = (1 / a, -s / a) if prediction_type == "epsilon" else (a, -s)
    k_x, k_0 = s_next / s, a_next - a * s_next / s
    k_1 = np.zeros_like(k_0)
    if second_order:
        extrapolation = _extrapolation(np.log(a / s))
        k_0, k_1 = k_0 * (1 + extrapolation), -k_0 * extrapolation
    return np.stack([p_x, p_m, k_x, k_0, k_1], axis=1)


def _extrapolation(log_snr: Float64s) -> Float64s:
    """How far each step leans on the previous one: 1 / 2r of Lu et al. 2022; not at all at either end."""
    stride = np.diff(log_snr)
    extrapolation = np.zeros_like(log_snr)
    extrapolation[1:-1] = stride[1:] / (2 * stride[:-1])
    return extrapolation
