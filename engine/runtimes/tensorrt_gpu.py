"""TensorRT on an NVIDIA GPU, without PyTorch: every shape is one CUDA graph with its copies, launched at once."""

import weakref
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt
from numpy.typing import NDArray

from engine.errors import BundleError
from engine.runtimes import Network, RuntimeOptions, TensorInfo, cuda
from engine.runtimes.buckets import BUCKETS, BucketedNetwork, Shapes
from engine.runtimes.device_buffer import DeviceBuffer
from engine.runtimes.tensorrt_log import TensorRTLog


def load(artifact: Path, options: RuntimeOptions) -> Network:
    """Load a plan; its precision was fixed when it was built."""
    cuda.call("cudaSetDevice", options.device)
    plan = _Plan(artifact, options.device)
    inputs, outputs = plan.infos(tensorrt.TensorIOMode.INPUT), plan.infos(tensorrt.TensorIOMode.OUTPUT)
    compile_for = partial(_CapturedNetwork, plan, inputs, outputs)
    return BucketedNetwork(inputs, outputs, compile_for, max_compiled=2 * len(BUCKETS))


class _Plan:
    """A deserialized plan, and the stream that all of its work goes through."""

    def __init__(self, artifact: Path, device: int) -> None:
        self.device = device
        self.log = TensorRTLog()
        # The engine's kernels live only as long as the runtime that loaded them.
        self._runtime = tensorrt.Runtime(self.log)
        self.engine = self._runtime.deserialize_cuda_engine(artifact.read_bytes())
        if self.engine is None:
            found = f"TensorRT {tensorrt.__version__}: {self.log.last_error}"
            raise BundleError(f"{artifact} cannot be loaded by {found}; build it again with hiper-export --tensorrt")
        # The legacy default stream would wait for the whole device.
        self.stream = cuda.call("cudaStreamCreateWithFlags", cuda.constant("cudaStreamNonBlocking"))

    def infos(self, mode: Any) -> tuple[TensorInfo, ...]:
        """Describe the inputs or the outputs."""
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        return tuple(self._info(name) for name in names if self.engine.get_tensor_mode(name) == mode)

    def find_profile(self, shapes: Shapes) -> int:
        """Return the number of a profile that takes inputs of these shapes."""
        for index in range(self.engine.num_optimization_profiles):
            limits = {name: self.engine.get_tensor_profile_shape(name, index) for name in shapes}
            if all(_covers(limits[name], shape) for name, shape in shapes.items()):
                return index
        wanted = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise BundleError(f"the plan has no profile for {wanted}; add the size with hiper-export --tensorrt --size")

    def check(self, done: bool) -> None:
        """Raise what TensorRT says when a call returns False."""
        if not done:
            raise RuntimeError(f"TensorRT refused a call: {self.log.last_error}")

    def _info(self, name: str) -> TensorInfo:
        shape = tuple(None if size == -1 else int(size) for size in self.engine.get_tensor_shape(name))
        return TensorInfo(name, np.dtype(tensorrt.nptype(self.engine.get_tensor_dtype(name))), shape)


class _CapturedNetwork:
    """A plan at one of its profiles: buffers, a context, and the graph that was captured from them."""

    def __init__(
        self, plan: _Plan, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...], shapes: Shapes
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self._plan = plan
        self._stream = plan.stream
        # A graph keeps the addresses it was captured with, so it needs a context of its own.
        strategy = tensorrt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        self._context = plan.engine.create_execution_context(strategy)
        plan.check(self._context.set_optimization_profile_async(plan.find_profile(shapes), int(self._stream)))
        cuda.call("cudaStreamSynchronize", self._stream)
        for name, shape in shapes.items():
            plan.check(self._context.set_input_shape(name, shape))
        self._buffers = {info.name: self._buffer(info) for info in (*inputs, *outputs)}
        self._graph = self._capture()
        weakref.finalize(self, cuda.call, "cudaGraphExecDestroy", self._graph)

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        cuda.call("cudaSetDevice", self._plan.device)
        for name, array in inputs.items():
            np.copyto(self._buffers[name].host, array)
        cuda.call("cudaGraphLaunch", self._graph, self._stream)
        cuda.call("cudaStreamSynchronize", self._stream)
        return {info.name: self._buffers[info.name].host.copy() for info in self.outputs}

    def _buffer(self, info: TensorInfo) -> DeviceBuffer:
        buffer = DeviceBuffer(tuple(self._context.get_tensor_shape(info.name)), info.dtype)
        self._plan.check(self._context.set_tensor_address(info.name, buffer.device_address))
        return buffer

    def _capture(self) -> Any:
        """Record copies and kernels; the run before it does what TensorRT puts off until a first run."""
        self._enqueue()
        cuda.call("cudaStreamSynchronize", self._stream)
        mode = cuda.constant("cudaStreamCaptureMode").cudaStreamCaptureModeThreadLocal
        cuda.call("cudaStreamBeginCapture", self._stream, mode)
        self._enqueue()
        recorded = cuda.call("cudaStreamEndCapture", self._stream)
        graph = cuda.call("cudaGraphInstantiate", recorded, 0)
        cuda.call("cudaGraphDestroy", recorded)
        return graph

    def _enqueue(self) -> None:
        for info in self.inputs:
            self._buffers[info.name].upload(self._stream)
        self._plan.check(self._context.execute_async_v3(int(self._stream)))
        for info in self.outputs:
            self._buffers[info.name].download(self._stream)


def _covers(limits: Any, shape: tuple[int, ...]) -> bool:
    """Whether a shape lies within a profile's (least, best, most)."""
    least, _, most = limits
    return all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))
