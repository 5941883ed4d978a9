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
    def __init__(self, compiled: Any, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]) -> None:
        self._request = compiled.create_infer_request()
        self.inputs = inputs
        self.outputs = outputs

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        results = self._request.infer(arrays, share_inputs=True)
        return {info.name: results[info.name] for info in self.outputs}


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
    static = model.clone()
    static.reshape({name: list(shape) for name, shape in shapes.items()})
    return _StaticNetwork(core.compile_model(static, "CPU", settings), inputs, outputs)


def _settings(core: Any, options: RuntimeOptions) -> dict[str, str]:
    fast = options.precision == "fast" and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "bf16" if fast else "f32"}
    if options.threads:
        settings["INFERENCE_NUM_THREADS"] = str(options.threads)
    return settings


def _info(port: Any) -> TensorInfo:
    shape = tuple(size.get_length() if size.is_static else None for size in port.partial_shape)
    return TensorInfo(port.any_name, np.dtype(port.element_type.to_dtype()), shape)
