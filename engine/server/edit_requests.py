"""The edits that were asked for: run, watched, cancelled by name, and remembered for a while without their pictures."""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import msgspec

from engine.server.edit_client import EngineDown
from engine.server.errors import ApiError
from engine.server.messages import EditAccepted, EditDone, EditEnded, EditStep, EndReason, StartEdit
from engine.server.metrics import Metrics

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Happy = EditAccepted | EditStep | EditDone
Told = Happy | EditEnded

KEPT_S: Final = 3600.0
KEPT: Final = 10_000

# The engine keeps the deadline; this is how long it may take to say so.
_GRACE_S: Final = 1.0

# How an edit without a picture is answered: status, code, seconds after which to try again, field to blame.
_ANSWERS: Final[dict[EndReason, tuple[int, str, float | None, str | None]]] = {
    "prompt": (422, "prompt_invalid", None, "prompt"),
    "tail": (422, "tail_invalid", None, "tail"),
    "value": (422, "validation_error", None, None),
    "full": (503, "busy", 1.0, None),
    "late": (503, "deadline_missed", 5.0, None),
    "infinite": (422, "edit_infinite", None, None),
    "cancelled": (503, "draining", 5.0, None),  # by a server that ends; whoever cancels by name never asks the engine
    "engine": (503, "engine_unavailable", 2.0, None),
}


class Edits(Protocol):
    """What runs one edit; `engine.server.edit_client.EditClient` is one."""

    def edit(self, request: StartEdit) -> AsyncGenerator[Told, None]:
        """Run an edit; the last word is an EditDone or EditEnded, and closing the generator cancels the edit."""


@dataclass
class EditState:
    """How far one edit is."""

    seed: int
    step: int = 0
    steps: int = 0
    previews: int = 0
    status: Status = "queued"

    def note(self, message: Told) -> None:
        """Take down what the engine said."""
        if isinstance(message, EditAccepted):
            self.steps = message.steps
        elif isinstance(message, EditStep):
            self.step, self.steps, self.status = message.step, message.steps, "running"
            self.previews += message.preview is not None
        else:
            self.status = "succeeded" if isinstance(message, EditDone) else "failed"


@dataclass(eq=False)
class EditRecord:
    """A request and its edits; times are seconds since the epoch."""

    id: str
    owner: str
    edits: list[EditState]
    created_at: float = field(default_factory=time.time)
    status: Status = "queued"
    finished_at: float | None = None
    error: Exception | None = None
    inbox: asyncio.Queue[tuple[int, Happy | Exception]] = field(default_factory=asyncio.Queue)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def note(self, index: int, message: Told) -> None:
        """Take down what the engine said of an edit, and pass it on."""
        self.edits[index].note(message)
        if isinstance(message, EditEnded):
            self.end("failed", ended(message.reason, message.message))
            return
        self.inbox.put_nowait((index, message))
        if isinstance(message, EditStep):
            self.status = "running"
        elif all(edit.status == "succeeded" for edit in self.edits):
            self.end("succeeded")

    def end(self, status: Status, error: Exception | None = None) -> None:
        """Finish, unless it is finished, and cancel the edits that go on."""
        if self.finished_at is not None:
            return
        self.status, self.error, self.finished_at = status, error, time.time()
        for edit, task in zip(self.edits, self.tasks, strict=True):
            if edit.status in ("queued", "running"):
                edit.status = "cancelled"
                task.cancel()
        if error is not None:
            self.inbox.put_nowait((0, error))

    async def stopped(self) -> None:
        """Wait until the engine was told of all that was cancelled."""
        await asyncio.gather(*self.tasks, return_exceptions=True)


