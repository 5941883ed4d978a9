"""Clients that never come to the point, against uvicorn on a real socket."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from anyio.from_thread import BlockingPortal
from starlette.types import Receive, Scope, Send

from engine.server import http_protocol
from engine.server.http_protocol import MAX_HEADER_BYTES, HttpProtocol

START = b"POST / HTTP/1.1\r\nhost: x\r\n"
CHUNKED = START + b"transfer-encoding: chunked\r\n\r\n"
PIECE = b"x" * 1000


async def count(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that answers with the size of what it got."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d bytes" % size})


@pytest.fixture(scope="module")
def address(portal: BlockingPortal) -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(count, http=HttpProtocol, lifespan="off", log_config=None, ws="none")
        server = uvicorn.Server(config)
        running = portal.start_task_soon(server._serve, [listener])
        yield listener.getsockname()
        server.should_exit = True
        running.result(10)


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
