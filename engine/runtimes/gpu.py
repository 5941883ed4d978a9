"""Which GPU and which TensorRT are here."""

from dataclasses import dataclass

from engine.errors import RuntimeMissingError
from engine.runtimes import cuda


@dataclass(frozen=True)
class Gpu:
    """What a plan is tied to.

    Attributes:
        name: as the driver calls it.
        compute_capability: as "9.0".
        driver: the newest CUDA that the driver knows, as "13.0".
        tensorrt: version of TensorRT, as "11.4.0.106".
    """

    name: str
    compute_capability: str
    driver: str
    tensorrt: str


def describe_gpu(device: int) -> Gpu:
    """Ask the driver and TensorRT.

    Raises:
        RuntimeMissingError: TensorRT, cuda-bindings, the driver or the GPU is missing.
    """
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        raise RuntimeMissingError(f"TensorRT is not here ({error}); pip install tensorrt cuda-bindings") from error
    count = cuda.call("cudaGetDeviceCount")
    if not 0 <= device < count:
        raise RuntimeMissingError(f"there is no GPU {device} among the {count} here; name another device")
    properties = cuda.call("cudaGetDeviceProperties", device)
    return Gpu(
        name=properties.name.decode(),
        compute_capability=f"{properties.major}.{properties.minor}",
        driver=_driver(),
        tensorrt=tensorrt.__version__,
    )


def gpu_names() -> list[str]:
    """What the GPUs here are called, each with the newest CUDA of their driver; none where none can be used."""
    try:
        devices = range(cuda.call("cudaGetDeviceCount"))
        names = [cuda.call("cudaGetDeviceProperties", device).name.decode() for device in devices]
        return [f"{name}, CUDA {_driver()}" for name in names]
    except (RuntimeMissingError, RuntimeError):
        return []


def _driver() -> str:
    version = cuda.call("cudaDriverGetVersion")
    return f"{version // 1000}.{version % 1000 // 10}"
