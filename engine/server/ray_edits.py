"""The front's view of the edit engines of a Ray cluster: the same as of one process, with another way to lose it."""

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

from engine.server.edit_engine import STARTING, STOPPING, EditEvent, EngineDown
from engine.server.messages import EditDone, EditEnded, EndReason, EngineReady, StartEdit, UnetCall

ATTEMPTS: Final = 2
LOOK_S: Final = 1.0
SILENCE_S: Final = 10.0

Told = list[EditEvent | UnetCall]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineStatus:
    """What a replica says of its engine, which is None while that is down."""

    ready: EngineReady | None
    restarts: int


class _Lost(Exception):
    """A replica is gone, or cannot go on; another one may."""


class RayEdits:
    """An `EditEngine` whose edits Ray Serve spreads over the replicas of a deployment; for one event loop.

    An edit whose replica dies is begun once again on another one.

    Args:
        engines: the deployment, of `engine.server.ray_engine.HiPerEngine`.
        capacity: edits that may be under way, at this front.
        on_call: told of every call of the UNet, by one of the fronts that have edits in it.

    Attributes:
        ready: what one of the engines says of itself; None while there is none.
        restarts: of the processes of all engines that are there now.
        failure: None, since Ray tries again for ever.
    """

    def __init__(
        self, engines: DeploymentHandle[Any], capacity: int, on_call: Callable[[UnetCall], object] = lambda call: None
    ) -> None:
        self.ready: EngineReady | None = None
        self.failure: str | None = None
        self.capacity = capacity
        self.restarts = 0
        self._engines = engines
        self._on_call = on_call
        # Of this front and no other: a replica hears of edits from all of them.
        self._name = secrets.token_hex(8)
        self._numbers = itertools.count()
        self._under_way: set[str] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._cut = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    @property
    def depth(self) -> int:
        """Edits under way."""
        return len(self._under_way)

    async def start(self) -> None:
        """Watch the replicas, which Ray starts."""
        self._watching = asyncio.create_task(self._watch(), name="hiper-engines")

    async def stop(self, grace_s: float) -> None:
        """Take no new edits, wait so many seconds for those under way, and cancel what is left; the replicas stay."""
        self._stopping = True
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        self._cut.set()
        await self._idle.wait()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self.ready = None

    async def edit(self, request: StartEdit) -> AsyncGenerator[EditEvent, None]:
        """Run an edit, as `EditEngine` says."""
        if self.ready is None or self._stopping:
            raise EngineDown(STOPPING if self._stopping else STARTING)
        if request.id in self._under_way:
            raise ValueError(f"an edit named {request.id!r} is under way; name this one otherwise")
        self._under_way.add(request.id)
        self._idle.clear()
        try:
            async with aclosing(self._insist(request)) as events:
                async for event in events:
                    yield event
        finally:
            self._under_way.discard(request.id)
            if not self._under_way:
                self._idle.set()

    async def _insist(self, request: StartEdit) -> AsyncGenerator[EditEvent, None]:
        deadline = time.monotonic() + request.timeout_s
        for _ in range(ATTEMPTS):
            try:
                async with aclosing(self._ask(request, deadline)) as events:
                    async for event in events:
                        yield event
                        if isinstance(event, EditDone | EditEnded):
                            return
            except _Lost as lost:
                logger.warning("an edit lost its engine: %s", lost)
        died = f"the edit engine died {ATTEMPTS} times over this edit; try again later"
        yield _ended(request, "engine", died)

    async def _ask(self, request: StartEdit, deadline: float) -> AsyncGenerator[EditEvent, None]:
        """Ask one replica, and tell what it says; closing this cancels the edit there.

        Raises:
            _Lost: it has not said its last word.
        """
        name = f"{self._name}/{next(self._numbers)}"
        sent = msgspec.structs.replace(request, id=name, timeout_s=max(0.0, deadline - time.monotonic()))
        stream: Any = self._engines.options(stream=True).edit.remote(sent)
        done = False
        try:
            while not done:
                for message in await self._next(stream, request, deadline):
                    if isinstance(message, UnetCall):
                        self._on_call(message)
                        continue
                    done = isinstance(message, EditDone)
                    yield msgspec.structs.replace(message, id=request.id)
        finally:
            if not done:
                stream.cancel()

    async def _next(self, stream: DeploymentResponseGenerator[Told], request: StartEdit, deadline: float) -> Told:
        """What a replica says next, or the end of the edit."""
        coming = asyncio.ensure_future(_heard(stream))
        cut = asyncio.ensure_future(self._cut.wait())
        left_s = deadline - time.monotonic()
        try:
            await asyncio.wait({coming, cut}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                return coming.result()
            if cut.done():
                return [_ended(request, "cancelled", STOPPING)]
            return [_ended(request, "late", f"edit had no picture after {request.timeout_s:g} s; try again later")]
        except BackPressureError:
            return [_ended(request, "full", "as many edits are under way as there may be; try again soon")]
        finally:
            coming.cancel()
            cut.cancel()

    async def _watch(self) -> None:
        while True:
            found = await self._ask_all()
            if found is not None:
                self._see(found)
            await asyncio.sleep(LOOK_S)

    def _see(self, found: list[EngineStatus]) -> None:
        ready = next((status.ready for status in found if status.ready is not None), None)
        # The same engine stays the same object, for those who look whether it is another one.
        if ready is None or self.ready is None or ready.model_digest != self.ready.model_digest:
            self.ready = ready
        self.restarts = sum(status.restarts for status in found)

    async def _ask_all(self) -> list[EngineStatus] | None:
        """Ask all replicas, beside the queue of edits; None if there are some, but too busy to answer."""
        try:
            answers = await self._engines.broadcast("status").results_async(timeout_s=SILENCE_S, return_exceptions=True)
        except TimeoutError:
            return None
        except (RayError, RayServeException):
            return []
        return [answer for answer in answers if isinstance(answer, EngineStatus)]


async def _heard(stream: DeploymentResponseGenerator[Told]) -> Told:
    """The next piece of a stream that has not ended well.

    Raises:
        _Lost: the replica is gone, or its engine.
        BackPressureError: the queue for replicas is full.
    """
    try:
        return await anext(stream)
    except (EngineDown, StopAsyncIteration) as error:
        raise _Lost(str(error) or "it ended early") from error
    except (BackPressureError, RayTaskError):
        raise
    except (RayError, RayServeException) as error:
        raise _Lost(f"{type(error).__name__}: {error}".partition("\n")[0]) from error


def _ended(request: StartEdit, reason: EndReason, message: str) -> EditEnded:
    return EditEnded(id=request.id, reason=reason, message=message)
