"""Promise 7: a row never depends on its neighbours, in the fast precision of OpenVINO. Oracle: the same request alone.

What a kernel does with a row may depend on how many rows it is called with, never on what the others hold: with one
bucket every call has as many. `test_images_routes.py` has the same for ONNX Runtime.
"""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.server.conftest import RunningServer, StartServer
from tests.server.promises.client import CLIENT
from tests.server.promises.conftest import MINUTES
from tests.server.promises.edits import Ended, ask, wish

MINE = {"prompt": "a dog", "seed": 7, "n": 2, "num_inference_steps": 20, "guidance_scale": 3.0}
TIMES = 20 if MINUTES else 3
BUNDLES = [
    pytest.param((), id="toy"),
    pytest.param(
        ("--model", "menagerie", "--no-fits"),  # which the server exports first
        marks=pytest.mark.skipif(not MINUTES, reason="long; set HIPER_SOAK_MINUTES"),
        id="menagerie",
    ),
]


@pytest.fixture
def server(request: pytest.FixtureRequest, start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> RunningServer:
    monkeypatch.setenv("HIPER_BUCKETS", "8")
    return start_server(*request.param, "--runtime", "openvino", "--precision", "fast")


@pytest.mark.parametrize("server", BUNDLES, indirect=True)
def test_the_same_bytes_alone_and_in_a_crowd(server: RunningServer) -> None:
    alone = ask(server.url, MINE, 600)
    assert alone.what == "image"
    info = CLIENT.get(f"{server.url}/v1/info").json()
    assert (info["runtime"], info["precision"]) == ("openvino", "fast")
    stop = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        crowd = [pool.submit(others, server.url, random.Random(number), stop) for number in range(4)]
        try:
            for _ in range(TIMES):
                assert ask(server.url, MINE, 600).images == alone.images
        finally:
            stop.set()
    assert sum(count.result() for count in crowd) > TIMES


def others(url: str, chance: random.Random, stop: threading.Event) -> int:
    """Edits of other prompts, guidance, solvers and lengths that come and go; how many."""
    count = 0
    while not stop.is_set():
        ended: Ended = ask(url, wish(chance), 600)
        assert ended.what in ("image", "busy")
        count += 1
    return count
