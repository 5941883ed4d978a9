"""How large a request may be, and all that are under way together.

FastAPI's own `max_body_size` answers in plain text where a length is declared; ours is an error like all others.
"""

from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.server.errors import ApiError

# All bodies together, in the largest that one may be: they lie in memory.
LARGEST_AT_ONCE: Final = 16


class BodyLimit:
    """ASGI middleware that refuses what is declared too large unread, and else counts the bytes that come.

    Args:
        app: what is inside.
        max_body_bytes: of a request.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max = max_body_bytes
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or go on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._max:
            raise self._too_large()
        received = 0

        async def count() -> Message:
            nonlocal received
            message = await receive()
            size = len(message.get("body", b""))
            received += size
            self._held += size
            self._check(received)
            return message

        async def check(message: Message) -> None:
            # FastAPI takes our error for a broken body and answers so; that answer stops here.
            self._check(received)
            await send(message)

        try:
            await self._app(scope, count, check)
        finally:
            self._held -= received

    def _check(self, received: int) -> None:
        if received > self._max:
            raise self._too_large()
        if received and self._held > LARGEST_AT_ONCE * self._max:
            raise ApiError(503, "busy", "too much is being uploaded at once; try again soon", retry_after_s=2)

    def _too_large(self) -> ApiError:
        return ApiError(413, "too_large", f"the request is larger than {self._max} bytes; send a smaller picture")
