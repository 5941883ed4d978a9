"""How far two pictures are from each other."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

BEST_PSNR_DB: Final = 100.0


def psnr_db(found: NDArray[Any], expected: NDArray[Any], span: float = 255) -> float:
    """Peak signal-to-noise ratio in dB, at most 100; 0 for pictures of different sizes.

    Args:
        found: one or several pictures, of any layout.
        expected: likewise.
        span: from black to white; 255 for pixels, 2 for images in [-1, 1].
    """
    if found.shape != expected.shape:
        return 0.0
    error = float(np.square(found.astype(np.float64) - expected).mean())
    return BEST_PSNR_DB if error == 0 else min(BEST_PSNR_DB, float(10 * np.log10(span**2 / error)))
