"""Every operation of a network, and of its backward pass, with its arithmetic and its traffic, on the meta device.

Nothing is computed, so that Stable Diffusion's UNet takes seconds on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from unittest.mock import patch

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

Gradients = Literal["none", "tail", "weights"]

# They move nothing, though their schema does not say so.
_FREE = ("_unsafe_view", "empty", "new_empty", "empty_like", "new_empty_strided", "empty_strided")


@dataclass(frozen=True)
class Operation:
    """One call of PyTorch's dispatcher.

    Attributes:
        name: of the operator, such as "convolution".
        flops: a multiply-add counts two; 0 for all but convolutions, matrix products and attention.
        moved_bytes: of tensors read and written, each once.
        free: it only looks at memory in another way.
    """

    name: str
    flops: int
    moved_bytes: int
    free: bool = False

    @property
    def is_convolution(self) -> bool:
        """Whether cuDNN does it, which knows TF32 by default."""
        return self.name.startswith("convolution")


@dataclass(frozen=True)
class Traced:
    """A call of a network.

    Attributes:
        forward: its operations.
        backward: those of its gradient.
        weight_bytes: of all parameters.
    """

    forward: tuple[Operation, ...]
    backward: tuple[Operation, ...]
    weight_bytes: int


def trace_unet(
    config: dict[str, Any],
    rows: int,
    dtype: torch.dtype = torch.float32,
    gradients: Gradients = "none",
    fused_attention: bool = True,
) -> Traced:
    """Trace a UNet on inputs of its own size.

    Args:
        config: of diffusers' UNet2DConditionModel.
        rows: of the call.
        dtype: of weights and activations.
        gradients: "tail" is of the prompt embedding alone, "weights" also collects one a parameter.
        fused_attention: as a flash kernel does it; otherwise as two products with a softmax between them.
    """
    with torch.device("meta"):
        unet: Any = _cast(UNet2DConditionModel(**config), dtype)
    if not fused_attention:
        unet.set_default_attn_processor()
    side, width = config["sample_size"], config["cross_attention_dim"]
    inputs = torch.empty(rows, 4, side, side, dtype=dtype, device="meta"), torch.empty(rows, device="meta")
    embedding = torch.empty(rows, 77, width, dtype=dtype, device="meta", requires_grad=gradients != "none")
    for parameter in unet.parameters():
        parameter.requires_grad_(gradients == "weights")
        # Gradients that nobody clears are added to, as in the published loop.
        parameter.grad = torch.empty_like(parameter) if gradients == "weights" else None
    return _trace(unet, lambda: unet(*inputs, embedding).sample, gradients)


def trace_decoder(config: dict[str, Any], side: int, dtype: torch.dtype = torch.float32) -> Traced:
    """Trace the decoder of a VAE on the latents of one picture.

    Args:
        config: of diffusers' AutoencoderKL.
        side: of the latents.
        dtype: of weights and activations.
    """
    with torch.device("meta"):
        vae: Any = _cast(AutoencoderKL(**config), dtype).requires_grad_(False)
    latents = torch.empty(1, config["latent_channels"], side, side, dtype=dtype, device="meta")
    return _trace(vae.decoder, lambda: vae.decode(latents).sample, "none")


def _trace(network: Any, call: Callable[[], Tensor], gradients: Gradients) -> Traced:
    with _flash_attention(), _Recorder() as forward:
        result = call()
    with _Recorder() as backward:
        if gradients != "none":
            result.square().mean().backward()
    size = sum(map(_bytes, network.parameters()))
    return Traced(tuple(forward.operations), tuple(backward.operations), size)


def _cast(network: torch.nn.Module, dtype: torch.dtype) -> Any:
    # Not network.to, which warns about modules to keep in fp32 and then names none.
    move: Any = torch.nn.Module.to
    return move(network.eval(), dtype)


def flops(operations: Sequence[Operation]) -> int:
    """Of all of them."""
    return sum(operation.flops for operation in operations)


class _Recorder(TorchDispatchMode):
    """Writes down what passes the dispatcher."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        name = packet.__name__
        count = flop_registry[packet](*args, **(kwargs or {}), out_val=result) if packet in flop_registry else 0
        read, written = _tensors((args, kwargs)), _tensors(result)
        free = func.is_view or name in _FREE
        moved = 0 if free else sum(map(_bytes, (*read, *written)))
        self.operations.append(Operation(name, int(count), moved, free))
        return result


def _tensors(nested: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(nested) if isinstance(leaf, Tensor)]


def _bytes(tensor: Tensor) -> int:
    return math.prod(tensor.shape) * tensor.element_size()


@contextmanager
def _flash_attention() -> Iterator[None]:
    """On the meta device PyTorch takes attention apart, as no GPU does; a fused kernel must be called by its name."""

    def flash(query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Tensor:
        found: Tensor = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]
        return found

    with patch("torch.nn.functional.scaled_dot_product_attention", flash):
        yield
