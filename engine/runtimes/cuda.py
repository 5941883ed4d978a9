"""CUDA's runtime, its error codes turned into exceptions."""

from typing import Any

from engine.errors import RuntimeMissingError


def call(name: str, *arguments: Any) -> Any:
    """Call a function of cuda-bindings and return what it returns beside the error code: nothing, one value or several.

    Raises:
        RuntimeMissingError: cuda-bindings, the driver or the GPU is missing.
        RuntimeError: the call failed; the message is CUDA's.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise RuntimeMissingError(f"CUDA is not usable here ({error}); pip install cuda-bindings") from error
    code, *results = getattr(runtime, name)(*arguments)
    if code.name in ("cudaErrorInsufficientDriver", "cudaErrorNoDevice", "cudaErrorInitializationError"):
        raise RuntimeMissingError(
            f"no NVIDIA GPU can be used here ({code.name}); install its driver, or name another runtime"
        )
    if code.value:
        raise RuntimeError(f"{name} failed with {code.name}: {runtime.cudaGetErrorString(code)[1].decode()}")
    return results[0] if len(results) == 1 else results or None
