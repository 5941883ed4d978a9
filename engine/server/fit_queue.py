"""The queue of fits: each has one result, whatever happens to those who work on it.

A worker holds a fit for as long as its lease runs, and reports with the fence of its attempt; a report of an earlier
attempt changes nothing. The order of the queue is the view `queue` of the schema.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from engine.server.database import Connection, Row
from engine.server.fit_change import FitChange
from engine.server.fit_table import FitTable, owned_fit
from engine.server.loss_curve import extend
from engine.server.messages import FitSettings
from engine.server.records import Claim, FitRow, TailRow
from engine.server.store_errors import IdempotencyMismatch, QueueFull, QuotaReached, StoreError
from engine.server.tables import new_id
from engine.server.tail_table import check_space, insert_tail
from engine.tail_file import parse_tail_file

MAX_LOST = 3
POISON = {
    "code": "poison",
    "message": f"its worker was lost {MAX_LOST} times without getting further; look into the server's log",
}


class FitQueue(FitTable):
    """The part of the store that moves fits."""

    def submit_fit(
        self,
        owner: str,
        name: str,
        settings: FitSettings,
        image: str,
        *,
        picture_bytes: int = 0,
        idempotency_key: str | None = None,
        payload_digest: str | None = None,
        max_active: int,
        max_queued: int,
        max_tails: int | None = None,
        max_bytes: int | None = None,
    ) -> tuple[FitRow, bool]:
        """Queue a fit; once this returns, it is on disk.

        Args:
            owner: whose it is.
            name: of the tail to be.
            settings: how to fit.
            image: SHA-256 of a picture that was put.
            picture_bytes: its size.
            idempotency_key: the owner's name for this request; the same again returns the same fit.
            payload_digest: of the request, to notice another one under the same key.
            max_active: fits that the owner may have queued or running.
            max_queued: fits that may be queued.
            max_tails: tails, and fits without one, that the owner may have; None for any number.
            max_bytes: of the owner's tails and pictures; None for any number.

        Returns:
            The fit, and whether it is new.

        Raises:
            IdempotencyMismatch: the key came with another request before.
            QuotaReached: the owner has too many fits.
            QueueFull: there are too many fits.
            TailsFull: the owner has too many tails.
            BytesFull: the owner's tails and pictures are too large.
        """
        with self._referring(image), self._changing() as change:
            known = _known_fit(change.connection, owner, idempotency_key, payload_digest)
            if known is not None:
                return known, False
            _check_room(change.connection, owner, max_active, max_queued)
            check_space(change.connection, owner, picture_bytes, max_tails, max_bytes)
            if not self._pictures.is_kept(change.connection, image):
                raise StoreError(f"picture {image} is not stored; put it again")
            fit = _insert(change, owner, name, settings, image, picture_bytes, idempotency_key, payload_digest)
        return fit, True

    def expect_fit(
        self,
        owner: str,
        *,
        idempotency_key: str | None = None,
        payload_digest: str | None = None,
        max_active: int,
        max_queued: int,
        max_tails: int | None = None,
        max_bytes: int | None = None,
    ) -> FitRow | None:
        """What `submit_fit` would say now, before anything is done for it: the fit if it is known, None for a new one.

        Raises:
            IdempotencyMismatch, QuotaReached, QueueFull, TailsFull, BytesFull: as by `submit_fit`.
        """
        with self._database.reading() as connection:
            known = _known_fit(connection, owner, idempotency_key, payload_digest)
            if known is None:
                _check_room(connection, owner, max_active, max_queued)
                check_space(connection, owner, 1, max_tails, max_bytes)
        return known

    def cancel_fit(self, owner: str, id: str) -> FitRow | None:
        """Cancel a queued fit at once, and ask for the end of a running one; one that has ended stays as it is."""
        with self._changing() as change:
            fit = owned_fit(change.connection, owner, id)
            if fit is None:
                return None
            if fit.state == "queued":
                change.cancel(id)
            elif fit.state == "running":
                change.update(id, cancel_requested=1)
            return owned_fit(change.connection, owner, id)

    def claim_fit(self, lease_s: float) -> Claim | None:
        """Take the next fit: those that were begun first, else of every owner in turn the oldest."""
        with self._changing() as change:
            row = change.connection.execute(
                "SELECT fits.* FROM queue JOIN fits USING (id) WHERE position = 1"
            ).fetchone()
            if row is None:
                return None
            _begin(change, row, lease_s)
            checkpoint = change.connection.execute(
                "SELECT data FROM checkpoints WHERE fit_id = ?", (row["id"],)
            ).fetchone()
            fit = owned_fit(change.connection, row["owner"], row["id"])
        assert fit is not None
        return Claim(fit, bytes(checkpoint["data"]) if checkpoint else None)

    def record_step(self, id: str, fence: int, step: int, steps: int, losses: Sequence[float], lease_s: float) -> bool:
        """Note progress and extend the lease; False if the attempt is to stop: it is not the latest, or not wanted."""
        with self._changing() as change:
            row = change.running(id, fence)
            if row is None or row["cancel_requested"]:
                return False
            finite = [loss for loss in losses if math.isfinite(loss)]
            loss = finite[-1] if finite else row["loss"]
            curve = json.dumps(extend(json.loads(row["losses"]), step, steps, losses))
            lease_until = max(row["lease_until"], change.now + lease_s)
            change.update(id, step=step, steps=steps, loss=loss, losses=curve, lease_until=lease_until)
            change.tell(id, "progress", step=step, steps=steps, loss=loss, losses=finite)
        return True

    def record_checkpoint(self, id: str, fence: int, step: int, data: bytes) -> bool:
        """Keep a snapshot to go on from, in place of the one before; False if the attempt is not the latest."""
        with self._changing() as change:
            if change.running(id, fence) is None:
                return False
            if step > change.checkpoint_step(id):
                change.update(id, lost=0)
            change.connection.execute(
                "INSERT INTO checkpoints VALUES (?, ?, ?) "
                "ON CONFLICT (fit_id) DO UPDATE SET step = excluded.step, data = excluded.data",
                (id, step, data),
            )
            change.tell(id, "checkpoint", step=step)
        return True

    def record_preview(self, id: str, fence: int, step: int, png: bytes) -> bool:
        """Keep a picture of how far a fit is; False if the attempt is not the latest."""
        image = self._pictures.put(png)
        with self._referring(image), self._changing() as change:
            row = change.running(id, fence)
            if row is not None:
                _insert_preview(change, id, step, image)
                change.update(id, picture_bytes=row["picture_bytes"] + len(png))
                change.tell(id, "preview", step=step, image=image)
        return row is not None

    def finish_fit(self, id: str, fence: int, tail: bytes) -> TailRow | None:
        """Keep a fit's tail and end it, at once; None if the attempt is not the latest, or its end was asked for.

        Raises:
            TailError: it is no tail file.
        """
        file = parse_tail_file(tail)
        with self._changing() as change:
            row = change.running(id, fence)
            if row is None or _cancelled(change, row):
                return None
            stored = insert_tail(change, row["owner"], row["name"], tail, file, row["image"], id)
            change.succeed(id, stored.id)
        return stored

    def fail_fit(self, id: str, fence: int, error: Mapping[str, Any]) -> bool:
        """End a fit that fails again if it is tried again; False if the attempt is not the latest."""
        with self._changing() as change:
            row = change.running(id, fence)
            if row is not None and not _cancelled(change, row):
                change.fail(id, dict(error))
        return row is not None

    def requeue_fit(self, id: str, fence: int, *, counts: bool) -> bool:
        """Let another attempt go on from the last checkpoint; False if the attempt is not the latest.

        Args:
            id: of the fit.
            fence: of the attempt that is over.
            counts: its worker was lost; the third time without a new checkpoint in between, the fit has failed.
        """
        with self._changing() as change:
            row = change.running(id, fence)
            if row is not None and not _cancelled(change, row):
                lost = row["lost"] + counts
                if lost >= MAX_LOST:
                    change.fail(id, POISON)
                else:
                    change.queue_again(id, "lost" if counts else "stopped", lost=lost)
        return row is not None

    def recover(self) -> int:
        """At the start: queue again what was running and nobody can be at, and return how many that are."""
        with self._changing() as change:
            rows = change.connection.execute(
                "SELECT * FROM fits WHERE state = 'running' AND lease_until < ? ORDER BY seq",
                (change.now if self.shared else math.inf,),
            ).fetchall()
            again = [row for row in rows if not _cancelled(change, row)]
            for row in again:
                change.queue_again(row["id"], "restarted")
        return len(again)


def _known_fit(connection: Connection, owner: str, key: str | None, digest: str | None) -> FitRow | None:
    row = connection.execute(
        "SELECT id, payload_digest FROM fits WHERE owner = ? AND idempotency_key = ?", (owner, key)
    ).fetchone()
    if row is None:
        return None
    if row["payload_digest"] != digest:
        raise IdempotencyMismatch("the idempotency key was used with another request; use a new one")
    return owned_fit(connection, owner, row["id"])


def _check_room(connection: Connection, owner: str, max_active: int, max_queued: int) -> None:
    active, queued = connection.execute(
        "SELECT count(*) FILTER (WHERE owner = ?), count(*) FILTER (WHERE state = 'queued') FROM fits "
        "WHERE state IN ('queued', 'running')",
        (owner,),
    ).fetchone()
    if active >= max_active:
        raise QuotaReached(max_active)
    if queued >= max_queued:
        raise QueueFull(max_queued)


def _insert(
    change: FitChange,
    owner: str,
    name: str,
    settings: FitSettings,
    image: str,
    picture_bytes: int,
    key: str | None,
    digest: str | None,
) -> FitRow:
    id = new_id("fit")
    change.connection.execute(
        "INSERT INTO fits (id, owner, name, settings, image, picture_bytes, created_at, idempotency_key, "
        "payload_digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (id, owner, name, msgspec.json.encode(settings).decode(), image, picture_bytes, change.now, key, digest),
    )
    change.tell(id, "queued", reason="submitted", step=0)
    fit = owned_fit(change.connection, owner, id)
    assert fit is not None
    return fit


def _insert_preview(change: FitChange, id: str, step: int, image: str) -> None:
    """Write a preview's row, in place of one of an attempt that got as far."""
    older = change.connection.execute("SELECT image FROM previews WHERE fit_id = ? AND step = ?", (id, step)).fetchone()
    if older is not None:
        change.freed.add(older["image"])
    change.connection.execute(
        "INSERT INTO previews VALUES (?, ?, ?) ON CONFLICT (fit_id, step) DO UPDATE SET image = excluded.image",
        (id, step, image),
    )


def _begin(change: FitChange, row: Row, lease_s: float) -> None:
    attempt, step = row["attempt"] + 1, change.checkpoint_step(row["id"])
    started_at = change.now if row["started_at"] is None else row["started_at"]
    lease_until = change.now + lease_s
    change.update(
        row["id"],
        state="running",
        attempt=attempt,
        fence=row["fence"] + 1,
        started_at=started_at,
        lease_until=lease_until,
    )
    change.connection.execute(
        "INSERT INTO turns SELECT ?, coalesce(max(turn), 0) + 1 FROM turns WHERE true "
        "ON CONFLICT (owner) DO UPDATE SET turn = excluded.turn",
        (row["owner"],),
    )
    change.tell(row["id"], "resumed" if row["attempt"] else "started", attempt=attempt, step=step)


def _cancelled(change: FitChange, row: Row) -> bool:
    """End a running fit whose end was asked for: that wish was granted, and comes before every other outcome."""
    if row["cancel_requested"]:
        change.cancel(row["id"])
    return bool(row["cancel_requested"])
