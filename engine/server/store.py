"""Keys, tails, fits and pictures, kept so that they survive whatever happens to a server."""

from pathlib import Path

from engine.server.fit_queue import FitQueue
from engine.server.key_table import KeyTable
from engine.server.tail_table import TailTable


class Store(KeyTable, TailTable, FitQueue):
    """All parts together, wherever they lie. Every method may be called in any thread, and may wait for a disk.

    What a method has returned is on disk. Where a disk is full it raises DiskFull, where the data cannot be used
    StoreError, and nothing is half written; reading goes on.
    """

    def put_image(self, png: bytes) -> str:
        """Keep a picture for the fit or tail that is stored next, and return its SHA-256."""
        return self._pictures.put(png)

    def image(self, sha256: str) -> bytes:
        """A picture, a PNG.

        Raises:
            StoreError: there is none of that name.
        """
        return self._pictures.get(sha256)

    def close(self) -> None:
        """Close all files and connections."""
        self._database.close()

    def backup(self, path: Path) -> None:
        """Copy the data to a new folder, from which a server can start; writing goes on meanwhile.

        Raises:
            StoreError: there is something at `path`, it cannot be written, or this store is saved in other ways.
        """
        raise NotImplementedError
