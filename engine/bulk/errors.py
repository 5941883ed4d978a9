"""What can end a run of `hiper-bulk`."""

from collections.abc import Sequence
from typing import Final

from engine.errors import HiPerError

_MOST: Final = 50


def listed(problems: Sequence[str]) -> str:
    """The first of many problems, a line each, and how many there are besides."""
    more = [f"and {len(problems) - _MOST} more"] if len(problems) > _MOST else []
    return "\n  ".join([*problems[:_MOST], *more])


class TableError(HiPerError):
    """A table cannot be read, or has rows that cannot be done; the first 50 are named."""

    exit_code = 24


class FolderError(HiPerError):
    """The results' folder is in use, belongs to another run, or holds what no run of ours has made."""

    exit_code = 25


class RowsFailedError(HiPerError):
    """Everything was tried, and some rows failed."""

    exit_code = 26


class WorkerError(HiPerError):
    """No row can be done: the workers cannot start."""

    exit_code = 27
