"""Fits a tail to images of one subject: the optimisation of Han et al. 2023 (arXiv 2303.08767), and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from hiper.errors import HiPerError, TailError
from hiper.execution import Execution, graphed
from hiper.fit_state import Descent, FitState
from hiper.objective import Objective, frozen

Decay = Literal["constant", "linear", "cosine"]

# Shared by all fits, whatever their seed, so that their held-out losses can be compared.
HELD_OUT_SEED = 230308767


class FitError(HiPerError):
    """A fit ran away from every useful tail."""

    exit_code = 12


@dataclass(frozen=True)
class FitConfig:
    """How a tail is fitted; the defaults are the paper's recipe.

    Attributes:
        tail_tokens: learned rows.
        learning_rate: Adam's, in the first step.
        decay: how the learning rate falls from there to 0 over all steps.
        steps: Adam steps, if no plateau ends the fit before.
        timesteps_per_step: UNet rows per step and image.
        stratified: draw a step's timesteps from equal parts of the range, one each, instead of all from all of it.
        evaluate_every: steps between looks at the held-out loss; 0 never looks, and keeps the last tail as the best.
        held_out: (timestep, noise) pairs per image in the held-out loss.
        patience: evaluations without a gain after which the fit ends; 0 never ends it.
        least_gain: share of the best held-out loss by which another must be lower to count as a gain.
        seed: of timesteps and noise, drawn on the CPU: the same numbers on every device.

    Raises:
        ValueError: a number is outside its range, or there is no such decay.
    """

    tail_tokens: int = 5
    learning_rate: float = 5e-3
    decay: Decay = "constant"
    steps: int = 1000
    timesteps_per_step: int = 1
    stratified: bool = False
    evaluate_every: int = 0
    held_out: int = 16
    patience: int = 0
    least_gain: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("tail_tokens", "learning_rate", "steps", "timesteps_per_step", "held_out"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)} but must be above 0")
        for name in ("evaluate_every", "patience", "least_gain"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)} but must be 0 or more")
        if self.decay not in get_args(Decay):
            raise ValueError(f"decay is {self.decay!r} but must be one of {', '.join(get_args(Decay))}")

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step in 0 … steps - 1."""
        done = step / self.steps
        share = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}
        return self.learning_rate * share[self.decay]


@dataclass(frozen=True)
class FitProgress:
    """What one step found, and the state it left.

    Attributes:
        loss: of this step's timesteps and noise, before the step.
        held_out_loss: after the step; None where it was not evaluated.
        state: after the step.
    """

    loss: float
    held_out_loss: float | None
    state: FitState

    @property
    def step(self) -> int:
        """Steps done, from 1."""
        return self.state.step

    @property
    def tail(self) -> Tensor:
        """The current tail, (tail_tokens, dim)."""
        return self.state.tail

    @property
    def best_tail(self) -> Tensor:
        """The tail of the lowest held-out loss; the current one before the first evaluation."""
        return self.state.best_tail


def fit_tail(
    unet: torch.nn.Module,
    latents: Tensor,
    prompt_embedding: Tensor,
    alphas_cumprod: Tensor,
    config: FitConfig,
    *,
    prediction_type: str = "epsilon",
    init: Tensor | None = None,
    resume: FitState | None = None,
    execution: Execution | None = None,
) -> Iterator[FitProgress]:
    """Learn the rows behind a prompt that let a frozen UNet denoise these images best (Han et al. 2023, fig. 2).

    Args:
        unet: diffusers' UNet2DConditionModel, made ready by `make_ready`; frozen and in evaluation mode during the fit.
        latents: of one or several images of one subject, (images, 4, h, w), scaled; their losses are averaged.
        prompt_embedding: of the source prompt, (1, 77, dim).
        alphas_cumprod: of the model's training schedule, (1000,).
        config: the recipe.
        prediction_type: what the UNet predicts, "epsilon" or "v_prediction".
        init: where to start, (tail_tokens, dim); the last rows of the prompt embedding if not given.
        resume: a state that an earlier fit of the same inputs yielded, to go on from.
        execution: what `make_ready` returned; fp32 on the CPU if not given.

    Returns:
        An iterator that makes one step per item; closing it early leaves nothing behind.

    Raises:
        TailError: `init` is not (tail_tokens, dim).
        FitError: on iteration, a loss that is not finite.
    """
    execution = execution or Execution()
    objective = Objective(
        unet,
        latents.to(execution.device, torch.float32),
        prompt_embedding.to(execution.device, torch.float32),
        alphas_cumprod.to(execution.device),
        prediction_type,
        execution,
    )
    return _steps(objective, config, resume or _start(prompt_embedding, init, config))


