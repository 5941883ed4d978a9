"""What happened to each row, as lines that are added and never changed: what makes a run go on after any end."""

import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

SUFFIX: Final = ".jsonl"


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Base of all events; `at` is in seconds since the epoch."""

    id: str
    at: float = msgspec.field(default_factory=time.time)


class Started(Event, frozen=True, kw_only=True):
    """A worker has started; `id` is empty, since it has no row yet."""


class Begun(Event, frozen=True, kw_only=True):
    """An attempt at a row."""


class Done(Event, frozen=True, kw_only=True):
    """A row's result is about to get its name.

    Attributes:
        file: its name.
        mark: of the row, see `engine.bulk.rows.mark`.
        seconds: that the attempt took.
        edits_per_call: how many edits a call of the UNet held meanwhile, on average; 1 for fits.
    """

    file: str
    mark: str
    seconds: float
    edits_per_call: float


class Failed(Event, frozen=True, kw_only=True):
    """An attempt ended without a result, for a reason that a person can read."""

    code: str
    reason: str


class Journal:
    """A file of its own, so that workers on any machine can write at once; its threads may share it.

    Args:
        folder: of all journals.
        run: names the run it belongs to.
    """

    def __init__(self, folder: Path, run: str = "") -> None:
        self._encode, self._lock = msgspec.json.Encoder().encode, threading.Lock()
        path = folder / f"{run}-{secrets.token_hex(8)}{SUFFIX}"
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)

    def write(self, event: Event) -> None:
        """Add an event; it survives whatever happens next.

        Raises:
            OSError: the disk refuses; then nothing of the event is there.
        """
        # The line before may have been cut off.
        line = b"\n" + self._encode(event)
        with self._lock:
            before = os.fstat(self._fd).st_size
            try:
                while line:
                    line = line[os.write(self._fd, line) :]
                os.fsync(self._fd)
            except OSError:
                os.ftruncate(self._fd, before)
                raise


def starts_since_success(folder: Path, run: str) -> int:
    """How many workers a run has started since it last came to the end of a row."""
    starts = 0
    for event in sorted(_events(folder, run), key=lambda event: event.at):
        match event:
            case Started():
                starts += 1
            case Done() | Failed():
                starts = 0
    return starts


class History(msgspec.Struct):
    """What all journals of a folder say together.

    Attributes:
        attempts: by id.
        done: by id, the last one.
        failed: by id, the last one.
    """

    attempts: Counter[str] = msgspec.field(default_factory=Counter)
    done: dict[str, Done] = msgspec.field(default_factory=dict)
    failed: dict[str, Failed] = msgspec.field(default_factory=dict)


def read_history(folder: Path) -> History:
    """Read all journals in a folder; without a folder, nothing has happened yet."""
    history = History()
    for event in sorted(_events(folder, "*"), key=lambda event: event.at):
        match event:
            case Begun():
                history.attempts[event.id] += 1
            case Done():
                history.done[event.id] = event
            case Failed():
                history.failed[event.id] = event
    return history


def _events(folder: Path, run: str) -> Iterator[Started | Begun | Done | Failed]:
    decode = msgspec.json.Decoder(Started | Begun | Done | Failed).decode
    for path in folder.glob(f"{run}-*{SUFFIX}"):
        for line in path.read_bytes().splitlines():
            try:
                yield decode(line)
            except msgspec.DecodeError:
                continue  # its writer, or the power, was cut off in the midst of it
