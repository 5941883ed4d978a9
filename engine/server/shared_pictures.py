"""Pictures that several servers share: objects, and in the database what keeps an object that no row refers to yet."""

import hashlib
import logging
import time
from collections.abc import Callable
from typing import Final

from engine.server.database import Connection, Database
from engine.server.object_blobs import ObjectBlobs
from engine.server.pictures import unreferred
from engine.server.store_errors import StoreError

PIN_S: Final = 600.0  # longer than any upload may take
RETRY_S: Final = 60.0
_BATCH: Final = 1000  # what S3 deletes by one request
_UNPIN: Final = "UPDATE pins SET until = 0 WHERE seq = (SELECT min(seq) FROM pins WHERE image = ? AND until > 0)"

_log = logging.getLogger(__name__)


class SharedPictures:
    """Every object that may lose its last row has a pin before, so none is ever forgotten, and the bucket never listed.

    A picture is pinned before it is looked for and stored. Pictures are removed only by the one who writes, while all
    others wait, when their pins are over and no row refers to them: whoever has pinned one finds it there or stores it.
    """

    def __init__(self, database: Database, blobs: ObjectBlobs, clock: Callable[[], float]) -> None:
        self._database, self._blobs, self._clock = database, blobs, clock
        self._tidy_at = 0.0

    def put(self, png: bytes) -> str:
        """Keep a picture."""
        sha256 = hashlib.sha256(png).hexdigest()
        with self._database.writing() as connection:
            _pin(connection, sha256, self._clock() + PIN_S)
        try:
            if not self._blobs.has(sha256):
                self._blobs.put(sha256, png)
        except BaseException:
            self.settle(sha256)
            raise
        return sha256

    def get(self, sha256: str) -> bytes:
        """Return a picture."""
        return self._blobs.get(sha256)

    def is_kept(self, connection: Connection, sha256: str) -> bool:
        """Whether whoever put a picture may still count on it."""
        pin = connection.execute("SELECT 1 FROM pins WHERE image = ? AND until > ?", (sha256, self._clock()))
        return pin.fetchone() is not None

    def settle(self, sha256: str) -> None:
        """Let one pin be over."""
        self._tidy(sha256)

    def free(self, connection: Connection, images: set[str]) -> None:
        """Note that rows are gone which referred to pictures."""
        for sha256 in sorted(images):
            _pin(connection, sha256, 0.0)

    def tidy(self, images: set[str]) -> None:
        """Remove what no row refers to."""
        self._tidy()

    def _tidy(self, settled: str | None = None) -> None:
        """Where something is away this waits, and nothing else does: a pin is over by itself, too."""
        if time.monotonic() < self._tidy_at:
            return
        try:
            with self._database.writing() as connection:
                connection.execute(_UNPIN, (settled,))
                self._remove(connection)
        except StoreError as error:
            self._tidy_at = time.monotonic() + RETRY_S
            _log.warning("pictures without a use are removed later: %s", error)

    def _remove(self, connection: Connection) -> None:
        over = connection.execute(
            "SELECT image FROM pins GROUP BY image HAVING max(until) <= ? LIMIT ?", (self._clock(), _BATCH)
        )
        images = [image for [image] in over]
        self._blobs.remove(unreferred(connection, images))
        for image in images:
            connection.execute("DELETE FROM pins WHERE image = ?", (image,))


def _pin(connection: Connection, sha256: str, until: float) -> None:
    connection.execute("INSERT INTO pins (image, until) VALUES (?, ?)", (sha256, until))
