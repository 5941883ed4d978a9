"""The data folder: keys, tails, fits and pictures that survive a crash, a power failure and a full disk.

hiper.db        SQLite: keys, tails (their files included), fits, checkpoints, events
images/         pictures, canonical PNGs named by their SHA-256
backups/        the database as it was before a newer version changed its tables
lock            held by the server that uses the folder
"""

import contextlib
import fcntl
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from engine.server import backup, schema
from engine.server.check import check_folder
from engine.server.database import storage_errors
from engine.server.fit_queue import FitQueue
from engine.server.key_table import KeyTable
from engine.server.store_errors import StoreError
from engine.server.tail_table import TailTable


class Store(KeyTable, TailTable, FitQueue):
    """All parts together. Every method may be called in any thread, and may wait for the disk.

    What a method has returned is on disk. Where the disk is full it raises DiskFull, where the folder cannot be used
    StoreError, and nothing is half written; reading goes on.

    Args:
        folder: made if it is missing.
        alone: take the folder's lock and tidy up. False opens the folder beside a server that runs, or none, to manage
            keys and make backups.
        clock: seconds since the epoch.

    Raises:
        StoreError: another server uses the folder, or it is of another version.
    """

    def __init__(self, folder: Path, *, alone: bool = True, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        with storage_errors(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_file = _lock(folder) if alone else None
        try:
            super().__init__(folder, clock)
            with storage_errors(folder):
                self._open(alone)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the files and let go of the folder."""
        with contextlib.suppress(AttributeError):  # it was not opened
            self._database.close()
        if self._lock_file is not None:
            self._lock_file.close()

    def put_image(self, png: bytes) -> str:
        """Keep a picture for the fit or tail that is stored next, and return its SHA-256."""
        return self._blobs.put(png)

    def image(self, sha256: str) -> bytes:
        """A picture, a PNG.

        Raises:
            StoreError: there is none of that name.
        """
        return self._blobs.get(sha256)

    def backup(self, path: Path) -> None:
        """Copy the data to a new folder, from which a server can start; writing goes on meanwhile.

        Raises:
            StoreError: there is something at `path`, or it cannot be written.
        """
        backup.back_up(self._database, self._blobs, path)

    @staticmethod
    def check(folder: Path) -> list[str]:
        """What is wrong with a data folder, a sentence each; nothing is changed."""
        return check_folder(folder)

    def _open(self, alone: bool) -> None:
        fresh = schema.version(self._database.writer) == 0
        if fresh and self._blobs.names():
            raise StoreError(f"{self.folder} has pictures but no data about them; restore hiper.db from a backup")
        if not alone and not fresh and schema.version(self._database.writer) != len(schema.MIGRATIONS):
            raise StoreError(
                f"{self.folder} is of another version; start hiper-serve once, which brings it to this one"
            )
        schema.migrate(self._database.writer, self.folder / "backups")
        if alone:
            self._blobs.sweep()
            self._remove_unreferred(self._blobs.names())


def _lock(folder: Path) -> IO[bytes]:
    file = open(folder / "lock", "ab")  # noqa: SIM115  the lock is held for as long as it is open
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise StoreError(f"{folder} is in use by another hiper-serve; stop that one, or name another folder") from error
    return file
