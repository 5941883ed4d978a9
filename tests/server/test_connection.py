"""Clients that go away while something is done for them."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import contextmanager

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from engine.server import connection
from engine.server.connection import EventStream, event, while_connected
from engine.server.lifecycle import open_listener


class Client:
    """Goes away when it is told to, and keeps what it was sent."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.sent: list[bytes] = []

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message.get("body", b""))


def run(test: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))  # type: ignore[arg-type]


def test_no_answer_is_held_back_by_nagle() -> None:
    """asyncio looks at the protocol of the listening socket."""
    with open_listener("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_result_of_a_client_that_stays() -> None:
    async def test() -> None:
        assert await while_connected(Client().receive, asyncio.sleep(0, "picture")) == "picture"
        with pytest.raises(ZeroDivisionError):
            await while_connected(Client().receive, fails())

    async def fails() -> None:
        raise ZeroDivisionError

    run(test())


def test_client_that_goes_away_cancels_the_work_before_anybody_goes_on() -> None:
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(True)

    async def test() -> None:
        client = Client()
        asyncio.get_running_loop().call_later(0.01, client.gone.set)
        with pytest.raises(ClientDisconnect):
            await while_connected(client.receive, work())
        assert cleaned

    run(test())


def test_stream_that_is_not_admitted_sends_nothing_and_is_closed() -> None:
    @contextmanager
    def full() -> Iterator[None]:
        raise KeyError("full")
        yield

    async def events() -> AsyncGenerator[bytes, None]:
        yield event("one", "{}")

    async def test() -> None:
        client, stream = Client(), events()
        with pytest.raises(KeyError):
            await EventStream(stream, full())({"type": "http"}, client.receive, client.send)
        assert not client.sent and await anext(stream, None) is None

    run(test())


def test_stream_sends_all_events_and_pings_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PING_S", 0.01)

    async def events() -> AsyncGenerator[bytes, None]:
        yield event("one", "{}")
        await asyncio.sleep(0.05)
        yield event("two", '{"a": 1}')

    async def test() -> None:
        client = Client()
        await EventStream(events())({"type": "http"}, client.receive, client.send)
        assert client.sent[1] == b"event: one\ndata: {}\n\n"
        assert client.sent[-2:] == [b'event: two\ndata: {"a": 1}\n\n', b""]
        assert set(client.sent[2:-2]) == {b": ping\n\n"}

    run(test())


@pytest.mark.parametrize("stalled", [False, True], ids=["gone", "stalled"])
def test_stream_without_a_reader_is_closed(stalled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    async def events() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield event("tick", "{}")
                await asyncio.sleep(0.001)
        finally:
            closed.append(True)

    async def test() -> None:
        client = Client()

        async def send(message: Message) -> None:
            await client.send(message)
            if len(client.sent) > 3:
                if stalled:
                    await asyncio.Event().wait()
                client.gone.set()

        monkeypatch.setattr(connection, "STALLED_S", 0.02)
        await EventStream(events())({"type": "http"}, client.receive, send)
        assert closed

    run(test())
