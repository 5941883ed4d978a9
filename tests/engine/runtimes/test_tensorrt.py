"""The TensorRT runtime and builder on doubles that are held to the real bindings' interface, of 10.14 and of 11.4.

What doubles cannot show, a GPU shows in one command: docs/tensorrt.md.
"""

import gc
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.errors import BundleError, RuntimeMissingError
from engine.runtimes import Network, TensorInfo, load_network
from engine.runtimes.gpu import Gpu, describe_gpu, gpu_names
from tests.tensorrt_double.fixtures import gpu

__all__ = ["gpu"]

FLOAT = np.dtype(np.float32)
Build = Callable[..., Path]


@pytest.fixture
def build(gpu: SimpleNamespace, doubling: Path, tmp_path: Path) -> Build:
    from export.to_tensorrt import PlanConfig, build_plan

    def build(rows: Sequence[int] = (1, 2, 4), advance: Any = lambda done: None, **settings: Any) -> Path:
        profiles = [{"a": (count, 3), "b": (count, 3, 2)} for count in rows]
        path = tmp_path / "doubling.plan"
        path.write_bytes(build_plan(doubling, profiles, PlanConfig(**settings), advance))
        return path

    return build


def _run(network: Network, rows: int) -> None:
    random = np.random.default_rng(rows)
    arrays = {"a": random.standard_normal((rows, 3), np.float32), "b": random.standard_normal((rows, 3, 2), np.float32)}
    expected = 2 * arrays["a"] + arrays["b"].sum(2)
    np.testing.assert_allclose(network(arrays)["out"], expected, rtol=1e-6)


def test_runs_a_plan_at_every_number_of_rows(build: Build) -> None:
    network = load_network(build(), "tensorrt")
    for rows in (1, 2, 3, 4, 1, 3):
        _run(network, rows)


def test_a_call_is_one_graph_launch(build: Build, gpu: SimpleNamespace) -> None:
    network = load_network(build(), "tensorrt")
    for count in range(1, 6):
        _run(network, 2)
        assert gpu.cuda.launches == count


def test_says_why_there_is_no_context_and_works_when_there_is(build: Build, gpu: SimpleNamespace) -> None:
    network = load_network(build(), "tensorrt")
    gpu.trt.refused = "create_execution_context"
    with pytest.raises(RuntimeError, match=r"^TensorRT refused a call: no memory for create_execution_context$"):
        _run(network, 2)
    gpu.trt.refused = ""
    _run(network, 2)


def test_a_failed_recording_leaves_a_stream_that_runs(build: Build, gpu: SimpleNamespace) -> None:
    network = load_network(build(), "tensorrt")
    gpu.trt.refused = "execute_async_v3 while recording"
    with pytest.raises(
        RuntimeError, match=r"^TensorRT refused a call: no memory for execute_async_v3 while recording$"
    ):
        _run(network, 2)
    gpu.trt.refused = ""
    _run(network, 2)


def test_tells_names_dtypes_and_shapes(build: Build) -> None:
    network = load_network(build(), "tensorrt")
    assert network.inputs == (TensorInfo("a", FLOAT, (None, 3)), TensorInfo("b", FLOAT, (None, 3, 2)))
    assert network.outputs == (TensorInfo("out", FLOAT, (None, 3)),)


def test_takes_its_memory_back(build: Build, gpu: SimpleNamespace) -> None:
    network = load_network(build(), "tensorrt")
    _run(network, 4)
    assert len(gpu.cuda.live) == 6 and len(gpu.cuda.streams) == 1
    del network
    gc.collect()
    assert not gpu.cuda.live and not gpu.cuda.streams


def test_refuses_rows_outside_the_profiles(build: Build) -> None:
    with pytest.raises(BundleError, match=r"^the plan has no profile for a \[8, 3\], b \[8, 3, 2\]; add the size with"):
        _run(load_network(build(), "tensorrt"), 8)


