"""Packages that only some benchmarks need."""

from __future__ import annotations

import importlib
from typing import Any

from engine.errors import RuntimeMissingError


def optional(package: str, extra: str) -> Any:
    """Import a package of an extra, which type checkers need not know.

    Raises:
        RuntimeMissingError: it is not installed; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        remedy = f"run: pip install 'hiper[{extra}]'"
        raise RuntimeMissingError(f"{error.name} is not installed but this benchmark needs it; {remedy}") from error


def lacks_onnxruntime_cuda() -> str:
    """Why ONNX Runtime cannot use an NVIDIA GPU here; empty if it can."""
    from engine.runtimes.onnxruntime_session import CUDA, check_provider

    try:
        check_provider(CUDA)
    except RuntimeMissingError as error:
        return str(error)
    return ""
