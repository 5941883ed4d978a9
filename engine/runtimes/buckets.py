"""Static shapes for any number of rows: pads to the next bucket and keeps what was compiled for it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.recent import Recent
from engine.runtimes import Network, TensorInfo, check_inputs

BUCKETS: Final = (1, 2, 4, 8, 16, 32)
_USEFUL: Final = (2, 8, 4, 16, 32)

Shapes = dict[str, tuple[int, ...]]


class BucketedNetwork:
    """A network made of one network per set of input shapes.

    Attributes:
        max_compiled: sets of shapes that it keeps; what is called with more compiles again and again.
    """

    def __init__(
        self,
        inputs: tuple[TensorInfo, ...],
        outputs: tuple[TensorInfo, ...],
        compile_for: Callable[[Shapes], Network],
        max_compiled: int,
    ) -> None:
        """Take what compiles for given shapes; the least recently used of `max_compiled` results gives way."""
        self.max_compiled = max_compiled
        self.inputs = inputs
        self.outputs = outputs
        self._compile_for = compile_for
        self._compiled: Recent[Network] = Recent(max_compiled)

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run once; see `Network`. At most as many rows as the largest bucket."""
        check_inputs(self, inputs)
        rows = len(next(iter(inputs.values())))
        padded = {name: pad(array, bucket_of(rows)) for name, array in inputs.items()}
        shapes = {name: array.shape for name, array in padded.items()}
        network = self._compiled.get(tuple(shapes.values()), lambda: self._compile_for(shapes))
        return {name: array[:rows] for name, array in network(padded).items()}


def choose_buckets(buckets: Sequence[int], most: int) -> list[int]:
    """Of growing buckets, the `most` that are worth most: for one guided edit, for four, then between and above."""
    useful = sorted(buckets, key=lambda rows: _USEFUL.index(rows) if rows in _USEFUL else len(_USEFUL))
    return sorted(useful[:most])


def bucket_of(rows: int) -> int:
    """Return the smallest bucket that holds so many rows.

    Raises:
        ValueError: none does.
    """
    for bucket in BUCKETS:
        if 1 <= rows <= bucket:
            return bucket
    raise ValueError(f"a call has {rows} rows; use 1 to {BUCKETS[-1]}")


def pad(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """Repeat the last row up to so many: it is as harmless as the rows that are wanted."""
    missing = rows - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array
