"""Fits as they are read: rows, events, previews, places in the queue."""

import json

import msgspec

from engine.server.database import Connection, Row
from engine.server.messages import FitSettings
from engine.server.records import Event, FitRow
from engine.server.tables import Tables
from engine.server.tail_table import delete_fit_row

_MAX_INTEGER = 2**63 - 1  # SQLite's

FIT_COLUMNS = (
    "fits.id, fits.owner, fits.name, settings, fits.image, state, attempt, fence, step, steps, loss, losses, "
    "cancel_requested, (SELECT tails.id FROM tails WHERE fit_id = fits.id) AS tail_id, error, fits.created_at, "
    "started_at, finished_at, lease_until"
)


class FitTable(Tables):
    """The part of the store that tells about fits; to its owner a fit exists, to others it does not."""

    def fit(self, owner: str, id: str) -> FitRow | None:
        """One fit."""
        with self._database.reading() as connection:
            return owned_fit(connection, owner, id)

    def fits(self, owner: str, *, limit: int = 100, after: str | None = None) -> list[FitRow]:
        """An owner's fits, newest first, from behind the one whose id is `after`."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {FIT_COLUMNS} FROM fits WHERE owner = :owner AND (CAST(:after AS TEXT) IS NULL OR seq < "
                "(SELECT seq FROM fits WHERE owner = :owner AND id = :after)) ORDER BY seq DESC LIMIT :limit",
                {"owner": owner, "after": after, "limit": limit},
            )
            return [fit_row(row) for row in rows]

    def queue_position(self, id: str) -> int | None:
        """A queued fit's place, 1 for the next; None once it is not queued. Newcomers of other owners may get ahead."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT position FROM queue WHERE id = ?", (id,)).fetchone()
        return int(row["position"]) if row else None

    def queued_fits(self) -> int:
        """How many fits wait, of all owners together."""
        with self._database.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM fits WHERE state = 'queued'").fetchone()[0])

    def expired_fits(self) -> list[FitRow]:
        """Running fits of whose worker nothing was heard for as long as its lease."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT {FIT_COLUMNS} FROM fits WHERE state = 'running' AND lease_until < ?", (self._clock(),)
            )
            return [fit_row(row) for row in rows]

    def events(self, fit_id: str, after: int = 0) -> list[Event]:
        """What happened to a fit since the event whose seq is `after`."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT seq, kind, data, at FROM events WHERE fit_id = ? AND seq > ? ORDER BY seq",
                (fit_id, min(after, _MAX_INTEGER)),
            )
            return [_event(row) for row in rows]

    def pace(self, fit_id: str) -> list[Event]:
        """The first and the last news of steps since a fit's latest attempt began; less where there is less."""
        since = (
            "FROM events WHERE fit_id = :id AND kind = 'progress' AND seq > (SELECT coalesce(max(seq), 0) FROM events "
            "WHERE fit_id = :id AND kind IN ('started', 'resumed'))"
        )
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT seq, kind, data, at FROM events WHERE fit_id = :id AND seq IN "
                f"((SELECT min(seq) {since}), (SELECT max(seq) {since})) ORDER BY seq",
                {"id": fit_id},
            )
            return [_event(row) for row in rows]

    def previews(self, fit_id: str) -> list[int]:
        """The steps of which there are pictures."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT step FROM previews WHERE fit_id = ? ORDER BY step", (fit_id,))
            return [row["step"] for row in rows]

    def preview(self, owner: str, fit_id: str, step: int) -> bytes | None:
        """The picture of a step, a PNG."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT previews.image FROM previews JOIN fits ON fits.id = fit_id "
                "WHERE owner = ? AND fit_id = ? AND previews.step = ?",
                (owner, fit_id, min(step, _MAX_INTEGER)),
            ).fetchone()
        return self._pictures.get(row["image"]) if row else None

    def delete_fit(self, owner: str, id: str) -> bool:
        """Delete a fit that has ended, its tail, and all their pictures that nothing else refers to."""
        with self._changing() as change:
            fit = owned_fit(change.connection, owner, id)
            if fit is None or fit.finished_at is None:
                return False
            delete_fit_row(change, id)
        return True


def owned_fit(connection: Connection, owner: str, id: str) -> FitRow | None:
    """Read a fit of an owner."""
    row = connection.execute(f"SELECT {FIT_COLUMNS} FROM fits WHERE owner = ? AND id = ?", (owner, id)).fetchone()
    return fit_row(row) if row else None


def fit_row(row: Row) -> FitRow:
    """Make a record of FIT_COLUMNS."""
    values = {name: row[name] for name in row.keys()}  # noqa: SIM118
    values["settings"] = msgspec.json.decode(row["settings"], type=FitSettings)
    values["losses"] = tuple((step, loss) for step, loss in json.loads(row["losses"]))
    values["error"] = row["error"] and json.loads(row["error"])
    values["cancel_requested"] = bool(row["cancel_requested"])
    return FitRow(**values)


def _event(row: Row) -> Event:
    return Event(row["seq"], row["kind"], json.loads(row["data"]), row["at"])
