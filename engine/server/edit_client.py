"""The front's view of the edit engine: ask for a picture, and hear of it until it is there."""

import asyncio
import itertools
import logging
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from engine.server.child import Child, ChildDown, State
from engine.server.edit_engine import STARTING, STOPPING, EditEvent, EngineDown
from engine.server.engine_options import EngineOptions
from engine.server.messages import (
    CancelEdit,
    EditAccepted,
    EditDone,
    EditEnded,
    EditStep,
    EndReason,
    EngineFailed,
    EngineReady,
    FromEngine,
    Message,
    StartEdit,
    UnetCall,
)
from engine.server.wire import WireError

COMMAND: Final = (sys.executable, "-m", "engine.server.edit_process")
# What kills an engine is one of the edits it has. They get another try, and a third, in ever smaller company: so many
# at a time, by how often an engine died over one of them. Whoever is innocent survives being alone.
COMPANY: Final = (sys.maxsize, 8, 1)
SILENCE_S: Final = 30.0
EXIT_S: Final = 5.0
SEPARATOR: Final = "#"

_DEADLY: Final = "the edit engine died over this edit, at last over it alone; change the edit, or try again later"
_LATE: Final = "edit had no picture after {:g} s; allow more, or ask again when less is going on"

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Pending:
    """An edit under way.

    The engine knows it by `name`: its last words on an earlier edit of the same id may come late.

    Attributes:
        deaths: of engines that had it.
        sent: when the engine got it; 0 while it waits.
    """

    request: StartEdit
    name: str
    deadline: float
    events: "asyncio.Queue[EditEvent]" = field(default_factory=asyncio.Queue)
    deaths: int = 0
    sent: float = 0.0


