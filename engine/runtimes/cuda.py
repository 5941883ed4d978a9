"""CUDA's runtime, its error codes turned into exceptions."""

from typing import Any, Final

from engine.errors import RuntimeMissingError

_NO_GPU: Final = ("cudaErrorInsufficientDriver", "cudaErrorNoDevice", "cudaErrorInitializationError")


def constant(name: str) -> Any:
    """Return an enum or a constant of CUDA's runtime.

    Raises:
        RuntimeMissingError: cuda-bindings is missing.
    """
    return getattr(_runtime(), name)


def call(name: str, *arguments: Any) -> Any:
    """Call a function of CUDA's runtime and return its result, if it has one beside the error code.

    Raises:
        RuntimeMissingError: cuda-bindings, the driver or the GPU is missing.
        RuntimeError: the call failed; the message is CUDA's.
    """
    code, *results = getattr(_runtime(), name)(*arguments)
    if code.name in _NO_GPU:
        raise RuntimeMissingError(
            f"no NVIDIA GPU can be used here ({code.name}); install its driver, or run on the CPU"
        )
    if code.value:
        raise RuntimeError(f"{name} failed with {code.name}")
    return results[0] if results else None


def _runtime() -> Any:
    try:
        from cuda.bindings import runtime
    except (ImportError, OSError) as error:
        raise RuntimeMissingError(f"CUDA cannot be called here ({error}); pip install cuda-bindings") from error
    return runtime
