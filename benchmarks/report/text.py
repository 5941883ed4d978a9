"""Numbers as a reader wants them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks import bootstrap, percentiles

# In place of a figure that nobody could measure.
NONE = "-"


def number(value: float) -> str:
    """Three digits that count; no exponent for what is no monster."""
    if value == 0:
        return "0"
    size = abs(value)
    if not 1e-4 <= size < 1e6:
        return f"{value:.2e}"
    digits = max(0, 2 - int(np.floor(np.log10(size))))
    return f"{value:,.{digits}f}"


def estimate(found: bootstrap.Estimate, suffix: str = "") -> str:
    """A figure with its interval."""
    if found.low == found.high:
        return f"{number(found.value)}{suffix}"
    return f"{number(found.value)}{suffix} [{number(found.low)}, {number(found.high)}]"


def percentile(samples: Sequence[float], percent: int) -> str:
    """A percentile; a dash where there are too few samples for it."""
    found = percentiles.percentile(samples, percent)
    return NONE if found is None else number(found)


def mebibytes(size_bytes: float | None) -> str:
    """A size."""
    return NONE if size_bytes is None else f"{size_bytes / 2**20:,.0f}"


def share(value: float) -> str:
    """A share in per cent."""
    return f"{100 * value:.0f} %"
