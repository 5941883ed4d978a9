"""One transaction on fits: every change of a fit goes through here, and leaves an event."""

import json
from typing import Any

from engine.server.database import Connection, Row
from engine.server.records import EventKind, FitState


class FitChange:
    """Changes and events that become true together.

    Attributes:
        now: seconds since the epoch.
        told: the fits that got an event, in order.
        freed: the pictures that rows of it do not refer to any more.
        ends: how those fits ended that did.
    """

    def __init__(self, connection: Connection, now: float) -> None:
        self.connection = connection
        self.now = now
        self.told: dict[str, None] = {}
        self.freed: set[str] = set()
        self.ends: list[FitState] = []

    def running(self, id: str, fence: int) -> Row | None:
        """A fit's row, if this attempt is the one that may report."""
        row: Row | None = self.connection.execute(
            "SELECT * FROM fits WHERE id = ? AND fence = ? AND state = 'running'", (id, fence)
        ).fetchone()
        return row

    def update(self, id: str, **values: Any) -> None:
        """Set columns, which are named in this package only, of a fit."""
        names = ", ".join(f"{name} = ?" for name in values)
        self.connection.execute(f"UPDATE fits SET {names} WHERE id = ?", (*values.values(), id))

    def tell(self, id: str, kind: EventKind, **data: Any) -> None:
        """Add an event."""
        self.connection.execute(
            "INSERT INTO events SELECT :id, coalesce(max(seq), 0) + 1, :kind, :data, :now FROM events "
            "WHERE fit_id = :id",
            {"id": id, "kind": kind, "data": json.dumps(data, allow_nan=False), "now": self.now},
        )
        self.told[id] = None

    def succeed(self, id: str, tail_id: str) -> None:
        """End a fit whose tail is stored in this transaction."""
        self.tell(id, "succeeded", tail=tail_id)
        self._end(id, "succeeded")

    def fail(self, id: str, error: dict[str, Any]) -> None:
        """End a fit without a tail."""
        self.tell(id, "failed", **error)
        self._end(id, "failed", error=json.dumps(error, allow_nan=False))

    def cancel(self, id: str) -> None:
        """End a fit as its owner wished."""
        self.tell(id, "cancelled")
        self._end(id, "cancelled")

    def queue_again(self, id: str, reason: str, **values: Any) -> None:
        """Let another attempt begin at the last checkpoint."""
        step = self.checkpoint_step(id)
        self.update(id, state="queued", lease_until=None, step=step, **values)
        self.tell(id, "queued", reason=reason, step=step)

    def checkpoint_step(self, id: str) -> int:
        """The step a fit can go on from."""
        row = self.connection.execute("SELECT step FROM checkpoints WHERE fit_id = ?", (id,)).fetchone()
        return int(row["step"]) if row else 0

    def _end(self, id: str, state: FitState, error: str | None = None) -> None:
        self.update(id, state=state, error=error, finished_at=self.now, lease_until=None, cancel_requested=0)
        self.ends.append(state)
        self.connection.execute("DELETE FROM checkpoints WHERE fit_id = ?", (id,))
        # The fit keeps its losses; who begins to listen now is told of the end only. The end has its number already:
        # a higher one than those who listened until now have seen.
        self.connection.execute("DELETE FROM events WHERE fit_id = ? AND kind = 'progress'", (id,))
