"""Confidence intervals over identities (Efron 1979): fifty other animals would have given other figures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 4000
LEVELS = (2.5, 97.5)
# Stands for a denominator of zero, so that a hopeless baseline gives a huge ratio and not none.
LEAST = 1e-9


class Estimate(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def mean(by_identity: ArrayLike) -> Estimate:
    """The mean of one value per identity, (identities,)."""
    values = np.asarray(by_identity, float)
    return _estimate(values.mean(), _resampled_means(values))


def ratio(numerators: ArrayLike, denominators: ArrayLike) -> Estimate:
    """The ratio of two means over the same identities, resampled in pairs; both (identities,).

    Raises:
        ValueError: their lengths differ.
    """
    pairs = np.asarray([numerators, denominators], float)
    numerator, denominator = _resampled_means(pairs)
    value = pairs[0].mean() / max(pairs[1].mean(), LEAST)
    return _estimate(value, numerator / np.maximum(denominator, LEAST))


def _resampled_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over the last axis, DRAWS times of identities drawn with replacement; the same draws every time."""
    identities = values.shape[-1]
    drawn = np.random.default_rng(0).integers(identities, size=(DRAWS, identities))
    means: NDArray[np.float64] = values[..., drawn].mean(-1)
    return means


def _estimate(value: float, resampled: NDArray[np.float64]) -> Estimate:
    low, high = np.percentile(resampled, LEVELS)
    return Estimate(float(value), float(low), float(high))
