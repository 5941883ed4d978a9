"""Looks for damage in stored data; changes nothing."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.errors import TailError
from engine.server import schema
from engine.server.database import Connection, Row
from engine.server.fit_table import FIT_COLUMNS, fit_row
from engine.server.sqlite_database import storage_errors
from engine.server.store_errors import PictureMissing, StoreError
from engine.tail_file import parse_tail_file


def check_folder(database: Path, images: Path) -> list[str]:
    """What is wrong with a data folder, a sentence each.

    Args:
        database: SQLite's file.
        images: the folder of the pictures.
    """
    if not database.is_file():
        return [f"{database.parent} has no {database.name}; it is no data folder, or lost its data"]
    try:
        with storage_errors(database):
            connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)
            connection.row_factory = sqlite3.Row
            try:
                return list(_folder_problems(connection, images))
            finally:
                connection.close()
    except StoreError as error:
        return [str(error)]


def content_problems(connection: Connection, picture: Callable[[str], bytes]) -> Iterator[str]:
    """What is wrong with tails, fits and pictures, wherever they lie.

    Args:
        connection: to tables of this version.
        picture: reads one, given its SHA-256; raises PictureMissing where there is none.
    """
    yield from _tail_problems(connection)
    yield from _fit_problems(connection)
    for sha256 in sorted(schema.referred_images(connection)):
        yield from _image_problems(sha256, picture)


def _folder_problems(connection: sqlite3.Connection, images: Path) -> Iterator[str]:
    for [message] in connection.execute("PRAGMA integrity_check"):
        if message != "ok":
            yield f"the database is damaged: {message}"
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"row {row} of {table} refers to a row of {parent} that is missing"
    if schema.version(connection) != len(schema.MIGRATIONS):
        yield f"the data is of version {schema.version(connection)} instead of {len(schema.MIGRATIONS)}"
        return

    def picture(sha256: str) -> bytes:
        try:
            return (images / f"{sha256}.png").read_bytes()
        except FileNotFoundError as error:
            raise PictureMissing(f"{images} has no {sha256}.png") from error

    yield from content_problems(connection, picture)


def _tail_problems(connection: Connection) -> Iterator[str]:
    for row in _each(connection, "tails", "id, digest, data"):
        try:
            if parse_tail_file(row["data"]).digest != row["digest"]:
                yield f"{row['id']} has another digest than its file"
        except TailError as error:
            yield f"{row['id']} is damaged: {error}"


def _fit_problems(connection: Connection) -> Iterator[str]:
    for row in _each(connection, "fits", FIT_COLUMNS):
        try:
            fit = fit_row(row)
        except (ValueError, TypeError) as error:  # msgspec's errors are ValueErrors
            yield f"{row['id']} is damaged: {error}"
            continue
        if (fit.state == "succeeded") != (fit.tail_id is not None):
            yield f"{fit.id} is {fit.state} but its tail is {fit.tail_id}"


def _each(connection: Connection, table: str, columns: str) -> Iterator[Row]:
    """Row after row, since all of them at once may be more than the memory holds."""
    for [id] in connection.execute(f"SELECT id FROM {table} ORDER BY seq").fetchall():
        row = connection.execute(f"SELECT {columns} FROM {table} WHERE id = ?", (id,)).fetchone()
        if row is not None:  # else it was deleted just now
            yield row


def _image_problems(sha256: str, picture: Callable[[str], bytes]) -> Iterator[str]:
    try:
        if hashlib.sha256(picture(sha256)).hexdigest() != sha256:
            yield f"picture {sha256} is damaged"
    except PictureMissing:
        yield f"picture {sha256} is missing"
