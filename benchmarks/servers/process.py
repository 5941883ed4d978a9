"""Starts a server in a process of its own, and ends it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType

from benchmarks.record import ROOT
from benchmarks.servers.rival import BATCHER, PIPELINES

OURS = "hiper-serve"
# The same in the precision of the bundle, whatever the others compute in.
EXACT = "hiper-serve-exact"
USUAL = (*PIPELINES, BATCHER, OURS)
SERVERS = (*USUAL, EXACT)

_START_S = 600.0
# A cluster of Ray ends its processes one by one.
_STOP_S = 60.0
_MAX_EDITS = 512


@dataclass(frozen=True)
class Setup:
    """What all servers paint with.

    Attributes:
        model: what `load_model` takes.
        bundle: what `hiper-export` made of it.
        runtime: of the bundle.
        precision: "exact" or "fast".
    """

    model: str
    bundle: str
    runtime: str = "auto"
    precision: str = "fast"

    def precision_of(self, server: str) -> str:
        """What a server of SERVERS computes in: PyTorch's dtype, or a precision of the engine."""
        return PIPELINES.get(server) or ("exact" if server == EXACT else self.precision)


class Served:
    """A server that answers.

    Args:
        name: one of SERVERS.
        setup: what it paints with.
        folder: for its data and its log.
        options: further ones of hiper-serve.

    Attributes:
        url: without a slash at the end.
        metrics_port: of hiper-serve; 0 for others.
        first_answer_s: seconds from the start of the process until it was ready.

    Raises:
        RuntimeError: it ended before it was ready.
    """

    def __init__(self, name: str, setup: Setup, folder: Path, options: Sequence[str] = ()) -> None:
        self.name = name
        self.metrics_port = _free_port() if name in (OURS, EXACT) else 0
        self._log, start = folder / f"{name}.log", time.perf_counter()
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(
                [*self._command(setup, folder), *options],
                cwd=ROOT,
                env=_environment(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        try:
            self._wait()
        except BaseException:
            self._end()
            raise
        self.first_answer_s = time.perf_counter() - start

    def __enter__(self) -> Served:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    def _command(self, setup: Setup, folder: Path) -> list[str]:
        if not self.metrics_port:
            facts = (setup.model, setup.bundle, setup.runtime, setup.precision)
            return [sys.executable, "-m", "benchmarks.servers.rival", self.name, *facts]
        options = {
            "--bundle": setup.bundle,
            "--data-dir": str(folder / f"{self.name}-data"),
            "--runtime": setup.runtime,
            "--precision": setup.precision_of(self.name),
            "--port": "0",
            "--metrics-port": str(self.metrics_port),
            # Rivals refuse nobody either.
            "--max-edits": str(_MAX_EDITS),
        }
        words = [word for option in options.items() for word in option]
        return [sys.executable, "-m", "engine.server.cli", "--no-fits", *words]

    def _wait(self) -> None:
        end = time.monotonic() + _START_S
        while self._process.poll() is None and time.monotonic() < end:
            if self.url and self._is_ready():
                return
            time.sleep(0.05)
        last = (self._log.read_text().strip().splitlines() or ["it said nothing"])[-1]
        raise RuntimeError(f"{self.name} was never ready: {last}")

    def _is_ready(self) -> bool:
        connection = HTTPConnection(*self.address, timeout=10)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _environment() -> dict[str, str]:
    """Without anybody's settings of hiper-serve; PyTorch's threads do not spin where they share cores with a server."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("HIPER_")}
    return {"GOMP_SPINCOUNT": "10000", **own, "HIPER_DISK_FLOOR_BYTES": "0"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
