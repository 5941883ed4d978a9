"""The store's tables in PostgreSQL; their versions are those of SQLite's."""

from collections.abc import Sequence
from typing import Final

from engine.server.database import Connection, Database
from engine.server.postgres_sql import definition
from engine.server.schema import MIGRATIONS, Migration
from engine.server.store_errors import StoreError

# Pictures to which there may be no row: those just put, and those that rows referred to until they were deleted.
_PINS: Final = """
CREATE TABLE pins (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    image TEXT NOT NULL,
    until REAL NOT NULL
)"""

# What only a shared store has, by the version that brought it.
_SHARED: Final[dict[int, Migration]] = {1: (_PINS, "CREATE INDEX pins_by_image ON pins (image)")}
_VERSION: Final = "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"


def version(connection: Connection) -> int:
    """How many migrations were applied."""
    row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
    return int(row[0] or 0)


def migrate(database: Database, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the tables to the newest version, wholly or not at all.

    Raises:
        StoreError: they are of a newer version than is known here, or cannot hold all text.
    """
    with database.writing() as connection:
        _check_encoding(connection)
        connection.execute(definition(_VERSION))
        found, wanted = version(connection), len(migrations)
        if found > wanted:
            raise StoreError(
                f"the data is of version {found}, at most {wanted} is known here; install a newer hiper-serve"
            )
        for number in range(found + 1, wanted + 1):
            for statement in (*migrations[number - 1], *_SHARED.get(number, ())):
                connection.execute(definition(statement))
            connection.execute("INSERT INTO schema_version VALUES (?)", (number,))


def _check_encoding(connection: Connection) -> None:
    [found] = connection.execute("SHOW server_encoding").fetchone()
    if found != "UTF8":
        raise StoreError(f"the database has the encoding {found}; make one with: createdb --encoding=UTF8")
