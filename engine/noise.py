"""PyTorch's noise without PyTorch, so that a seed means the same picture in both paths.

It is the noise of `torch.randn(shape, generator=torch.Generator().manual_seed(seed))` on the CPU: MT19937, and the
Box-Muller transform as ATen arranges it in aten/src/ATen/native/cpu/DistributionTemplates.h. PyTorch itself differs
between processors in the last bits: this is within 3 ulp of its AVX2 and AVX-512 kernels, and within 3e-6 of its
portable one, which rounds the angles elsewhere.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

MAX_SEED: Final = 2**64 - 1

_BLOCK: Final = 16
_TWO_PI: Final = np.float32(2 * math.pi)


def unit_noise(shape: Sequence[int], seed: int) -> NDArray[np.float32]:
    """Standard normal noise, the same as PyTorch's.

    Args:
        shape: of the result.
        seed: 0 to MAX_SEED; PyTorch's generator uses the lower 32 bits alone.

    Raises:
        ValueError: the seed is out of range.
    """
    check_seed(seed)
    size = math.prod(shape)
    generator = np.random.RandomState(seed & 0xFFFFFFFF)
    return (_short(generator, size) if size < _BLOCK else _long(generator, size)).reshape(shape)


def check_seed(seed: int) -> None:
    """Refuse a seed that is out of range (ValueError)."""
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed is {seed}; use 0 to {MAX_SEED}")


def _long(generator: np.random.RandomState, size: int) -> NDArray[np.float32]:
    noise = np.empty(size, np.float32)
    uniform = _uniform32(generator, size)
    whole = size - size % _BLOCK
    noise[:whole] = _box_muller(uniform[:whole])
    if whole < size:
        # The end is a fresh block that overlaps the one before it.
        noise[-_BLOCK:] = _box_muller(_uniform32(generator, _BLOCK))
    return noise


def _box_muller(uniform: NDArray[np.float32]) -> NDArray[np.float32]:
    """In each block of 16, the first half gives radii and the second half angles."""
    first, second = uniform.reshape(-1, 2, _BLOCK // 2).swapaxes(0, 1)
    radius = np.sqrt(-2 * np.log((1 - first).astype(np.float64)).astype(np.float32))
    angle = (_TWO_PI * second).astype(np.float64)
    noise = [radius * np.cos(angle).astype(np.float32), radius * np.sin(angle).astype(np.float32)]
    return np.stack(noise, axis=1).reshape(-1)


def _short(generator: np.random.RandomState, size: int) -> NDArray[np.float32]:
    """Fewer than 16 numbers are drawn in pairs, in double precision."""
    uniform = _uniform64(generator, size + size % 2)
    radius, angle = np.sqrt(-2 * np.log1p(-uniform[1::2])), 2 * math.pi * uniform[::2]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:size].astype(np.float32)


def _uniform32(generator: np.random.RandomState, size: int) -> NDArray[np.float32]:
    words = generator.randint(0, 2**32, size, np.uint32)
    return (words & np.uint32(2**24 - 1)).astype(np.float32) * np.float32(2**-24)


def _uniform64(generator: np.random.RandomState, size: int) -> NDArray[np.float64]:
    high, low = generator.randint(0, 2**32, 2 * size, np.uint32).astype(np.uint64).reshape(-1, 2).T
    return ((high << np.uint64(32) | low) & np.uint64(2**53 - 1)).astype(np.float64) * 2.0**-53
