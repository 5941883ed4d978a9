"""Memory on the GPU with its page-locked twin on the host."""

import ctypes
import math
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.runtimes import cuda


@dataclass(frozen=True)
class DeviceArray:
    """Numbers in a GPU's memory, C-contiguous; they belong to whoever made them.

    Attributes:
        address: of the first.
        shape: of the array.
        dtype: of each.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class DeviceBuffer:
    """An array on the GPU, and `host`, the array that is copied to it or from it without a detour.

    CUDA gives addresses that are multiples of 256 bytes, as TensorRT asks; both are freed with this object.

    Attributes:
        address: on the GPU.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        size_bytes = math.prod(shape) * dtype.itemsize
        self._row_bytes = size_bytes // shape[0]
        self.address: int = cuda.call("cudaMalloc", size_bytes)
        weakref.finalize(self, cuda.bound("cudaFree"), self.address)
        self._host_address: int = cuda.call("cudaHostAlloc", size_bytes, 0)
        weakref.finalize(self, cuda.bound("cudaFreeHost"), self._host_address)
        memory = (ctypes.c_byte * size_bytes).from_address(self._host_address)
        self.host: NDArray[Any] = np.ctypeslib.as_array(memory).view(dtype).reshape(shape)

    def front(self, rows: int) -> DeviceArray:
        """The first rows, on the GPU."""
        return DeviceArray(self.address, (rows, *self.host.shape[1:]), self.host.dtype)

    def upload(self, stream: cuda.Stream, start: int = 0, stop: int | None = None) -> None:
        """Copy rows from host to device, in the order of the stream."""
        self._copy("cudaMemcpyHostToDevice", self.address, self._host_address, stream, start, stop)

    def download(self, stream: cuda.Stream, start: int = 0, stop: int | None = None) -> None:
        """Copy rows from device to host, in the order of the stream."""
        self._copy("cudaMemcpyDeviceToHost", self._host_address, self.address, stream, start, stop)

    def _copy(self, kind: str, target: int, source: int, stream: cuda.Stream, start: int, stop: int | None) -> None:
        offset, count = start * self._row_bytes, (stop or len(self.host)) - start
        copied = (target + offset, source + offset, count * self._row_bytes, getattr(_kinds(), kind))
        cuda.call("cudaMemcpyAsync", *copied, stream.use())


def _kinds() -> Any:
    return cuda.constant("cudaMemcpyKind")
