"""Who works on a folder: one driver, and the workers of no other driver."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from engine.bulk.errors import FolderError

ORPHANS_S: Final = 60.0
_LOOK_S: Final = 0.1


@contextmanager
def driving(folder: Path) -> Iterator[None]:
    """Be the only driver of a folder, from the moment at which the workers of the last one are gone.

    A lock ends with its process, whatever ends that.

    Raises:
        FolderError: another driver has it, or its workers are not gone after a minute.
    """
    driver, workers = _open(folder / "driver.lock"), _open(folder / "workers.lock")
    try:
        if not _try(driver, fcntl.LOCK_EX):
            raise FolderError(f"{folder.parent} is in use by another hiper-bulk; wait for it, or name another folder")
        end = time.monotonic() + ORPHANS_S
        while not _try(workers, fcntl.LOCK_EX):
            if time.monotonic() > end:
                found = f"workers of an earlier hiper-bulk still write to {folder.parent}"
                raise FolderError(f"{found}; end them, or name another folder")
            time.sleep(_LOOK_S)
        fcntl.flock(workers, fcntl.LOCK_UN)
        yield
    finally:
        os.close(workers)
        os.close(driver)


def work(folder: Path) -> None:
    """Count as a worker on a folder until this process ends; waits while a driver looks what is done.

    Raises:
        OSError: the disk knows no locks.
    """
    fcntl.flock(_open(folder / "workers.lock"), fcntl.LOCK_SH)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only one to tie a folder to something; waits for others.

    Raises:
        OSError: the disk knows no locks.
    """
    tie = _open(folder / "tie.lock")
    try:
        fcntl.flock(tie, fcntl.LOCK_EX)
        yield
    finally:
        os.close(tie)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


def _try(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
