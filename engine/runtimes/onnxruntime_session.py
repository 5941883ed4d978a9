"""An ONNX Runtime session as a network, for whichever provider it was opened with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from engine.errors import BundleError, RuntimeMissingError
from engine.runtimes import TensorInfo, check_inputs

CUDA: Final = "CUDAExecutionProvider"

Provider = str | tuple[str, dict[str, str]]

_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(uint8)": np.dtype(np.uint8),
}


class SessionNetwork:
    """A session with the shapes and dtypes of its file."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self.inputs = infos(session.get_inputs())
        self.outputs = infos(session.get_outputs())

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run once; see `Network`."""
        check_inputs(self, inputs)
        names = [info.name for info in self.outputs]
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))


def open_session(
    artifact: Path, settings: onnxruntime.SessionOptions, providers: Sequence[Provider]
) -> onnxruntime.InferenceSession:
    """Open a file with exactly the providers named; the session may not drop the first of them.

    Raises:
        RuntimeMissingError: the first provider is not in this build, or found no device.
        BundleError: the file is not an ONNX model that ONNX Runtime can run.
    """
    wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
    check_provider(wanted)
    try:
        session = onnxruntime.InferenceSession(artifact, settings, providers=providers)
    except Exception as error:
        remedy = "name another runtime, or export it again"
        raise BundleError(f"{artifact} cannot be run by ONNX Runtime: {error}; {remedy}") from error
    if wanted not in session.get_providers():
        raise RuntimeMissingError(f"{wanted} did not start on this machine; check its driver, or name another runtime")
    return session


def check_provider(wanted: str) -> None:
    """Refuse a build of ONNX Runtime without this provider.

    Raises:
        RuntimeMissingError: it is not in it.
    """
    if wanted not in onnxruntime.get_available_providers():
        found = ", ".join(onnxruntime.get_available_providers())
        raise RuntimeMissingError(f"this ONNX Runtime has {found}, not {wanted}; pip install onnxruntime-gpu")


def infos(nodes: Sequence[onnxruntime.NodeArg]) -> tuple[TensorInfo, ...]:
    """Describe inputs or outputs."""
    return tuple(_info(node) for node in nodes)


def _info(node: onnxruntime.NodeArg) -> TensorInfo:
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorInfo(node.name, _DTYPES[node.type], shape)
