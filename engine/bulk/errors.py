"""What can end a run of `hiper-bulk`."""

from engine.errors import HiPerError


class TableError(HiPerError):
    """A table cannot be read, or has rows that cannot be done; every such row is named."""

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
