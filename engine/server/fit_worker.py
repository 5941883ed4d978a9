"""The process that fits, as the front sees it: started when it is needed, heard, killed when it hangs."""

import asyncio
import logging
import sys
from collections.abc import Sequence

from engine.server.child import Child, ChildDown
from engine.server.messages import FromWorker, Message, StartFit, StopFit, WorkerFailed, WorkerReady

RESTARTS_BEFORE_COMPLAINT = 3

log = logging.getLogger(__name__)


class WorkerUnavailable(Exception):
    """There is no worker, and it is no use to wait for one; the message says why."""


class FitWorker:
    """For one event loop, and one fit at a time.

    Args:
        argv: the command, without `--fd`.

    Attributes:
        ready: what the worker said of itself; None while there is none that could take a fit.
        problem: why there is none, where that is more than a matter of seconds; else empty.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self.ready: WorkerReady | None = None
        self.problem = ""
        self._argv = argv
        self._child = self._new_child()
        self._inbox: asyncio.Queue[Message | None] = asyncio.Queue()
        self._news = asyncio.Event()
        self._lost_in_a_row = 0
        self._earlier_restarts = 0
        self._stopping = self._given_up = False

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return self._child.pid

    @property
    def restarts(self) -> int:
        """How often the process was started again after a crash."""
        return self._earlier_restarts + self._child.restarts

    async def up(self, *, patient: bool = True) -> WorkerReady:
        """Start the worker if there is none, and wait until it has loaded its model.

        Args:
            patient: wait also for one that dies again and again before it is ready.

        Raises:
            WorkerUnavailable: it has said, or to the impatient shown, that it cannot, or was stopped meanwhile.
        """
        if self._given_up or self._child.state == "stopped":
            await self._replace_child()
        while self.ready is None:
            hopeless = self._given_up or (self.problem and not patient)
            if hopeless or self._stopping or self._child.state == "stopped":
                raise WorkerUnavailable(self.problem or "the fit worker was stopped")
            self._news.clear()
            await self._news.wait()
        return self.ready

    async def begin(self, start: StartFit) -> None:
        """Give the worker a fit.

        Raises:
            ChildDown: it is gone.
            WireError: the fit is too large for a message.
        """
        self._check_running()
        self._inbox = asyncio.Queue()
        await self._child.send(start)

    async def hear(self) -> Message | None:
        """Wait for what the worker says about the fit that was begun last; None once it is gone."""
        return await self._inbox.get()

    def stop_fit(self, fit_id: str) -> None:
        """Tell the worker to stop a fit.

        Raises:
            ChildDown: it is gone.
        """
        self._check_running()
        self._child.post(StopFit(id=fit_id))

    def kill(self) -> None:
        """End a worker that hangs, or that may have suffered; another is started."""
        self.ready = None
        self._child.kill()

    async def stop(self, grace_s: float) -> None:
        """Let the worker exit, and kill it if it is still there after so many seconds."""
        self.ready, self._stopping = None, True
        self._news.set()
        await self._child.stop(grace_s)

    def _check_running(self) -> None:
        if self._stopping:
            raise ChildDown("the fit worker is stopped")

    def _new_child(self) -> Child:
        return Child("fit worker", self._argv, FromWorker, self._on_message, self._on_lost)

    async def _replace_child(self) -> None:
        """A child is started once; this one was stopped, or has given up and may still be at it."""
        await self._child.stop(0)
        self._earlier_restarts += self._child.restarts
        self._child, self.problem = self._new_child(), ""
        self._stopping = self._given_up = False
        await self._child.start()

    def _on_message(self, message: Message) -> None:
        if isinstance(message, WorkerReady) and not self._stopping:
            log.info("fit worker has %s on %s in %s", message.model_id, message.device, message.dtype)
            self.ready, self.problem, self._lost_in_a_row = message, "", 0
            self._news.set()
        elif isinstance(message, WorkerFailed):
            log.error("fit worker cannot start: %s", message.message)
            self.problem, self._given_up = message.message, True
            self._child.give_up()
            self._news.set()
        else:
            self._inbox.put_nowait(message)

    def _on_lost(self) -> None:
        self.ready = None
        self._lost_in_a_row += 1
        if self._lost_in_a_row > RESTARTS_BEFORE_COMPLAINT and not self.problem:
            self.problem = f"the fit worker ended {self._lost_in_a_row} times before it was ready; see the server's log"
        self._inbox.put_nowait(None)
        self._news.set()


def worker_command(model: str, device: str, dtype: str, nice: int) -> list[str]:
    """What starts `hiper.worker`, but for its end of the line."""
    options = {"--model": model, "--device": device, "--dtype": dtype, "--nice": str(nice)}
    return [sys.executable, "-m", "hiper.worker", *(f"{name}={value}" for name, value in options.items())]