def _steps(objective: Objective, config: FitConfig, state: FitState) -> Iterator[FitProgress]:
    descent = Descent(state, objective.execution)
    with frozen(objective.unet):
        make_step = _step(objective, config, descent)
        held_out_loss = _held_out_loss(objective, config)
        while state.step < config.steps and not _on_plateau(state, config):
            noise, timesteps = objective.draw(config.timesteps_per_step, config.stratified, descent.generator)
            descent.learning_rate.fill_(config.learning_rate_at(state.step))
            (loss,) = make_step(noise, timesteps)
            state, held_out = descent.state_after(state), None
            if _is_evaluated(state.step, config):
                held_out = _finite("held-out loss", held_out_loss(descent.tail), state.step)
                state = state.keep_better(held_out, config.least_gain)
            yield FitProgress(_finite("loss", loss.item(), state.step), held_out, state)


def _step(objective: Objective, config: FitConfig, descent: Descent) -> Callable[[Tensor, Tensor], tuple[Tensor]]:
    """One step of the descent as a function of noise and timesteps, which returns the loss before it."""

    def step(noise: Tensor, timesteps: Tensor) -> tuple[Tensor]:
        loss = objective.loss(descent.tail, noise, timesteps)
        descent.step(loss)
        return (loss.detach(),)

    if not objective.execution.cuda_graph:
        return step
    examples = objective.draw(config.timesteps_per_step, False, torch.Generator())
    return graphed(step, *examples, changed=descent.changed_by_a_step())


def _held_out_loss(objective: Objective, config: FitConfig) -> Callable[[Tensor], float]:
    noise, timesteps = objective.draw(config.held_out, True, torch.Generator().manual_seed(HELD_OUT_SEED))
    rows = config.timesteps_per_step * len(objective.latents)  # as in a step: no more memory than it needs
    batches = list(zip(noise.split(rows), timesteps.split(rows), strict=True))

    @torch.no_grad()
    def held_out_loss(tail: Tensor) -> float:
        losses = [objective.loss(tail, *batch) * len(batch[1]) for batch in batches]
        return float(torch.stack(losses).sum()) / len(timesteps)

    return held_out_loss


def _start(prompt_embedding: Tensor, init: Tensor | None, config: FitConfig) -> FitState:
    rows, dim = config.tail_tokens, prompt_embedding.shape[-1]
    tail = prompt_embedding[0, -rows:] if init is None else init
    if tail.shape != (rows, dim):
        found = " x ".join(map(str, tail.shape))
        raise TailError(f"the tail to start from is {found} but this fit needs {rows} x {dim}; fit without it")
    return FitState.start(tail, config.seed)


def _is_evaluated(step: int, config: FitConfig) -> bool:
    return config.evaluate_every > 0 and (step % config.evaluate_every == 0 or step == config.steps)


def _on_plateau(state: FitState, config: FitConfig) -> bool:
    return 0 < config.patience * config.evaluate_every <= state.step - state.best_step


def _finite(what: str, value: float, step: int) -> float:
    if not math.isfinite(value):
        raise FitError(f"the {what} is {value} at step {step} but must be finite; lower the learning rate")
    return value
