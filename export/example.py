"""Inputs such as an edit gives to its networks."""

import torch
from torch import Tensor

from export.profiles import Signature, Sizes


def example_inputs(signature: Signature, sizes: Sizes, seed: int = 0) -> dict[str, Tensor]:
    """Make unit noise, timesteps, token ids and 8-bit pixels, by name and the same at every call."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _draw(name, sizes.shape(axes), generator) for name, axes in signature.inputs.items()}


def _draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if name == "input_ids":
        return torch.randint(0, 256, shape, generator=generator)
    if name == "timestep":
        return torch.rand(shape, generator=generator) * 999
    if name == "image":
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return torch.randn(shape, generator=generator)
