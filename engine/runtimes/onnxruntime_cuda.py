"""ONNX Runtime on an NVIDIA GPU with its CUDA kernels, on a stream and on buffers of ours."""

from pathlib import Path

from engine.runtimes import Network, RuntimeOptions
from engine.runtimes.cuda import Stream
from engine.runtimes.onnxruntime_bound import load_bound
from engine.runtimes.onnxruntime_session import CUDA, Provider, check_provider


def load(artifact: Path, options: RuntimeOptions) -> Network:
    """Load an ONNX file; TF32 counts as a permission to be fast."""
    check_provider(CUDA)
    stream = Stream(options.device)
    return load_bound(artifact, options, stream, [cuda_provider(options, stream)])


def cuda_provider(options: RuntimeOptions, stream: Stream) -> Provider:
    """ONNX Runtime's CUDA kernels, on a stream."""
    settings = {
        "device_id": str(options.device),
        "use_tf32": str(int(options.precision == "fast")),
        "user_compute_stream": str(int(stream)),
        "enable_cuda_graph": str(int(options.cuda_graph)),
    }
    return CUDA, settings
