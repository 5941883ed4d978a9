"""`hiper-serve` as a process: it starts, serves, drains and ends as it says."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.server.folder_store import FolderStore
from engine.server.lifecycle import ServerError, check_exposure, why_no_fits
from engine.server.settings import load_settings
from tests.server.conftest import RunningServer, StartServer, wait_until

QUICK = {"prompt": "a dog", "seed": 3, "num_inference_steps": 2}


def paint(server: RunningServer, wish: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/images/generations", json=wish, timeout=60)


def engine_of(server: RunningServer) -> int:
    [engine] = [
        pid for pid in children(server.process.pid) if b"edit_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return engine


@contextmanager
def painting(server: RunningServer) -> Iterator[tuple[int, "Future[httpx.Response]"]]:
    """An edit that is under way, since its engine stands still until SIGCONT."""
    url, headers = f"{server.url}/v1/images/generations", {"x-request-id": "held"}
    os.kill(engine := engine_of(server), signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(httpx.post, url, json=QUICK, headers=headers, timeout=60)
            wait_until(lambda: httpx.get(f"{server.url}/v1/requests/held").status_code == 200)
            yield engine, answer
    finally:
        with suppress(ProcessLookupError):
            os.kill(engine, signal.SIGCONT)


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if (entry / "stat").read_text().rpartition(")")[2].split()[1] == str(pid):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_it_outlives_its_engine_and_paints_the_same_after_a_restart(start_server: StartServer) -> None:
    server = start_server()
    before, inside = paint(server, QUICK).json()["data"], children(server.process.pid)
    os.kill(engine_of(server), signal.SIGKILL)
    wait_until(lambda: "engine" in httpx.get(f"{server.url}/readyz").json().get("failed", {}))
    assert httpx.get(f"{server.url}/livez").status_code == 200
    wait_until(lambda: httpx.get(f"{server.url}/readyz").status_code == 200)
    assert paint(server, QUICK).json()["data"] == before
    inside += children(server.process.pid)
    assert server.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in inside)
    again = start_server()
    assert paint(again, QUICK).json()["data"] == before
    assert len([*(again.data_dir / "warm_up").iterdir()]) == 1


def test_a_key_made_beside_it_shuts_the_door_and_idle_connections_do_not_hold_it_up(
    running_server: RunningServer,
) -> None:
    with closing(FolderStore(running_server.data_dir, alone=False)) as store:
        _, token = store.add_key("alice")
    assert paint(running_server, QUICK).status_code == 401
    host, port = running_server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))), httpx.Client() as kept:
        headers = {"authorization": f"Bearer {token}"}
        assert kept.get(f"{running_server.url}/v1/tails", headers=headers).status_code == 200
        start = time.monotonic()
        assert running_server.stop() == 0
        assert time.monotonic() - start < 4


def test_sigterm_lets_running_edits_finish_and_begins_nothing(running_server: RunningServer) -> None:
    with painting(running_server) as (engine, answer):
        running_server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{running_server.url}/readyz").status_code == 503)
        refused = paint(running_server, QUICK)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert refused.headers["retry-after"] == "5" and not answer.done()
        os.kill(engine, signal.SIGCONT)
        assert answer.result().status_code == 200 and len(answer.result().json()["data"]) == 1
    assert running_server.process.wait(30) == 0


def test_who_is_not_done_in_time_is_told_so(start_server: StartServer) -> None:
    server = start_server("--drain-s", "0")
    with painting(server) as (_, answer):
        assert server.stop() == 0
        assert (answer.result().status_code, answer.result().json()["error"]["code"]) == (503, "draining")


def test_a_second_ctrl_c_does_not_wait(running_server: RunningServer) -> None:
    inside = children(running_server.process.pid)
    with painting(running_server) as (_, answer):
        running_server.process.send_signal(signal.SIGINT)
        wait_until(lambda: httpx.get(f"{running_server.url}/readyz").status_code == 503)
        assert running_server.stop(signal.SIGINT) == 130
        assert isinstance(answer.exception(), httpx.TransportError)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in inside))


def test_a_damaged_bundle_is_never_ready(start_server: StartServer, bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in bundle.iterdir():
        data = bytearray(file.read_bytes())
        if file.name == "unet.onnx":
            data[len(data) // 2] ^= 1
        (damaged / file.name).write_bytes(data)
    server = start_server("--bundle", str(damaged), "--no-fits", "--runtime", "onnxruntime", ready=False)
    wait_until(lambda: "digest differs" in httpx.get(f"{server.url}/readyz").text)
    answer = paint(server, QUICK)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_unavailable")
    assert server.stop() == 0


@pytest.mark.parametrize("reach", [{"host": "0.0.0.0"}, {"allowed_hosts": ("hiper.example",)}])
def test_strangers_are_not_let_in_without_a_key(reach: dict[str, Any], tmp_path: Path) -> None:
    settings = load_settings(**reach, data_dir=tmp_path)
    with closing(FolderStore(tmp_path)) as store:
        with pytest.raises(ServerError, match="can be reached from other machines but there is no key; make one with"):
            check_exposure(settings, store)
        key, _ = store.add_key("alice")
        check_exposure(settings, store)
        store.revoke_key(key.id)
        with pytest.raises(ServerError):
            check_exposure(settings, store)
        check_exposure(load_settings(host="127.0.0.1"), store)


def test_why_no_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_no_fits(load_settings()) == ""
    assert "makes no fits" in why_no_fits(load_settings(fits=False))
    monkeypatch.setattr("engine.server.lifecycle.find_spec", lambda name: None)
    assert "has no PyTorch" in why_no_fits(load_settings())
