"""An ONNX Runtime session on a GPU's memory: inputs and outputs are bound to addresses once for every shape."""

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import onnxruntime

from engine.runtimes import RuntimeOptions, TensorInfo
from engine.runtimes.cuda import Stream
from engine.runtimes.device_buffer import DeviceArray, DeviceBuffer
from engine.runtimes.device_network import DeviceNetwork
from engine.runtimes.onnxruntime_session import Provider, infos, open_session

_GRAPH: str = "gpu_graph_id"
_NO_GRAPH: str = "-1"


def load_bound(artifact: Path, options: RuntimeOptions, stream: Stream, providers: Sequence[Provider]) -> DeviceNetwork:
    """Open an ONNX file on a GPU.

    Args:
        artifact: the file.
        options: its device, and whether to record graphs.
        stream: that the providers were given.
        providers: the best first. The CPU's stays behind them for the shape arithmetic that has no kernel.

    Raises:
        RuntimeMissingError: the first provider is not in this build, or found no device.
        BundleError: the file is not an ONNX model that ONNX Runtime can run.
    """
    session = open_session(artifact, onnxruntime.SessionOptions(), [*providers, "CPUExecutionProvider"])
    inputs, outputs = infos(session.get_inputs()), infos(session.get_outputs())
    bound = BoundSession(session, outputs, stream, "cuda", options.device, options.cuda_graph)
    return DeviceNetwork(inputs, outputs, stream, bound.bind)


class BoundSession:
    """A session whose calls all go through one stream, which it was opened with.

    Args:
        session: opened with that stream.
        outputs: that it has.
        stream: kept as long as the session.
        device: "cuda", or "cpu" where the addresses are the host's.
        index: of the device.
        graph: whether the session was opened for CUDA graphs, and every binding is to have its own.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        outputs: tuple[TensorInfo, ...],
        stream: Stream,
        device: str,
        index: int,
        graph: bool,
    ) -> None:
        self._session = session
        self._stream = stream
        self._outputs = outputs
        self._place = (device, index)
        self._graphs = count(1) if graph else None

    def bind(self, inputs: Mapping[str, DeviceArray]) -> "_Bound":
        """Prepare for inputs at given addresses; a first run tells the shapes of the outputs."""
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_input(name, *self._place, array.dtype.type, list(array.shape), array.address)
        for info in self._outputs:
            binding.bind_output(info.name, *self._place)
        self.run(binding, self._options(_NO_GRAPH))
        shapes = [tuple(value.shape()) for value in binding.get_outputs()]
        outputs = {
            info.name: DeviceBuffer(shape, info.dtype) for info, shape in zip(self._outputs, shapes, strict=True)
        }
        for name, buffer in outputs.items():
            array = buffer.front(len(buffer.host))
            binding.bind_output(name, *self._place, array.dtype.type, list(array.shape), array.address)
        return _Bound(self, binding, self._options(str(next(self._graphs)) if self._graphs else ""), outputs)

    def run(self, binding: Any, options: onnxruntime.RunOptions) -> None:
        """Run a binding; ONNX Runtime itself waits until it is done."""
        self._session.run_with_iobinding(binding, options)

    def _options(self, graph: str) -> onnxruntime.RunOptions:
        options = onnxruntime.RunOptions()
        if self._graphs is not None:
            options.add_run_config_entry(_GRAPH, graph)
        return options


class _Bound:
    """A `Recording`; where there are graphs, ONNX Runtime records one in its first runs and replays it ever after."""

    def __init__(
        self,
        session: BoundSession,
        binding: Any,
        options: onnxruntime.RunOptions,
        outputs: dict[str, DeviceBuffer],
    ) -> None:
        self.outputs = outputs
        self._session = session
        self._binding = binding
        self._options = options

    def launch(self) -> None:
        """See `Recording`."""
        self._session.run(self._binding, self._options)
