"""Writes a model's config.pbtxt, the text form of Triton's `ModelConfig`.

The schema is github.com/triton-inference-server/common, protobuf/model_config.proto; the tests parse by it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from engine.errors import BundleError
from engine.manifest import TensorRecord
from engine.runtimes.buckets import BUCKETS

PLATFORMS: Final = {"onnxruntime": "onnxruntime_onnx", "tensorrt": "tensorrt_plan"}

# A UNet call takes many times longer.
_MAX_DELAY_US: Final = 1000

_DATA_TYPES: Final = {"float32": "TYPE_FP32", "int64": "TYPE_INT64", "uint8": "TYPE_UINT8"}


@dataclass(frozen=True)
class ModelConfig:
    """How Triton shall run one network.

    Attributes:
        name: of the model and its folder.
        backend: a key of `PLATFORMS`.
        max_rows: that Triton may put into one call.
        request_rows: that a client sends at once; calls of more rows are worth waiting for.
        inputs: what it takes, the rows first.
        outputs: what it returns, the rows first.
        profiles: indices of the TensorRT profiles that Triton chooses from.
        plans: file name by compute capability; none means the backend's default name.
    """

    name: str
    backend: str
    max_rows: int
    request_rows: int
    inputs: Sequence[TensorRecord]
    outputs: Sequence[TensorRecord]
    profiles: Sequence[int] = ()
    plans: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return the content of config.pbtxt.

        Raises:
            BundleError: a tensor has a dtype that no exported network has.
        """
        lines = (
            f'name: "{self.name}"',
            f'platform: "{PLATFORMS[self.backend]}"',
            f'backend: "{self.backend}"',
            f"max_batch_size: {self.max_rows}",
            *(_tensor("input", tensor) for tensor in self.inputs),
            *(_tensor("output", tensor) for tensor in self.outputs),
            *self._batching(),
            self._instances(),
            *(f'cc_model_filenames {{ key: "{key}" value: "{name}" }}' for key, name in self.plans.items()),
        )
        return "\n".join(lines) + "\n"

    def _batching(self) -> tuple[str, ...]:
        if self.max_rows == 1:
            return ()
        # At a preferred size Triton stops waiting, so the size of a single request must not be one.
        preferred = [rows for rows in BUCKETS if self.request_rows < rows <= self.max_rows]
        sizes = f"preferred_batch_size: {preferred} " if preferred else ""
        return (f"dynamic_batching {{ {sizes}max_queue_delay_microseconds: {_MAX_DELAY_US} }}",)

    def _instances(self) -> str:
        # Automatic is a GPU where there is one; a plan runs nowhere else.
        kind = "KIND_GPU" if self.backend == "tensorrt" else "KIND_AUTO"
        profiles = f" profile: {json.dumps([str(index) for index in self.profiles])}" if self.profiles else ""
        return f"instance_group {{ count: 1 kind: {kind}{profiles} }}"


def _tensor(direction: str, tensor: TensorRecord) -> str:
    if tensor.dtype not in _DATA_TYPES:
        raise BundleError(
            f"{tensor.name!r:.40} is {tensor.dtype!r:.40}, exported networks have {', '.join(_DATA_TYPES)}; "
            "export the bundle again"
        )
    dims = [size if isinstance(size, int) else -1 for size in tensor.shape[1:]]
    # Triton allows no tensor without dims: one number a row comes as [rows, 1], and the network gets [rows].
    shape = f"dims: {dims}" if dims else "dims: [1] reshape { shape: [] }"
    return f"{direction} {{ name: {json.dumps(tensor.name)} data_type: {_DATA_TYPES[tensor.dtype]} {shape} }}"
