"""Memory on the GPU with its page-locked twin on the host."""

import ctypes
import math
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.runtimes import cuda


class DeviceBuffer:
    """An array on the GPU, and `host`, the array that is copied to it or from it without a detour.

    CUDA gives addresses that are multiples of 256 bytes, as TensorRT asks; both are freed with this object.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.size_bytes = math.prod(shape) * dtype.itemsize
        self.device_address: int = cuda.call("cudaMalloc", self.size_bytes)
        weakref.finalize(self, cuda.call, "cudaFree", self.device_address)
        self.host_address: int = cuda.call("cudaHostAlloc", self.size_bytes, 0)
        weakref.finalize(self, cuda.call, "cudaFreeHost", self.host_address)
        memory = (ctypes.c_byte * self.size_bytes).from_address(self.host_address)
        self.host: NDArray[Any] = np.ctypeslib.as_array(memory).view(dtype).reshape(shape)

    def upload(self, stream: Any) -> None:
        """Copy host to device, in the order of the stream."""
        kind = cuda.constant("cudaMemcpyKind").cudaMemcpyHostToDevice
        cuda.call("cudaMemcpyAsync", self.device_address, self.host_address, self.size_bytes, kind, stream)

    def download(self, stream: Any) -> None:
        """Copy device to host, in the order of the stream."""
        kind = cuda.constant("cudaMemcpyKind").cudaMemcpyDeviceToHost
        cuda.call("cudaMemcpyAsync", self.host_address, self.device_address, self.size_bytes, kind, stream)
