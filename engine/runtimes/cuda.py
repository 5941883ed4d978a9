"""CUDA's runtime, its error codes turned into exceptions, and a stream."""

import weakref
from collections.abc import Callable
from functools import partial
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
    return bound(name)(*arguments)


def bound(name: str) -> Callable[..., Any]:
    """Return what `call` would do with a function, found now: for finalizers, which run when imports may be over.

    Raises:
        RuntimeMissingError: cuda-bindings is missing.
    """
    return partial(_checked, name, getattr(_runtime(), name))


def _checked(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    code, *results = function(*arguments)
    if code.name in _NO_GPU:
        raise RuntimeMissingError(
            f"no NVIDIA GPU can be used here ({code.name}); install its driver, or run on the CPU"
        )
    if code.value:
        raise RuntimeError(f"{name} failed with {code.name}")
    return results[0] if results else None


class Stream:
    """An order of work on one GPU.

    Not the legacy default stream, which would wait for the whole device. It is destroyed with this object, so whatever
    works on it keeps it.

    Args:
        device: index of the GPU.
    """

    def __init__(self, device: int) -> None:
        self._device = device
        call("cudaSetDevice", device)
        self._handle = call("cudaStreamCreateWithFlags", constant("cudaStreamNonBlocking"))
        weakref.finalize(self, bound("cudaStreamDestroy"), self._handle)

    def __int__(self) -> int:
        return int(self._handle)

    def use(self) -> Any:
        """Make its GPU this thread's, as launches and captures ask, and return the stream for `call`."""
        call("cudaSetDevice", self._device)
        return self._handle

    def wait(self) -> None:
        """Return when all is done."""
        call("cudaStreamSynchronize", self.use())


def _runtime() -> Any:
    try:
        from cuda.bindings import runtime
    except (ImportError, OSError) as error:
        raise RuntimeMissingError(f"CUDA cannot be called here ({error}); pip install cuda-bindings") from error
    return runtime
