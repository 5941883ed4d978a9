"""A server and all its processes, which are killed and started again over one data folder."""

import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx
import psutil

from tests.server.conftest import RunningServer, kill, spawn, wait_until
from tests.server.promises.client import CLIENT

# On a machine where others work too; alone it takes seconds.
LONG_S = 300.0
# So many steps of the tiny model take longer than the time between two reports of them.
EVERY = 150
FINAL = {"succeeded", "failed", "cancelled"}

Part = Literal["front", "engine", "worker", "decoder"]
_PROGRAMS = {"engine": "engine.server.edit_process", "worker": "hiper.worker", "decoder": "decode_process.py"}


class Deployment:
    """`hiper-serve` at one address, as somebody would run it who starts it again when it has died.

    Args:
        data_dir: of the server.
        log: that it is to write.
        options: of the server.
        environment: of the server, beside this process's own.
    """

    def __init__(self, data_dir: Path, log: Path, *options: str, **environment: str) -> None:
        self.data_dir, self.log = data_dir, log
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._options = ("--port", str(port), *options)
        self._environment = environment
        self._server: RunningServer | None = None
        self._seen: set[psutil.Process] = set()

    def up(self) -> None:
        """Start the server, unless it runs and stays, and wait until it is ready."""
        wait_until(self._is_ready, LONG_S)

    def _is_ready(self) -> bool:
        if self._server is None or self._server.process.poll() is not None:
            self.end()
            self._server = spawn(self.log, self.data_dir, *self._options, **self._environment)
        return self.readiness() == 200

    def readiness(self) -> int:
        """Status of /readyz; 0 if nobody answers."""
        with suppress(httpx.TransportError):
            return CLIENT.get(f"{self.url}/readyz", timeout=10).status_code
        return 0

    @property
    def front(self) -> psutil.Process:
        assert self._server is not None
        return psutil.Process(self._server.process.pid)

    def family(self) -> list[psutil.Process]:
        """The processes that the front has started."""
        found: list[psutil.Process] = []
        with suppress(psutil.Error):
            found = self.front.children(recursive=True)
        self._seen.update(found)
        return found

    def part(self, name: Part) -> psutil.Process | None:
        if name == "front":
            return self.front
        for process in self.family():
            with suppress(psutil.Error):
                if any(_PROGRAMS[name] in word for word in process.cmdline()):
                    return process
        return None

    def kill(self, name: Part) -> bool:
        """Kill -9; whether there was anything to kill."""
        process = self.part(name)
        if process is None:
            return False
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
        if name == "front":
            self.wait()
        return True

    def terminate(self) -> None:
        """Ask the server to end, as an operator does."""
        self.family()
        self.front.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Exit code of the front."""
        assert self._server is not None
        return self._server.process.wait(LONG_S)

    def strays(self) -> list[psutil.Process]:
        """Processes that some front has started and that are there without it."""
        family = self.family() if self._server is not None and self._server.process.poll() is None else []
        return [process for process in self._seen if _lives(process) and process not in family]

    def end(self) -> None:
        """Kill the front, if it runs, and tidy up."""
        if self._server is not None:
            self.family()
            kill(self._server.process)
            self._server = None

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask as a patient client does: again when the server is gone, or busy with starting."""
        end = time.monotonic() + LONG_S
        while True:
            with suppress(httpx.TransportError):
                answer = CLIENT.request(method, self.url + path, **{"timeout": 150, **options})
                if answer.status_code != 503 or time.monotonic() > end:
                    return answer
            assert time.monotonic() < end, f"{method} {path} got no answer"
            time.sleep(0.1)


class Told(NamedTuple):
    """An event of a fit."""

    seq: int
    kind: str
    data: dict[str, Any]


class Follower:
    """Follows a fit as the page does: after every death of the front it comes back with the last event's number."""

    def __init__(self, deployment: Deployment, fit_id: str) -> None:
        self.id = fit_id
        self.events: list[Told] = []
        self._url = f"{deployment.url}/v1/fits/{fit_id}/events"
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        threading.Thread(target=self._run, name=f"follow-{fit_id}", daemon=True).start()

    @property
    def ended(self) -> bool:
        if self._failure is not None:
            raise self._failure
        return bool(self.events) and self.events[-1].kind in FINAL

    @property
    def step(self) -> int:
        """The last that was told."""
        return next((event.data["step"] for event in reversed(self.events) if "step" in event.data), 0)

    @property
    def checkpoints(self) -> int:
        return sum(event.kind == "checkpoint" for event in self.events)

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        try:
            while not self.ended and not self._stopped.is_set():
                with suppress(httpx.TransportError):
                    self._follow()
                time.sleep(0.05)
        except Exception as error:
            self._failure = error

    def _follow(self) -> None:
        last = {"last-event-id": str(self.events[-1].seq if self.events else 0)}
        with CLIENT.stream("GET", self._url, headers=last, timeout=60) as answer:
            assert answer.status_code == 200
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                fields[name] = value
                if not line:
                    self._take(fields)
                    fields = {}
                if self._stopped.is_set():
                    return

    def _take(self, fields: dict[str, str]) -> None:
        if "event" in fields:
            self.events.append(Told(int(fields["id"]), fields["event"], json.loads(fields["data"])))


def repeated_steps(events: list[Told]) -> list[int]:
    """How many of the recorded steps each attempt but the first made once more; the story must make sense.

    An attempt tells its first step before it makes any; one that did not get so far has repeated nothing.
    """
    reached = kept = attempts = 0
    repeated: list[int] = []
    begins = False
    for event in events:
        if event.kind in ("started", "resumed"):
            attempts, begins = attempts + 1, True
            assert (event.kind == "started") == (attempts == 1)
            assert (event.data["attempt"], event.data["step"]) == (attempts, kept)
        elif event.kind == "progress":
            if begins and attempts > 1:
                repeated.append(reached - event.data["step"])
            reached, begins = (event.data["step"] if begins else max(reached, event.data["step"])), False
        elif event.kind == "checkpoint":
            kept = event.data["step"]
    numbers = [event.seq for event in events]
    assert numbers == sorted(set(numbers))
    return repeated


def until(condition: Callable[[], Any]) -> None:
    """Wait for something that a fit has to do."""
    wait_until(condition, LONG_S)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
