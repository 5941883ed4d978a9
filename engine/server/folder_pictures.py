"""Pictures in a folder that one server owns."""

from pathlib import Path

from engine.server.blobs import Blobs
from engine.server.database import Connection
from engine.server.pictures import unreferred
from engine.server.sqlite_database import SqliteDatabase


class FolderPictures:
    """What was put, and is not referred to yet, is known to this process, the only one that adds and removes."""

    def __init__(self, database: SqliteDatabase, folder: Path) -> None:
        self.blobs = Blobs(folder)
        self._database = database

    def put(self, png: bytes) -> str:
        """Keep a picture."""
        return self.blobs.put(png)

    def get(self, sha256: str) -> bytes:
        """Return a picture."""
        return self.blobs.get(sha256)

    def is_kept(self, connection: Connection, sha256: str) -> bool:
        """Whether there is that picture; nobody removes any while somebody writes."""
        return self.blobs.has(sha256)

    def settle(self, sha256: str) -> None:
        """Let go of what was put."""
        self.blobs.unpin(sha256)
        self.tidy({sha256})

    def free(self, connection: Connection, images: set[str]) -> None:
        """Nothing is noted: what a crash leaves goes at the next start."""

    def tidy(self, images: set[str]) -> None:
        """Remove those of `images`, and of the pictures put but never used, that no row refers to."""
        with self._database.lock:
            images = images | self.blobs.expired()
            with self._database.reading() as connection:
                gone = unreferred(connection, images)
            self.blobs.remove(gone)
