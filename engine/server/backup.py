"""Copies a data folder that is in use."""

import os
import secrets
import shutil
import sqlite3
from pathlib import Path

from engine.server.blobs import Blobs
from engine.server.schema import referred_images
from engine.server.sqlite_database import SqliteDatabase, storage_errors
from engine.server.store_errors import StoreError

_FREE_ROUNDS = 5


def back_up(database: SqliteDatabase, blobs: Blobs, path: Path) -> None:
    """Make a folder at `path` that has the database and every picture it refers to; it appears there when it is whole.

    Raises:
        StoreError: something is at `path`, or it cannot be written.
    """
    if path.exists():
        raise StoreError(f"{path} exists; name a new folder for the backup")
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with storage_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.mkdir(mode=0o700)
            _copy(database, blobs, unfinished)
            os.replace(unfinished, path)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _copy(database: SqliteDatabase, blobs: Blobs, target: Path) -> None:
    """Copy until the pictures belong to the data: one may have been deleted between the copies of the two."""
    copied = Blobs(target / blobs.folder.name)
    for _ in range(_FREE_ROUNDS):
        if _is_whole(database, blobs, target / database.path.name, copied):
            return
    with database.writing():  # nothing is deleted meanwhile
        if not _is_whole(database, blobs, target / database.path.name, copied):
            raise StoreError(f"pictures of {database.path} are missing; run hiper-serve check")


def _is_whole(database: SqliteDatabase, blobs: Blobs, path: Path, copied: Blobs) -> bool:
    """Copy the database to `path` and what it refers to into `copied`; whether that has all of it."""
    wanted = _copy_database(database, path)
    for sha256 in wanted - copied.names():
        if blobs.has(sha256):
            _copy_file(blobs.path(sha256), copied.path(sha256))
    if not wanted <= copied.names():
        return False
    copied.remove(copied.names() - wanted)
    return True


def _copy_database(database: SqliteDatabase, path: Path) -> set[str]:
    path.unlink(missing_ok=True)
    copy = sqlite3.connect(path)
    try:
        with database.reading() as connection:
            connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, until a server opens it
        return referred_images(copy)
    finally:
        copy.close()


def _copy_file(source: Path, target: Path) -> None:
    try:
        data = source.read_bytes()
    except FileNotFoundError:  # deleted just now
        return
    with open(target, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
