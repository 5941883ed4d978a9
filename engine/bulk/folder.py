"""Where results go, and what is known there of what was done.

- FOLDER/ID.png, FOLDER/ID.hiper.safetensors: results, whole or not there
- FOLDER/results.csv, FOLDER/failures.csv: what there is of them, and what there is not
- FOLDER/.bulk: journals, locks, checkpoints of fits
"""

import csv
import io
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from engine.atomic_file import write_atomically
from engine.bulk.errors import FolderError, listed
from engine.bulk.journal import Done, Failed, read_history
from engine.bulk.locks import alone, driving
from engine.bulk.rows import Task
from engine.errors import OutputError

_UNFINISHED: Final = f".{'[0-9a-f]' * 16}.tmp"  # of `write_atomically`, when it was killed


class State(NamedTuple):
    """How far a table is.

    Attributes:
        done: of its rows, the results that are there.
        failed: of its rows, the last failures of those without a result.
        pending: rows without a result.
        attempts: by id.
    """

    done: dict[str, Done]
    failed: dict[str, Failed]
    pending: list[Task]
    attempts: dict[str, int]


class Folder:
    """A folder for results.

    Args:
        path: made by `driving`.
        suffix: of all results.
    """

    def __init__(self, path: Path, suffix: str) -> None:
        self.path, self._suffix = path.absolute(), suffix
        self._own = self.path / ".bulk"

    @property
    def journals(self) -> Path:
        """Folder of journals."""
        return self._own / "journals"

    @property
    def checkpoints(self) -> Path:
        """Folder of fits' checkpoints."""
        return self._own / "checkpoints"

    @property
    def _job(self) -> Path:
        return self._own / "job.json"

    @property
    def locks(self) -> Path:
        """Folder of locks."""
        return self._own

    def result(self, task: Task) -> Path:
        """Where a row's result is, or will be."""
        return self.path / f"{task.row.stem}{self._suffix}"

    def driving(self) -> AbstractContextManager[None]:
        """Make the folder, and be its only driver; see `engine.bulk.locks.driving`.

        Raises:
            FolderError: it is in use.
            OutputError: it cannot be made.
        """
        try:
            for folder in (self.journals, self.checkpoints):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write to {self.path}: {error.strerror}; name another folder, -o") from error
        return driving(self._own)

    def claim(self, job: dict[str, str]) -> None:
        """Tie the folder to one model and one kind of work, for ever; take away what a killed run left unfinished.

        Raises:
            FolderError: it is tied to others.
        """
        self.check_claim(job)
        write_atomically(self._job, msgspec.json.encode(job))
        for unfinished in self.path.glob(_UNFINISHED):
            unfinished.unlink()

    def check_claim(self, job: dict[str, str]) -> None:
        """Refuse a folder that is tied to others.

        Raises:
            FolderError: it is.
        """
        if not self._job.exists():
            return
        earlier = msgspec.json.decode(self._job.read_bytes(), type=dict[str, str])
        if earlier != job:
            raise FolderError(f"{self.path} has {_told(earlier)}, not {_told(job)}; name another folder, -o")

    def tie(self, model_digest: str) -> None:
        """Tie the folder to a model's weights, for ever, where only workers know them.

        Raises:
            FolderError: it is tied to others.
        """
        tied = self._own / "model_sha256"
        with alone(self._own):
            if not tied.exists():
                write_atomically(tied, model_digest.encode())
            earlier = tied.read_text()
        if earlier != model_digest:
            found = f"{self.path} has results of a model with weights {earlier[:12]}, not {model_digest[:12]}"
            raise FolderError(f"{found}; name another folder, -o")

    def state(self, tasks: Iterable[Task]) -> State:
        """Look what is done.

        Raises:
            FolderError: there are results of other rows than the table's under the same names.
        """
        history, pending, problems = read_history(self.journals), [], []
        done, failed = {}, {}
        for task in tasks:
            id, file = task.row.id, self.result(task)
            last = history.done.get(id)
            if not file.exists():
                pending.append(task)
                if id in history.failed:
                    failed[id] = history.failed[id]
            elif last is None or last.file != file.name:
                problems.append(f"{file.name} is there, but was not made for row {id}")
            elif last.mark != task.mark:
                problems.append(f"{file.name} was made when row {id} asked for something else")
            else:
                done[id] = last
        if problems:
            found = f"{self.path} has results of other rows"
            raise FolderError(f"{found}; delete these files or name another folder, -o:\n  {listed(problems)}")
        return State(done, failed, pending, history.attempts)

    def write_tables(self, tasks: Sequence[Task]) -> State:
        """Write `results.csv` and, if there are any, `failures.csv`, from what is there; rows as in the table."""
        state = self.state(tasks)
        done = [state.done[task.row.id] for task in tasks if task.row.id in state.done]
        results = [(one.id, one.file, f"{one.seconds:.3f}", state.attempts[one.id]) for one in done]
        self._write_table("results.csv", ("id", "file", "seconds", "attempt"), results)
        failed = [state.failed[task.row.id] for task in state.pending if task.row.id in state.failed]
        failures = [(one.id, one.code, one.reason, state.attempts[one.id]) for one in failed]
        if failures:
            self._write_table("failures.csv", ("id", "code", "reason", "attempt"), failures)
        else:
            (self.path / "failures.csv").unlink(missing_ok=True)
        return state

    def _write_table(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        write_atomically(self.path / name, buffer.getvalue().encode())


def _told(job: dict[str, str]) -> str:
    digest = job.get("model_sha256")
    return f"{job['what']} by {job['model']}" + (f" with weights {digest[:12]}" if digest else "")
