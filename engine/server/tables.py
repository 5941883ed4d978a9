"""What the parts of the store share."""

import contextlib
import logging
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.server.blobs import Blobs
from engine.server.database import Database
from engine.server.fit_change import FitChange

DATABASE_NAME = "hiper.db"
IMAGES_NAME = "images"

_REFERRED = (
    "SELECT image FROM fits WHERE image = :image UNION ALL SELECT image FROM tails WHERE image = :image "
    "UNION ALL SELECT image FROM previews WHERE image = :image"
)
_log = logging.getLogger(__name__)


class Tables:
    """A database, a folder of pictures, a clock, and those who watch the fits."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._database = Database(folder / DATABASE_NAME)
        self._blobs = Blobs(folder / IMAGES_NAME)
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
        for fit_id in change.told:
            self._tell(fit_id)

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
                self._blobs.unpin(image)
                self._remove_unreferred({image})

    def _remove_unreferred(self, images: set[str]) -> None:
        """Remove those of `images`, and of the pictures put but never used, that no row refers to."""
        with self._database.lock:
            images = images | self._blobs.expired()
            with self._database.reading() as connection:
                gone = [image for image in images if not connection.execute(_REFERRED, {"image": image}).fetchone()]
            self._blobs.remove(gone)


def new_id(kind: str) -> str:
    """A name that cannot be guessed: the kind of thing and 20 url-safe characters, 120 bits."""
    return f"{kind}_{secrets.token_urlsafe(15)}"
