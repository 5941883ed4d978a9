"""The other end of `benchmarks.edit_worker`: starts it, asks for edits, keeps what it says."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from benchmarks.machine import gpu_used_bytes
from benchmarks.record import ROOT
from benchmarks.ways import Job


class Worker:
    """A process that makes edits in one way, and is idle in between.

    Attributes:
        way: which.
        first_picture_s: seconds from the start of the process.
        resident_bytes: after the first picture.
        device_bytes: that the first GPU's used memory grew by; None without one.
        path: what really runs.
        picture: the first one, (H, W, 3) uint8.
        timings: of each edit since, as `Timings` has them, with `other_ms`.
    """

    def __init__(self, way: str, job: Job, folder: Path) -> None:
        self.way = way
        picture = folder / f"{way}.npy"
        self._said = folder / f"{way}.log"
        before, start = gpu_used_bytes(), time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.edit_worker", way, json.dumps(asdict(job)), str(picture)]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with open(self._said, "w") as said:
            self._process = subprocess.Popen(command, cwd=ROOT, stderr=said, **pipes)
        found = self._read()
        self.first_picture_s = time.perf_counter() - start
        self.resident_bytes = int(found["resident_bytes"])
        self.device_bytes = None if before is None else (gpu_used_bytes() or 0) - before
        self.path: dict[str, Any] = found["path"]
        self.picture = np.load(picture)
        self.timings: list[dict[str, Any]] = []

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def edit(self) -> None:
        """Make one more."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.timings.append(self._read()["timings"])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            last = (self._said.read_text().strip().splitlines() or ["it said nothing"])[-1]
            raise RuntimeError(f"{self.way} ended with exit code {code}: {last}")
        found: dict[str, Any] = json.loads(line)
        return found
