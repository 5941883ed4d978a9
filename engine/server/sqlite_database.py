"""One SQLite file: one connection that writes, many that read, and errors with names.

WAL lets readers go on while somebody writes; synchronous = FULL makes a commit survive a power failure.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from engine.errors import OutputError
from engine.server.disk import free_bytes, is_full
from engine.server.store_errors import DiskFull, StoreError

_BUSY_TIMEOUT_S = 10.0
_NO_ROOM_BYTES = 2**20


class SqliteDatabase:
    """Threads share it: writes wait for each other, reads wait for nobody."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._pool_lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        with storage_errors(path):
            self.writer = connect(path)

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is on disk afterwards, or, after an exception, nothing."""
        with self.lock, storage_errors(self.path):
            self.writer.execute("BEGIN IMMEDIATE")
            try:
                yield self.writer
                self.writer.execute("COMMIT")
            except BaseException:
                if self.writer.in_transaction:  # SQLite ends it itself after some errors of the disk
                    self.writer.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that nobody else uses meanwhile; all that is read in it belongs together."""
        with storage_errors(self.path):
            connection = self._reader()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._give_back(connection)

    def close(self) -> None:
        """Close all connections; the last one folds the write-ahead log into the file."""
        with self.lock, self._pool_lock:
            self._closed = True
            while self._idle:
                self._idle.pop().close()
            self.writer.close()

    def _reader(self) -> sqlite3.Connection:
        with self._pool_lock:
            if self._closed:
                raise StoreError(f"{self.path} is closed already")
            if self._idle:
                return self._idle.pop()
        connection = connect(self.path)
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._pool_lock:
            if self._closed:
                connection.close()
            else:
                self._idle.append(connection)


def connect(path: Path) -> sqlite3.Connection:
    """Open a database that any thread may use; transactions are begun and ended in words."""
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # what a user deletes is overwritten, not only forgotten
    return connection


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the disk and SQLite say into DiskFull and StoreError."""
    try:
        yield
    except (sqlite3.Error, OSError, OutputError) as error:
        if _no_room(error, path):
            raise DiskFull(f"the disk of {path} is full; delete something there, or use a larger one") from error
        raise StoreError(f"{path} cannot be used: {error}; run hiper-serve check") from error


def _no_room(error: Exception, path: Path) -> bool:
    name: str = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_IOERR"):  # the file of shared memory, for one, fails so on a full disk
        return free_bytes(path.parent) < _NO_ROOM_BYTES
    return name == "SQLITE_FULL" or is_full(error) or is_full(error.__cause__)
