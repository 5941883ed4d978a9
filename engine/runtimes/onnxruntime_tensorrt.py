"""ONNX Runtime on an NVIDIA GPU, TensorRT where it can, CUDA kernels for the rest."""

from pathlib import Path

import onnxruntime

from engine.runtimes import Network, RuntimeOptions
from engine.runtimes.onnxruntime_session import Provider, SessionNetwork, open_session


def load(artifact: Path, options: RuntimeOptions) -> Network:
    """Load an ONNX file; TensorRT builds its plan at the first call of each shape and keeps it beside the file."""
    device = str(options.device)
    tensorrt = {
        "device_id": device,
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(artifact.parent / "onnxruntime-tensorrt"),
    }
    providers: list[Provider] = [
        ("TensorrtExecutionProvider", tensorrt),
        ("CUDAExecutionProvider", {"device_id": device}),
        "CPUExecutionProvider",
    ]
    return SessionNetwork(open_session(artifact, onnxruntime.SessionOptions(), providers))
