"""Tables of fits."""

from functools import cache
from pathlib import Path
from typing import Final

from engine.bulk.rows import FitRow, Task, file_digest, read_rows

# As in the API of `hiper-serve`.
_MOST_STEPS: Final = 10_000
_MOST_RATE: Final = 10


def read_fits(path: Path) -> list[Task]:
    """Read a table of fits.

    Raises:
        TableError: naming the rows that cannot be done.
    """
    digest = cache(file_digest)

    def check(row: FitRow) -> str:
        _check(row)
        return digest(row.image)

    return read_rows(path, FitRow, check, {})


def _check(row: FitRow) -> None:
    if not Path(row.image).is_file():
        raise ValueError(f"there is no file {row.image}; paths are relative to the table")
    if not row.prompt.strip():
        raise ValueError("prompt is empty but must describe the image; write a few words, like 'a standing dog'")
    if not 0 <= row.seed < 2**63:
        raise ValueError(f"seed is {row.seed}; use 0 to {2**63 - 1}")
    if row.steps is not None and not 1 <= row.steps <= _MOST_STEPS:
        raise ValueError(f"steps is {row.steps}; use 1 to {_MOST_STEPS}")
    if row.learning_rate is not None and not 0 < row.learning_rate <= _MOST_RATE:
        raise ValueError(f"learning_rate is {row.learning_rate}; use a number above 0, {_MOST_RATE} at most")
