"""Oracles: ONNX Runtime called plainly, for the same session bound to addresses; a double of CUDA for what is copied.

The double's memory is the host's, so the CPU's provider can work on it: the real ONNX Runtime binds real addresses.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from engine.errors import BundleError, RuntimeMissingError
from engine.runtimes import RuntimeOptions, load_network
from engine.runtimes.cuda import Stream
from engine.runtimes.device_buffer import DeviceBuffer
from engine.runtimes.device_network import DeviceNetwork
from engine.runtimes.onnxruntime_bound import BoundSession
from engine.runtimes.onnxruntime_session import infos
from tests.tensorrt_double.fixtures import gpu

__all__ = ["gpu"]

FLOAT = np.dtype(np.float32)
PROVIDERS = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


class OnStream:
    """A session on the CPU that starts, as one on a GPU, after what its stream was given before."""

    def __init__(self, session: Any, gpu: SimpleNamespace) -> None:
        self.gpu_graphs: list[str] = []
        self._session = session
        self._gpu = gpu

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        for stream in self._gpu.cuda.streams.values():
            stream.finish()
        if not self._gpu.plain:
            self.gpu_graphs.append(options.get_run_config_entry("gpu_graph_id"))
        self._session.run_with_iobinding(binding, options)


@pytest.fixture(params=[False, True], ids=["plain", "graphs"])
def session(request: pytest.FixtureRequest, gpu: SimpleNamespace, doubling: Path) -> OnStream:
    gpu.plain = not request.param
    return OnStream(onnxruntime.InferenceSession(doubling, providers=["CPUExecutionProvider"]), gpu)


@pytest.fixture
def network(session: OnStream, gpu: SimpleNamespace) -> DeviceNetwork:
    inputs, outputs, stream = infos(session.get_inputs()), infos(session.get_outputs()), Stream(0)
    bound = BoundSession(session, outputs, stream, "cpu", 0, graph=not gpu.plain)  # type: ignore[arg-type]
    return DeviceNetwork(inputs, outputs, stream, bound.bind)


def arrays(rows: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(seed)
    return {name: random.standard_normal((rows, *size), np.float32) for name, size in [("a", (3,)), ("b", (3, 2))]}


def test_bound_calls_give_the_same_bytes_as_plain_ones(network: DeviceNetwork, session: OnStream) -> None:
    for seed, rows in enumerate((1, 2, 3, 4, 1, 3, 3)):
        inputs = arrays(rows, seed)
        (expected,) = session.run(["out"], inputs)
        assert network(inputs)["out"].tobytes() == expected.tobytes()


def test_a_shape_allocates_once(network: DeviceNetwork, gpu: SimpleNamespace) -> None:
    network(arrays(4))
    blocks, copied = set(gpu.cuda.live), gpu.cuda.copied_bytes
    for seed in range(3):
        network(arrays(4, seed))
    assert set(gpu.cuda.live) == blocks and len(blocks) == 6
    assert gpu.cuda.copied_bytes - copied == 3 * 4 * 4 * (3 + 6 + 3)


def test_every_shape_has_a_graph_of_its_own(network: DeviceNetwork, session: OnStream, gpu: SimpleNamespace) -> None:
    for rows in (1, 1, 2, 1):
        network(arrays(rows))
    assert session.gpu_graphs == ([] if gpu.plain else ["-1", "1", "1", "-1", "2", "1"])


def test_in_place_nothing_is_copied(network: DeviceNetwork, gpu: SimpleNamespace) -> None:
    buffers = {name: DeviceBuffer((4, *array.shape[1:]), FLOAT) for name, array in arrays(1).items()}
    for rows in (4, 2, 4):
        inputs = arrays(4, rows)
        for name, buffer in buffers.items():
            buffer.host[:] = inputs[name]
            buffer.upload(network.stream)
        copied = gpu.cuda.copied_bytes
        answer = network.run_in_place({name: buffer.front(rows) for name, buffer in buffers.items()})["out"]
        assert gpu.cuda.copied_bytes == copied and answer.shape == (rows, 3) and answer.dtype == FLOAT
        found = np.ctypeslib.as_array((np.ctypeslib.ctypes.c_float * (rows * 3)).from_address(answer.address))
        expected = 2 * inputs["a"][:rows] + inputs["b"][:rows].sum(2)
        np.testing.assert_allclose(found.reshape(rows, 3), expected, rtol=1e-6)


def test_refusals_are_those_of_every_network(network: DeviceNetwork) -> None:
    with pytest.raises(ValueError, match=r"^the network takes a, b; it was given a$"):
        network({"a": arrays(1)["a"]})
    with pytest.raises(ValueError, match=r"^a call has 33 rows; use 1 to 32$"):
        network(arrays(33))


@pytest.fixture
def opened(
    gpu: SimpleNamespace, toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[dict[str, str]]]:
    """Settings of the providers that a network of a bundle is opened with; they were given a stream that lives."""
    session = onnxruntime.InferenceSession

    def open_network(runtime: str, options: RuntimeOptions, network: str = "unet") -> list[dict[str, str]]:
        found: list[Any] = []

        def refuse(artifact: Path, settings: Any, providers: Any) -> Any:
            if providers == ["CPUExecutionProvider"]:
                return session(artifact, settings, providers=providers)
            assert all(int(settings["user_compute_stream"]) in gpu.cuda.streams for _, settings in providers[:-1])
            found.extend(providers)
            raise RuntimeError("no device")

        monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
        with pytest.raises(BundleError, match="cannot be run by ONNX Runtime: no device"):
            load_network(toy_bundle / f"{network}.onnx", runtime, options)
        names = [*(name for name, _ in found[:-1]), found[-1]]
        assert names == (PROVIDERS if runtime == "onnxruntime-tensorrt" else PROVIDERS[1:])
        assert all(isinstance(value, str) for _, settings in found[:-1] for value in settings.values())
        return [settings for _, settings in found[:-1]]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: PROVIDERS)
    return open_network


def test_the_provider_gets_the_wish_for_graphs_and_for_speed(opened: Callable[..., list[dict[str, str]]]) -> None:
    for precision, graph in (("exact", False), ("fast", True)):
        [cuda] = opened("onnxruntime-cuda", RuntimeOptions(precision, cuda_graph=graph))  # type: ignore[arg-type]
        assert (cuda["use_tf32"], cuda["enable_cuda_graph"]) == (str(int(precision == "fast")), str(int(graph)))


def test_tensorrt_is_built_once_for_every_number_of_rows(
    opened: Callable[..., list[dict[str, str]]], toy_bundle: Path
) -> None:
    tensorrt, cuda = opened("onnxruntime-tensorrt", RuntimeOptions("fast"))
    assert {name.removeprefix("trt_profile_"): value for name, value in tensorrt.items() if "profile" in name} == {
        "min_shapes": "sample:1x4x4x4,timestep:1,encoder_hidden_states:1x77x8",
        "opt_shapes": "sample:8x4x4x4,timestep:8,encoder_hidden_states:8x77x8",
        "max_shapes": "sample:32x4x4x4,timestep:32,encoder_hidden_states:32x77x8",
    }
    assert tensorrt["user_compute_stream"] == cuda["user_compute_stream"] and cuda["use_tf32"] == "1"
    assert tensorrt["trt_engine_cache_path"] == str(toy_bundle / "onnxruntime-tensorrt-fast")
    assert not any("profile" in name for name in opened("onnxruntime-tensorrt", RuntimeOptions("fast"), "decoder")[0])


def test_what_tensorrt_cannot_honour_here_is_refused(
    opened: Callable[..., list[dict[str, str]]], toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, runtime = toy_bundle / "unet.onnx", "onnxruntime-tensorrt"
    with pytest.raises(RuntimeMissingError, match=r"^onnxruntime-tensorrt has one CUDA graph a session, .*; use onnx"):
        load_network(artifact, runtime, RuntimeOptions("fast", cuda_graph=True))
    with pytest.raises(RuntimeMissingError, match=r"^onnxruntime-tensorrt computes fp32 in TF32 .* is exact; use fast"):
        load_network(artifact, runtime)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    tensorrt, cuda = opened(runtime, RuntimeOptions())
    assert cuda["use_tf32"] == "0" and tensorrt["trt_engine_cache_path"].endswith("-exact")


def test_without_cuda_bindings_the_message_names_them(doubling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(RuntimeMissingError, match=r"^CUDA cannot be called here .*; pip install cuda-bindings$"):
        load_network(doubling, "onnxruntime-cuda")
