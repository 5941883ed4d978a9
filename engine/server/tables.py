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
    """A database, pictures, a clock, and those who watch the fits, and count them.

    Attributes:
        shared: whether other servers use the same tables at the same time.
    """

    shared = False

    def __init__(self, database: Database, pictures: Pictures, clock: Callable[[], float]) -> None:
        self._database = database
        self._pictures = pictures
        self._clock = clock
        self._watchers: list[Callable[[str], object]] = []
        self._counters: list[Callable[[str], object]] = []

    def watch(self, callback: Callable[[str], object]) -> None:
        """Call back with a fit's id, in any thread, after each commit that added an event to it."""
        self._watchers.append(callback)

    def count_ends(self, callback: Callable[[str], object]) -> None:
        """Call back with the last state of a fit, in any thread, after each commit of this store that ended one."""
        self._counters.append(callback)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[FitChange]:
        with self._database.writing() as connection:
            change = FitChange(connection, self._clock())
            yield change
            self._pictures.free(connection, change.freed)
            self._announce(connection, change.told)
        for fit_id in change.told:
            self._tell(fit_id)
        for outcome in change.ends:
            _call(self._counters, outcome)
        if change.freed:
            self._pictures.tidy(change.freed)

    def _announce(self, connection: Connection, fit_ids: Iterable[str]) -> None:
        """Let other servers know, once the transaction is done; there are none."""

    def _tell(self, fit_id: str) -> None:
        _call(self._watchers, fit_id)

    @contextlib.contextmanager
    def _referring(self, image: str | None) -> Iterator[None]:
        """Write a row that refers to a picture that was put; where that fails, the picture does not stay."""
        try:
            yield
        finally:
            if image is not None:
                self._pictures.settle(image)


def _call(callbacks: Iterable[Callable[[str], object]], word: str) -> None:
    for callback in callbacks:
        try:
            callback(word)
        except Exception:  # the commit is done, whatever a watcher makes of it
            _log.exception("a watcher of fits failed")


def new_id(kind: str) -> str:
    """A name that cannot be guessed: the kind of thing and 20 url-safe characters, 120 bits."""
    return f"{kind}_{secrets.token_urlsafe(15)}"
