"""The data folder of one server; it survives a crash, a power failure and a full disk.

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
from typing import IO, Final

from engine.server import backup, schema
from engine.server.check import check_folder
from engine.server.folder_pictures import FolderPictures
from engine.server.sqlite_database import SqliteDatabase, storage_errors
from engine.server.store import Store
from engine.server.store_errors import StoreError

DATABASE_NAME: Final = "hiper.db"
IMAGES_NAME: Final = "images"


class FolderStore(Store):
    """A store in a folder.

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
        with contextlib.ExitStack() as stack:
            if alone:
                stack.enter_context(_lock(folder))
            database = stack.enter_context(contextlib.closing(SqliteDatabase(folder / DATABASE_NAME)))
            pictures = FolderPictures(database, folder / IMAGES_NAME)
            super().__init__(database, pictures, clock)
            self._sqlite, self._blobs = database, pictures.blobs
            with storage_errors(folder):
                self._open(alone)
            self._opened = stack.pop_all()

    def close(self) -> None:
        """Close the files and let go of the folder."""
        self._opened.close()

    def backup(self, path: Path) -> None:
        """Copy the data to a new folder."""
        backup.back_up(self._sqlite, self._blobs, path)

    @staticmethod
    def check(folder: Path) -> list[str]:
        """What is wrong with a data folder, a sentence each; nothing is changed."""
        return check_folder(folder / DATABASE_NAME, folder / IMAGES_NAME)

    def _open(self, alone: bool) -> None:
        writer = self._sqlite.writer
        fresh = schema.version(writer) == 0
        if fresh and self._blobs.names():
            raise StoreError(f"{self.folder} has pictures but no data about them; restore hiper.db from a backup")
        if not alone and not fresh and schema.version(writer) != len(schema.MIGRATIONS):
            raise StoreError(
                f"{self.folder} is of another version; start hiper-serve once, which brings it to this one"
            )
        schema.migrate(writer, self.folder / "backups")
        if alone:
            self._blobs.sweep()
            self._pictures.tidy(self._blobs.names())


def _lock(folder: Path) -> IO[bytes]:
    file = open(folder / "lock", "ab")  # noqa: SIM115  the lock is held for as long as it is open
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise StoreError(f"{folder} is in use by another hiper-serve; stop that one, or name another folder") from error
    return file
