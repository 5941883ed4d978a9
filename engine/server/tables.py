"""What the parts of the store share."""

import contextlib
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator

from engine.server.database import Connection, Database
from engine.server.fit_change import FitChange
from engine.server.pictures import Pictures

_log = logging.getLogger(__name__)


class Tables:
    """A database, pictures, a clock, and those who watch the fits.

    Attributes:
        shared: whether other servers use the same tables at the same time.
    """

    shared = False

    def __init__(self, database: Database, pictures: Pictures, clock: Callable[[], float]) -> None:
        self._database = database
        self._pictures = pictures
        self._clock = clock
        self._watchers: list[Callable[[str], object]] = []

    def watch(self, callback: Callable[[str], object]) -> None:
        """Call back with a fit's id, in any thread, after each commit that added an event to it."""
        self._watchers.append(callback)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[FitChange]:
        with self._database.writing() as connection:
            change = FitChange(connection, self._clock())
            yield change
            self._pictures.free(connection, change.freed)
            self._announce(connection, change.told)
        for fit_id in change.told:
            self._tell(fit_id)
        if change.freed:
            self._pictures.tidy(change.freed)

    def _announce(self, connection: Connection, fit_ids: Iterable[str]) -> None:
        """Let other servers know, once the transaction is done; there are none."""

    def _tell(self, fit_id: str) -> None:
        for callback in self._watchers:
            try:
                callback(fit_id)
            except Exception:  # the commit is done, whatever a watcher makes of it
                _log.exception("a watcher of fits failed")

    @contextlib.contextmanager
    def _referring(self, image: str | None) -> Iterator[None]:
        """Write a row that refers to a picture that was put; where that fails, the picture does not stay."""
        try:
            yield
        finally:
            if image is not None:
                self._pictures.settle(image)


def new_id(kind: str) -> str:
    """A name that cannot be guessed: the kind of thing and 20 url-safe characters, 120 bits."""
    return f"{kind}_{secrets.token_urlsafe(15)}"
