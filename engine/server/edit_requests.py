"""The edits that were asked for: run, watched, cancelled by name, and remembered for a while without their pictures."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final, Protocol

import msgspec

from engine.server.edit_engine import EngineDown
from engine.server.edit_record import EditRecord, EditState, Happy, Told, ended
from engine.server.errors import ApiError
from engine.server.messages import EditDone, EditEnded, EditStep, StartEdit
from engine.server.metrics import Metrics

KEPT_S: Final = 3600.0
KEPT: Final = 10_000

# The engine keeps the deadline; this is how long it may take to say so.
_GRACE_S: Final = 1.0


# Clients may choose the ids of their requests: one owner's are nothing to another.
_Name = tuple[str, str]  # owner, id


class Edits(Protocol):
    """What runs one edit; every `EditEngine` does."""

    def edit(self, request: StartEdit) -> AsyncGenerator[Told, None]:
        """Run an edit; the last word is an EditDone or EditEnded, and closing the generator cancels the edit."""


class EditRequests:
    """All requests for edits, by the id that their answer carries.

    Args:
        edits: runs them.
        metrics: told of what becomes of each.
    """

    def __init__(self, edits: Edits, metrics: Metrics) -> None:
        self._edits = edits
        self._metrics = metrics
        self._under_way: dict[_Name, EditRecord] = {}
        self._finished: dict[_Name, EditRecord] = {}
        self._kept: Counter[str] = Counter()  # finished requests by owner
        self._serials = itertools.count()

    def get(self, owner: str, id: str) -> EditRecord | None:
        """A request under way or finished within the last hour; None for a stranger's."""
        self._forget()
        return self._under_way.get((owner, id)) or self._finished.get((owner, id))

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
            id: names the request among those of its owner.
            edits: at least one.

        Yields:
            The number of an edit and what the engine says of it, until every edit has its EditDone.

        Raises:
            ApiError: there will be no pictures, or a request of this name is under way.
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
            record.let_go()

    def _open(self, owner: str, id: str, edits: Sequence[StartEdit]) -> EditRecord:
        if (owner, id) in self._under_way:
            found = f"a request of yours named {id} is under way"
            raise ApiError(409, "request_id_taken", f"{found}; send another X-Request-Id, or none")
        record = self._under_way[owner, id] = EditRecord(id, owner, [EditState(edit.seed) for edit in edits])
        for index, edit in enumerate(edits):
            # An id comes again when a client repeats its own, and the engine's last words on the old edit must not
            # be taken for the new one's.
            named = msgspec.structs.replace(edit, id=f"{id}/{next(self._serials)}")
            record.tasks.append(asyncio.create_task(self._follow(record, index, named)))
        return record

    def _close(self, record: EditRecord) -> None:
        name = record.owner, record.id
        del self._under_way[name]
        if name in self._finished:
            self._drop(name)
        self._finished[name] = record
        self._kept[record.owner] += 1
        self._forget()

    def _forget(self) -> None:
        """Let go of what is old, or too much: then of those of whoever has most, the first to finish goes first."""
        while self._finished:
            oldest = next(iter(self._finished))
            if time.time() - (self._finished[oldest].finished_at or 0) < KEPT_S:
                break
            self._drop(oldest)
        while len(self._finished) > KEPT:
            [(greedy, _)] = self._kept.most_common(1)
            self._drop(next(name for name in self._finished if name[0] == greedy))

    def _drop(self, name: _Name) -> None:
        del self._finished[name]
        self._kept[name[0]] -= 1
        if not self._kept[name[0]]:
            del self._kept[name[0]]

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


async def _before(
    deadline: float, inbox: asyncio.Queue[tuple[int, Happy | Exception]]
) -> tuple[int, Happy | Exception]:
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await inbox.get()
    except TimeoutError as error:
        raise ended("late", "the edit engine did not answer in time; try again later") from error
