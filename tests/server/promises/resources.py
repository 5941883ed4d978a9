"""How much memory and how many open files each process of a server has, over time."""

import statistics
import threading
import time
from contextlib import suppress
from typing import NamedTuple

import psutil

from tests.server.promises.deployment import Deployment, Part

PARTS: tuple[Part, ...] = ("front", "engine", "worker", "decoder")
EVERY_S = 0.5


class Sample(NamedTuple):
    """At one moment."""

    seconds: float
    pid: int
    memory_mib: float
    files: int
    threads: int


class Watch:
    """Looks at every process now and then, until it is closed."""

    def __init__(self, deployment: Deployment) -> None:
        self.samples: dict[Part, list[Sample]] = {part: [] for part in PARTS}
        self._deployment = deployment
        self._closed = threading.Event()
        self._start = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(EVERY_S):
            for part in PARTS:
                with suppress(psutil.Error):
                    process = self._deployment.part(part)
                    if process is not None:
                        self.samples[part].append(self._look(process))

    def _look(self, process: psutil.Process) -> Sample:
        with process.oneshot():
            memory_mib = process.memory_info().rss / 2**20
            return Sample(
                time.monotonic() - self._start, process.pid, memory_mib, process.num_fds(), process.num_threads()
            )


def growth_mib_per_minute(samples: list[Sample]) -> float:
    """From the second to the last quarter, by their medians: what a process takes once, at first, is no leak."""
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    gained = statistics.median(s.memory_mib for s in late) - statistics.median(s.memory_mib for s in early)
    minutes = (statistics.median(s.seconds for s in late) - statistics.median(s.seconds for s in early)) / 60
    return gained / minutes
