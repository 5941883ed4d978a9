"""Runs scripts of a suite one after the other, each in a process of its own; what is done in a folder stays done."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO

from benchmarks.record import ROOT, write_record
from engine.atomic_file import write_atomically

QUESTION = "Which scripts of the suite ran, for how long, and what was left out or failed, and why"
STATE = "suite.json"


@dataclass(frozen=True)
class Step:
    """One script, which answers one question and writes one record, or makes what others need.

    Attributes:
        name: of the step.
        command: what Python is called with.
        minutes: that it takes at most on the machine that the suite is for.
        needs: modules without which it is left out.
        missing: why it is left out, where that is known already.
    """

    name: str
    command: tuple[str, ...]
    minutes: float = 2.0
    needs: tuple[str, ...] = ()
    missing: str = ""

    @property
    def lacking(self) -> str:
        """Why it must be left out; empty if it need not."""
        absent = [module for module in self.needs if not _is_here(module)]
        return self.missing or (f"{' and '.join(absent)} is not here" if absent else "")


@dataclass(frozen=True)
class Done:
    """How a step ended."""

    command: list[str]
    exit_code: int
    wall_s: float
    reason: str = ""
    records: list[str] = field(default_factory=list)


@dataclass
class Suite:
    """Steps and the folder that they fill.

    Attributes:
        name: of the suite.
        steps: in order.
        folder: gets the records, a log a step, and `suite.json`, which says what is done.
        report: told what happens, a line at a time.
        only: names of the steps that are asked for, also where they are done; empty for all that are not done.
    """

    name: str
    steps: Sequence[Step]
    folder: Path
    report: Callable[[str], object] = lambda line: None
    only: Collection[str] = ()

    def run(self, limit_minutes: float | None = None) -> bool:
        """Run what is asked for, each step once, and write the suite's own record.

        What failed in an earlier call is tried again after all that was never tried, so that a step that never ends
        cannot keep the others from their turn.

        Args:
            limit_minutes: of this call: a step that may not fit into the rest is left to the next call, and one that
                does not fit into a whole call fails.

        Returns:
            Whether all that is asked for was tried.

        Raises:
            ValueError: the folder holds the steps of another suite, or of other settings.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        start, done = time.monotonic(), self.done()
        waiting = self._waiting(done)
        for index, step in enumerate(waiting):
            left_s = None if limit_minutes is None else 60 * limit_minutes - (time.monotonic() - start)
            if left_s is not None and index > 0 and 60 * step.minutes > left_s:
                self.report(f"{len(waiting) - index} steps are left; call again: {step.name} comes next")
                break
            self.report(f"{step.name} ({index + 1} of {len(waiting)})")
            done[step.name] = self._do(step, left_s)
            self._keep(done)
        self._write(done)
        return all(step.lacking or step.name in done for step in self._wanted())

    def failed(self) -> list[str]:
        """Names of the steps that are asked for and failed when they were last tried."""
        done = self.done()
        return [step.name for step in self._wanted() if step.name in done and done[step.name].exit_code]

    def done(self) -> dict[str, Done]:
        """What earlier calls did; raises ValueError if it is not what this suite would do."""
        path, commands = self.folder / STATE, {step.name: list(step.command) for step in self.steps}
        if not path.exists():
            return {}
        found = {name: Done(**facts) for name, facts in json.loads(path.read_bytes()).items()}
        for name, done in found.items():
            if done.command != commands.get(name):
                raise ValueError(f"{self.folder} holds {name} of other settings; name a new folder")
        return found

    def _wanted(self) -> list[Step]:
        return [step for step in self.steps if not self.only or step.name in self.only]

    def _waiting(self, done: dict[str, Done]) -> list[Step]:
        """What this call may run: first what was never tried, then what failed, then what is to be done again."""
        possible = [step for step in self._wanted() if not step.lacking]
        new = [step for step in possible if step.name not in done]
        failed = [step for step in possible if step.name in done and done[step.name].exit_code]
        again = [step for step in possible if self.only and step not in (*new, *failed)]
        return [*new, *failed, *again]

    def _do(self, step: Step, left_s: float | None) -> Done:
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        before, start = set(self.folder.glob("*.json")), time.monotonic()
        with open(logs / f"{step.name}.log", "w") as log:
            code, reason = _run([sys.executable, *step.command], log, left_s)
        if code and not reason:
            reason = _last_line(logs / f"{step.name}.log")
        wall_s = time.monotonic() - start
        self.report(f"    {wall_s:.0f} s" + (f", exit code {code}: {reason}" if code else ""))
        records = sorted(path.name for path in set(self.folder.glob("*.json")) - before)
        return Done(list(step.command), code, wall_s, reason, records)

    def _keep(self, done: dict[str, Done]) -> None:
        facts = {name: asdict(found) for name, found in done.items()}
        write_atomically(self.folder / STATE, json.dumps(facts, indent=1).encode())

    def _write(self, done: dict[str, Done]) -> None:
        results = {name: _outcome(found) for name, found in done.items()}
        left_out = {step.name: step.lacking for step in self.steps if step.lacking}
        waiting = [step.name for step in self.steps if step.name not in (*done, *left_out)]
        errors = {name: found.reason for name, found in done.items() if found.exit_code}
        settings = {"suite": self.name, "left_out": left_out, "waiting": waiting}
        write_record(f"suite-{self.name}", QUESTION, settings, results, self.folder, errors=errors)


def in_folder(steps: Sequence[Step], folder: Path) -> list[Step]:
    """The steps with their folder in place of FOLDER."""
    where = str(folder.absolute())
    return [replace(step, command=tuple(word.replace("FOLDER", where) for word in step.command)) for step in steps]


def script(module: str, *arguments: str) -> tuple[str, ...]:
    """The command of a script of `benchmarks` that leaves its record in the suite's folder."""
    return ("-m", f"benchmarks.{module}", *arguments, "--records", "FOLDER")


def export(model: str, bundle: str, *arguments: str) -> tuple[str, ...]:
    """The command that makes a bundle in the suite's folder."""
    return ("-c", "from export.cli import main; main()", model, "-o", f"FOLDER/{bundle}", *arguments)


def _run(command: Sequence[str], log: IO[str], limit_s: float | None) -> tuple[int, str]:
    """Run a process to its end or the limit, and end all that it started, which would disturb whatever comes next.

    Returns:
        The exit code, and why it is that of `timeout` where the limit was reached.
    """
    process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    try:
        return process.wait(limit_s), ""
    except subprocess.TimeoutExpired:
        return 124, f"it did not end within the {limit_s:.0f} s that were left of this call"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _outcome(done: Done) -> dict[str, float | int]:
    return {"wall_s": done.wall_s, "exit_code": done.exit_code}


def _is_here(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text().splitlines() if line.strip(" │╯╰─╭╮")]
    return lines[-1][:1000] if lines else "it said nothing"
