"""Confidence intervals by resampling (Efron 1979): other animals, or other rounds, would have given other figures."""

from __future__ import annotations

from collections.abc import Sequence
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


def median(samples: ArrayLike) -> Estimate:
    """The median of one value per round, (rounds,)."""
    values = np.asarray(samples, float)
    return _estimate(float(np.median(values)), _resampled_medians([values], 0))


def median_ratio(numerators: Sequence[ArrayLike], denominators: Sequence[ArrayLike]) -> Estimate:
    """The ratio of two medians that were not measured together.

    Args:
        numerators: samples by run; runs are resampled first, then the samples of each, so that what differs from run
            to run widens the interval (Davison and Hinkley 1997, 3.8).
        denominators: likewise.
    """
    above, below = ([np.asarray(run, float) for run in runs] for runs in (numerators, denominators))
    value = float(np.median(np.concatenate(above))) / max(float(np.median(np.concatenate(below))), LEAST)
    return _estimate(value, _resampled_medians(above, 0) / np.maximum(_resampled_medians(below, 1), LEAST))


def _resampled_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over the last axis, DRAWS times of identities drawn with replacement; the same draws every time."""
    identities = values.shape[-1]
    drawn = np.random.default_rng(0).integers(identities, size=(DRAWS, identities))
    means: NDArray[np.float64] = values[..., drawn].mean(-1)
    return means


def _resampled_medians(runs: Sequence[NDArray[np.float64]], seed: int) -> NDArray[np.float64]:
    """DRAWS medians of samples of runs, both drawn with replacement; every run counts alike."""
    random, longest = np.random.default_rng(seed), max(map(len, runs))
    lengths = np.array([len(run) for run in runs])
    padded = np.array([np.pad(run, (0, longest - len(run))) for run in runs])
    drawn = []
    for _ in runs:
        run = random.integers(len(runs), size=(DRAWS, 1))
        drawn.append(padded[run, (random.random((DRAWS, longest)) * lengths[run]).astype(int)])
    medians: NDArray[np.float64] = np.median(np.concatenate(drawn, axis=1), axis=1)
    return medians


def _estimate(value: float, resampled: NDArray[np.float64]) -> Estimate:
    low, high = np.percentile(resampled, LEVELS)
    return Estimate(float(value), float(low), float(high))
