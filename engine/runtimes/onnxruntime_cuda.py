"""ONNX Runtime on an NVIDIA GPU with its CUDA kernels."""

from pathlib import Path

import onnxruntime

from engine.runtimes import Network, RuntimeOptions
from engine.runtimes.onnxruntime_session import open_session


def load(artifact: Path, options: RuntimeOptions) -> Network:
    """Load an ONNX file; TF32 counts as a permission to be fast."""
    cuda = {"device_id": str(options.device), "use_tf32": str(int(options.precision == "fast"))}
    # The CPU provider stays behind it for the shape arithmetic that has no CUDA kernel.
    return open_session(
        artifact, onnxruntime.SessionOptions(), [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]
    )
