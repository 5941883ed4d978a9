"""Tails: their files lie in the database, beside what is asked about them."""

from engine.server.database import Connection, Rows
from engine.server.fit_change import FitChange
from engine.server.records import TailRow
from engine.server.store_errors import BytesFull, TailsFull
from engine.server.tables import Tables, new_id
from engine.tail_file import TailFile, parse_tail_file

_COLUMNS = (
    "id, owner, name, digest, model_id, model_digest, source_prompt, tail_strength, image, fit_id, created_at, "
    "length(data) AS size_bytes"
)
_INSERT = """
    INSERT INTO tails (id, owner, name, digest, model_id, model_digest, source_prompt, tail_strength, image, fit_id,
        created_at, data)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_KEPT = """
    SELECT fits.number + tails.number - tails.fitted, fits.bytes + tails.bytes
    FROM (SELECT count(*) AS number, coalesce(sum(picture_bytes), 0) AS bytes FROM fits WHERE owner = :owner) AS fits,
        (SELECT count(*) AS number, count(fit_id) AS fitted, coalesce(sum(length(data)), 0) AS bytes
        FROM tails WHERE owner = :owner) AS tails"""


class TailTable(Tables):
    """The tails part of the store; to its owner a tail exists, to others it does not."""

    def add_tail(
        self,
        owner: str,
        name: str,
        data: bytes,
        *,
        image: str | None = None,
        fit_id: str | None = None,
        max_tails: int | None = None,
        max_bytes: int | None = None,
    ) -> TailRow:
        """Keep a tail file.

        Args:
            owner: whose it is.
            name: for people.
            data: the file.
            image: SHA-256 of a picture that was put.
            fit_id: of the fit that made it.
            max_tails: that the owner may have; None for any number.
            max_bytes: that they and their pictures may have; None for any number.

        Raises:
            TailError: it is no tail file.
            TailsFull: the owner has too many.
            BytesFull: they are too large.
        """
        file = parse_tail_file(data)
        with self._referring(image), self._changing() as change:
            check_space(change.connection, owner, len(data), max_tails, max_bytes)
            return insert_tail(change, owner, name, data, file, image, fit_id)

    def tail(self, owner: str, id: str) -> TailRow | None:
        """One tail."""
        with self._database.reading() as connection:
            return _tail_row(
                connection.execute(f"SELECT {_COLUMNS} FROM tails WHERE owner = ? AND id = ?", (owner, id))
            )

    def tail_data(self, owner: str, id: str) -> bytes | None:
        """A tail's file."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT data FROM tails WHERE owner = ? AND id = ?", (owner, id)).fetchone()
        return bytes(row["data"]) if row else None

    def tails(self, owner: str, *, limit: int = 100, after: str | None = None) -> list[TailRow]:
        """An owner's tails, newest first, from behind the one whose id is `after`."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM tails WHERE owner = :owner AND (CAST(:after AS TEXT) IS NULL OR seq < "
                "(SELECT seq FROM tails WHERE owner = :owner AND id = :after)) ORDER BY seq DESC LIMIT :limit",
                {"owner": owner, "after": after, "limit": limit},
            )
            return [TailRow(*row) for row in rows]

    def tail_of_image(self, owner: str, image: str, model_digest: str) -> TailRow | None:
        """The newest tail that an owner has of a picture, for a model."""
        with self._database.reading() as connection:
            return _tail_row(
                connection.execute(
                    f"SELECT {_COLUMNS} FROM tails WHERE owner = ? AND image = ? AND model_digest = ? "
                    "ORDER BY seq DESC LIMIT 1",
                    (owner, image, model_digest),
                )
            )

    def rename_tail(self, owner: str, id: str, name: str) -> TailRow | None:
        """Give a tail another name."""
        with self._database.writing() as connection:
            connection.execute("UPDATE tails SET name = ? WHERE owner = ? AND id = ?", (name, owner, id))
            return _tail_row(
                connection.execute(f"SELECT {_COLUMNS} FROM tails WHERE owner = ? AND id = ?", (owner, id))
            )

    def delete_tail(self, owner: str, id: str) -> bool:
        """Delete a tail, the fit that made it, and all their pictures that nothing else refers to."""
        with self._changing() as change:
            tail = change.connection.execute(
                "SELECT image, fit_id FROM tails WHERE owner = ? AND id = ?", (owner, id)
            ).fetchone()
            if tail is None:
                return False
            change.freed |= {tail["image"]} - {None}
            delete_fit_row(change, tail["fit_id"])
            change.connection.execute("DELETE FROM tails WHERE id = ?", (id,))
        return True


def check_space(
    connection: Connection, owner: str, size_bytes: int, max_tails: int | None, max_bytes: int | None
) -> None:
    """Refuse another tail, or fit, of so many bytes, as a part of the transaction that adds it.

    A fit counts as its tail, whether it has one yet, or ever will.

    Raises:
        TailsFull: the owner has too many.
        BytesFull: they would be too large.
    """
    tails, kept_bytes = connection.execute(_KEPT, {"owner": owner}).fetchone()
    if max_tails is not None and tails >= max_tails:
        raise TailsFull(max_tails)
    if max_bytes is not None and kept_bytes + size_bytes > max_bytes:
        raise BytesFull(max_bytes)


def insert_tail(
    change: FitChange, owner: str, name: str, data: bytes, file: TailFile, image: str | None, fit_id: str | None
) -> TailRow:
    """Write a tail's row, as a part of a transaction."""
    info = file.info
    about = (file.digest, info.model_id, info.model_digest, info.source_prompt, info.tail_strength)
    values = (new_id("tail"), owner, name, *about, image, fit_id, change.now)
    change.connection.execute(_INSERT, (*values, data))
    return TailRow(*values, size_bytes=len(data))


def delete_fit_row(change: FitChange, fit_id: str | None) -> None:
    """Delete a fit and all that came of it, as a part of a transaction."""
    pictures = change.connection.execute(
        "SELECT image FROM fits WHERE id = :id UNION SELECT image FROM previews WHERE fit_id = :id", {"id": fit_id}
    )
    change.freed |= {row["image"] for row in pictures}
    change.connection.execute("DELETE FROM fits WHERE id = ?", (fit_id,))


def _tail_row(cursor: Rows) -> TailRow | None:
    row = cursor.fetchone()
    return TailRow(*row) if row else None
