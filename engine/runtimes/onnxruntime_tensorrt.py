"""ONNX Runtime on an NVIDIA GPU, TensorRT where it can and CUDA kernels for the rest, on a stream of ours."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import onnxruntime

from engine.errors import RuntimeMissingError
from engine.runtimes import Network, RuntimeOptions, TensorInfo
from engine.runtimes.buckets import BUCKETS
from engine.runtimes.cuda import Stream
from engine.runtimes.onnxruntime_bound import load_bound
from engine.runtimes.onnxruntime_cuda import cuda_provider
from engine.runtimes.onnxruntime_session import check_provider, infos, open_session

_TENSORRT: Final = "TensorrtExecutionProvider"
_TF32: Final = "NVIDIA_TF32_OVERRIDE"
_BEST_ROWS: Final = 8


def load(artifact: Path, options: RuntimeOptions) -> Network:
    """Load an ONNX file; TensorRT builds its plan at the first call and keeps it beside the file.

    Raises:
        RuntimeMissingError: the provider is not in this build, found no device, or cannot honour an option.
        BundleError: the file is not an ONNX model that ONNX Runtime can run.
    """
    check_provider(_TENSORRT)
    _check(options)
    stream = Stream(options.device)
    settings = {
        "device_id": str(options.device),
        "user_compute_stream": str(int(stream)),
        "trt_engine_cache_enable": "1",
        # A plan with TF32 must not be found by whoever wants none.
        "trt_engine_cache_path": str(artifact.parent / f"onnxruntime-tensorrt-{options.precision}"),
        **_profile(infos(open_session(artifact, _unprepared(), ["CPUExecutionProvider"]).get_inputs())),
    }
    return load_bound(artifact, options, stream, [(_TENSORRT, settings), cuda_provider(options, stream)])


def _check(options: RuntimeOptions) -> None:
    if options.precision == "exact" and os.environ.get(_TF32) != "0":
        raise RuntimeMissingError(
            "onnxruntime-tensorrt computes fp32 in TF32 and has no option against it, but precision is exact; "
            f"use fast, another runtime, or start with {_TF32}=0 in the environment"
        )
    if options.cuda_graph:
        raise RuntimeMissingError(
            "onnxruntime-tensorrt has one CUDA graph a session, which it replays for every shape, but cuda_graph is "
            "asked for; use onnxruntime-cuda or tensorrt"
        )


def _unprepared() -> onnxruntime.SessionOptions:
    """For a session that is only asked for its inputs."""
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.add_session_config_entry("session.disable_prepacking", "1")
    return settings


def _profile(inputs: Sequence[TensorInfo]) -> dict[str, str]:
    """One profile for every number of rows, or the plan is built anew for each that is new.

    Nothing for a network that is called with single rows, whose largest call would not fit into memory, nor for one
    that leaves height and width open: its range grows with what it is asked for.
    """
    if "timestep" not in {info.name for info in inputs} or any(None in info.shape[1:] for info in inputs):
        return {}
    bounds = {"min": BUCKETS[0], "opt": _BEST_ROWS, "max": BUCKETS[-1]}
    return {
        f"trt_profile_{name}_shapes": ",".join(_shape(info, rows) for info in inputs) for name, rows in bounds.items()
    }


def _shape(info: TensorInfo, rows: int) -> str:
    """Such as `sample:2x4x64x64`."""
    return f"{info.name}:{'x'.join(map(str, (rows, *info.shape[1:])))}"
