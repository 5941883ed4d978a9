"""How large a request may be.

FastAPI's own `max_body_size` answers in plain text where a length is declared; ours is an error like all others.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.server.errors import ApiError


class BodyLimit:
    """ASGI middleware that refuses what is declared too large unread, and else counts the bytes that come.

    Args:
        app: what is inside.
        max_body_bytes: of a request.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max = max_body_bytes

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
            received += len(message.get("body", b""))
            if received > self._max:
                raise self._too_large()
            return message

        async def check(message: Message) -> None:
            # FastAPI takes our error for a broken body and answers so; that answer stops here.
            if received > self._max:
                raise self._too_large()
            await send(message)

        await self._app(scope, count, check)

    def _too_large(self) -> ApiError:
        return ApiError(413, "too_large", f"the request is larger than {self._max} bytes; send a smaller picture")
