"""Tables of fits."""

from pathlib import Path

from engine.bulk.rows import FitRow, Task, mark, read_rows


def read_fits(path: Path) -> list[Task]:
    """Read a table of fits.

    Raises:
        TableError: naming all rows that cannot be done.
    """
    return [Task(row, mark(row)) for row in read_rows(path, FitRow, _check, {})]


def _check(row: FitRow) -> None:
    if not Path(row.image).is_file():
        raise ValueError(f"there is no file {row.image}; paths are relative to the table")
    if not row.prompt.strip():
        raise ValueError("prompt is empty but must describe the image; write a few words, like 'a standing dog'")
    if not 0 <= row.seed < 2**63:
        raise ValueError(f"seed is {row.seed}; use 0 to {2**63 - 1}")
    if row.steps is not None and row.steps < 1:
        raise ValueError(f"steps is {row.steps}; use 1 or more")
    if row.learning_rate is not None and not row.learning_rate > 0:
        raise ValueError(f"learning_rate is {row.learning_rate}; use a number above 0")
