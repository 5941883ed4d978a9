"""Static shapes for any number of rows: pads to the next bucket and keeps what was compiled for it."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.runtimes import Network, TensorInfo, check_inputs

BUCKETS: Final = (1, 2, 4, 8, 16, 32)

Shapes = dict[str, tuple[int, ...]]


class BucketedNetwork:
    """A network made of one network per set of input shapes."""

    def __init__(
        self,
        inputs: tuple[TensorInfo, ...],
        outputs: tuple[TensorInfo, ...],
        compile_for: Callable[[Shapes], Network],
        max_compiled: int,
    ) -> None:
        """Take what compiles for given shapes; the least recently used of `max_compiled` results gives way."""
        self.inputs = inputs
        self.outputs = outputs
        self._compile_for = compile_for
        self._max_compiled = max_compiled
        self._compiled: OrderedDict[tuple[tuple[int, ...], ...], Network] = OrderedDict()

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run once; see `Network`. At most as many rows as the largest bucket."""
        check_inputs(self, inputs)
        rows = len(next(iter(inputs.values())))
        padded = {name: _pad(array, bucket_of(rows)) for name, array in inputs.items()}
        outputs = self._network({name: array.shape for name, array in padded.items()})(padded)
        return {name: array[:rows] for name, array in outputs.items()}

    def _network(self, shapes: Shapes) -> Network:
        key = tuple(shapes.values())
        if key not in self._compiled:
            if len(self._compiled) == self._max_compiled:
                self._compiled.popitem(last=False)
            self._compiled[key] = self._compile_for(shapes)
        self._compiled.move_to_end(key)
        return self._compiled[key]


def bucket_of(rows: int) -> int:
    """Return the smallest bucket that holds so many rows.

    Raises:
        ValueError: none does.
    """
    for bucket in BUCKETS:
        if 1 <= rows <= bucket:
            return bucket
    raise ValueError(f"a call has {rows} rows; use 1 to {BUCKETS[-1]}")


def _pad(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """Repeat the last row: it is as harmless as the rows that are wanted."""
    missing = rows - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array
