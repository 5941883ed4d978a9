"""The C++ row kernels on NumPy arrays, and the CUDA kernels on device addresses; see engine/native/rows.h."""

import numpy as np
from numpy.typing import NDArray

def advance(
    out_sample: NDArray[np.float32],
    sample: NDArray[np.float32],
    timestep: NDArray[np.float32],
    latents: NDArray[np.float32],
    x0: NDArray[np.float32],
    steps: NDArray[np.uint8],
) -> None: ...
def to_pixels(image: NDArray[np.float32], pixels: NDArray[np.uint8]) -> None: ...
def cuda_status() -> str: ...
def cuda_available() -> bool: ...
def cuda_advance(
    out_sample: int,
    sample: int,
    timestep: int,
    latents: int,
    x0: int,
    steps: int,
    size: int,
    count: int,
    stream: int,
) -> None: ...
