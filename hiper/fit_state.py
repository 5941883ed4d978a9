"""A fit between two steps: all that is needed to go on as if it had never stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hiper.execution import Execution


@dataclass(frozen=True)
class FitState:
    """What a fit remembers from step to step; all tensors are on the CPU.

    Attributes:
        step: steps done.
        tail: (tail_tokens, dim), fp32, as the three others of its shape.
        adam_step: updates that Adam made, (); fewer than `step` where fp16 overflowed.
        adam_mean: Adam's first moment.
        adam_square: Adam's second moment.
        loss_scale: scale and growth tracker of the fp16 gradient scaler, (2,), fp64.
        generator: of timesteps and noise; its state, (bytes,), uint8.
        best_loss: lowest held-out loss; infinite before the first evaluation.
        best_step: steps done then; `step` before the first evaluation.
        best_tail: the tail then; `tail` before the first evaluation.
    """

    step: int
    tail: Tensor
    adam_step: Tensor
    adam_mean: Tensor
    adam_square: Tensor
    loss_scale: Tensor
    generator: Tensor
    best_loss: float
    best_step: int
    best_tail: Tensor

    @classmethod
    def start(cls, tail: Tensor, seed: int) -> FitState:
        """Before the first step, from this tail, (tail_tokens, dim)."""
        tail = _keep(tail.float())
        return cls(
            step=0,
            tail=tail,
            adam_step=torch.tensor(0.0),
            adam_mean=torch.zeros_like(tail),
            adam_square=torch.zeros_like(tail),
            loss_scale=torch.tensor([2.0**16, 0], dtype=torch.float64),
            generator=torch.Generator().manual_seed(seed).get_state(),
            best_loss=math.inf,
            best_step=0,
            best_tail=tail,
        )

    def keep_better(self, held_out_loss: float, least_gain: float) -> FitState:
        """This state, with the current tail as the best where its loss is lower by a share of `least_gain`."""
        if held_out_loss < self.best_loss * (1 - least_gain):
            return replace(self, best_loss=held_out_loss, best_step=self.step, best_tail=self.tail)
        return self


class Descent:
    """The live side of a FitState: a tail on its device, the optimiser and the random generator that move it.

    Attributes:
        tail: (tail_tokens, dim), fp32.
        learning_rate: of the next step, (); to be filled.
        generator: of timesteps and noise.
    """

    def __init__(self, state: FitState, execution: Execution) -> None:
        device = execution.device
        self.tail = state.tail.to(device, copy=True).requires_grad_()
        self.learning_rate = torch.zeros((), device=device)
        self.generator = torch.Generator()
        self.generator.set_state(state.generator)
        # Fused, Adam asks the host nothing, so that a CUDA graph can hold it.
        self._adam = torch.optim.Adam(
            [self.tail],
            lr=self.learning_rate,
            betas=(0.9, 0.999),
            eps=1e-8,
            fused=True,
            capturable=execution.cuda_graph,
        )
        self._adam.state[self.tail] = {
            "step": state.adam_step.to(device, copy=True),
            "exp_avg": state.adam_mean.to(device, copy=True),
            "exp_avg_sq": state.adam_square.to(device, copy=True),
        }
        self._scaler = torch.amp.GradScaler(torch.device(device).type, enabled=execution.dtype == "fp16")
        scale, growth_tracker = state.loss_scale.tolist()
        scaling = {"scale": scale, "_growth_tracker": int(growth_tracker)}
        self._scaler.load_state_dict(self._scaler.state_dict() | scaling)

    def step(self, loss: Tensor) -> None:
        """Move the tail against the gradient of a loss; not at all where that is not finite in fp16.

        The loss is scaled meanwhile, since small gradients would vanish in fp16.
        """
        (self.tail.grad,) = torch.autograd.grad(self._scaler.scale(loss), self.tail)
        self._scaler.step(self._adam)
        self._scaler.update()

    def changed_by_a_step(self) -> list[Tensor]:
        """All tensors that `step` writes to."""
        tensors = [self.tail, *self._adam.state[self.tail].values()]
        if self._scaler.is_enabled():
            self._scaler.scale(self.learning_rate)  # makes the two tensors below
            tensors += [self._scaler._scale, self._scaler._growth_tracker]
        return tensors

    def state_after(self, state: FitState) -> FitState:
        """The state that follows `state` by one step."""
        tail, step = _keep(self.tail), state.step + 1
        best: dict[str, Any] = {"best_tail": tail, "best_step": step} if math.isinf(state.best_loss) else {}
        adam, scaling = self._adam.state[self.tail], self._scaler.state_dict()
        loss_scale = [scaling["scale"], scaling["_growth_tracker"]] if scaling else state.loss_scale.tolist()
        return replace(
            state,
            step=step,
            tail=tail,
            adam_step=_keep(adam["step"]),
            adam_mean=_keep(adam["exp_avg"]),
            adam_square=_keep(adam["exp_avg_sq"]),
            loss_scale=torch.tensor(loss_scale, dtype=torch.float64),
            generator=self.generator.get_state(),
            **best,
        )


def _keep(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)