class EditClient:
    """Runs an edit engine in a process of its own, and starts it again when it dies; for one event loop.

    Args:
        options: of the engine.
        on_call: told of every call of the UNet.
        command: that starts the engine; the options are added to it.

    Attributes:
        ready: what the engine says of itself; None while it is down or warming up.
        capacity: edits that may be under way.
        failure: why the engine cannot start and will not be tried again, or None.
    """

    def __init__(
        self,
        options: EngineOptions,
        on_call: Callable[[UnetCall], object] = lambda call: None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.ready: EngineReady | None = None
        self.failure: str | None = None
        self.capacity = options.max_edits
        self._on_call = on_call
        self._pending: dict[str, _Pending] = {}
        self._numbers = itertools.count()
        self._stopping = False
        self._settled = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._silent_since: float | None = None  # with an edit to speak of; None where nothing is to be said
        argv = [*command, *options.arguments()]
        self._child = Child("edit engine", argv, FromEngine, self._hear, self._lost)

    @property
    def depth(self) -> int:
        """Edits under way."""
        return len(self._pending)

    @property
    def state(self) -> State:
        """Of the process, see `Child`."""
        return self._child.state

    @property
    def restarts(self) -> int:
        """How often the process was started again."""
        return self._child.restarts

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return self._child.pid

    async def start(self) -> None:
        """Start the engine; it takes edits when it is `ready`."""
        await self._child.start()

    async def wait_ready(self) -> EngineReady:
        """Wait until the engine takes edits.

        Raises:
            EngineDown: it cannot start, and will not be tried again.
        """
        while self.ready is None:
            if self.failure is not None or self._stopping:
                raise EngineDown(self._why_down())
            await self._settled.wait()
        return self.ready

    async def stop(self, grace_s: float) -> None:
        """Take no new edits, wait so many seconds for those under way, cancel what is left, and end the engine."""
        self._stopping = True
        self._settled.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        self._end_all("cancelled", STOPPING)
        await self._child.stop(EXIT_S if grace_s else 0)
        self.ready = None

    async def edit(self, request: StartEdit) -> AsyncGenerator[EditEvent, None]:
        """Run an edit, as `EditEngine` says."""
        if self.ready is None or self._stopping:
            raise EngineDown(self._why_down())
        if request.id in self._pending:
            raise ValueError(f"an edit named {request.id!r} is under way; name this one otherwise")
        name = f"{request.id}{SEPARATOR}{next(self._numbers)}"
        pending = self._pending[request.id] = _Pending(request, name, time.monotonic() + request.timeout_s)
        self._idle.clear()
        timer = asyncio.get_running_loop().call_later(request.timeout_s, self._late, pending)
        try:
            self._feed()
            while True:
                event = await pending.events.get()
                yield event
                if isinstance(event, EditDone | EditEnded):
                    return
        finally:
            timer.cancel()
            self._drop(pending)

    def _feed(self) -> None:
        """Give the engine what it may have now, the most suspicious first."""
        if self.ready is None:
            return
        inside = [one for one in self._pending.values() if one.sent]
        waiting = [one for one in self._pending.values() if not one.sent]
        for pending in sorted(waiting, key=lambda one: -one.deaths):
            if len(inside) >= COMPANY[max(one.deaths for one in (pending, *inside))]:
                return
            self._send(pending)
            inside.append(pending)

    def _send(self, pending: _Pending) -> None:
        now = time.monotonic()
        try:
            left_s = pending.deadline - now
            self._child.post(msgspec.structs.replace(pending.request, id=pending.name, timeout_s=left_s))
        except WireError as error:
            self._end(pending, "value", str(error))
        except ChildDown:
            return  # it has just died; the next one will get it
        pending.sent = now
        if self._silent_since is None:
            self._silent_since = now

    def _hear(self, message: Message) -> None:
        self._take(message)
        self._silent_since = time.monotonic() if any(one.sent for one in self._pending.values()) else None

    def _take(self, message: Message) -> None:
        match message:
            case EditStep() | EditAccepted() | EditDone() | EditEnded():
                id, _, _ = message.id.rpartition(SEPARATOR)
                pending = self._pending.get(id)
                if pending is not None and pending.name == message.id:
                    self._pass_on(pending, msgspec.structs.replace(message, id=id))
            case UnetCall():
                self._on_call(message)
            case EngineReady():
                self._become_ready(message)
            case EngineFailed():
                self._fail(message.message)

    def _become_ready(self, ready: EngineReady) -> None:
        self.ready = ready
        self._settled.set()
        self._feed()

    def _fail(self, message: str) -> None:
        logger.error("the edit engine cannot start: %s", message)
        self.failure = message
        self._settled.set()
        self._end_all("engine", self._why_down())
        self._child.give_up()

    def _lost(self) -> None:
        self.ready = self._silent_since = None
        self._settled.clear()
        inside, last = [one for one in self._pending.values() if one.sent], len(COMPANY) - 1
        for pending in inside:
            pending.deaths, pending.sent = max(pending.deaths + 1, last if len(inside) == 1 else 0), 0.0
            if pending.deaths > last:
                self._end(pending, "engine", _DEADLY)

    def _late(self, pending: _Pending) -> None:
        """End an edit whose time is up; an engine without a word for half of that time, or SILENCE_S, hangs."""
        if not self._drop(pending):
            return
        now, timeout_s = time.monotonic(), pending.request.timeout_s
        if self._silent_since is not None and now - self._silent_since > max(SILENCE_S, timeout_s / 2):
            logger.error("the edit engine hangs; it is killed")
            self._child.kill()
        self._end(pending, "late", _LATE.format(timeout_s))

    def _end_all(self, reason: EndReason, message: str) -> None:
        for pending in [*self._pending.values()]:
            self._end(pending, reason, message)

    def _end(self, pending: _Pending, reason: EndReason, message: str) -> None:
        self._pass_on(pending, EditEnded(id=pending.request.id, reason=reason, message=message))

    def _pass_on(self, pending: _Pending, event: EditEvent) -> None:
        pending.events.put_nowait(event)
        if isinstance(event, EditDone | EditEnded):
            self._forget(pending)

    def _drop(self, pending: _Pending) -> bool:
        """Cancel an edit, if it is under way."""
        under_way = self._forget(pending)
        if under_way and pending.sent:
            with suppress(ChildDown):
                self._child.post(CancelEdit(id=pending.name))
        return under_way

    def _forget(self, pending: _Pending) -> bool:
        """Whether it was under way until now."""
        if self._pending.get(pending.request.id) is not pending:
            return False
        del self._pending[pending.request.id]
        if not self._pending:
            self._idle.set()
        asyncio.get_running_loop().call_soon(self._feed)
        return True

    def _why_down(self) -> str:
        if self.failure is not None:
            return f"the edit engine cannot start: {self.failure}"
        if self._stopping:
            return STOPPING
        return STARTING