class EditRequests:
    """All requests for edits, by the id that their answer carries.

    Args:
        edits: runs them.
        metrics: told of what becomes of each.
    """

    def __init__(self, edits: Edits, metrics: Metrics) -> None:
        self._edits = edits
        self._metrics = metrics
        self._under_way: dict[str, EditRecord] = {}
        self._finished: dict[str, EditRecord] = {}
        self._serials = itertools.count()

    def get(self, owner: str, id: str) -> EditRecord | None:
        """A request under way or finished within the last hour; None for a stranger's."""
        self._forget()
        record = self._under_way.get(id) or self._finished.get(id)
        return record if record is not None and record.owner == owner else None

    async def cancel(self, owner: str, id: str) -> EditRecord | None:
        """End a request, and return when its edits are gone; one that is finished stays as it is."""
        record = self.get(owner, id)
        if record is not None:
            record.end("cancelled", ApiError(409, "edit_cancelled", "the edit was cancelled, as it was asked to be"))
            await record.stopped()
        return record

    async def run(self, owner: str, id: str, edits: Sequence[StartEdit]) -> AsyncGenerator[tuple[int, Happy], None]:
        """Run edits side by side; one that fails ends all, and closing the generator cancels them.

        Args:
            owner: whose they are.
            id: names the request, and no other that is under way.
            edits: at least one.

        Yields:
            The number of an edit and what the engine says of it, until every edit has its EditDone.

        Raises:
            ApiError: there will be no pictures.
        """
        record = self._open(owner, id, edits)
        deadline = time.monotonic() + max(edit.timeout_s for edit in edits) + _GRACE_S
        missing = len(edits)
        try:
            while missing:
                index, message = await _before(deadline, record.inbox)
                if isinstance(message, Exception):
                    raise message
                missing -= isinstance(message, EditDone)
                yield index, message
        except ApiError as error:
            record.end("failed", error)
            raise
        finally:
            record.end("cancelled")
            self._close(record)
            await record.stopped()

    def _open(self, owner: str, id: str, edits: Sequence[StartEdit]) -> EditRecord:
        assert id not in self._under_way, "the app gives every request an id that no other has"
        record = self._under_way[id] = EditRecord(id, owner, [EditState(edit.seed) for edit in edits])
        for index, edit in enumerate(edits):
            # An id comes again when a client repeats its own, and the engine's last words on the old edit must not
            # be taken for the new one's.
            named = msgspec.structs.replace(edit, id=f"{id}/{next(self._serials)}")
            record.tasks.append(asyncio.create_task(self._follow(record, index, named)))
        return record

    def _close(self, record: EditRecord) -> None:
        del self._under_way[record.id]
        self._finished.pop(record.id, None)
        self._finished[record.id] = record
        self._forget()

    def _forget(self) -> None:
        """Let go of what is old, or too much; the first to finish is the first to go."""
        while self._finished:
            oldest = next(iter(self._finished.values()))
            if len(self._finished) <= KEPT and time.time() - (oldest.finished_at or 0) < KEPT_S:
                return
            del self._finished[oldest.id]

    async def _follow(self, record: EditRecord, index: int, edit: StartEdit) -> None:
        """See an edit through."""
        state, asked = record.edits[index], time.monotonic()
        try:
            async with aclosing(self._edits.edit(edit)) as messages:
                async for message in messages:
                    self._count(message, state, time.monotonic() - asked)
                    record.note(index, message)
        except asyncio.CancelledError:
            self._metrics.on_edit_ended("cancelled", running=state.step > 0)
            raise
        except EngineDown as down:
            self._metrics.on_edit_ended("engine", running=state.step > 0)
            record.note(index, EditEnded(id=edit.id, reason="engine", message=str(down)))
        except Exception as error:
            # A mistake of ours must not leave anybody waiting.
            state.status = "failed"
            record.end("failed", error)

    def _count(self, message: Told, state: EditState, since_s: float) -> None:
        if isinstance(message, EditDone):
            self._metrics.on_edit_done(message)
        elif isinstance(message, EditEnded):
            self._metrics.on_edit_ended(message.reason, running=state.step > 0)
        elif isinstance(message, EditStep):
            if not state.step:
                self._metrics.edit_queue_seconds.observe(since_s)
            if message.preview is not None and not state.previews:
                self._metrics.first_preview_seconds.observe(since_s)


def ended(reason: EndReason, message: str) -> ApiError:
    """The answer to a request whose edit ended without a picture."""
    status, code, retry_after_s, param = _ANSWERS[reason]
    return ApiError(status, code, message, param=param, retry_after_s=retry_after_s)


async def _before(
    deadline: float, inbox: asyncio.Queue[tuple[int, Happy | Exception]]
) -> tuple[int, Happy | Exception]:
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await inbox.get()
    except TimeoutError as error:
        raise ended("late", "the edit engine did not answer in time; try again later") from error
