"""How much room there is, and what an error says about it."""

import errno
import shutil
from pathlib import Path

from engine.server.store_errors import DiskFull


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written on the disk of `folder`."""
    return shutil.disk_usage(folder).free


def require_free(folder: Path, floor_bytes: int) -> None:
    """Refuse early, while there is room for what was accepted already.

    Raises:
        DiskFull: less than `floor_bytes` are free.
    """
    free = free_bytes(folder)
    if free < floor_bytes:
        raise DiskFull(
            f"the disk of {folder} has {free // 2**20} MiB left, at least {floor_bytes // 2**20} MiB are to stay free; "
            "delete something there, or move the data folder to a larger disk"
        )


def is_full(error: BaseException | None) -> bool:
    """Whether an error of the operating system means that there is no space, or no quota, left."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
