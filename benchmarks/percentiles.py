"""Percentiles that rest on enough samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# Fewer samples than these say nothing of so rare an event.
LEAST_SAMPLES = {50: 1, 95: 20, 99: 100}


def percentile(samples: Sequence[float], percent: int) -> float | None:
    """The least sample that so many of a hundred do not exceed.

    Args:
        samples: infinite where there was no answer.
        percent: 50, 95 or 99.

    Returns:
        None where samples are too few, or it would be that of a failure.
    """
    if len(samples) < LEAST_SAMPLES[percent]:
        return None
    found = float(np.percentile(samples, percent, method="inverted_cdf"))
    return found if math.isfinite(found) else None


def percentiles_ms(latencies_ms: Sequence[float]) -> dict[str, float | None]:
    """All of them, as a record names them."""
    return {f"p{percent}_ms": percentile(latencies_ms, percent) for percent in LEAST_SAMPLES}
