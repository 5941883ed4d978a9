"""TensorRT on an NVIDIA GPU, without PyTorch: the kernels of every shape are one CUDA graph."""

import contextlib
import weakref
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt

from engine.errors import BundleError
from engine.runtimes import Network, RuntimeOptions, TensorInfo, cuda
from engine.runtimes.buckets import Shapes
from engine.runtimes.device_buffer import DeviceArray, DeviceBuffer
from engine.runtimes.device_network import DeviceNetwork
from engine.runtimes.tensorrt_log import TensorRTLog


def load(artifact: Path, options: RuntimeOptions) -> Network:
    """Load a plan; its precision was fixed when it was built."""
    stream = cuda.Stream(options.device)
    plan = _Plan(artifact)
    inputs, outputs = plan.infos(tensorrt.TensorIOMode.INPUT), plan.infos(tensorrt.TensorIOMode.OUTPUT)
    return DeviceNetwork(inputs, outputs, stream, partial(_Captured, plan, stream, outputs))


class _Plan:
    """A deserialized plan."""

    def __init__(self, artifact: Path) -> None:
        self.log = TensorRTLog()
        # The engine's kernels live only as long as the runtime that loaded them.
        self._runtime = tensorrt.Runtime(self.log)
        self.engine = self._runtime.deserialize_cuda_engine(artifact.read_bytes())
        if self.engine is None:
            found = f"TensorRT {tensorrt.__version__}: {self.log.last_error}"
            raise BundleError(f"{artifact} cannot be loaded by {found}; build it again with hiper-export --tensorrt")

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
        """Raise what TensorRT says when a call returns False, or nothing."""
        if not done:
            raise RuntimeError(f"TensorRT refused a call: {self.log.last_error}")

    def _info(self, name: str) -> TensorInfo:
        shape = tuple(None if size == -1 else int(size) for size in self.engine.get_tensor_shape(name))
        return TensorInfo(name, np.dtype(tensorrt.nptype(self.engine.get_tensor_dtype(name))), shape)


class _Captured:
    """A plan at one of its profiles, on inputs at fixed addresses: a context, and the graph captured from it."""

    def __init__(
        self, plan: _Plan, stream: cuda.Stream, outputs: tuple[TensorInfo, ...], inputs: Mapping[str, DeviceArray]
    ) -> None:
        self._plan = plan
        self._stream = stream
        # A graph keeps the addresses it was captured with, so it needs a context of its own.
        strategy = tensorrt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        self._context = plan.engine.create_execution_context(strategy)
        plan.check(self._context is not None)
        profile = plan.find_profile({name: array.shape for name, array in inputs.items()})
        plan.check(self._context.set_optimization_profile_async(profile, int(stream)))
        stream.wait()
        for name, array in inputs.items():
            plan.check(self._context.set_input_shape(name, array.shape))
            plan.check(self._context.set_tensor_address(name, array.address))
        self.outputs = {info.name: self._make_output(info) for info in outputs}
        self._graph = self._capture()
        weakref.finalize(self, cuda.bound("cudaGraphExecDestroy"), self._graph)

    def launch(self) -> None:
        """See `Recording`."""
        cuda.call("cudaGraphLaunch", self._graph, self._stream.use())

    def _make_output(self, info: TensorInfo) -> DeviceBuffer:
        buffer = DeviceBuffer(tuple(self._context.get_tensor_shape(info.name)), info.dtype)
        self._plan.check(self._context.set_tensor_address(info.name, buffer.address))
        return buffer

    def _capture(self) -> Any:
        """Record the kernels; the run before it does what TensorRT puts off until a first run."""
        self._enqueue()
        self._stream.wait()
        stream, mode = self._stream.use(), cuda.constant("cudaStreamCaptureMode").cudaStreamCaptureModeThreadLocal
        cuda.call("cudaStreamBeginCapture", stream, mode)
        try:
            self._enqueue()
        except RuntimeError:
            # Or the stream would record whatever comes next.
            with contextlib.suppress(RuntimeError):
                cuda.call("cudaStreamEndCapture", stream)
            raise
        recorded = cuda.call("cudaStreamEndCapture", stream)
        graph = cuda.call("cudaGraphInstantiate", recorded, 0)
        cuda.call("cudaGraphDestroy", recorded)
        return graph

    def _enqueue(self) -> None:
        self._plan.check(self._context.execute_async_v3(int(self._stream)))


def _covers(limits: Any, shape: tuple[int, ...]) -> bool:
    """Whether a shape lies within a profile's (least, best, most)."""
    least, _, most = limits
    return all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))
