"""uvicorn's HTTP/1.1, with an end to everything a client can take: by itself it waits for bytes for ever, both ways."""

import asyncio
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from engine.server.errors import ApiError

MAX_HEADER_BYTES: Final = 2**16
HEADERS_S: Final = 30.0
# Who takes less of an answer in this time is as good as gone.
STALLED_S: Final = 60.0
LEAST_BYTES: Final = 2**16
# Connections beyond the limit that are told so; what is beyond these finds the door shut.
SPARE: Final = 64
SPARE_HEADERS_S: Final = 3.0

_CROWDED: Final = "hiper.crowded"
_HEALTH: Final = {"/livez", "/readyz"}  # whoever asks these would end a server that is only full
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class HttpProtocol(HttpToolsProtocol):
    """One connection; what is no body has to be short and to come soon, and answers have to be taken.

    uvicorn's `limit_concurrency` is the number of connections: those beyond it are marked for `Crowd`, which lets the
    app refuse their requests in its own words.
    """

    _unparsed_bytes = _header_bytes = 0
    _timer: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._most, self.limit_concurrency = self.limit_concurrency, None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody came, and has to say something."""
        super().connection_made(transport)
        beyond = 0 if self._most is None else len(self.connections) - self._most
        if beyond > SPARE:
            transport.abort()
        elif beyond > 0:
            self.app_state = {**self.app_state, _CROWDED: True}
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """More of an answer waits than is good."""
        super().pause_writing()
        self._watch_taking()

    def on_response_complete(self) -> None:
        """An answer is written, which does not mean that anybody takes it."""
        super().on_response_complete()
        self._watch_taking()

    def data_received(self, data: bytes) -> None:
        """Parse, and count what belongs to no body: headers, and the trailers of a chunked one."""
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MAX_HEADER_BYTES:
            self._refuse_headers()

    def send_400_response(self, msg: str) -> None:
        """Say why the parser stopped."""
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse_headers()
        else:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._header_bytes = 0
        super().on_message_begin()
        self._await_headers()

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or trailer, is whole."""
        self._count(name, value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The headers of a request are whole."""
        self._unparsed_bytes = 0
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._unparsed_bytes = 0
        super().on_message_complete()

    def _count(self, *parts: bytes) -> None:
        """Count what is whole; an error here stops the parser."""
        self._header_bytes += sum(map(len, parts))
        if self._header_bytes > MAX_HEADER_BYTES:
            raise ValueError("the headers are too large")

    def _refuse_headers(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def _await_headers(self) -> None:
        self._stop_waiting()
        seconds = SPARE_HEADERS_S if _CROWDED in self.app_state else HEADERS_S
        self._timer = self.loop.call_later(seconds, self.transport.close)

    def _watch_taking(self) -> None:
        """Look again later whether enough of what waits was taken."""
        self._stop_watching()
        if waiting_bytes := self.transport.get_write_buffer_size():
            self._taking = self.loop.call_later(STALLED_S, self._check_taking, waiting_bytes)

    def _check_taking(self, before_bytes: int) -> None:
        if self.transport.get_write_buffer_size() > max(0, before_bytes - LEAST_BYTES):
            self.transport.abort()
        else:
            self._watch_taking()

    def _stop_watching(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Crowd:
    """ASGI middleware that refuses what comes over a connection beyond the limit."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or go on."""
        if scope["type"] == "http" and scope.get("state", {}).get(_CROWDED) and scope["path"] not in _HEALTH:
            told = "as many connections are open as there may be; try again soon"
            raise ApiError(503, "busy", told, retry_after_s=2, headers={"connection": "close"})
        await self._app(scope, receive, send)
