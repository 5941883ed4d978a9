"""Takes fits from the store's queue to the worker, one after the other, and sees to it that each comes to an end."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from engine.server.edit_engine import EditEngine
from engine.server.fit_attempt import RETRY_S, FitAttempt, insist
from engine.server.fit_previews import FitPreviews
from engine.server.fit_queue import MAX_LOST
from engine.server.fit_worker import FitWorker, WorkerUnavailable, worker_command
from engine.server.messages import EngineReady, FitFailed, WorkerReady
from engine.server.metrics import Metrics
from engine.server.settings import Settings
from engine.server.store import Store
from engine.server.store_errors import StoreError

IDLE_S: Final = 600.0
FIRST_STEP_S: Final = 600.0
WORKER_GRACE_S: Final = 5.0
UNAVAILABLE_S: Final = 60.0

log = logging.getLogger(__name__)


class FitRunner:
    """Runs fits; for one event loop, and the only one to work on this store, unless that is a shared one.

    The worker is started for the first fit and stopped after some idle time. It is killed when it hangs, and a fit
    whose worker was lost goes on from its last checkpoint in another one.

    Args:
        store: has the queue.
        edits: make previews, and say which model the bundle is of.
        settings: of the server.
        metrics: are told.
        argv: of the worker, without `--fd`; as the settings want it if empty.
        idle_s: until a worker without work is stopped.
        first_step_s: until a fit must have made its first step, lest its worker count as hung.
    """

    def __init__(
        self,
        store: Store,
        edits: EditEngine,
        settings: Settings,
        metrics: Metrics,
        *,
        argv: Sequence[str] = (),
        idle_s: float = IDLE_S,
        first_step_s: float = FIRST_STEP_S,
    ) -> None:
        self._store, self._edits, self._settings, self._metrics = store, edits, settings, metrics
        self._worker = FitWorker(
            argv or worker_command(settings.model, settings.fit_device, settings.fit_dtype, settings.fit_nice)
        )
        self._previews = FitPreviews(store, edits, settings.edit_timeout_s)
        self._idle_s, self._first_step_s = idle_s, first_step_s
        self._mismatch = ""
        self._attempt: FitAttempt | None = None
        self._failures: Counter[str] = Counter()
        self._busy_at = time.monotonic()
        self._draining = self._recovered = False
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str:
        """Why no fit can succeed at present, in one sentence; empty if all is well, as far as that is known."""
        return self._mismatch or self._worker.problem

    @property
    def worker_pid(self) -> int | None:
        """Of the worker's process, if there is one."""
        return self._worker.pid

    @property
    def worker_restarts(self) -> int:
        """How often a lost worker was replaced."""
        return self._worker.restarts

    async def start(self) -> None:
        """Begin, with what an earlier server was at."""
        if self._store.shared:
            self._hear_of_others(asyncio.get_running_loop())
        self._task = asyncio.create_task(self._run(), name="hiper-fit-runner")

    def wake(self) -> None:
        """A fit was queued."""
        self._woken.set()

    def _hear_of_others(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look for fits whenever something happened to one: another server may have queued it."""

        def hear(fit_id: str) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self.wake)

        self._store.watch(hear)

    async def cancel(self, fit_id: str) -> None:
        """Stop a fit within a step, if it runs; the store knows that this is wanted."""
        if self._attempt is not None and self._attempt.fit.id == fit_id:
            self._attempt.stop()

    async def stop(self, grace_s: float) -> None:
        """Begin no fit, and let the running one stop at a checkpoint, from which another server goes on.

        Args:
            grace_s: until a worker that has not stopped is killed; its fit goes on from the checkpoint before.
        """
        self._draining = True
        self.wake()
        if self._attempt is None:
            await self._worker.stop(min(grace_s, WORKER_GRACE_S))
        else:
            self._attempt.stop()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=grace_s)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._previews.stop()
        await self._worker.stop(min(grace_s, WORKER_GRACE_S))

    async def _run(self) -> None:
        while not self._draining:
            try:
                await self._turn()
            except Exception:
                # What it was at is left to its lease; a worker that goes on with it is not to be trusted.
                log.exception("the fit runner stumbled")
                self._worker.kill()
                await asyncio.sleep(RETRY_S)

    async def _turn(self) -> None:
        """Run the next fit, or wait for one."""
        self._woken.clear()
        if not self._recovered:
            await self._recover()
            return
        for fit in await insist(self._store.expired_fits):
            await insist(self._store.requeue_fit, fit.id, fit.fence, counts=True)
        if not await insist(self._store.queued_fits):
            await self._rest()
        elif await self._is_prepared() and not self._draining:
            await self._run_next()

    async def _recover(self) -> None:
        """Queue again what an earlier server was at; on a full disk that waits, while pictures are read and painted."""
        try:
            again = await asyncio.to_thread(self._store.recover)
        except StoreError as error:
            log.error("fits wait: %s", error)
            await self._wait(RETRY_S)
            return
        self._recovered = True
        if again:
            log.info("%d fits go on from their last checkpoints", again)

    async def _rest(self) -> None:
        self._worker.problem = ""  # whether it is one still, the next fit will show
        await self._wait(self._settings.lease_s)
        if time.monotonic() - self._busy_at > self._idle_s and self._worker.pid is not None:
            log.info("the fit worker is stopped until it is needed again")
            await self._worker.stop(WORKER_GRACE_S)

    async def _wait(self, timeout_s: float) -> None:
        """Wait for a fit to be queued."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()

    async def _is_prepared(self) -> bool:
        """See to a worker that has its model; without one, fits wait."""
        if self._draining:
            return False
        try:
            worker = await self._worker.up()
        except WorkerUnavailable as error:
            log.error("fits wait: %s", error)
            await self._wait(UNAVAILABLE_S)
            return False
        return await self._is_compared(worker)

    async def _is_compared(self, worker: WorkerReady) -> bool:
        """Look whether worker and bundle have one model, as soon as the edit engine tells its own."""
        while self._edits.ready is None:
            if self._draining:
                return False
            await asyncio.sleep(0.1)
        self._mismatch = _compare(worker, self._edits.ready)
        return True

    async def _run_next(self) -> None:
        claim = await insist(self._store.claim_fit, self._settings.lease_s)
        if claim is None:
            return
        attempt = FitAttempt(
            claim, self._worker, self._store, self._previews, self._settings, self._metrics, self._first_step_s
        )
        if self._mismatch:
            await attempt.fail("model_mismatch", self._mismatch)
        else:
            if claim.checkpoint is not None:
                self._metrics.on_fit_resumed()
            await self._follow(attempt)
        await self._conclude(attempt)

    async def _follow(self, attempt: FitAttempt) -> None:
        self._attempt = attempt
        if self._draining:
            attempt.stop()
        try:
            failed = await attempt.run()
        finally:
            self._attempt = None
        if failed is not None:
            await self._retry(attempt, failed)

    async def _retry(self, attempt: FitAttempt, failed: FitFailed) -> None:
        """Try again in a fresh process what may succeed there, a few times."""
        self._worker.kill()
        self._failures[failed.id] += 1
        if self._failures[failed.id] < MAX_LOST:
            await attempt.try_again()
        else:
            await attempt.fail(failed.code, failed.message)

    async def _conclude(self, attempt: FitAttempt) -> None:
        self._busy_at = time.monotonic()
        fit = await insist(self._store.fit, attempt.fit.owner, attempt.fit.id)
        if fit is None or fit.finished_at is not None:
            del self._failures[attempt.fit.id]


def _compare(worker: WorkerReady, bundle: EngineReady) -> str:
    """What is wrong if the two have different models; else empty."""
    if worker.model_digest == bundle.model_digest:
        return ""
    return (
        f"fits use {worker.model_id}, digest {worker.model_digest[:12]}, but edits use {bundle.model_id}, digest "
        f"{bundle.model_digest[:12]}; start hiper-serve with --model naming what its bundle was exported from"
    )
