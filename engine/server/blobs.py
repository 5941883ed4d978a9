"""Pictures as files that are named by their content."""

import hashlib
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from engine.atomic_file import write_atomically
from engine.server.pictures import SUFFIX, picture_name
from engine.server.sqlite_database import storage_errors

_PIN_S = 60.0


class Blobs:
    """A folder of PNGs; a file there is whole, and never changes.

    A picture is put before the row that refers to it is written. Until `unpin`, or for a minute where that never comes,
    nothing removes it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._pins: dict[str, list[float]] = {}
        with storage_errors(folder):
            folder.mkdir(mode=0o700, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Store a picture, and return its SHA-256; a picture that is there already costs nothing."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path(sha256)
        with self._lock:
            self._pins.setdefault(sha256, []).append(time.monotonic() + _PIN_S)
            known = path.exists()
        if not known:
            with storage_errors(self.folder):
                write_atomically(path, data)
        return sha256

    def unpin(self, sha256: str) -> None:
        """A row refers to what was put, and keeps it from now on."""
        with self._lock:
            pins = self._pins.pop(sha256, [])[1:]
            if pins:
                self._pins[sha256] = pins

    def get(self, sha256: str) -> bytes:
        """Return a picture.

        Raises:
            StoreError: there is none of that name.
        """
        with storage_errors(self.folder):
            return self.path(sha256).read_bytes()

    def has(self, sha256: str) -> bool:
        """Whether there is a picture of that name."""
        return self.path(sha256).is_file()

    def remove(self, names: Iterable[str]) -> None:
        """Remove pictures that no row refers to, unless somebody has just put them; the caller lets nobody add rows."""
        with self._lock, storage_errors(self.folder):
            for sha256 in names:
                if sha256 not in self._pins:
                    self.path(sha256).unlink(missing_ok=True)

    def expired(self) -> set[str]:
        """Let go of the pictures that were put a while ago and to which no row came, and return them."""
        now = time.monotonic()
        with self._lock:
            gone = {sha256 for sha256, pins in self._pins.items() if max(pins) < now}
            for sha256 in gone:
                del self._pins[sha256]
        return gone

    def names(self) -> set[str]:
        """All pictures there are."""
        return {path.stem for path in self.folder.glob(f"*{SUFFIX}")}

    def sweep(self) -> None:
        """Remove what a crash left unfinished."""
        for path in self.folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)

    def path(self, sha256: str) -> Path:
        """Where a picture lies, or would lie."""
        return self.folder / picture_name(sha256)
