"""A UNet that fits in a blink, and what a fit needs beside it."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class FitInputs(NamedTuple):
    """In the order of fit_tail's arguments."""

    unet: UNet2DConditionModel
    latents: Tensor
    prompt_embedding: Tensor
    alphas_cumprod: Tensor


@pytest.fixture
def fit_inputs() -> FitInputs:
    """Two images of 8x8 latents behind one prompt, 12 wide, under Stable Diffusion's schedule."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    return FitInputs(unet.eval(), torch.randn(2, 4, 8, 8), torch.randn(1, 77, 12), scheduler.alphas_cumprod)


class RecordingGraph:
    """torch.cuda.CUDAGraph on a CPU: it keeps the operations of a capture and repeats them on the tensors they had.

    So a number that the host computed stays what it was, and asking a tensor for its value is refused, as on a GPU.
    """

    def __init__(self) -> None:
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def replay(self) -> None:
        with torch._C._AutoDispatchBelowAutograd():
            for operation, inputs, options, outputs in self.operations:
                again = tree_leaves(operation(*inputs, **options))
                for recorded, value in zip(tree_leaves(outputs), again, strict=True):
                    if isinstance(value, Tensor) and value.data_ptr() != recorded.data_ptr():
                        recorded.copy_(value)


class _Capture(TorchDispatchMode):
    def __init__(self, graph: RecordingGraph) -> None:
        super().__init__()
        self._graph = graph

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if operation is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        outputs = operation(*args, **(kwargs or {}))
        self._graph.operations.append((operation, args, kwargs or {}, outputs))
        return outputs


@pytest.fixture
def graphs(monkeypatch) -> list[RecordingGraph]:
    """Lets `graphed` work on a CPU; the graphs that it records."""
    made: list[RecordingGraph] = []

    def graph() -> RecordingGraph:
        made.append(RecordingGraph())
        return made[-1]

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph)
    monkeypatch.setattr(torch.cuda, "graph", _Capture)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    return made
