"""How a UNet is run: device, precision, attention, memory layout, compilation; one dataclass asks and answers."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from hiper.errors import HiPerError

Dtype = Literal["auto", "fp32", "bf16", "fp16"]
Attention = Literal["auto", "xformers", "sdpa", "cudnn", "plain"]

TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class ExecutionError(HiPerError):
    """This machine cannot run the model in the way that was asked for."""

    exit_code = 11


@dataclass(frozen=True)
class Execution:
    """How a UNet runs; `resolve` turns every "auto" into what will really be used, so the result is also the report.

    Attributes:
        device: "auto" (CUDA where there is a GPU), or a torch device such as "cpu" or "cuda:1".
        dtype: of the frozen weights and of autocast; the tail, its gradient and the loss stay in fp32. "auto" is bf16
            where the device computes in it, else fp16 on a GPU and fp32 on a CPU. In fp32 on a GPU, convolutions are
            rounded to TF32 unless torch.backends.cudnn.allow_tf32 is off: a setting of the whole process, left alone.
        attention: "sdpa" (torch's scaled_dot_product_attention; in half precision on a GPU that is flash attention),
            "xformers" and "cudnn" (other kernels for the same, taken only by name; cuDNN's where it can have heads so
            wide), "plain" (matmul, softmax, matmul), or "auto": sdpa, and on a CPU plain where that is faster.
        channels_last: keep weights and feature maps as NHWC in memory.
        compile: run the UNet through torch.compile.
        cuda_graph: record a step of a fit once, Adam's update included, and replay it; needs a GPU.
    """

    device: str = "cpu"
    dtype: Dtype = "fp32"
    attention: Attention = "auto"
    channels_last: bool = False
    compile: bool = False
    cuda_graph: bool = False

    def __post_init__(self) -> None:
        for name, choices in (("dtype", get_args(Dtype)), ("attention", get_args(Attention))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r} but must be one of {', '.join(choices)}")

    def autocast(self) -> torch.autocast:
        """A fresh autocast context of this precision; does nothing in fp32."""
        dtype = TORCH_DTYPES[self.dtype]
        return torch.autocast(torch.device(self.device).type, dtype=dtype, enabled=dtype is not torch.float32)


def resolve(execution: Execution, latent_size: int = 64) -> Execution:
    """Replace every "auto" by this machine's answer.

    Args:
        execution: what is asked for.
        latent_size: height or width of the latents that the model is made for; 64 in SD 1.x.

    Raises:
        ExecutionError: something was asked for by name that this machine lacks; nothing falls back unasked.
    """
    device = _resolve_device(execution.device)
    if execution.cuda_graph and not _is_cuda(device):
        raise ExecutionError(f"a CUDA graph needs an NVIDIA GPU but the device is {device}; leave the CUDA graph out")
    dtype = _resolve_dtype(execution.dtype, device)
    if execution.attention == "auto":
        attention = _auto_attention(device, dtype, latent_size)
    else:
        attention = _check_attention(execution.attention, device, dtype)
    return replace(execution, device=device, dtype=dtype, attention=attention)


def make_ready(unet: Any, execution: Execution) -> Execution:
    """Move, cast and arrange a UNet in place for `execution`, and return that execution with every "auto" resolved.

    Frozen weights are rounded to the chosen dtype once, where autocast over fp32 weights would round them at every
    step: half the memory for the same products. Only the norms, which autocast leaves in fp32, have rounded weights
    too. Load the model again to have its fp32 weights back.

    Args:
        unet: diffusers' UNet2DConditionModel.
        execution: what is asked for.

    Raises:
        ExecutionError: as `resolve`; or xformers is installed but does not run here.
    """
    resolved = resolve(execution, unet.config.sample_size)
    layout = torch.channels_last if resolved.channels_last else torch.contiguous_format
    # Not unet.to, which warns about modules to keep in fp32 and then names none.
    move: Any = torch.nn.Module.to
    move(unet, resolved.device, TORCH_DTYPES[resolved.dtype], memory_format=layout)
    _set_attention(unet, resolved.attention)
    if resolved.compile:
        unet.compile(dynamic=False)
    return resolved


Results = TypeVar("Results", bound=tuple[Tensor, ...])


def graphed(
    function: Callable[..., Results], *examples: Tensor, changed: Sequence[Tensor] = ()
) -> Callable[..., Results]:
    """Record `function` once as a CUDA graph; each call copies its inputs into the recorded ones and replays it.

    Source: "Whole-network capture" in PyTorch's notes on CUDA semantics.

    Args:
        function: of CUDA tensors of constant shape; it must not wait for the GPU.
        examples: inputs of the shapes and dtypes that every call will have.
        changed: all tensors that the function writes to; recording leaves them as they were.

    Returns:
        A function of the same inputs. Its results are overwritten by its next call.
    """
    inputs = [example.clone() for example in examples]
    before = [tensor.detach().clone() for tensor in changed]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(inputs[0].device):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", ".*running without CUDA graph capture"
            )  # says Adam, which is to be captured
            for _ in range(3):  # cuDNN, cuBLAS and torch.compile choose their kernels here, which cannot be recorded
                function(*inputs)
        torch.cuda.current_stream().wait_stream(aside)
        with torch.cuda.graph(graph):
            outputs = function(*inputs)
    for tensor, value in zip(changed, before, strict=True):
        tensor.detach().copy_(value)

    def replay(*values: Tensor) -> Results:
        for recorded, value in zip(inputs, values, strict=True):
            recorded.copy_(value)
        graph.replay()
        return outputs

    return replay


def has_fast_bf16(device: str) -> bool:
    """Whether the device computes in bfloat16 by itself: a GPU since Ampere, a CPU with AMX or AVX-512 BF16."""
    if _is_cuda(device):
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def has_xformers() -> bool:
    """Whether xformers is installed."""
    return importlib.util.find_spec("xformers") is not None


def _is_cuda(device: str) -> bool:
    return torch.device(device).type == "cuda"


def _resolve_device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    unknown = ExecutionError(f"device {device!r} is unknown; use cpu, cuda or cuda:0")
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise unknown from error
    if wanted.type not in ("cpu", "cuda"):
        raise unknown
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted.type == "cuda" and (wanted.index or 0) >= found:
        raise ExecutionError(
            f"device {device} was asked for but torch {torch.__version__} finds {found or 'no'} GPU; use --device auto"
        )
    return device


def _resolve_dtype(dtype: Dtype, device: str) -> Dtype:
    if dtype == "auto":
        return "bf16" if has_fast_bf16(device) else "fp16" if _is_cuda(device) else "fp32"
    if dtype == "fp16" and not _is_cuda(device):
        raise ExecutionError(f"fp16 needs a GPU but the device is {device}; use --dtype fp32 or bf16")
    if dtype == "bf16" and not has_fast_bf16(device):
        raise ExecutionError(f"bf16 was asked for but {device} has no bf16 instructions; use --dtype fp32")
    return dtype


def _auto_attention(device: str, dtype: Dtype, latent_size: int) -> Attention:
    # Forward and backward in bf16, plain takes 0.3 times as long as sdpa at 256 positions, 1.0 at 1024, 1.3 at 4096.
    return "plain" if not _is_cuda(device) and dtype == "bf16" and latent_size <= 32 else "sdpa"


def _check_attention(attention: Attention, device: str, dtype: Dtype) -> Attention:
    if attention == "xformers" and not has_xformers():
        raise ExecutionError(
            "xformers attention was asked for but is not installed; run: pip install 'hiper[xformers]'"
        )
    if attention in ("xformers", "cudnn") and not _is_cuda(device):
        raise ExecutionError(f"{attention} needs an NVIDIA GPU but the device is {device}; use --attention sdpa")
    if attention == "cudnn" and dtype == "fp32":
        raise ExecutionError("cudnn attention needs bf16 or fp16 but the dtype is fp32; use --attention sdpa")
    if attention == "cudnn" and torch.cuda.get_device_capability(device) < (8, 0):
        found = "{}.{}".format(*torch.cuda.get_device_capability(device))
        raise ExecutionError(
            f"cudnn attention needs compute capability 8.0 but {device} has {found}; use --attention sdpa"
        )
    return attention


def _set_attention(unet: Any, attention: Attention) -> None:
    """By diffusers' own methods: taking xformers off leaves sdpa, and its "default" processor is the plain one."""
    unet.disable_xformers_memory_efficient_attention()
    if attention == "xformers":
        _enable_xformers(unet)
    elif attention == "cudnn":
        unet.set_attn_processor({name: _CudnnFirst(sdpa) for name, sdpa in unet.attn_processors.items()})
    elif attention == "plain":
        unet.set_default_attn_processor()


def _enable_xformers(unet: Any) -> None:
    try:
        unet.enable_xformers_memory_efficient_attention()
    except Exception as error:  # diffusers tries it, and what a wheel for another torch or GPU raises can be anything
        raise ExecutionError(f"xformers does not run here: {_first_line(error)}; use --attention sdpa") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


class _CudnnFirst:
    """An attention processor around another that prefers cuDNN's kernel; of its own accord PyTorch prefers flash."""

    def __init__(self, processor: Callable[..., Tensor]) -> None:
        self._processor = processor

    def __call__(self, *inputs: Any, **options: Any) -> Tensor:
        with sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION], set_priority=True):
            return self._processor(*inputs, **options)
