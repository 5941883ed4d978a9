"""The arithmetic between two calls of the UNet: C++ where it was built, NumPy where it was not, equal bit by bit.

`advance_numpy` and `to_pixels_numpy` are the oracle of the kernels in engine/native.
"""

from dataclasses import dataclass
from typing import Final, SupportsInt

import numpy as np
from numpy.typing import NDArray

try:
    from engine import _native
except ImportError as error:
    _MISSING: str | None = str(error)
else:
    _MISSING = None

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

NONE: Final = -1

# One edit's part of the work, as engine/native/rows.h lays it out: rows are NONE where the edit has no such row, and
# the slot is NONE where there is no edit.
ROW_STEP: Final = np.dtype(
    [
        *((name, np.int32) for name in ("slot", "cond_row", "uncond_row", "next_cond_row", "next_uncond_row")),
        *((name, np.float32) for name in ("guidance_scale", "p_x", "p_m", "k_x", "k_0", "k_1", "next_timestep")),
    ]
)


@dataclass(frozen=True, eq=False)
class RowArrays:
    """The numbers behind a batch; all are C-contiguous and written in place.

    Attributes:
        sample: the UNet's next input, (rows, size).
        timestep: of each row, (rows,).
        latents: of each edit, (slots, size).
        x0: the clean latents as each edit last estimated them, (slots, size).
    """

    sample: Floats
    timestep: Floats
    latents: Floats
    x0: Floats


def native_status() -> str:
    """Say in words which kernels do the work here, and what would give better ones."""
    if _MISSING is not None:
        return f"NumPy does the rows' arithmetic ({_MISSING}); install a C++ compiler, then HiPer again"
    return f"C++ does the rows' arithmetic, {_native.cuda_status()}"


def advance(arrays: RowArrays, out_sample: Floats, steps: NDArray[np.void]) -> None:
    """Take every edit's solver step and write its next rows; an edit reads and writes nothing of another.

    Args:
        arrays: changed in place.
        out_sample: the UNet's answer, (rows of that call, size).
        steps: entries of ROW_STEP, one for each edit that leaves, stays or joins.
    """
    if _MISSING is None:
        _native.advance(out_sample, arrays.sample, arrays.timestep, arrays.latents, arrays.x0, steps.view(np.uint8))
    else:
        advance_numpy(arrays, out_sample, steps)


def has_cuda_kernels() -> bool:
    """Whether the kernels were built for a GPU, and there is one."""
    return _MISSING is None and _native.cuda_available()


def advance_on_device(
    stream: SupportsInt,
    out_sample: int,
    sample: int,
    timestep: int,
    latents: int,
    x0: int,
    steps: int,
    *,
    size: int,
    count: int,
) -> None:
    """Do the work of `advance` on a GPU, on addresses of its memory; returns before it is done.

    Args:
        stream: of CUDA; its GPU is this thread's.
        out_sample: likewise all that follow, see `advance` and `RowArrays`.
        sample: written.
        timestep: written.
        latents: changed.
        x0: changed.
        steps: entries of ROW_STEP.
        size: numbers of a row.
        count: of steps.

    Raises:
        RuntimeError: CUDA refused the launch.
    """
    _native.cuda_advance(out_sample, sample, timestep, latents, x0, steps, size, count, int(stream))


def to_pixels(image: Floats) -> Pixels:
    """Turn images (images, 3, height, width) in [-1, 1] into (images, height, width, 3) 8 bits; NaN becomes 0."""
    if _MISSING is not None:
        return to_pixels_numpy(image)
    images, _, height, width = image.shape
    pixels = np.empty((images, height * width, 3), np.uint8)
    _native.to_pixels(image.reshape(images, 3, -1), pixels)
    return pixels.reshape(images, height, width, 3)


def advance_numpy(arrays: RowArrays, out_sample: Floats, steps: NDArray[np.void]) -> None:
    """Do the work of `advance`, in the order in which the kernels do it."""
    with np.errstate(all="ignore"):
        for step in steps[steps["slot"] != NONE]:
            if step["cond_row"] != NONE:
                _take_step(arrays, out_sample, step)
            for row in (step["next_cond_row"], step["next_uncond_row"]):
                if row != NONE:
                    arrays.sample[row] = arrays.latents[step["slot"]]
                    arrays.timestep[row] = step["next_timestep"]


def to_pixels_numpy(image: Floats) -> Pixels:
    """Do the work of `to_pixels`."""
    # fmax and fmin return the other argument in place of NaN.
    unit = np.fmin(np.fmax(image * np.float32(0.5) + np.float32(0.5), 0), 1)
    pixels: Pixels = np.rint(unit * np.float32(255)).astype(np.uint8)
    return pixels.transpose(0, 2, 3, 1)


def _take_step(arrays: RowArrays, out_sample: Floats, step: np.void) -> None:
    latents, x0_prev = arrays.latents[step["slot"]], arrays.x0[step["slot"]]
    model_out = out_sample[step["cond_row"]]
    if step["uncond_row"] != NONE:
        uncond = out_sample[step["uncond_row"]]
        model_out = uncond + step["guidance_scale"] * (model_out - uncond)
    x0 = step["p_x"] * latents + step["p_m"] * model_out
    latents[:] = step["k_x"] * latents + step["k_0"] * x0 + step["k_1"] * x0_prev
    x0_prev[:] = x0
