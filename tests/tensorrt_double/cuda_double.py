"""CUDA's runtime on the host: device memory is host memory, a graph a list of calls, a stream starts when waited for.

Streams are as late as they may be, so that a missing wait, or a host array rewritten too early, gives wrong numbers.
"""

import ctypes
import enum
import inspect
import itertools
import json
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from engine.row_kernels import ROW_STEP, RowArrays, advance_numpy
from tests.tensorrt_double.strict import HERE

ALIGNMENT = 256


class Stream:
    """A stream that is not the default one; while it records, nothing runs, and a broken recording is lost."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._pending: list[Callable[[], None]] = []
        self.recording: list[Callable[[], None]] | None = None
        self.broken = False

    def __int__(self) -> int:
        return self._number

    def run(self, work: Callable[[], None]) -> None:
        (self._pending if self.recording is None else self.recording).append(work)

    def finish(self) -> None:
        pending, self._pending = self._pending, []
        for work in pending:
            work()


class CudaDouble:
    """The functions that the engine calls, and what a test may look at.

    Attributes:
        live: addresses that were given and not taken back, with their sizes.
        streams: that were made and not destroyed, by number.
        launches: graphs launched so far.
        copied_bytes: between host and device so far.
        gpus: how many there are.
        compute_capability: of all of them.
    """

    def __init__(self) -> None:
        self.live: dict[int, np.ndarray] = {}
        self.streams: dict[int, Stream] = {}
        self._numbers = itertools.count(1)
        self.launches = 0
        self.copied_bytes = 0
        self.gpus = 1
        self.compute_capability = (9, 0)
        self._interface = json.loads((HERE / "cuda-13.5.json").read_text())
        self._error = enum.Enum("cudaError_t", self._interface["enums"]["cudaError_t"])

    def module(self) -> ModuleType:
        """Stand in for cuda.bindings.runtime; every function is held to the names of the real one's parameters."""
        module = ModuleType("cuda.bindings.runtime")
        for name, members in self._interface["enums"].items():
            setattr(module, name, enum.Enum(name, members))
        module.cudaStreamNonBlocking = self._interface["constants"]["cudaStreamNonBlocking"]  # type: ignore[attr-defined]
        for name, parameters in self._interface["functions"].items():
            function = getattr(self, f"_{name}")
            assert list(inspect.signature(function).parameters) == parameters, name
            setattr(module, name, self._returning_a_code(function))
        return module

    def _returning_a_code(self, function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
        def call(*arguments: Any) -> tuple[Any, ...]:
            try:
                result = function(*arguments)
            except CudaError as error:
                return (self._error[error.args[0]], None)
            return (self._error.cudaSuccess,) if result is None else (self._error.cudaSuccess, result)

        return call

    def _allocate(self, size: int) -> int:
        memory = np.zeros(size + ALIGNMENT, np.uint8)
        address = -(-memory.ctypes.data // ALIGNMENT) * ALIGNMENT
        self.live[address] = memory
        return address

    def holds(self, address: int, size: int) -> bool:
        """Whether all of this memory was given, in one piece."""
        ends = ((start, start + len(memory) - ALIGNMENT) for start, memory in self.live.items())
        return any(start <= address and address + size <= end for start, end in ends)

    def advance_rows(self, stream: Any, *addresses: int, size: int, count: int) -> None:
        """Stand in for the row kernel: NumPy on this memory, in the order of the stream."""
        out_sample, sample, timestep, latents, x0, steps = addresses

        def work() -> None:
            found = self._view(steps, ROW_STEP)[:count]
            arrays = RowArrays(
                *(
                    self._view(address, np.dtype(np.float32)).reshape(-1, columns)
                    for address, columns in ((sample, size), (timestep, 1), (latents, size), (x0, size))
                )
            )
            answer = self._view(out_sample, np.dtype(np.float32)) if out_sample else np.empty(0, np.float32)
            advance_numpy(arrays, answer.reshape(-1, size), found)

        self.streams[int(stream)].run(work)

    def _view(self, address: int, dtype: np.dtype[Any]) -> Any:
        size = (len(self.live[address]) - ALIGNMENT) // dtype.itemsize * dtype.itemsize
        return np.ctypeslib.as_array((ctypes.c_byte * size).from_address(address)).view(dtype)

    def _cudaGetDeviceCount(self) -> int:
        if not self.gpus:
            raise CudaError("cudaErrorNoDevice")
        return self.gpus

    def _cudaSetDevice(self, device: int) -> None:
        if device >= self.gpus:
            raise CudaError("cudaErrorInvalidDevice")

    def _cudaGetDeviceProperties(self, device: int) -> SimpleNamespace:
        major, minor = self.compute_capability
        return SimpleNamespace(name=b"Double", major=major, minor=minor)

    def _cudaDriverGetVersion(self) -> int:
        return 13000

    def _cudaMalloc(self, size: int) -> int:
        return self._allocate(size)

    def _cudaHostAlloc(self, size: int, flags: int) -> int:
        return self._allocate(size)

    def _cudaFree(self, devPtr: int) -> None:
        del self.live[devPtr]

    def _cudaFreeHost(self, ptr: int) -> None:
        del self.live[ptr]

    def _cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: enum.Enum, stream: Stream) -> None:
        assert self.holds(dst, count) and self.holds(src, count)
        self.copied_bytes += count
        stream.run(lambda: ctypes.memmove(dst, src, count) and None)

    def _cudaStreamCreateWithFlags(self, flags: int) -> Stream:
        stream = Stream(next(self._numbers))
        self.streams[int(stream)] = stream
        return stream

    def _cudaStreamDestroy(self, stream: Stream) -> None:
        self.streams.pop(int(stream)).finish()

    def _cudaStreamSynchronize(self, stream: Stream) -> None:
        if stream.recording is not None:
            raise CudaError("cudaErrorStreamCaptureUnsupported")
        stream.finish()

    def _cudaStreamBeginCapture(self, stream: Stream, mode: enum.Enum) -> None:
        stream.recording = []

    def _cudaStreamEndCapture(self, stream: Stream) -> list[Callable[[], None]]:
        recorded, stream.recording, broken, stream.broken = stream.recording, None, stream.broken, False
        if broken:
            raise CudaError("cudaErrorStreamCaptureInvalidated")
        return recorded or []

    def _cudaGraphInstantiate(self, graph: list[Callable[[], None]], flags: int) -> list[Callable[[], None]]:
        return list(graph)

    def _cudaGraphLaunch(self, graphExec: list[Callable[[], None]], stream: Stream) -> None:
        self.launches += 1
        for work in graphExec:
            stream.run(work)

    def _cudaGraphDestroy(self, graph: list[Callable[[], None]]) -> None:
        graph.clear()

    def _cudaGraphExecDestroy(self, graphExec: list[Callable[[], None]]) -> None:
        graphExec.clear()


class CudaError(Exception):
    """Name of the code that a call returns."""
