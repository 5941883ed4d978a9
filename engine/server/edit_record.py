"""What is known of a request for edits, from its beginning to an hour after its end."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from engine.server.errors import ApiError
from engine.server.messages import EditAccepted, EditDone, EditEnded, EditStep, EndReason

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Happy = EditAccepted | EditStep | EditDone
Told = Happy | EditEnded

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


# Even an empty one has 3 KB, and thousands of finished requests are kept.
_NO_INBOX: Final[asyncio.Queue[tuple[int, Happy | Exception]]] = asyncio.Queue()


class Failure(NamedTuple):
    """What is told of an error; while the error itself is kept, all that its request had is kept too."""

    code: str
    message: str


@dataclass(slots=True)
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
    failure: Failure | None = None
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
        self.status, self.finished_at = status, time.time()
        for edit, task in zip(self.edits, self.tasks, strict=True):
            if edit.status in ("queued", "running"):
                edit.status = "cancelled"
                task.cancel()
        if error is not None:
            self.failure = _failure(error)
            self.inbox.put_nowait((0, error))

    async def stopped(self) -> None:
        """Wait until the engine was told of all that was cancelled."""
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def let_go(self) -> None:
        """Keep only what is told of a finished request: no picture that nobody took, and no task's stack."""
        self.inbox, self.tasks = _NO_INBOX, []


def ended(reason: EndReason, message: str) -> ApiError:
    """The answer to a request whose edit ended without a picture."""
    status, code, retry_after_s, param = _ANSWERS[reason]
    return ApiError(status, code, message, param=param, retry_after_s=retry_after_s)


def _failure(error: Exception) -> Failure:
    if isinstance(error, ApiError):
        return Failure(error.code, error.message)
    return Failure("internal", "the server made a mistake; its log has the details")
