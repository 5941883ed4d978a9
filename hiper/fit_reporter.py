"""What a fit worker tells the front of one fit."""

from __future__ import annotations

import socket
import time
from typing import Any, Final

from engine.server.messages import FitCheckpoint, FitDone, FitStep, FitStopped, StartFit
from engine.server.wire import send
from hiper.fit import FitProgress
from hiper.fit_job import FitJob
from hiper.snapshot_file import Snapshots, serialize_snapshots
from hiper.tail import serialize

REPORT_EVERY_S: Final = 0.25


class FitReporter:
    """Sends losses a few times a second, checkpoints when they are due, and how the fit ended."""

    def __init__(self, front: socket.socket, start: StartFit, job: FitJob) -> None:
        self._front, self._job, self._checkpoint_every = front, job, start.checkpoint_every
        self._about: dict[str, Any] = {"id": start.id, "fence": start.fence}
        self._losses: list[float] = []
        self._sent_at = 0.0

    def start(self, step: int) -> None:
        """The fit begins with so many steps done."""
        self._flush(step)

    def step(self, progress: FitProgress, snapshots: Snapshots) -> None:
        """A step was made, after which `snapshots` is all there is."""
        self._losses.append(progress.loss)
        if time.monotonic() - self._sent_at >= REPORT_EVERY_S:
            self._flush(progress.step)
        if progress.step % self._checkpoint_every == 0:
            self.checkpoint(snapshots)

    def checkpoint(self, snapshots: Snapshots) -> None:
        """The fit can go on from here."""
        step = self._flush(snapshots.state.step)
        data, tail = serialize_snapshots(snapshots), self._tail(snapshots)
        send(self._front, FitCheckpoint(**self._about, step=step, data=data, tail=tail))

    def stopped(self, snapshots: Snapshots) -> None:
        """The fit was stopped."""
        self.checkpoint(snapshots)
        send(self._front, FitStopped(**self._about, step=snapshots.state.step))

    def done(self, snapshots: Snapshots) -> None:
        """The fit has its result."""
        step = self._flush(snapshots.state.step)
        send(self._front, FitDone(**self._about, step=step, tail=self._tail(snapshots)))

    def _flush(self, step: int) -> int:
        send(self._front, FitStep(**self._about, step=step, steps=self._job.config.steps, losses=self._losses))
        self._losses, self._sent_at = [], time.monotonic()
        return step

    def _tail(self, snapshots: Snapshots) -> bytes:
        return serialize(self._job.tail(snapshots.state, snapshots.losses))
