"""ONNX Runtime on an NVIDIA GPU with its CUDA kernels, on a stream and on buffers of ours."""

from pathlib import Path

import onnxruntime

from engine.runtimes import Network, RuntimeOptions
from engine.runtimes.cuda import Stream
from engine.runtimes.device_network import DeviceNetwork
from engine.runtimes.onnxruntime_bound import BoundSession
from engine.runtimes.onnxruntime_session import Provider, check_provider, infos, open_session


def load(artifact: Path, options: RuntimeOptions) -> Network:
    """Load an ONNX file; TF32 counts as a permission to be fast."""
    check_provider("CUDAExecutionProvider")
    stream = Stream(options.device)
    cuda = {
        "device_id": str(options.device),
        "use_tf32": str(int(options.precision == "fast")),
        "user_compute_stream": str(int(stream)),
        "enable_cuda_graph": str(int(options.cuda_graph)),
    }
    # The CPU provider stays behind it for the shape arithmetic that has no CUDA kernel.
    providers: list[Provider] = [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]
    session = open_session(artifact, onnxruntime.SessionOptions(), providers)
    inputs, outputs = infos(session.get_inputs()), infos(session.get_outputs())
    bound = BoundSession(session, outputs, "cuda", options.device, options.cuda_graph)
    return DeviceNetwork(inputs, outputs, stream, bound.bind)