@pytest.mark.parametrize("damage", [b"", b"PLAN", b'PLAN{"version": "9.0"}\n'])
def test_refuses_a_plan_that_is_not_for_this_version(gpu: SimpleNamespace, tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "x.plan"
    path.write_bytes(damage if b"9.0" in damage else b"no plan" + damage)
    with pytest.raises(BundleError) as caught:
        load_network(path, "tensorrt")
    assert str(caught.value).startswith(
        f"{path} cannot be loaded by TensorRT {gpu.trt.__version__}: the plan file does"
    )
    assert str(caught.value).endswith("; build it again with hiper-export --tensorrt")


def test_says_which_gpu_is_here(gpu: SimpleNamespace) -> None:
    assert describe_gpu(0) == Gpu("Double", "9.0", "13.0", gpu.trt.__version__)
    gpu.cuda.gpus = 2
    assert gpu_names() == ["Double, CUDA 13.0"] * 2


def test_says_when_there_is_no_such_gpu(gpu: SimpleNamespace) -> None:
    with pytest.raises(RuntimeMissingError, match=r"^there is no GPU 1 among the 1 here; name another device$"):
        describe_gpu(1)
    gpu.cuda.gpus = 0
    with pytest.raises(
        RuntimeMissingError, match=r"^no NVIDIA GPU can be used here \(cudaErrorNoDevice\); install its"
    ):
        describe_gpu(0)
    assert gpu_names() == []


def _settings(path: Path) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(path.read_bytes().removeprefix(b"PLAN").partition(b"\n")[0])
    return header["settings"]


def test_passes_its_settings_on(build: Build) -> None:
    path = build(optimization_level=5, workspace_bytes=2**30)
    assert _settings(path) == {"level": 5, "cleared": ["TF32"], "limits": {"WORKSPACE": 2**30}, "cache": None}


def test_keeps_a_timing_cache_when_asked(build: Build, tmp_path: Path) -> None:
    cache = tmp_path / "timing.cache"
    assert _settings(build(timing_cache=cache))["cache"] == ""
    assert _settings(build(timing_cache=cache))["cache"] == "+"
    assert cache.read_bytes() == b"++"


def test_refuses_an_unknown_level(build: Build) -> None:
    with pytest.raises(ValueError, match=r"^optimization_level is 6; use 0 to 5$"):
        build(optimization_level=6)


def test_tells_how_far_it_is(build: Build) -> None:
    done: list[float] = []
    build(advance=done.append)
    assert done == [0.5, 1.0]


def test_stops_when_the_caller_wants_no_more(build: Build, tmp_path: Path) -> None:
    def stop(done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(advance=stop)
    assert list(tmp_path.iterdir()) == []


def test_says_why_a_build_fails(build: Build, gpu: SimpleNamespace) -> None:
    with pytest.raises(BundleError) as caught:
        build(rows=())
    assert str(caught.value) == (
        f"TensorRT {gpu.trt.__version__} cannot build doubling.onnx: a dynamic input has no profile"
    )


@pytest.mark.parametrize("flag", ["FP16", "BF16", "INT8", "OBEY_PRECISION_CONSTRAINTS"])
def test_the_double_has_no_flag_that_was_taken_away(gpu: SimpleNamespace, flag: str) -> None:
    gone = gpu.trt.__version__.startswith("11")
    assert hasattr(gpu.trt.BuilderFlag, flag) is not gone


def test_the_double_is_as_strict_as_the_bindings(gpu: SimpleNamespace) -> None:
    builder = gpu.trt.Builder(gpu.trt.ILogger())
    with pytest.raises(TypeError, match="incompatible"):
        builder.create_network("0")
    with pytest.raises(TypeError, match="incompatible"):
        builder.create_network(flag=0)
    with pytest.raises(AttributeError, match="create_networks"):
        builder.create_networks(0)
    config = builder.create_builder_config()
    with pytest.raises(AttributeError, match="max_workspace_size"):
        config.max_workspace_size = 1
    with pytest.raises(TypeError, match="incompatible"):
        config.clear_flag(6)


def test_the_double_refuses_what_tensorrt_forbids(build: Build, gpu: SimpleNamespace) -> None:
    engine = gpu.trt.Runtime(gpu.trt.ILogger()).deserialize_cuda_engine(build().read_bytes())
    context = engine.create_execution_context(gpu.trt.ExecutionContextAllocationStrategy.STATIC)
    assert not context.set_optimization_profile_async(0, 0)
    assert not context.set_input_shape("a", (2, 3))
    assert not context.set_tensor_address("a", next(iter(gpu.cuda.live), 0) + 128)
    assert not context.execute_async_v3(0)
