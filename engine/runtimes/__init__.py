"""What runs an artifact: one protocol, one file per runtime, chosen by name."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import RuntimeMissingError
from engine.runtimes import telemetry

Precision = Literal["exact", "fast"]


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a network; a dimension is None where the caller may choose it."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class RuntimeOptions:
    """How an artifact is to be run.

    Attributes:
        precision: "exact" computes as the artifact says; "fast" also permits bfloat16 inside an fp32 artifact, at
            about 3 % error per call, or TF32, where the runtime and the processor have them.
        threads: CPU threads of one call; None takes all cores.
        device: index of the GPU, for the runtimes that use one.
        cuda_graph: on onnxruntime-cuda, record the calls of every shape once and replay them; TensorRT by itself always
            does, and by ONNX Runtime refuses.
    """

    precision: Precision = "exact"
    threads: int | None = None
    device: int = 0
    cuda_graph: bool = False


class Network(Protocol):
    """A loaded artifact. Not for two threads at once."""

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Names, dtypes and shapes that a call takes."""

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Names, dtypes and shapes that a call returns."""

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run once; the first axis of every array counts rows, and a row's result depends on that row alone.

        Raises:
            ValueError: an array is missing, unknown, or of another dtype or shape than `inputs` says.
        """


class Runtime(Protocol):
    """What each file of this package offers as a module."""

    def load(self, artifact: Path, options: RuntimeOptions) -> Network:
        """Load an artifact, or raise RuntimeMissingError or BundleError."""


# Name a user types → module of this package and the packages that mend its absence.
RUNTIMES: Final = MappingProxyType(
    {
        "onnxruntime": ("onnxruntime_cpu", "onnxruntime"),
        "onnxruntime-cuda": ("onnxruntime_cuda", "onnxruntime-gpu cuda-bindings"),
        "onnxruntime-tensorrt": ("onnxruntime_tensorrt", "onnxruntime-gpu tensorrt cuda-bindings"),
        "openvino": ("openvino_cpu", "openvino"),
        "tensorrt": ("tensorrt_gpu", "tensorrt cuda-bindings"),
    }
)


def load_network(artifact: Path, runtime: str, options: RuntimeOptions | None = None) -> Network:
    """Load an artifact with the named runtime, never with another one.

    Args:
        artifact: an ONNX file, or a plan for "tensorrt".
        runtime: a key of `RUNTIMES`.
        options: precision, threads and device.

    Raises:
        RuntimeMissingError: it is not installed, this machine lacks the hardware, or it cannot honour an option; the
            message says what mends it.
        BundleError: the artifact cannot be read by this runtime.
        ValueError: there is no runtime of that name.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"the runtime is {runtime!r}; use one of {', '.join(RUNTIMES)}")
    module, packages = RUNTIMES[runtime]
    telemetry.turn_off()
    try:
        loader: Runtime = importlib.import_module(f"engine.runtimes.{module}")
    except (ImportError, OSError) as error:
        raise RuntimeMissingError(f"the runtime {runtime} is not here ({error}); pip install {packages}") from error
    return loader.load(artifact, options or RuntimeOptions())


def check_inputs(network: Network, inputs: Mapping[str, NDArray[Any]]) -> None:
    """Refuse arrays that do not fit a network, with the names of both sides.

    Raises:
        ValueError: an array is missing, unknown, or of another dtype or shape.
    """
    wanted = {info.name: info for info in network.inputs}
    if inputs.keys() != wanted.keys():
        raise ValueError(f"the network takes {', '.join(wanted)}; it was given {', '.join(inputs) or 'nothing'}")
    for name, array in inputs.items():
        if array.dtype != wanted[name].dtype or not _fits(array.shape, wanted[name].shape):
            raise ValueError(f"{name} is {array.dtype}{list(array.shape)}; the network takes {describe(wanted[name])}")
    if len({array.shape[0] for array in inputs.values()}) != 1:
        raise ValueError(
            f"inputs have different numbers of rows: { ({name: a.shape[0] for name, a in inputs.items()}) }"
        )


def describe(info: TensorInfo) -> str:
    """Write dtype and shape as `float32[*, 4, 8, 8]`."""
    return f"{info.dtype}[{', '.join('*' if size is None else str(size) for size in info.shape)}]"


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(want in (None, size) for size, want in zip(shape, wanted, strict=True))
