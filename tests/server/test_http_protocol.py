"""Clients that never come to the point, against uvicorn on a real socket."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import uvicorn
from anyio.from_thread import BlockingPortal
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.server import http_protocol
from engine.server.access import Access
from engine.server.http_protocol import MAX_HEADER_BYTES, Crowd, HttpProtocol
from engine.server.metrics import Metrics
from tests.server.conftest import wait_until

START = b"POST / HTTP/1.1\r\nhost: x\r\n"
CHUNKED = START + b"transfer-encoding: chunked\r\n\r\n"
PIECE = b"x" * 1000
LARGE = b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
LARGE_BYTES = 2**24


async def count(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that answers with the size of what it got, or with much."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = bytes(LARGE_BYTES) if scope["path"] == "/large" else b"%d bytes" % size
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(app: ASGIApp, portal: BlockingPortal, **options: Any) -> Iterator[uvicorn.Server]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, http=HttpProtocol, lifespan="off", log_config=None, ws="none", **options)
        server = uvicorn.Server(config)
        server.address = listener.getsockname()  # type: ignore[attr-defined]
        running = portal.start_task_soon(server._serve, [listener])
        yield server
        server.should_exit = True
        running.result(10)


@pytest.fixture(scope="module")
def server(portal: BlockingPortal) -> Iterator[uvicorn.Server]:
    with serving(count, portal) as server:
        yield server


@pytest.fixture(scope="module")
def address(server: uvicorn.Server) -> Any:
    return server.address  # type: ignore[attr-defined]


@contextmanager
def connected(address: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=10) as connection:
        yield connection


def answer(connection: socket.socket) -> bytes:
    """All that comes until the server closes; it may not have read all that was sent."""
    answer = b""
    try:
        while part := connection.recv(65536):
            answer += part
    except ConnectionResetError:
        pass
    return answer


@pytest.mark.parametrize(
    "head",
    [START + b"x-long: ", START + b"x-many: y\r\n" * 1000, CHUNKED + b"0\r\nx-trailer: "],
    ids=["one header", "many headers", "trailer"],
)
def test_headers_end_somewhere(head: bytes, address: tuple[str, int]) -> None:
    with connected(address) as connection, pytest.raises(ConnectionError):
        connection.sendall(head)
        for _ in range(64 * MAX_HEADER_BYTES // len(PIECE)):
            connection.sendall(PIECE)
        raise AssertionError("it took all of that")


def test_too_large_headers_are_told_so(address: tuple[str, int]) -> None:
    with connected(address) as connection:
        connection.sendall(START + b"x-long: " + b"x" * (MAX_HEADER_BYTES + 1))
        assert answer(connection).startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")


@pytest.mark.parametrize("size", [70_000, 125_000])
@pytest.mark.parametrize("head", [START + b"x-long: %s\r\n\r\n", b"GET /%s HTTP/1.1\r\nhost: x\r\n\r\n"])
def test_too_large_headers_are_told_so_though_they_end(address: tuple[str, int], head: bytes, size: int) -> None:
    with connected(address) as connection:
        connection.sendall(head % (b"x" * size))
        assert answer(connection).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("begun", [b"", START, START + b"\r\nGET"], ids=["nothing", "half", "again"])
def test_headers_have_to_come_soon(begun: bytes, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEADERS_S", 0.1)
    with connected(address) as connection:
        connection.sendall(begun)
        assert answer(connection).count(b"200 OK") == begun.count(b"\r\n\r\n")


def test_large_and_slow_bodies_are_no_headers(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEADERS_S", 0.1)
    size = 20 * MAX_HEADER_BYTES
    with connected(address) as connection:
        connection.sendall(START + b"content-length: %d\r\n\r\n" % size)
        for _ in range(20):
            connection.sendall(b"x" * MAX_HEADER_BYTES)
            time.sleep(0.01)
        connection.sendall(CHUNKED.replace(b"host", b"connection: close\r\nhost"))
        for _ in range(2000):
            connection.sendall(b"3e8\r\n" + PIECE + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        found = answer(connection)
    assert b"%d bytes" % size in found and b"2000000 bytes" in found


@pytest.mark.parametrize("pipelined", [1, 2])
def test_who_does_not_take_the_answer_is_let_go(
    server: uvicorn.Server, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, pipelined: int
) -> None:
    monkeypatch.setattr(http_protocol, "STALLED_S", 0.2)
    wait_until(lambda: not server.server_state.connections)
    with connected(address) as connection:
        connection.sendall(LARGE.replace(b"connection: close\r\n", b"") * (pipelined - 1) + LARGE)
        wait_until(lambda: server.server_state.connections)
        wait_until(lambda: not server.server_state.connections, 5)
        assert len(answer(connection)) < LARGE_BYTES


def test_who_takes_the_answer_slowly_gets_it_all(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "STALLED_S", 0.2)
    taken = 0
    with connected(address) as connection:
        connection.sendall(LARGE)
        while part := connection.recv(2**19):
            taken += len(part)
            time.sleep(0.02)
    assert taken > LARGE_BYTES


def test_connections_beyond_the_limit_are_told_so_and_beyond_that_shut_out(
    portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "SPARE", 2)
    app = Access(Crowd(count), Metrics(), log=False)
    with serving(app, portal, limit_concurrency=2) as server, ExitStack() as stack:
        address: tuple[str, int] = server.address  # type: ignore[attr-defined]

        def come(number: int) -> socket.socket:
            connection = stack.enter_context(connected(address))
            wait_until(lambda: len(server.server_state.connections) == number)
            return connection

        inside, _ = come(1), come(2)
        refused, health = come(3), come(4)
        with pytest.raises(ConnectionError):
            shut_out = stack.enter_context(connected(address))
            shut_out.sendall(CHUNKED)
            raise ConnectionResetError(shut_out.recv(1))
        refused.sendall(b"GET /v1/tails HTTP/1.1\r\nhost: x\r\n\r\n")
        told = answer(refused)
        assert told.startswith(b"HTTP/1.1 503 ") and b"retry-after: 2" in told and b'"code":"busy"' in told
        health.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert answer(health).startswith(b"HTTP/1.1 200 ")
        monkeypatch.setattr(http_protocol, "SPARE_HEADERS_S", 0.1)
        assert answer(come(3)) == b""
        inside.sendall(LARGE.replace(b"/large", b"/"))
        assert answer(inside).endswith(b"0 bytes\r\n0\r\n\r\n")
        come(2).sendall(LARGE.replace(b"/large", b"/"))
