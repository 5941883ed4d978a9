"""One attempt at a fit: what the worker says goes into the store, until one of them has an end to it."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from engine.errors import TailError
from engine.server.child import ChildDown
from engine.server.fit_previews import FitPreviews
from engine.server.fit_worker import FitWorker
from engine.server.messages import (
    FitCheckpoint,
    FitDone,
    FitFailed,
    FitStep,
    FitStopped,
    FromWorker,
    Message,
    StartFit,
)
from engine.server.metrics import Metrics
from engine.server.records import Claim
from engine.server.settings import Settings
from engine.server.store import Store
from engine.server.store_errors import StoreError
from engine.server.wire import WireError

RETRY_S: Final = 1.0
# At the lowest priority, beside edits that want all cores, a step may take 1024 / 15 times as long as alone.
PATIENCE: Final = 100

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)


async def insist(call: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Let the store do something, in a thread: while its disk is full or fails, wait and try again."""
    while True:
        try:
            return await asyncio.to_thread(call, *arguments, **options)
        except StoreError as error:
            log.error("fits wait: %s", error)
            await asyncio.sleep(RETRY_S)


class FitAttempt:
    """Runs one claim; nothing that an earlier attempt says counts.

    Args:
        claim: from the store.
        worker: up, and without a fit.
        store: is told everything.
        previews: are offered every checkpoint.
        settings: of the server.
        metrics: are told of steps.
        first_step_s: until the worker must have made its first step; later ones tell themselves what is too long.
    """

    def __init__(
        self,
        claim: Claim,
        worker: FitWorker,
        store: Store,
        previews: FitPreviews,
        settings: Settings,
        metrics: Metrics,
        first_step_s: float,
    ) -> None:
        self.fit, self._checkpoint = claim.fit, claim.checkpoint
        self._worker, self._store, self._previews = worker, store, previews
        self._settings, self._metrics = settings, metrics
        self._step, self._steps = claim.fit.step, claim.fit.steps
        self._patience_s = first_step_s
        self._stopped = False
        self._slowest_s = 0.0
        self._heard_at = time.monotonic()

    async def run(self) -> FitFailed | None:
        """Run to the end; the store knows how it went.

        Returns:
            The failure, if it is one that another attempt may not meet.
        """
        if not await self._begin():
            return None
        while True:
            message = await self._next()
            if not isinstance(message, FitStep | FitCheckpoint):
                return await self._end(message)
            await self._take(message)

    def stop(self) -> None:
        """Let the worker stop after its step, and keep what it has."""
        self._stopped = True
        try:
            self._worker.stop_fit(self.fit.id)
        except ChildDown:
            log.info("fit %s has no worker that could be stopped", self.fit.id)

    async def _begin(self) -> bool:
        """Whether the worker has the fit; else it is queued again."""
        begun = False
        try:
            start = await self._start_message()
            if not self._stopped:
                await self._worker.begin(start)
                begun = True
        except ChildDown:
            log.info("fit %s waits for another worker", self.fit.id)
        except (StoreError, WireError) as error:
            log.error("fit %s cannot begin: %s", self.fit.id, error)
            await self.try_again()
            await asyncio.sleep(RETRY_S)
            return False
        if not begun:
            await self._record(self._store.requeue_fit, counts=False)
        self._heard_at = time.monotonic()
        return begun

    async def _start_message(self) -> StartFit:
        return StartFit(
            id=self.fit.id,
            fence=self.fit.fence,
            settings=self.fit.settings,
            image=await asyncio.to_thread(self._store.image, self.fit.image),
            image_sha256=self.fit.image,
            checkpoint=self._checkpoint,
            checkpoint_every=self._settings.checkpoint_every,
        )

    async def _next(self) -> Message | None:
        """The next message about this attempt; None if the worker is gone, or hung and was killed."""
        until = time.monotonic() + self._patience_s
        while (left_s := until - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(min(left_s, self._settings.lease_s / 3)):
                    message = await self._worker.hear()
            except TimeoutError:
                await self._note([])
                continue
            if message is None or self._is_mine(message):
                return message
        log.error("fit %s made no step for %.0f s; its worker is killed", self.fit.id, self._patience_s)
        self._worker.kill()
        return None

    def _is_mine(self, message: Message) -> bool:
        return isinstance(message, FromWorker) and (
            getattr(message, "id", None) == self.fit.id and getattr(message, "fence", None) == self.fit.fence
        )

    async def _take(self, message: FitStep | FitCheckpoint) -> None:
        if isinstance(message, FitStep):
            self._measure(len(message.losses))
            self._step, self._steps = message.step, message.steps
            await self._note(message.losses)
        elif await self._record(self._store.record_checkpoint, message.step, message.data):
            self._previews.offer(self.fit, message)

    def _measure(self, steps: int) -> None:
        """Learn from the time that steps took how long the next ones may take."""
        now = time.monotonic()
        took_s, self._heard_at = now - self._heard_at, now
        if steps:
            self._metrics.on_fit_steps(steps, took_s)
            self._slowest_s = max(self._slowest_s, took_s)
            self._patience_s = max(self._settings.lease_s, PATIENCE * self._slowest_s)

    async def _note(self, losses: list[float]) -> None:
        """Extend the lease; a fit that is not wanted any more is stopped."""
        lease_s = self._settings.lease_s
        if not await self._record(self._store.record_step, self._step, self._steps, losses, lease_s):
            self.stop()

    async def _end(self, message: Message | None) -> FitFailed | None:
        if isinstance(message, FitDone):
            await self._finish(message)
        elif isinstance(message, FitFailed) and not message.permanent:
            return message
        elif isinstance(message, FitFailed):
            await self.fail(message.code, message.message)
        else:
            # The store ends a fit here whose owner wished so.
            await self._record(self._store.requeue_fit, counts=not isinstance(message, FitStopped))
        return None

    async def _finish(self, done: FitDone) -> None:
        try:
            await self._record(self._store.finish_fit, done.tail)
        except TailError as error:
            log.error("fit %s ended in what is no tail: %s", self.fit.id, error)
            await self.fail("internal", "the fit ended in what is no tail; the server's log says more")

    async def fail(self, code: str, message: str) -> None:
        """End the fit with an error."""
        await self._record(self._store.fail_fit, {"code": code, "message": message})

    async def try_again(self) -> None:
        """Let another attempt go on from the last checkpoint; not for ever, since this one has failed."""
        await self._record(self._store.requeue_fit, counts=True)

    async def _record(self, call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        return await insist(call, self.fit.id, self.fit.fence, *arguments, **options)
