"""A network on a GPU, for inputs on the host and for inputs that are there already; one recording per set of shapes."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.recent import Recent
from engine.runtimes import TensorInfo, check_inputs
from engine.runtimes.buckets import BUCKETS, bucket_of, pad
from engine.runtimes.cuda import Stream
from engine.runtimes.device_buffer import DeviceArray, DeviceBuffer

_MOST = 2 * len(BUCKETS)


class Recording(Protocol):
    """Work that was prepared once for inputs at given addresses."""

    @property
    def outputs(self) -> Mapping[str, DeviceBuffer]:
        """Where it leaves its results."""

    def launch(self) -> None:
        """Put the work on the stream."""


class DeviceNetwork:
    """A `Network` whose calls can also be made in place.

    Args:
        inputs: as in `Network`.
        outputs: likewise.
        stream: all work goes through it.
        record: prepares the work for inputs in the GPU's memory, which it may run at once.
    """

    def __init__(
        self,
        inputs: tuple[TensorInfo, ...],
        outputs: tuple[TensorInfo, ...],
        stream: Stream,
        record: Callable[[Mapping[str, DeviceArray]], Recording],
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.stream = stream
        self._record = record
        self._recordings: Recent[Recording] = Recent(_MOST)
        self._buffers: Recent[dict[str, DeviceBuffer]] = Recent(_MOST)

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run once; see `Network`. At most as many rows as the largest bucket."""
        check_inputs(self, inputs)
        rows = len(next(iter(inputs.values())))
        padded = {name: pad(array, bucket_of(rows)) for name, array in inputs.items()}
        self.stream.use()
        buffers = self._buffers.get(tuple(array.shape for array in padded.values()), lambda: _buffers_like(padded))
        for name, array in padded.items():
            np.copyto(buffers[name].host, array)
            buffers[name].upload(self.stream)
        outputs = self._launch({name: buffer.front(len(buffer.host)) for name, buffer in buffers.items()}).outputs
        for buffer in outputs.values():
            buffer.download(self.stream)
        self.stream.wait()
        return {name: np.array(buffer.host[:rows]) for name, buffer in outputs.items()}

    def run_in_place(self, inputs: Mapping[str, DeviceArray]) -> dict[str, DeviceArray]:
        """Run once on the GPU's memory, and return when it is done.

        Args:
            inputs: of a bucket's number of rows. What was prepared for addresses is kept: use few.

        Returns:
            Arrays that are valid until the next call with these inputs.
        """
        self.stream.use()
        outputs = self._launch(inputs).outputs
        self.stream.wait()
        return {name: buffer.front(len(buffer.host)) for name, buffer in outputs.items()}

    def _launch(self, inputs: Mapping[str, DeviceArray]) -> Recording:
        recording = self._recordings.get(tuple(inputs.items()), lambda: self._record(inputs))
        recording.launch()
        return recording


def _buffers_like(arrays: Mapping[str, NDArray[Any]]) -> dict[str, DeviceBuffer]:
    return {name: DeviceBuffer(array.shape, array.dtype) for name, array in arrays.items()}
