"""A batch of rows in a GPU's memory: between two calls of the UNet nothing but a few numbers a step crosses the bus."""

import numpy as np
from numpy.typing import NDArray

from engine.row_kernels import ROW_STEP, Floats, advance_on_device
from engine.row_memory import RowShapes
from engine.runtimes.cuda import Stream
from engine.runtimes.device_buffer import DeviceArray, DeviceBuffer

_FLOAT = np.dtype(np.float32)


class DeviceRows:
    """Buffers that the row kernels and the UNet share, on the UNet's stream; see `RowMemory`.

    Every number of rows is the front part of the same buffers, so that graphs may keep their addresses.
    """

    def __init__(self, shapes: RowShapes, stream: Stream) -> None:
        self._shapes = shapes
        self._stream = stream
        stream.use()
        self._sample = DeviceBuffer((shapes.rows, *shapes.latents), _FLOAT)
        self._timestep = DeviceBuffer((shapes.rows,), _FLOAT)
        self._encoder_hidden_states = DeviceBuffer((shapes.rows, *shapes.prompt), _FLOAT)
        self._latents = DeviceBuffer((shapes.slots, *shapes.latents), _FLOAT)
        self._x0 = DeviceBuffer((shapes.slots, *shapes.latents), _FLOAT)
        self._steps = DeviceBuffer((shapes.slots,), ROW_STEP)
        for buffer in (self._sample, self._timestep, self._encoder_hidden_states, self._latents, self._x0):
            buffer.host[:] = 0
            buffer.upload(stream)

    def start(self, slot: int, latents: Floats) -> None:
        """See `RowMemory`."""
        self._write(self._latents, slot, latents)
        self._write(self._x0, slot, 0)

    def fill(self, row: int, embedding: Floats | None) -> None:
        """See `RowMemory`."""
        self._write(self._encoder_hidden_states, row, 0 if embedding is None else embedding)
        if embedding is None:
            self._write(self._sample, row, 0)
            self._write(self._timestep, row, 0)

    def advance(self, out_sample: DeviceArray | None, steps: NDArray[np.void]) -> None:
        """See `RowMemory`; returns before it is done, but what follows on the stream waits for it."""
        if len(steps) == 0:
            return
        # What the kernel reads last time's steps from is being rewritten.
        self._stream.wait()
        self._steps.host[: len(steps)] = steps
        self._steps.upload(self._stream, stop=len(steps))
        advance_on_device(
            self._stream,
            0 if out_sample is None else out_sample.address,
            *(buffer.address for buffer in (self._sample, self._timestep, self._latents, self._x0, self._steps)),
            size=self._shapes.size,
            count=len(steps),
        )

    def inputs(self, rows: int) -> dict[str, DeviceArray]:
        """See `RowMemory`."""
        return {
            "sample": self._sample.front(rows),
            "timestep": self._timestep.front(rows),
            "encoder_hidden_states": self._encoder_hidden_states.front(rows),
        }

    def latents(self, slot: int) -> Floats:
        """See `RowMemory`."""
        return self._read(self._latents, slot)

    def x0(self, slot: int) -> Floats:
        """See `RowMemory`."""
        return self._read(self._x0, slot)

    def _write(self, buffer: DeviceBuffer, index: int, values: Floats | int) -> None:
        # An earlier copy from this place may be under way.
        self._stream.wait()
        buffer.host[index] = values
        buffer.upload(self._stream, index, index + 1)

    def _read(self, buffer: DeviceBuffer, index: int) -> Floats:
        buffer.download(self._stream, index, index + 1)
        self._stream.wait()
        return np.array(buffer.host[index])
