"""Writes down names, signatures and enums of TensorRT's and CUDA's Python bindings, which install where those do not.

    pip install --no-deps --target BINDINGS tensorrt-cu13-bindings==11.4.0.106
    python tests/tensorrt_double/introspect.py tensorrt BINDINGS tests/tensorrt_double/api-11.4.json
    pip install cuda-bindings==13.5.0
    python tests/tensorrt_double/introspect.py cuda tests/tensorrt_double/cuda-13.5.json

TensorRT's extension asks its three libraries for a handful of C functions when it is loaded; stubs of them, compiled
here, let it be imported and looked at, but not used.
"""

import ctypes
import inspect
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# Those that the double stands for.
CLASSES = (
    "Builder",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IProgressMonitor",
    "ITimingCache",
    "OnnxParser",
    "ParserError",
    "Runtime",
)
ENUMS = (
    "BuilderFlag",
    "DataType",
    "ExecutionContextAllocationStrategy",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "TensorIOMode",
)
CUDA_FUNCTIONS = """
    cudaDriverGetVersion cudaFree cudaFreeHost cudaGetDeviceCount cudaGetDeviceProperties cudaGraphDestroy
    cudaGraphExecDestroy cudaGraphInstantiate cudaGraphLaunch cudaHostAlloc cudaMalloc cudaMemcpyAsync cudaSetDevice
    cudaStreamBeginCapture cudaStreamCreateWithFlags cudaStreamDestroy cudaStreamEndCapture cudaStreamSynchronize
"""
CUDA_ENUMS = ("cudaError_t", "cudaMemcpyKind", "cudaStreamCaptureMode")
LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser")


def tensorrt_facts(bindings: Path) -> dict[str, Any]:
    trt = import_bindings(bindings)
    return {
        "version": trt.__version__,
        "enums": {name: _members(getattr(trt, name)) for name in ENUMS} | {"Severity": _members(trt.ILogger.Severity)},
        "classes": {name: _describe(getattr(trt, name)) for name in CLASSES},
    }


def cuda_facts() -> dict[str, Any]:
    from cuda.bindings import runtime

    return {
        "functions": {
            name: list(inspect.signature(getattr(runtime, name)).parameters) for name in CUDA_FUNCTIONS.split()
        },
        "enums": {name: _members(getattr(runtime, name)) for name in CUDA_ENUMS},
        "constants": {"cudaStreamNonBlocking": runtime.cudaStreamNonBlocking},
    }


def import_bindings(bindings: Path) -> Any:
    extension = bindings / "tensorrt_bindings" / "tensorrt.so"
    symbols = subprocess.run(["nm", "-D", "--undefined-only", extension], capture_output=True, text=True, check=True)
    wanted = [line.split()[-1] for line in symbols.stdout.splitlines()]
    names = [name for name in wanted if any(part in name for part in ("_INTERNAL", "Plugin", "NvOnnx"))]
    major = next(bindings.glob("tensorrt_*bindings-*")).name.split("-")[1].split(".")[0]
    with tempfile.TemporaryDirectory() as folder:
        for library in LIBRARIES:
            path = f"{folder}/{library}.so.{major}"
            code = "".join(f"void* {name}(void) {{ return 0; }}\n" for name in names)
            link = f"-Wl,-soname,{library}.so.{major}"
            subprocess.run(
                ["cc", "-shared", "-fPIC", "-x", "c", "-", link, "-o", path], input=code, text=True, check=True
            )
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    sys.path.insert(0, str(bindings))
    import tensorrt_bindings

    return tensorrt_bindings


def _members(enum: Any) -> dict[str, int]:
    return {name: int(member) for name, member in enum.__members__.items()}


def _describe(kind: type) -> dict[str, Any]:
    """Methods with their signatures, several where they are overloaded; properties, and whether they can be set."""
    members = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_") or name == "__init__"}
    return {
        "methods": {name: _signatures(name, member) for name, member in members.items() if callable(member)},
        "properties": {
            name: member.fset is not None for name, member in members.items() if isinstance(member, property)
        },
    }


def _signatures(name: str, method: Any) -> list[str]:
    lines = [line.strip() for line in (method.__doc__ or "").splitlines()]
    plain = [line.partition(". ")[2] if line[:1].isdigit() else line for line in lines]
    return [_shorten(line) for line in plain if line.startswith(f"{name}(self")]


def _shorten(signature: str) -> str:
    """The parameters alone: "flag: BuilderFlag"."""
    parameters = signature[signature.index("(") + 1 : signature.rindex(")")]
    return parameters.replace("tensorrt_bindings.tensorrt.", "").partition(", ")[2]


if __name__ == "__main__":
    what, *folders, output = sys.argv[1:]
    facts = cuda_facts() if what == "cuda" else tensorrt_facts(Path(folders[0]))
    Path(output).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
