"""Where the numbers of a batch of rows lie: on the host, or beside the UNet on a GPU."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.row_kernels import Floats, RowArrays, advance, has_cuda_kernels
from engine.runtimes import Network
from engine.runtimes.device_network import DeviceNetwork


class RowShapes(NamedTuple):
    """How large a batch is.

    Attributes:
        latents: of one edit, (4, h, w).
        prompt: (77, dim).
        rows: that a call has at most.
        slots: edits that can be under way.
    """

    latents: tuple[int, int, int]
    prompt: tuple[int, int]
    rows: int
    slots: int

    @property
    def size(self) -> int:
        """Numbers of one row."""
        return math.prod(self.latents)


class RowMemory(Protocol):
    """The numbers of a batch; what it gives to the UNet, and takes from it, are arrays of its own kind."""

    def start(self, slot: int, latents: Floats) -> None:
        """Put an edit's first latents into a slot."""

    def fill(self, row: int, embedding: Floats | None) -> None:
        """Put an embedding into a row; None makes the row zeros."""

    def advance(self, out_sample: Any, steps: NDArray[np.void]) -> None:
        """Take the solver steps and write the next rows; see `engine.row_kernels.advance`.

        Args:
            out_sample: the UNet's answer to the last inputs; None where there was no call.
            steps: entries of ROW_STEP, one for each edit that leaves, stays or joins.
        """

    def inputs(self, rows: int) -> dict[str, Any]:
        """The UNet's inputs with so many rows, valid until the next `advance`."""

    def latents(self, slot: int) -> Floats:
        """A copy of an edit's latents, (4, h, w)."""

    def x0(self, slot: int) -> Floats:
        """A copy of the clean latents as an edit's last step estimated them, (4, h, w)."""


class HostRows:
    """NumPy arrays."""

    def __init__(self, shapes: RowShapes) -> None:
        self._shapes = shapes
        self._arrays = RowArrays(
            sample=np.zeros((shapes.rows, shapes.size), np.float32),
            timestep=np.zeros(shapes.rows, np.float32),
            latents=np.zeros((shapes.slots, shapes.size), np.float32),
            x0=np.zeros((shapes.slots, shapes.size), np.float32),
        )
        self._encoder_hidden_states = np.zeros((shapes.rows, *shapes.prompt), np.float32)

    def start(self, slot: int, latents: Floats) -> None:
        """See `RowMemory`."""
        self._arrays.latents[slot] = latents.reshape(-1)
        self._arrays.x0[slot] = 0

    def fill(self, row: int, embedding: Floats | None) -> None:
        """See `RowMemory`."""
        if embedding is not None:
            self._encoder_hidden_states[row] = embedding
        else:
            for array in (self._encoder_hidden_states, self._arrays.sample, self._arrays.timestep):
                array[row] = 0

    def advance(self, out_sample: Floats | None, steps: NDArray[np.void]) -> None:
        """See `RowMemory`."""
        size = self._shapes.size
        answer = np.empty((0, size), np.float32) if out_sample is None else out_sample.reshape(-1, size)
        advance(self._arrays, answer, steps)

    def inputs(self, rows: int) -> dict[str, Floats]:
        """See `RowMemory`."""
        return {
            "sample": self._arrays.sample[:rows].reshape(rows, *self._shapes.latents),
            "timestep": self._arrays.timestep[:rows],
            "encoder_hidden_states": self._encoder_hidden_states[:rows],
        }

    def latents(self, slot: int) -> Floats:
        """See `RowMemory`."""
        return np.array(self._arrays.latents[slot].reshape(self._shapes.latents))

    def x0(self, slot: int) -> Floats:
        """See `RowMemory`."""
        return np.array(self._arrays.x0[slot].reshape(self._shapes.latents))


class Place(NamedTuple):
    """Where rows lie beside a UNet.

    Attributes:
        memory: makes it.
        call: calls the UNet on what such memory gives, and returns what it takes.
        on_gpu: whether it is a GPU's.
    """

    memory: Callable[[RowShapes], RowMemory]
    call: Callable[[dict[str, Any]], Mapping[str, Any]]
    on_gpu: bool


def place_beside(unet: Network) -> Place:
    """The place for a UNet's rows: its GPU if there are kernels to change them there, and else the host."""
    if isinstance(unet, DeviceNetwork) and has_cuda_kernels():
        from engine.device_rows import DeviceRows

        return Place(partial(DeviceRows, stream=unet.stream), unet.run_in_place, on_gpu=True)
    return Place(HostRows, unet, on_gpu=False)
