"""What the store asks of a database: transactions, in the SQL that SQLite (3.37 or newer) and PostgreSQL share.

Placeholders are `?` and `:name`. Types and rows are as SQLite's: columns are found by number and by name.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Row(Protocol):
    """A row of an answer, whose columns have numbers and names."""

    def __getitem__(self, key: Any, /) -> Any:
        """A column, by its number or name."""

    def __iter__(self) -> Iterator[Any]:
        """All columns, in order."""

    def keys(self) -> Sequence[str]:
        """The names of the columns."""


class Rows(Protocol):
    """An answer."""

    @property
    def rowcount(self) -> int:
        """How many rows a statement has changed."""

    def fetchone(self) -> Any:
        """The next row; None after the last one."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """Row after row."""


class Connection(Protocol):
    """A transaction that is under way."""

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), /) -> Rows:
        """Run a statement."""


class Database(Protocol):
    """Threads share it. Whatever goes wrong in it is a StoreError, for a disk without room a DiskFull."""

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction of the one who may write: all of it is on disk afterwards, or, after an exception, nothing."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction whose reads belong together; it waits for no writer."""

    def close(self) -> None:
        """Close all connections."""
