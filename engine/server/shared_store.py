"""A store that several servers share: tables in PostgreSQL, pictures in an object store."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.server import postgres_schema
from engine.server.check import content_problems
from engine.server.database import Connection
from engine.server.fit_news import CHANNEL, FitNews
from engine.server.object_blobs import ObjectBlobs
from engine.server.postgres_database import PostgresDatabase
from engine.server.shared_pictures import SharedPictures
from engine.server.store import Store
from engine.server.store_errors import StoreError


class SharedStore(Store):
    """A store at two addresses; its tables are made where they are missing.

    Args:
        url: of PostgreSQL.
        images_url: of a bucket, and a prefix in it.
        clock: seconds since the epoch; the database's own clock if None, so that all servers agree about leases.

    Raises:
        StoreError: one of them cannot be used, or the tables are of another version.
    """

    shared = True

    def __init__(self, url: str, images_url: str, *, clock: Callable[[], float] | None = None) -> None:
        self._postgres = PostgresDatabase(url)
        blobs = ObjectBlobs(images_url)
        clock = clock or (lambda: time.time() + self._postgres.skew_s)
        super().__init__(self._postgres, SharedPictures(self._postgres, blobs, clock), clock)
        self._news = FitNews(self._postgres, self._tell)
        try:
            postgres_schema.migrate(self._postgres)
        except BaseException:
            self.close()
            raise
        self._pictures.tidy(set())

    def watch(self, callback: Callable[[str], object]) -> None:
        """Call back with a fit's id, in any thread, after each commit on any server that added an event to it."""
        super().watch(callback)
        self._news.start()

    def close(self) -> None:
        """Close all connections."""
        self._news.stop()
        super().close()

    def backup(self, path: Path) -> None:
        """Refuse: this store is saved where it lies."""
        raise StoreError(
            f"nothing was copied to {path}: a shared store is saved by pg_dump, and by a bucket that keeps versions"
        )

    def check(self) -> list[str]:
        """What is wrong with the data, a sentence each; nothing is changed."""
        found = self._problems()
        # Servers go on meanwhile: what is right at a second look was a picture that went, with its row.
        again = self._problems() if found else []
        return [problem for problem in found if problem in again]

    def _problems(self) -> list[str]:
        with self._database.reading() as connection:
            return list(content_problems(connection, self.image))

    def _announce(self, connection: Connection, fit_ids: Iterable[str]) -> None:
        for fit_id in fit_ids:
            connection.execute("SELECT pg_notify(?, ?)", (CHANNEL, self._news.sign(fit_id)))
