"""PostgreSQL, for several servers: as with SQLite there is one writer at a time, and many that read."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.string import StrDumperUnknown

from engine.server import postgres_sql
from engine.server.database import Connection, Rows
from engine.server.store_errors import DiskFull, StoreError

MAX_CONNECTIONS: Final = 16
_PATIENCE_S: Final = 10.0

# A network that swallows packets, or a server that hangs, must not hold everybody up.
_CONNECT: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "client_encoding": "utf8",
    "application_name": "hiper-serve",
}
_SET_UP: Final = """
    SET lock_timeout = '10s';
    SET statement_timeout = '30s';
    SET idle_in_transaction_session_timeout = '30s';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""

# Not repeatable read: what is read must be newer than the lock, for which one may have to wait.
_WRITE: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_LOCK: Final = "SELECT CAST(extract(epoch FROM clock_timestamp()) AS float8) FROM pg_advisory_xact_lock(4981357240)"


class PostgresDatabase:
    """Threads share it.

    Every transaction that writes begins by taking one lock, on all servers the same, and so is alone; what is true of
    transactions in SQLite is then true here.

    Args:
        url: postgresql://..., or another connection string of libpq; never shown.

    Attributes:
        place: what may be shown of the address.
        skew_s: how far the database's clock is ahead of this machine's, as of the last transaction that wrote.
    """

    def __init__(self, url: str) -> None:
        self._parameters = _parse(url)
        self.place = _place(self._parameters)
        self.skew_s = 0.0
        self._writer = threading.Lock()
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._pool_lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._closed = False

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction of the one who may write."""
        with self._waited(self._writer), self._transaction(_WRITE) as connection:
            [now] = connection.execute(_LOCK).fetchone()
            self.skew_s = now - time.time()
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction whose reads belong together."""
        with self._transaction(_READ) as connection:
            yield connection

    def connect(self) -> "psycopg.Connection[Row]":
        """A connection of one's own, which is not in a transaction."""
        with self.errors():
            connection = psycopg.connect(autocommit=True, row_factory=_named, **self._parameters)
            connection.adapters.register_dumper(str, _TextDumper)
            connection.execute(_SET_UP)
            return connection

    def close(self) -> None:
        """Close all connections, those in use as soon as they are given back."""
        with self._pool_lock:
            self._closed = True
            while self._idle:
                self._idle.pop().close()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what PostgreSQL says into DiskFull and StoreError."""
        try:
            yield
        except psycopg.errors.DiskFull as error:
            raise DiskFull(f"the disk of {self.place} is full; make room there") from error
        except psycopg.Error as error:
            found = str(error).partition("\n")[0]
            raise StoreError(f"{self.place} cannot be used: {found}; see to it, and to store_url") from error

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator["_Connection"]:
        with self._waited(self._room), self.errors():
            connection = self._begun(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                self._give_back(connection)

    def _begun(self, begin: str) -> "_Connection":
        """A connection in a new transaction: a new one, where one died while it was idle, as all may have then."""
        idle = self._take()
        if idle is not None:
            try:
                idle.execute(begin)
                return idle
            except psycopg.OperationalError:
                idle.close()
                self._drop_idle()
        fresh = _Connection(self.connect())
        fresh.execute(begin)
        return fresh

    def _take(self) -> "_Connection | None":
        with self._pool_lock:
            if self._closed:
                raise StoreError(f"{self.place} is closed already")
            return self._idle.pop() if self._idle else None

    def _drop_idle(self) -> None:
        with self._pool_lock:
            while self._idle:
                self._idle.pop().close()

    def _give_back(self, connection: "_Connection") -> None:
        usable = connection.end()
        with self._pool_lock:
            if usable and not self._closed:
                self._idle.append(connection)
            else:
                connection.close()

    @contextlib.contextmanager
    def _waited(self, lock: "threading.Lock | threading.Semaphore") -> Iterator[None]:
        if not lock.acquire(timeout=_PATIENCE_S):
            raise StoreError(f"{self.place} did not answer in {_PATIENCE_S:.0f} s; see whether it is overloaded")
        try:
            yield
        finally:
            lock.release()


class Row(tuple[Any, ...]):
    """A row whose columns have numbers and names."""

    _names: Mapping[str, int]

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self._names[key] if isinstance(key, str) else key)

    def keys(self) -> Sequence[str]:
        """The names of the columns."""
        return list(self._names)


class _Connection:
    """A connection that takes the store's SQL."""

    def __init__(self, connection: "psycopg.Connection[Row]") -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), /) -> Rows:
        """Run a statement."""
        return self._connection.execute(postgres_sql.query(sql).encode(), parameters)

    def end(self) -> bool:
        """Take back what was not committed; whether the connection can be used again."""
        try:
            self._connection.rollback()
        except psycopg.Error:
            return False
        return not self._connection.closed

    def close(self) -> None:
        """Close it."""
        self._connection.close()


class _TextDumper(StrDumperUnknown):
    """Text as PostgreSQL can keep it: all but U+0000, in whose place a reader sees U+FFFD."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))


def _named(cursor: "psycopg.Cursor[Any]") -> Callable[[Sequence[Any]], Row]:
    names = {column.name: number for number, column in enumerate(cursor.description or ())}

    def make(values: Sequence[Any]) -> Row:
        row = Row(values)
        row._names = names
        return row

    return make


def _parse(url: str) -> dict[str, Any]:
    """Libpq's parameters; its own error would show the password."""
    try:
        return _CONNECT | conninfo_to_dict(url)
    except psycopg.Error:
        found = f"store_url is no address of PostgreSQL ({len(url)} characters, not shown)"
    raise StoreError(f"{found}; write postgresql://user:password@host:5432/database")


def _place(parameters: Mapping[str, Any]) -> str:
    host, port, name = (parameters.get(key) for key in ("host", "port", "dbname"))
    return f"PostgreSQL at {host or 'the usual place'}{f':{port}' if port else ''}, database {name or 'of that name'}"
