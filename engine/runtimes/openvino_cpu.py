"""OpenVINO on the CPU: the fastest there, above all in bfloat16; one compiled static shape per row bucket."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino
from numpy.typing import NDArray

from engine.errors import BundleError
from engine.runtimes import Network, RuntimeOptions, TensorInfo
from engine.runtimes.buckets import BUCKETS, BucketedNetwork, Shapes

# Every compiled shape keeps its own copy of the weights.
_LARGE_SIZE_BYTES: Final = 2**30
_MAX_COMPILED_LARGE: Final = 2


class _StaticNetwork:
    """One compiled shape; each of its streams takes an equal part of the rows, side by side."""

    def __init__(
        self, compiled: Any, streams: int, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]
    ) -> None:
        self._requests = [compiled.create_infer_request() for _ in range(streams)]
        self.inputs = inputs
        self.outputs = outputs

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        parts = {name: np.split(np.ascontiguousarray(array), len(self._requests)) for name, array in inputs.items()}
        for part, request in enumerate(self._requests):
            request.start_async({name: arrays[part] for name, arrays in parts.items()}, share_inputs=True)
        for request in self._requests:
            request.wait()
        return {info.name: self._gather(info.name) for info in self.outputs}

    def _gather(self, name: str) -> NDArray[Any]:
        return np.concatenate([request.get_tensor(name).data for request in self._requests])


def load(artifact: Path, options: RuntimeOptions) -> Network:
    """Load an ONNX file; "fast" computes in bfloat16 where the processor does."""
    core = openvino.Core()
    try:
        model = core.read_model(artifact)
    except RuntimeError as error:
        raise BundleError(f"{artifact} cannot be read by OpenVINO: {error}; export it again") from error
    inputs, outputs = tuple(map(_info, model.inputs)), tuple(map(_info, model.outputs))
    compile_for = partial(_compile, core, model, _settings(core, options), inputs, outputs)
    large = sum(file.stat().st_size for file in artifact.parent.glob(f"{artifact.name}*")) > _LARGE_SIZE_BYTES
    return BucketedNetwork(inputs, outputs, compile_for, _MAX_COMPILED_LARGE if large else 2 * len(BUCKETS))


def _compile(
    core: Any,
    model: Any,
    settings: dict[str, str],
    inputs: tuple[TensorInfo, ...],
    outputs: tuple[TensorInfo, ...],
    shapes: Shapes,
) -> Network:
    streams = _streams(core, int(settings.get("INFERENCE_NUM_THREADS", 0)), rows=next(iter(shapes.values()))[0])
    static = model.clone()
    static.reshape({name: [shape[0] // streams, *shape[1:]] for name, shape in shapes.items()})
    compiled = core.compile_model(static, "CPU", {**settings, "NUM_STREAMS": str(streams)})
    return _StaticNetwork(compiled, streams, inputs, outputs)


def _streams(core: Any, threads: int, rows: int) -> int:
    """How many parts to compute side by side: cores that share one row wait for each other at every layer."""
    cores = core.get_property("CPU", "RANGE_FOR_STREAMS")[1]
    most = min(rows, cores, threads or cores)
    return max(parts for parts in BUCKETS if parts <= most and rows % parts == 0)


def _settings(core: Any, options: RuntimeOptions) -> dict[str, str]:
    fast = options.precision == "fast" and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "bf16" if fast else "f32"}
    if options.threads:
        settings["INFERENCE_NUM_THREADS"] = str(options.threads)
    return settings


def _info(port: Any) -> TensorInfo:
    shape = tuple(size.get_length() if size.is_static else None for size in port.partial_shape)
    return TensorInfo(port.any_name, np.dtype(port.element_type.to_dtype()), shape)
