"""The loop by which every part of Menagerie is trained: resume, step, average, save, report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hiper.menagerie.train.checkpoint import Average, load, save
from hiper.menagerie.train.workers import Worker


@dataclass(frozen=True)
class Plan:
    """How long and how fast; AdamW with a warm-up and a cosine.

    Attributes:
        steps: optimiser steps in all; sets the length of the learning-rate schedule.
        learning_rate: at its peak.
        average_decay: of the moving average of the weights, which is what is used in the end.
        checkpoint_steps: between two checkpoints.
        report_seconds: between two reports.
    """

    steps: int
    learning_rate: float
    average_decay: float = 0.999
    checkpoint_steps: int = 100
    report_seconds: float = 60.0


def run(
    network: nn.Module,
    loss: Callable[[int], Tensor],
    plan: Plan,
    path: Path,
    *,
    worker: Worker | None = None,
    start: Path | None = None,
    report: Callable[[], str] = str,
) -> None:
    """Train until `plan.steps`; called again after a kill, go on from the last checkpoint as if nothing had been.

    Args:
        network: trained in place; ends with its averaged weights on the leading worker.
        loss: of the samples that a seed names; torch is seeded with it, too. Seeds differ over steps and workers.
        plan: how long and how fast.
        path: of the checkpoint.
        worker: which of several equal processes this is; alone when None.
        start: a checkpoint whose averaged weights to begin with.
        report: called with the averaged weights in `network`; returns figures to print.
    """
    worker = worker or Worker()
    optimizer = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.99), weight_decay=0.01)
    average, first = _resume(network, optimizer, plan, path, start)
    progress = _Progress(plan, first)
    for step in range(first, plan.steps):
        _set_learning_rate(optimizer, plan.learning_rate * cosine(step / plan.steps))
        value = _step(network, optimizer, loss, step * worker.count + worker.rank, worker)
        average.update()
        if worker.leads:
            progress.add(value)
            last = step + 1 == plan.steps
            if last or (step + 1) % plan.checkpoint_steps == 0:
                save(path, _state(network, optimizer, average, step + 1))
            if last or progress.due:
                with average.applied():
                    progress.show(step + 1, report())
    network.load_state_dict(average.weights)


def cosine(progress: float, warmup: float = 0.02) -> float:
    """Learning-rate factor at `progress` in [0, 1]: a linear warm-up, then a cosine to 1 % of the peak."""
    if progress < warmup:
        return max(progress, 1e-4) / warmup
    angle = torch.pi * min(1.0, (progress - warmup) / (1 - warmup))
    return 0.01 + 0.99 * 0.5 * (1 + float(torch.cos(torch.tensor(angle))))


def _step(
    network: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[int], Tensor], seed: int, worker: Worker
) -> float:
    torch.manual_seed(seed)
    value = loss(seed)
    optimizer.zero_grad()
    value.backward()
    worker.average_gradients(network.parameters())
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return float(value.detach())


def _set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def _resume(
    network: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan, path: Path, start: Path | None
) -> tuple[Average, int]:
    if state := load(path):
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        average = Average(network, plan.average_decay)
        average.weights, average.updates = state["average"], state["updates"]
        return average, int(state["step"])
    if start:
        if (state := load(start)) is None:
            raise FileNotFoundError(f"{start} is missing; train that part first, or begin without it")
        network.load_state_dict(state["average"])
    return Average(network, plan.average_decay), 0


def _state(network: nn.Module, optimizer: torch.optim.Optimizer, average: Average, step: int) -> dict[str, object]:
    return {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.weights,
        "updates": average.updates,
        "step": step,
    }


class _Progress:
    """Prints a line now and then: where the training is, its recent loss, its rate, and when it will be done."""

    def __init__(self, plan: Plan, first: int) -> None:
        self.plan, self.first, self.began = plan, first, time.monotonic()
        self.shown = self.began
        self.recent: list[float] = []

    @property
    def due(self) -> bool:
        return time.monotonic() - self.shown > self.plan.report_seconds

    def add(self, loss: float) -> None:
        self.recent = [*self.recent[-199:], loss]

    def show(self, step: int, figures: str) -> None:
        self.shown = time.monotonic()
        rate = (step - self.first) / (self.shown - self.began)
        left = (self.plan.steps - step) / rate / 60
        loss = sum(self.recent) / len(self.recent)
        print(
            f"step {step}/{self.plan.steps}  loss {loss:.4f}  {rate:.2f} steps/s  {left:.0f} min left  {figures}",
            flush=True,
        )
