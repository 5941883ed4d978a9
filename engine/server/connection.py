"""Work for a client that may go away, and answers in many pieces."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Any, Final, TypeVar

from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

PING_S: Final = 15.0
# A client that takes nothing for so long is as good as gone.
STALLED_S: Final = 60.0

Result = TypeVar("Result")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Do some work, as long as the client waits for it.

    Args:
        receive: of a request whose body was read.
        work: cancelled when the client goes away, and finished in any case when this returns.

    Raises:
        ClientDisconnect: the client went away.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events, with a comment now and then so that no proxy takes the silence for an end.

    Args:
        events: as `event` makes them; closed when the client goes away.
        admission: entered before the first byte, and left with the last; it may refuse.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncGenerator[bytes, None], admission: AbstractContextManager[None] | None = None
    ) -> None:
        self._events = events
        self._admission = admission or nullcontext()
        self.status_code = 200
        self.background: BackgroundTask | None = None
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the events."""
        try:
            with self._admission:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                await while_connected(receive, self._send_all(send))
        except (ClientDisconnect, TimeoutError):
            pass
        finally:
            await self._events.aclose()

    async def _send_all(self, send: Send) -> None:
        async with aclosing(_with_pings(self._events)) as pieces:
            async for piece in pieces:
                async with asyncio.timeout(STALLED_S):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _with_pings(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    while True:
        coming = asyncio.ensure_future(anext(events, None))
        try:
            while not (await asyncio.wait({coming}, timeout=PING_S))[0]:
                yield b": ping\n\n"
            piece = coming.result()
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        if piece is None:
            return
        yield piece


def event(name: str, data: str, id: int | None = None) -> bytes:
    """A server-sent event; the data must be a line, as JSON without indentation is."""
    number = "" if id is None else f"id: {id}\n"
    return f"event: {name}\ndata: {data}\n{number}\n".encode()
