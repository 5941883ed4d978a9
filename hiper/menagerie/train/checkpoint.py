"""Training state that survives a kill at any moment: written beside, synced, then renamed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Average:
    """An exponential moving average of a network's weights, with a warm-up from the plain mean."""

    network: nn.Module
    decay: float = 0.999
    updates: int = 0

    def __post_init__(self) -> None:
        self.weights = {name: weight.detach().clone() for name, weight in self.network.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network's current weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, weight in self.network.state_dict().items():
            self.weights[name].lerp_(weight, 1 - decay)


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace `path` by `state` so that a crash leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def load(path: Path) -> dict[str, Any] | None:
    """The state at `path`, or None on a first start. Tensors and plain values only, never pickled code."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def cosine(progress: float, warmup: float = 0.02) -> float:
    """Learning-rate factor at `progress` in [0, 1]: a linear warm-up, then a cosine to 1 % of the peak."""
    if progress < warmup:
        return max(progress, 1e-4) / warmup
    angle = torch.pi * min(1.0, (progress - warmup) / (1 - warmup))
    return 0.01 + 0.99 * 0.5 * (1 + float(torch.cos(torch.tensor(angle))))


def psnr(image: Tensor, truth: Tensor) -> float:
    """Peak signal to noise in dB of images in [-1, 1], over all pixels together."""
    return float(10 * torch.log10(4 / (image.float() - truth.float()).square().mean()))
