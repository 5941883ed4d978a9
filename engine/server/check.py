"""Looks for damage in a data folder; changes nothing."""

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from engine.errors import TailError
from engine.server import schema
from engine.server.database import storage_errors
from engine.server.fit_table import FIT_COLUMNS, fit_row
from engine.server.store_errors import StoreError
from engine.server.tables import DATABASE_NAME, IMAGES_NAME
from engine.tail_file import parse_tail_file


def check_folder(folder: Path) -> list[str]:
    """What is wrong, a sentence each."""
    if not (folder / DATABASE_NAME).is_file():
        return [f"{folder} has no {DATABASE_NAME}; it is no data folder, or lost its data"]
    try:
        with storage_errors(folder / DATABASE_NAME):
            connection = sqlite3.connect(f"{(folder / DATABASE_NAME).resolve().as_uri()}?mode=ro", uri=True)
            connection.row_factory = sqlite3.Row
            try:
                return list(_problems(connection, folder / IMAGES_NAME))
            finally:
                connection.close()
    except StoreError as error:
        return [str(error)]


def _problems(connection: sqlite3.Connection, images: Path) -> Iterator[str]:
    for [message] in connection.execute("PRAGMA integrity_check"):
        if message != "ok":
            yield f"the database is damaged: {message}"
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield f"row {row} of {table} refers to a row of {parent} that is missing"
    if schema.version(connection) != len(schema.MIGRATIONS):
        yield f"the data is of version {schema.version(connection)} instead of {len(schema.MIGRATIONS)}"
        return
    yield from _tail_problems(connection)
    yield from _fit_problems(connection)
    for sha256 in sorted(schema.referred_images(connection)):
        yield from _image_problems(images / f"{sha256}.png", sha256)


def _tail_problems(connection: sqlite3.Connection) -> Iterator[str]:
    for row in connection.execute("SELECT id, digest, data FROM tails"):
        try:
            if parse_tail_file(row["data"]).digest != row["digest"]:
                yield f"{row['id']} has another digest than its file"
        except TailError as error:
            yield f"{row['id']} is damaged: {error}"


def _fit_problems(connection: sqlite3.Connection) -> Iterator[str]:
    for row in connection.execute(f"SELECT {FIT_COLUMNS} FROM fits"):
        try:
            fit = fit_row(row)
        except (ValueError, TypeError) as error:  # msgspec's errors are ValueErrors
            yield f"{row['id']} is damaged: {error}"
            continue
        if (fit.state == "succeeded") != (fit.tail_id is not None):
            yield f"{fit.id} is {fit.state} but its tail is {fit.tail_id}"


def _image_problems(path: Path, sha256: str) -> Iterator[str]:
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            yield f"picture {sha256} is damaged"
    except FileNotFoundError:
        yield f"picture {sha256} is missing"
