"""What Triton does with a laid-out model, by its documentation: checks requests, joins them, reshapes, runs, splits.

Configurations are parsed by Triton's own schema, requests are checked by Triton's own client, and ONNX Runtime is the
backend that the configuration names.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from google.protobuf import text_format
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, model_config_pb2
from tritonclient.utils import np_to_triton_dtype

Arrays = Mapping[str, NDArray[Any]]


def read_config(model: Path) -> Any:
    """Parse strictly, an unknown field is an error, then apply the rules that the schema cannot say."""
    config = text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert config.name == model.name
    assert config.max_batch_size >= 1
    assert all(0 < size <= config.max_batch_size for size in config.dynamic_batching.preferred_batch_size)
    for tensor in (*config.input, *config.output):
        assert len(tensor.dims) > 0, "a tensor needs dims"
        assert all(size == -1 or size > 0 for size in tensor.dims)
        if tensor.HasField("reshape"):
            assert math.prod(tensor.reshape.shape) == math.prod(tensor.dims), "a reshape keeps the number of elements"
    return config


def model_file(model: Path) -> Path:
    """A model of several files is a folder with the model in it."""
    path = model / "1" / "model.onnx"
    return path / "model.onnx" if path.is_dir() else path


class ServerDouble:
    def __init__(self, model: Path) -> None:
        self.config = read_config(model)
        assert (self.config.backend, self.config.platform) == ("onnxruntime", "onnxruntime_onnx")
        self._session = onnxruntime.InferenceSession(model_file(model), providers=["CPUExecutionProvider"])

    def infer(self, requests: Sequence[Arrays]) -> list[dict[str, NDArray[Any]]]:
        """Answer several clients' requests by one call of the network."""
        for request in requests:
            self._check(request)
        rows = [len(next(iter(request.values()))) for request in requests]
        assert sum(rows) <= self.config.max_batch_size
        batch = {
            tensor.name: _inner(tensor, np.concatenate([request[tensor.name] for request in requests]))
            for tensor in self.config.input
        }
        names = [tensor.name for tensor in self.config.output]
        outputs = dict(zip(names, self._session.run(names, batch), strict=True))
        ends = np.cumsum(rows)[:-1]
        answers = {tensor.name: np.split(_outer(tensor, outputs[tensor.name]), ends) for tensor in self.config.output}
        return [{name: parts[index] for name, parts in answers.items()} for index in range(len(requests))]

    def _check(self, request: Arrays) -> None:
        assert request.keys() == {tensor.name for tensor in self.config.input}
        for tensor in self.config.input:
            array = request[tensor.name]
            dtype = model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")
            assert np_to_triton_dtype(array.dtype) == dtype
            assert array.ndim == 1 + len(tensor.dims), f"{tensor.name}: {array.shape} instead of [-1, {tensor.dims}]"
            assert all(size in (-1, found) for size, found in zip(tensor.dims, array.shape[1:], strict=True))
            InferInput(tensor.name, array.shape, dtype).set_data_from_numpy(array)


def _inner(tensor: Any, array: NDArray[Any]) -> NDArray[Any]:
    return array.reshape(len(array), *tensor.reshape.shape) if tensor.HasField("reshape") else array


def _outer(tensor: Any, array: NDArray[Any]) -> NDArray[Any]:
    return array.reshape(len(array), *tensor.dims) if tensor.HasField("reshape") else array
