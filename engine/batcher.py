"""Edits of many users in one running batch, which they join and leave at any step; knows no HTTP."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

from engine.edit_request import CheckedEdit, EditRequest, EditResult
from engine.editor import Edit, Editor, Progress
from engine.urgency import Shares, by_urgency, fit

OnStep = Callable[[Progress], object]


class Call(NamedTuple):
    """A call of the UNet, for those who count.

    Attributes:
        requests: of the edits that it took a step of.
        rows: that it computed, those of edits included that ended when it was put together already.
        latency_ms: of the call.
    """

    requests: tuple[EditRequest, ...]
    rows: int
    latency_ms: float


@dataclass(eq=False)
class _Entry:
    """An accepted edit, waiting or under way."""

    checked: CheckedEdit
    user: str
    timeout_s: float
    deadline: float
    start: float
    on_step: OnStep | None
    future: Future[EditResult]
    edit: Edit | None = None

    @property
    def rows(self) -> int:
        """How many rows its next step takes, at most."""
        return self.checked.rows if self.edit is None else self.edit.rows

    @property
    def wants_rows(self) -> bool:
        """Whether it has steps left."""
        return self.edit is None or not self.edit.row_edit.done


class Batcher:
    """Runs an editor in a thread of its own; nobody else may use that editor until `close`.

    Before every call of the UNet the rows are given out anew, to the most urgent edits (see `by_urgency`). An edit that
    gets none keeps its state and waits.

    Args:
        editor: its `max_edits` bounds how many are accepted at once, its `max_rows` how many rows run.
        on_call: told of every call of the UNet, in the batcher's thread; it must not raise.
    """

    def __init__(self, editor: Editor, on_call: Callable[[Call], object] | None = None) -> None:
        self._editor = editor
        self._on_call = on_call
        self._entries: list[_Entry] = []
        self._shares = Shares()
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="hiper-batcher", daemon=True)
        self._thread.start()

    def submit(
        self, request: EditRequest, *, user: str = "", timeout_s: float = 600.0, on_step: OnStep | None = None
    ) -> Future[EditResult]:
        """Accept an edit.

        Args:
            request: what is wanted.
            user: who wants it; users get equal shares of the rows.
            timeout_s: until the picture must be there; the less, the more urgent.
            on_step: called after each of its steps, in the batcher's thread, while all other edits wait; what it raises
                ends the edit.

        Returns:
            A future. It can be cancelled until its picture is there, and the edit is gone before the next step. It
            raises TimeoutError if the deadline passes, EditError if the edit becomes infinite, and whatever a network
            raises.

        Raises:
            PromptError, TailError, ValueError: the request cannot be met.
            queue.Full: as many edits as there may be are accepted already.
            RuntimeError: the batcher is closed.
        """
        checked, future = self._editor.check(request), Future[EditResult]()
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed; make a new one")
            if len(self._entries) >= self._editor.max_edits:
                raise queue.Full(f"{len(self._entries)} edits are under way, as many as there may be; try again later")
            start = self._shares.start(user, checked.rows * len(checked.table), self._entries)
            deadline = time.monotonic() + timeout_s
            self._entries.append(_Entry(checked, user, timeout_s, deadline, start, on_step, future))
            self._changed.notify()
        return future

    def close(self, cancel: bool = False) -> None:
        """Accept nothing more, and return when every accepted edit has ended.

        Args:
            cancel: do not wait for their pictures.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        if cancel:
            for entry in self._accepted():
                entry.future.cancel()
        self._thread.join()

    def __enter__(self) -> "Batcher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(cancel=error is not None)

    def _run(self) -> None:
        try:
            while self._wait():
                self._weed()
                candidates = by_urgency(entry for entry in self._accepted() if entry.wants_rows)
                self._step(fit(candidates, self._editor.max_rows))
        except BaseException as error:
            # A mistake of ours must not leave anybody waiting.
            with self._changed:
                self._closed = True
            for entry in self._accepted():
                self._end(entry, error)
            raise

    def _wait(self) -> bool:
        """Wait for edits; false when there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._entries or self._closed)
            return bool(self._entries)

    def _accepted(self) -> list[_Entry]:
        with self._changed:
            return [*self._entries]

    def _weed(self) -> None:
        """End what was cancelled or is late."""
        for entry in self._accepted():
            if entry.future.cancelled():
                self._end(entry, None)
            elif time.monotonic() >= entry.deadline:
                late = (
                    f"edit had no picture after {entry.timeout_s:g} s; allow more, or ask again when less is going on"
                )
                self._end(entry, TimeoutError(late))

    def _step(self, chosen: list[_Entry]) -> None:
        """Finish the last call of the UNet, give out the rows, and make the next call."""
        placed = {entry: edit for entry in chosen if (edit := self._begin(entry))}
        rows = sum(edit.rows for edit in placed.values())
        owners = {entry.edit: entry for entry in self._accepted()}
        for progress in self._editor.turn([*placed.values()]):
            self._deliver(owners[progress.edit], progress)
        accepted = self._accepted()
        requests = tuple(edit.request for entry, edit in placed.items() if entry in accepted)
        try:
            latency_ms = self._editor.call()
        except Exception as error:
            for entry in placed:
                self._end(entry, error)
            return
        if latency_ms is not None and self._on_call is not None:
            self._on_call(Call(requests, rows, latency_ms))

    def _begin(self, entry: _Entry) -> Edit | None:
        if entry.edit is None:
            try:
                entry.edit = self._editor.begin(entry.checked)
            except Exception as error:
                self._end(entry, error)
        return entry.edit

    def _deliver(self, entry: _Entry, progress: Progress) -> None:
        try:
            if entry.on_step is not None:
                entry.on_step(progress)
            if progress.done:
                self._end(entry, self._editor.finish(progress.edit))
        except Exception as error:
            self._end(entry, error)

    def _end(self, entry: _Entry, outcome: EditResult | BaseException | None) -> None:
        """Let go of an edit and tell whoever waits for it; an edit ends once."""
        with self._changed:
            if entry not in self._entries:
                return
            self._entries.remove(entry)
        if entry.edit is not None:
            self._editor.drop(entry.edit)
        if not entry.future.set_running_or_notify_cancel():
            return
        if isinstance(outcome, EditResult):
            entry.future.set_result(outcome)
        else:
            entry.future.set_exception(outcome)
