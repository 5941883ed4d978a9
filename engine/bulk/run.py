"""A run of `hiper-bulk`, once its options are understood."""

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer

from engine.bulk.crew import Crew
from engine.bulk.errors import RowsFailedError, WorkerError
from engine.bulk.fleet import Fleet, connected, outcomes
from engine.bulk.folder import Folder, State
from engine.bulk.progress import row_progress
from engine.bulk.rows import Task
from engine.bulk.worker import Worker

_DOING: Final = {"fit": "fitting", "edit": "editing"}


@dataclass(frozen=True)
class BulkRun:
    """A table's way into a folder.

    Attributes:
        what: "fit" or "edit".
        job: which model, and whatever else all results of a folder have in common.
        table: it came from.
        tasks: its rows.
        folder: for the results.
        worker: does the rows.
        arguments: of a worker, besides folder, threads, run and workers, given the threads it has.
        fleet: which workers.
        as_json: say what came of it as JSON.
    """

    what: str
    job: Mapping[str, str]
    table: Path
    tasks: Sequence[Task]
    folder: Folder
    worker: type[Worker]
    arguments: Callable[[int], Mapping[str, Any]]
    fleet: Fleet
    as_json: bool

    def run(self) -> None:
        """Do what is not done yet.

        Raises:
            RowsFailedError: all was tried, but some rows failed.
            WorkerError: the workers cannot start.
            FolderError: the folder is in use, or has other results.
        """
        started = time.monotonic()
        with self.folder.driving():
            self.folder.claim(self._tie)
            before = self.folder.state(self.tasks)
            try:
                if before.pending:
                    self._work(before)
            finally:
                after = self.folder.write_tables(self.tasks)
        self._tell(before, after, time.monotonic() - started)
        if after.pending:
            found = f"{len(after.pending)} of {len(self.tasks)} rows have no result"
            raise RowsFailedError(f"{found}; {self._failures} says why, and the same command tries again")

    def preview(self) -> None:
        """Say what there is to do, and do nothing."""
        self.folder.check_claim(self._tie)
        state = self.folder.state(self.tasks)
        if self.as_json:
            typer.echo(json.dumps(self._facts(state) | {"pending": len(state.pending)}, indent=2))
        else:
            typer.echo(f"{len(self.tasks)} rows, {len(state.done)} done, {len(state.pending)} to {self.what}")

    @property
    def _tie(self) -> dict[str, str]:
        return {"what": f"{self.what}s", **self.job}

    @property
    def _failures(self) -> Path:
        return self.folder.path / "failures.csv"

    def _work(self, before: State) -> None:
        failed = 0
        with (
            connected(self.fleet) as crew,
            row_progress(_DOING[self.what], len(before.pending), len(before.done)) as tell,
        ):
            arguments = self._arguments(crew)
            for outcome in outcomes(self.worker, arguments, before.pending, crew, self.fleet):
                if outcome.what == "hopeless":
                    raise WorkerError(f"nothing more can be done: {outcome.reason}")
                failed += outcome.what == "failed"
                tell(failed)

    def _arguments(self, crew: Crew) -> dict[str, Any]:
        common = {"folder": self.folder, "threads": crew.threads, "run": secrets.token_hex(4), "workers": crew.workers}
        return {**common, **self.arguments(crew.threads)}

    def _tell(self, before: State, after: State, seconds: float) -> None:
        new = [one for id, one in after.done.items() if id not in before.done]
        results = self.folder.path / "results.csv"
        if not self.as_json:
            typer.echo(results)
            return
        facts = self._facts(after) | {
            "done_now": len(new),
            "failed": len(after.failed),
            "seconds": round(seconds, 2),
            "rows_per_s": round(len(new) / seconds, 3),
            "edits_per_call": round(sum(one.edits_per_call for one in new) / len(new), 2) if new else None,
            "results": str(results),
            "failures": str(self._failures) if after.failed else None,
        }
        typer.echo(json.dumps(facts, indent=2))

    def _facts(self, state: State) -> dict[str, Any]:
        facts = {"command": self.what, **self.job, "table": str(self.table), "folder": str(self.folder.path)}
        return {**facts, "rows": len(self.tasks), "done": len(state.done)}
