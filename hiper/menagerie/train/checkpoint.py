"""Training state that survives a kill at any moment."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.atomic_file import write_atomically


@dataclass
class Average:
    """An exponential moving average of a network's weights, with a warm-up from the plain mean."""

    network: nn.Module
    decay: float
    updates: int = 0

    def __post_init__(self) -> None:
        self.weights = {name: weight.detach().clone() for name, weight in self.network.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the network's current weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, weight in self.network.state_dict().items():
            if weight.is_floating_point():
                self.weights[name].lerp_(weight, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the network has the averaged weights and is in evaluation mode."""
        trained = {name: weight.clone() for name, weight in self.network.state_dict().items()}
        training = self.network.training
        self.network.load_state_dict(self.weights)
        self.network.eval()
        try:
            yield
        finally:
            self.network.load_state_dict(trained)
            self.network.train(training)


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace `path` by `state` so that a crash leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def load(path: Path) -> dict[str, Any] | None:
    """The state at `path`, or None on a first start. Tensors and plain values only, never pickled code."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
