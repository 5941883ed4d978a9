"""Promise 5: no file outside the data folder is touched, whatever is uploaded. Oracle: what the kernel was asked for.

strace sees every call that names a file, in all processes of the server, from its start to its end. What it cannot see
is a write to a descriptor that was inherited, of which the server has its log alone. Folders that a process would write
to by habit (home, working folder, temporary files) are compared in any case, also where nothing can be traced.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import ROOT, RunningServer, kill, spawn, wait_until
from tests.server.promises.client import CLIENT
from tests.server.promises.conftest import MINUTES
from tests.server.promises.deployment import LONG_S
from tests.server.promises.file_calls import Call, calls, tracing, why_no_trace
from tests.server.promises.fits import fit_form
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
def serving(places: Path, prefix: tuple[str, ...], *options: str) -> Iterator[RunningServer]:
    server = spawn(
        places / "server.log",
        places / "data",
        *options,
        prefix=prefix,
        cwd=places / "cwd",
        HOME=str(places / "home"),
        TMPDIR=str(places / "tmp"),
        PYTHONPATH=str(ROOT),
        OMP_NUM_THREADS="1",
        TORCHINDUCTOR_CACHE_DIR=str(places / "tmp" / "inductor"),  # PyTorch in this process has named its own
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
    options = ("--bundle", str(bundle), "--runtime", "onnxruntime", "--no-fits")
    with serving(places, () if reason else tracing(trace), *options) as server:
        answers = list(send_all(server.url, places / "home" / "secret.txt"))
        assert CLIENT.get(f"{server.url}/readyz").status_code == 200
        assert server.stop() == 0
    assert len(answers) > 150 and not any(WORD.encode() in answer for answer in answers)
    assert listing(places) == before
    if reason:
        pytest.skip(f"the folders are as they were, but nothing can be traced here: {reason}")
    seen = list(calls(trace))
    check_calls(seen, [places / "data"])
    assert {call.paths[0] for call in seen if call.name == "execve"} <= {sys.executable}


@pytest.mark.skipif(not MINUTES, reason="long; set HIPER_SOAK_MINUTES")
def test_a_fit_and_the_choice_of_a_runtime_leave_caches_at_most(
    places: Path, fitted_bundle: Path, sd1_folder: Path
) -> None:
    """PyTorch makes a folder for what it may compile, and the engine remembers which runtime was the fastest."""
    if reason := why_no_trace(places):
        pytest.skip(f"nothing can be traced here: {reason}")
    trace = places / "trace"
    with serving(places, tracing(trace), "--bundle", str(fitted_bundle), "--model", str(sd1_folder)) as server:
        place = CLIENT.post(f"{server.url}/v1/fits", **fit_form(0, steps=20)).headers["location"]
        wait_until(lambda: CLIENT.get(f"{server.url}{place}").json()["status"] == "succeeded", LONG_S)
        list(send_all(server.url, places / "home" / "secret.txt"))
        assert server.stop() == 0
    check_calls(list(calls(trace)), [places / "data", places / "home" / ".cache", places / "tmp"])


def check_calls(seen: list[Call], permitted: list[Path]) -> None:
    assert len(seen) > 1000
    assert any(call.changes and str(permitted[0]) in call.line for call in seen), "nothing was seen of what is stored"
    assert [call.line for call in seen if any("secret.txt" in path for path in call.paths)] == []
    assert [call.line for call in seen if call.changes and not is_inside(call, permitted)] == []


def is_inside(call: Call, permitted: list[Path]) -> bool:
    paths = [Path(os.path.normpath(path)) for path in call.paths]
    return all(path == Path("/dev/null") or any(map(path.is_relative_to, permitted)) for path in paths)


def listing(places: Path) -> dict[str, bytes]:
    """Everything in the folders of habit."""
    files = [path for name in HABITS for path in (places / name).rglob("*")]
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in files}


def _is_ready(server: RunningServer) -> bool:
    try:
        return CLIENT.get(f"{server.url}/readyz", timeout=60).status_code == 200
    except httpx.TransportError:
        return False
