"""One `hiper-serve --ray` for all tests: a real cluster with two engines, whose processes may be held and killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.server.conftest import RunningServer, kill, spawn, wait_until

TOKEN = "t" * 64
REPLICAS, MAX_EDITS = 2, 3
# A cluster is ten processes that load much, on a machine that has other things to do.
PATIENCE_S = 300.0
# From the front to the engine; nothing tells when an edit is there.
SETTLE_S = 2.0

FRONT, ENGINE = "ray::ServeReplica:hiper:HiPerFront", "ray::ServeReplica:hiper:HiPerEngine"
PROXY, WORK = "ray::ProxyActor", "edit_process"

REDEPLOY = """
import ast, sys, ray
from ray import serve
from engine.cluster import NAME, application
ray.init(sys.argv[1], log_to_driver=False)
serve.run(application(ast.literal_eval(sys.argv[2])), name=NAME)
"""


class Held(NamedTuple):
    """An edit that is under way."""

    id: str
    answer: "Future[httpx.Response]"


@dataclass(frozen=True)
class Cluster:
    """`hiper-serve --ray`, its processes, and what it is asked."""

    server: RunningServer
    bundle: Path

    @property
    def url(self) -> str:
        return self.server.url

    def pids(self, name: str) -> list[int]:
        """Of its processes of this name, oldest first."""
        return sorted(pid for pid, words in descendants(self.server.process.pid) if name in words)

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def paint(self, timeout_s: float = PATIENCE_S, id: str = "", key: str = "", **wish: Any) -> httpx.Response:
        given = {"x-request-id": id, "authorization": f"Bearer {key}" if key else ""}
        headers = {name: value for name, value in given.items() if value}
        url, body = f"{self.url}/v1/images/generations", {"prompt": "a dog", "num_inference_steps": 2} | wish
        return httpx.post(url, json=body, headers=headers, timeout=timeout_s)

    @property
    def address(self) -> str:
        """Where drivers join."""
        [words] = [words for _, words in descendants(self.server.process.pid) if "gcs/gcs_server" in words]
        [folder] = [word.partition("=")[2] for word in words.split() if word.startswith("--session-dir=")]
        [port] = Path(folder).glob("gcs_server_port_*")
        return f"127.0.0.1:{port.read_text().strip()}"

    def redeploy(self) -> None:
        """Put another version of everything in the place of the one that runs, and wait until it does."""
        options = {"bundle": str(self.bundle), "data_dir": str(self.server.data_dir), "fits": False, "threads": 1}
        options |= {"runtime": "onnxruntime", "replicas": str(REPLICAS), "max_edits": MAX_EDITS, "drain_s": 31}
        options |= {"disk_floor_bytes": 0, "metrics_port": 0}
        environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
        subprocess.run([sys.executable, "-c", REDEPLOY, self.address, repr(options)], env=environment, check=True)

    def is_ready(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200
        return False

    def is_whole(self) -> bool:
        """Whether all engines are there, and every place for an edit is free: so many at once find one each."""
        if len(self.pids(WORK)) < REPLICAS or not self.is_ready():
            return False
        places = REPLICAS * MAX_EDITS
        with ThreadPoolExecutor(places) as pool:
            answers = [*pool.map(lambda seed: self.paint(seed=seed), range(places))]
        return all(answer.status_code == 200 for answer in answers)

    def wait_whole(self) -> None:
        wait_until(self.is_whole, PATIENCE_S)

    @contextmanager
    def holding(self, count: int) -> Iterator[list[Held]]:
        """So many edits under way, which engines that stand still do not finish until this ends, or `go`."""
        ids = [f"held-{time.monotonic_ns()}-{index}" for index in range(count)]
        with ThreadPoolExecutor(count) as pool, self.standing():
            held = [Held(id, pool.submit(self.paint, id=id, seed=seed)) for seed, id in enumerate(ids)]
            self.wait_known(ids)
            yield held

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Engines that take edits and do nothing until this ends, or `go`."""
        for pid in self.pids(WORK):
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            self.go()

    def wait_known(self, ids: list[str]) -> None:
        """Wait until edits are under way."""
        wait_until(lambda: all(self.status(id) is not None for id in ids), PATIENCE_S)
        time.sleep(SETTLE_S)

    def go(self) -> None:
        """Let the engines go on."""
        for pid in self.pids(WORK):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def status(self, id: str) -> str | None:
        answer = httpx.get(f"{self.url}/v1/requests/{id}", timeout=PATIENCE_S)
        return str(answer.json()["status"]) if answer.status_code == 200 else None


@pytest.fixture(scope="session")
def cluster(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """It ends as SIGTERM ends it, with exit code 0 and no process left."""
    folder = tmp_path_factory.mktemp("cluster")
    server = spawn(
        folder / "server.log",
        folder / "data",
        *("--bundle", str(bundle), "--no-fits", "--runtime", "onnxruntime"),
        *("--ray", "--replicas", str(REPLICAS), "--max-edits", str(MAX_EDITS), "--drain-s", "30"),
        RAY_AUTH_TOKEN=TOKEN,
    )
    try:
        cluster = Cluster(server, bundle)
        wait_until(cluster.is_ready, PATIENCE_S)
        yield cluster
        inside = [pid for pid, _ in descendants(server.process.pid)]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0, server.log.read_text()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in inside))
    finally:
        left = [pid for pid, _ in descendants(server.process.pid)]
        kill(server.process)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[tuple[int, str]]:
    """All processes that a process has started, and those have, with their command lines."""
    children: dict[int, list[tuple[int, str]]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                children.setdefault(parent, []).append((int(entry.name), words))
    found, ahead = [], [pid]
    while ahead:
        found += (more := children.get(ahead.pop(), []))
        ahead += [pid for pid, _ in more]
    return found
