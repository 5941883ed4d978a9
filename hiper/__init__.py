"""HiPer: personalise a frozen Stable Diffusion with a few learned vectors, the tail."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hiper.errors import HiPerError
    from hiper.pipeline import HiPer
    from hiper.tail import Tail, average, interpolate, load, save, splice

__all__ = ["HiPer", "HiPerError", "Tail", "average", "interpolate", "load", "save", "splice"]

_HOMES = {"HiPer": "hiper.pipeline", "HiPerError": "hiper.errors"}


def __getattr__(name: str) -> Any:
    """Import public names when they are first used: PyTorch takes seconds, which no `--help` should wait for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "hiper.tail")), name)
