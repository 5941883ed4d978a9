"""Edits that end before their picture, over a real socket; the engine is as slow as each test likes."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal

from engine.server.edit_client import EditClient
from engine.server.edit_record import Told
from engine.server.edit_requests import EditRequests
from engine.server.messages import EditAccepted, EditEnded, EditStep, Pixels, StartEdit
from engine.server.services import Services
from tests.server.conftest import wait_until
from tests.server.serving import serving

GENERATE = "/v1/images/generations"
PREVIEW = Pixels(4, 4, bytes(48))


class SlowEngine:
    """Takes one step of each edit, with a preview, and ends it when it is told how."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.end: EditEnded | None = None

    async def edit(self, request: StartEdit) -> AsyncGenerator[Told, None]:
        self.started.append(request.id)
        yield EditAccepted(id=request.id, steps=2, rows=2, tail_strength=0.8, guidance_scale=7.5)
        yield EditStep(id=request.id, step=1, steps=2, preview=PREVIEW)
        try:
            while self.end is None:
                await asyncio.sleep(0.005)
            yield self.end
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.append(request.id)
            raise


@pytest.fixture
def engine(services: Services, edits: EditClient) -> SlowEngine:
    engine = SlowEngine()
    services.requests = EditRequests(engine, services.metrics)
    return engine


@pytest.fixture
def url(services: Services, engine: SlowEngine, portal: BlockingPortal) -> Iterator[str]:
    with serving(services, portal) as url:
        yield url


def connect(url: str, body: dict[str, Any]) -> socket.socket:
    """Ask in raw bytes, and do not wait for an answer."""
    host, port = url.removeprefix("http://").split(":")
    data = json.dumps({"prompt": "a dog"} | body).encode()
    head = (
        f"POST {GENERATE} HTTP/1.1\r\nHost: {host}:{port}\r\nX-Request-Id: mine\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    connection = socket.create_connection((host, int(port)))
    connection.sendall(head.encode() + data)
    return connection


def status(url: str, id: str = "mine") -> Any:
    return httpx.get(f"{url}/v1/requests/{id}").json().get("status")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_client_that_goes_away_cancels_its_edits(
    services: Services, engine: SlowEngine, url: str, stream: bool, how: str
) -> None:
    """Promise 2."""
    connection = connect(url, {"n": 3, "stream": stream})
    wait_until(lambda: status(url) == "running")
    if stream:
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    if how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
    wait_until(lambda: len(engine.cancelled) == 3, 5)
    assert sorted(engine.cancelled) == sorted(engine.started)
    assert status(url) == "cancelled"
    samples = services.metrics.registry.get_sample_value
    assert samples("hiper_cancelled_total", {"phase": "running"}) == 3
    wait_until(
        lambda: samples("hiper_requests_total", {"route": GENERATE, "code": "499" if not stream else "200"}) == 1
    )


@pytest.mark.parametrize("stream", [False, True])
def test_cancel_by_name_reaches_both_sides(engine: SlowEngine, url: str, stream: bool) -> None:
    with ThreadPoolExecutor(2) as pool:
        asked = {
            id: pool.submit(
                httpx.post,
                url + GENERATE,
                json={"prompt": "a dog", "n": 2, "stream": stream},
                headers={"x-request-id": id},
                timeout=30,
            )
            for id in ("mine", "other")
        }
        wait_until(lambda: status(url) == status(url, "other") == "running")
        seen = httpx.post(f"{url}/v1/requests/mine/cancel").json()
        assert (seen["status"], [edit["status"] for edit in seen["edits"]]) == ("cancelled", ["cancelled"] * 2)
        assert len(engine.cancelled) == 2
        answer = asked["mine"].result()
        problem = last_error(answer) if stream else answer.json()["error"]
        assert (answer.status_code, problem["code"]) == (200 if stream else 409, "edit_cancelled")
        assert status(url, "other") == "running"
        httpx.post(f"{url}/v1/requests/other/cancel")
    assert len(engine.cancelled) == 4


def last_error(answer: httpx.Response) -> Any:
    name, data = answer.text.rstrip("\n").split("\n\n")[-1].split("\n")
    assert name == "event: error"
    return json.loads(data.removeprefix("data: "))["error"]


def test_error_on_the_way_ends_the_stream(engine: SlowEngine, url: str) -> None:
    with httpx.stream("POST", url + GENERATE, json={"prompt": "a dog", "stream": True, "partial_images": 1}) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: image_generation.partial_image"
        engine.end = EditEnded(id="", reason="infinite", message="the numbers became infinite")
        assert [line for line in lines if line.startswith("event: ")] == ["event: error"]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("late", (503, "deadline_missed", True)),
        ("full", (503, "busy", True)),
        ("engine", (503, "engine_unavailable", True)),
        ("infinite", (400, "edit_infinite", False)),
    ],
)
def test_edit_that_fails_is_answered_for(
    engine: SlowEngine, url: str, reason: Any, expected: tuple[int, str, bool]
) -> None:
    engine.end = EditEnded(id="", reason=reason, message="so it is")
    answer = httpx.post(url + GENERATE, json={"prompt": "a dog"})
    found = answer.status_code, answer.json()["error"]["code"], "retry-after" in answer.headers
    assert found == expected
    assert ("x-should-retry" in answer.headers) != found[2]


def test_mistake_of_ours_tells_nothing(engine: SlowEngine, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(request: StartEdit) -> AsyncGenerator[Told, None]:
        raise KeyError("secret")
        yield

    monkeypatch.setattr(engine, "edit", breaks)
    for stream in (False, True):
        answer = httpx.post(url + GENERATE, json={"prompt": "a dog", "stream": stream})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "internal")
        assert "secret" not in answer.text


def test_server_goes_on_after_all_of_it(engine: SlowEngine, url: str) -> None:
    for _ in range(20):
        connect(url, {"n": 8, "stream": True}).close()
    assert httpx.get(f"{url}/livez").status_code == 200
    wait_until(lambda: len(engine.cancelled) == len(engine.started), 5)
