"""A server in this process and servers in processes of their own; its bundle is a toy, everything else is real."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.from_thread
import httpx
import pytest
from anyio.from_thread import BlockingPortal
from starlette.testclient import TestClient

from engine.bundle_files import read_manifest
from engine.server.app import create_app
from engine.server.edit_client import EditClient
from engine.server.edit_requests import EditRequests
from engine.server.engine_options import EngineOptions
from engine.server.folder_store import FolderStore
from engine.server.lifecycle import assemble
from engine.server.services import Services
from engine.server.settings import Settings, load_settings
from tests.engine.conftest import write_toy_bundle
from tests.server.shared import S3, FolderPlace, Place, Postgres, SharedPlace, new_shared_place

PATIENCE_S = 60
ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1:8910"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "toy"
    folder.mkdir()
    write_toy_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    """An event loop in a thread of its own, for all that `services` and `client` do."""
    with anyio.from_thread.start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def edits(bundle: Path, portal: BlockingPortal) -> Iterator[EditClient]:
    """One edit engine for all tests that do it no harm."""
    edits = EditClient(EngineOptions(bundle, "onnxruntime", threads=1))
    portal.call(edits.start)
    wait_until(lambda: edits.ready is not None)
    yield edits
    portal.call(edits.stop, 5)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL that nobody harms."""
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """An object store that nobody harms; the environment leads to it."""
    server = S3()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server
    server.kill()


@pytest.fixture
def shared_place(postgres: Postgres, s3: S3) -> SharedPlace:
    """Where no shared store has been yet."""
    return new_shared_place(postgres, s3)


@pytest.fixture(params=["folder", "shared"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where a store lies, of either kind."""
    if request.param == "folder":
        return FolderPlace(tmp_path / "data")
    shared: SharedPlace = request.getfixturevalue("shared_place")
    return shared


@pytest.fixture
def settings(tmp_path: Path, bundle: Path) -> Settings:
    return load_settings(bundle=bundle, data_dir=tmp_path / "data", disk_floor_bytes=0, runtime="onnxruntime")


@pytest.fixture
def services(settings: Settings, bundle: Path, edits: EditClient, portal: BlockingPortal) -> Iterator[Services]:
    """All parts around the running engine; what runs fits is not started, so they stay queued."""
    with closing(FolderStore(settings.data_dir)) as store:
        services = assemble(settings, store, bundle, read_manifest(bundle))
        services.edits, services.requests = edits, EditRequests(edits, services.metrics)
        services.warm_up.failure = None
        yield services
        portal.call(services.fit_events.close)  # its events are of the loop there
        portal.call(services.uploads.close)


@pytest.fixture
def client(services: Services, portal: BlockingPortal) -> TestClient:
    """Calls the app in this process, as a program on this machine would."""
    client = TestClient(create_app(services), base_url=f"http://{HOST}")
    client.portal = portal
    return client


@dataclass(frozen=True)
class RunningServer:
    """`hiper-serve` in a process of its own.

    Attributes:
        url: without a slash at the end.
        log: what it has written to stderr.
    """

    url: str
    data_dir: Path
    process: "subprocess.Popen[str]"
    log: Path

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


StartServer = Callable[..., RunningServer]


@pytest.fixture
def start_server(tmp_path: Path, bundle: Path) -> Iterator[StartServer]:
    """Start `hiper-serve` with options, on a free port and, unless they say otherwise, the toy bundle without fits."""
    with ExitStack() as stack:

        def start(*options: str, data_dir: Path = tmp_path / "data", ready: bool = True) -> RunningServer:
            named = {"--bundle", "--model"} & {*options}
            usual = () if named else ("--bundle", str(bundle), "--no-fits", "--runtime", "onnxruntime")
            server = spawn(tmp_path / "server.log", data_dir, *usual, *options)
            stack.callback(kill, server.process)
            if ready:
                wait_until(lambda: httpx.get(f"{server.url}/readyz").status_code == 200)
            return server

        yield start


@pytest.fixture
def running_server(start_server: StartServer) -> RunningServer:
    return start_server()


def spawn(
    log: Path, data_dir: Path, *options: str, prefix: tuple[str, ...] = (), cwd: Path = ROOT, **environment: str
) -> RunningServer:
    """Start `hiper-serve`; it listens when this returns, and is ready some time later."""
    command = [sys.executable, "-m", "engine.server.cli", "--port", "0", "--metrics-port", "0", "--threads", "1"]
    with open(log, "a") as file:
        process = subprocess.Popen(
            [*prefix, *command, "--data-dir", str(data_dir), *options],
            cwd=cwd,
            env=os.environ | {"HIPER_DISK_FLOOR_BYTES": "0"} | environment,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url, log.read_text()
    return RunningServer(url, data_dir, process, log)


def kill(process: "subprocess.Popen[str]") -> None:
    """Kill a server, if it still runs, and tidy up."""
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def wait_until(condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
