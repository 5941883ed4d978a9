"""Promise 5: no file outside the data folder is touched, whatever is uploaded. Oracle: what the kernel was asked for.

strace sees every call that names a file, in all processes of the server, from its start to its end. What it cannot see
is a write to a descriptor that was inherited, of which the server has its log alone. Folders that a process would write
to by habit (home, working folder, temporary files) are compared in any case, also where nothing can be traced.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import ROOT, RunningServer, kill, spawn, wait_until
from tests.server.promises.client import CLIENT
from tests.server.promises.deployment import LONG_S
from tests.server.promises.file_calls import Call, calls, tracing, why_no_trace
from tests.server.promises.hostile import send_all

WORD = "the secret of this machine"
HABITS = ("home", "cwd", "tmp")


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """A home, a working folder and a folder for temporary files, with something to be read in each."""
    for name in HABITS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "secret.txt").write_text(WORD)
    return tmp_path


@contextmanager
def serving(places: Path, bundle: Path, prefix: tuple[str, ...]) -> Iterator[RunningServer]:
    server = spawn(
        places / "server.log",
        places / "data",
        *("--bundle", str(bundle), "--runtime", "onnxruntime", "--no-fits"),
        prefix=prefix,
        cwd=places / "cwd",
        HOME=str(places / "home"),
        TMPDIR=str(places / "tmp"),
        PYTHONPATH=str(ROOT),
        PYTHONDONTWRITEBYTECODE="1",  # whether Python's own cache is filled already is no matter of the server
    )
    try:
        wait_until(lambda: _is_ready(server), LONG_S)
        yield server
    finally:
        kill(server.process)


def test_hostile_requests_reach_no_file(places: Path, bundle: Path) -> None:
    reason = why_no_trace(places)
    trace = places / "trace"
    before = listing(places)
    with serving(places, bundle, () if reason else tracing(trace)) as server:
        answers = list(send_all(server.url, places / "home" / "secret.txt"))
        assert CLIENT.get(f"{server.url}/readyz").status_code == 200
        assert server.stop() == 0
    assert len(answers) > 150 and not any(WORD.encode() in answer for answer in answers)
    assert listing(places) == before
    if reason:
        pytest.skip(f"the folders are as they were, but nothing can be traced here: {reason}")
    check_calls(list(calls(trace)), places / "data")


def check_calls(seen: list[Call], data_dir: Path) -> None:
    assert len(seen) > 1000
    assert any(call.changes and str(data_dir) in call.line for call in seen), "the trace saw nothing of what is stored"
    assert [call.line for call in seen if any("secret.txt" in path for path in call.paths)] == []
    assert [call.line for call in seen if call.changes and not is_inside(call, data_dir)] == []
    assert {call.paths[0] for call in seen if call.name == "execve"} <= {sys.executable}


def is_inside(call: Call, data_dir: Path) -> bool:
    return all(path == "/dev/null" or path == str(data_dir) or path.startswith(f"{data_dir}/") for path in call.paths)


def listing(places: Path) -> dict[str, bytes]:
    """Everything in the folders of habit."""
    files = [path for name in HABITS for path in (places / name).rglob("*")]
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in files}


def _is_ready(server: RunningServer) -> bool:
    try:
        return CLIENT.get(f"{server.url}/readyz", timeout=60).status_code == 200
    except httpx.TransportError:
        return False
