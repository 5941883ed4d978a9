"""Does rows, one device at a time: its threads wait for rows, and a process of its own does them."""

import asyncio
import hashlib
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec

from engine.atomic_file import write_atomically
from engine.bulk.folder import Folder
from engine.bulk.journal import Begun, Done, Failed, Journal, Started, starts_since_success
from engine.bulk.locks import work
from engine.bulk.rows import Task, mark
from engine.errors import HiPerError

LIVES: Final = 100
READY_S: Final = 1800.0  # plans are loaded, models compiled

T = TypeVar("T")


class RowError(Exception):
    """A row cannot be done, or not now; `code` says which kind of reason it is."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Unavailable(Exception):
    """No row can be done here; the message says why."""


class Made(NamedTuple):
    """A result's content, and how many edits a call of the UNet held meanwhile, on average."""

    data: bytes
    edits_per_call: float = 1.0


class Outcome(msgspec.Struct, frozen=True):
    """What became of a row; after "hopeless" no other row will do better."""

    id: str
    what: Literal["done", "failed", "hopeless"]
    reason: str = ""


class Worker(ABC):
    """Base of both kinds; any number of threads may call it at once.

    Args:
        folder: for the results; a result that is there is not made again.
        threads: of the CPU, for all it starts.
        run: names the run.
        workers: of the run; they may start that often, and LIVES times more, until one comes to the end of a row.
    """

    def __init__(self, folder: Folder, threads: int, run: str = "", workers: int = 1) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._folder = folder
        work(folder.locks)
        self._journal = Journal(folder.journals, run)
        self._journal.write(Started(id=""))
        # Ray starts a worker again for ever, which is no use where its engine takes more memory than there is.
        self._worn_out = starts_since_success(folder.journals, run) > workers + LIVES
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="hiper-bulk", daemon=True).start()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do a row: `task` is a Task as JSON; returns the fields of an Outcome."""
        task = msgspec.json.decode(row["task"], type=Task)
        return msgspec.structs.asdict(self.do(task))

    def do(self, task: Task) -> Outcome:
        """Make a row's result and keep it, and write down how that went."""
        id = task.row.id
        try:
            if self._worn_out:
                found = f"workers were started {LIVES} times and more without the end of a row"
                raise Unavailable(f"{found}; there may be too little memory, see Ray's logs")
            if not self._folder.result(task).exists():
                self._journal.write(Begun(id=id))
                self._make_and_keep(task)
        except RowError as error:
            self._journal.write(Failed(id=id, code=error.code, reason=error.reason))
            return Outcome(id, "failed", error.reason)
        except (Unavailable, HiPerError, OSError) as error:
            return Outcome(id, "hopeless", str(error))
        return Outcome(id, "done")

    def _make_and_keep(self, task: Task) -> None:
        started, file = time.monotonic(), self._folder.result(task)
        made = self.wait_for(self.make(task))
        seconds = time.monotonic() - started
        # The result's name is the last to appear: a result that is there is in the journal.
        line = Done(id=task.row.id, file=file.name, mark=task.mark, seconds=seconds, edits_per_call=made.edits_per_call)
        self._journal.write(line)
        write_atomically(file, made.data)
        self.forget(task)

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the worker's event loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    @abstractmethod
    async def make(self, task: Task) -> Made:
        """Make a row's result.

        Raises:
            RowError: there is none for this row.
            Unavailable: there is none for any row.
        """

    def forget(self, task: Task) -> None:  # noqa: B027  most have nothing to forget
        """Let go of what was kept for a row that is done."""


def content(task: Task, path: str, code: str) -> bytes:
    """The file that a row names, as it was when the table was checked.

    Args:
        task: the row, whose mark knows.
        path: of the file.
        code: of the kind of reason why it cannot be used.

    Raises:
        RowError: it is gone, or another one.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise RowError(code, f"{path} cannot be read: {error.strerror}") from error
    if mark(task.row, hashlib.sha256(data).hexdigest()) != task.mark:
        raise RowError(code, f"{path} was changed after the table was checked; start the command again")
    return data
