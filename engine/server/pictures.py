"""Pictures, and which of them anything still refers to."""

import re
from collections.abc import Iterable
from typing import Final, Protocol

from engine.server.database import Connection
from engine.server.store_errors import StoreError

SUFFIX: Final = ".png"

_REFERRED = (
    "SELECT image FROM fits WHERE image = :image UNION ALL SELECT image FROM tails WHERE image = :image "
    "UNION ALL SELECT image FROM previews WHERE image = :image"
)


class Pictures(Protocol):
    """PNGs named by their SHA-256; each is there before the first row that refers to it, and goes after the last."""

    def put(self, png: bytes) -> str:
        """Keep a picture until `settle`, or for a while where that never comes, and return its SHA-256."""

    def get(self, sha256: str) -> bytes:
        """Return a picture.

        Raises:
            StoreError: there is none of that name.
        """

    def is_kept(self, connection: Connection, sha256: str) -> bool:
        """Whether a row that this transaction writes may refer to a picture."""

    def settle(self, sha256: str) -> None:
        """A row refers to what was put, or none ever will: then it goes."""

    def free(self, connection: Connection, images: set[str]) -> None:
        """Note, as a part of a transaction, that rows which referred to pictures are gone."""

    def tidy(self, images: set[str]) -> None:
        """After that transaction: remove those of them that nothing refers to."""


def picture_name(sha256: str) -> str:
    """What a picture's file or object is called.

    Raises:
        StoreError: it is no SHA-256.
    """
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise StoreError(f"{sha256!r:.80} is no picture's name; it is a SHA-256 in 64 hex digits")
    return f"{sha256}{SUFFIX}"


def unreferred(connection: Connection, images: Iterable[str]) -> list[str]:
    """Those pictures that no row refers to."""
    return [image for image in images if not connection.execute(_REFERRED, {"image": image}).fetchone()]
