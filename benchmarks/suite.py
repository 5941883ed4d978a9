"""Runs scripts of a suite one after the other, each in a process of its own; what is done in a folder stays done."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

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
    """

    name: str
    steps: Sequence[Step]
    folder: Path
    report: Callable[[str], object] = lambda line: None

    def run(self, limit_minutes: float | None = None) -> bool:
        """Run what is not done, and write the suite's own record.

        Args:
            limit_minutes: of this call: a step that may not fit into the rest is left to the next call, and one that
                does not fit into a whole call fails.

        Returns:
            Whether all steps are done.

        Raises:
            ValueError: the folder holds the steps of another suite, or of other settings.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        start, done = time.monotonic(), self.done()
        waiting = [step for step in self.steps if step.name not in done and not step.lacking]
        for index, step in enumerate(waiting):
            left_s = None if limit_minutes is None else 60 * limit_minutes - (time.monotonic() - start)
            if left_s is not None and index > 0 and 60 * step.minutes > left_s:
                self.report(f"{len(waiting) - index} steps are left; call again: {step.name} comes next")
                break
            self.report(f"{step.name} ({len(done) + 1} of {len(self.steps)})")
            done[step.name] = self._do(step, left_s)
            self._keep(done)
        self._write(done)
        return all(step.lacking or step.name in done for step in self.steps)

    def failed(self) -> list[str]:
        """Names of the steps that failed so far."""
        return [name for name, found in self.done().items() if found.exit_code]

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

    def _do(self, step: Step, left_s: float | None) -> Done:
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        before, start = set(self.folder.glob("*.json")), time.monotonic()
        with open(logs / f"{step.name}.log", "w") as log:
            try:
                command = [sys.executable, *step.command]
                code = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, timeout=left_s).returncode
                reason = "" if code == 0 else _last_line(logs / f"{step.name}.log")
            except subprocess.TimeoutExpired:
                code, reason = 124, f"it did not end within the {left_s:.0f} s that were left of this call"
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
