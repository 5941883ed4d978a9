"""How large a request may be, how long it may take to come, and how large all that are under way may be together.

FastAPI's own `max_body_size` answers in plain text where a length is declared; ours is an error like all others.
"""

import asyncio
from collections import Counter
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.server.caller import Caller
from engine.server.errors import ApiError

# All bodies together, in the largest that one may be: they lie in memory.
LARGEST_AT_ONCE: Final = 16
# Of these, how many one key may have; one that sends slowly would keep out all others for as long as it likes.
LARGEST_PER_KEY: Final = 4
# What asks for an edit is smaller than this, and comes through when there is no room for uploads.
SMALL_BYTES: Final = 2**16
# What is no form is JSON at most, whose parser stops all others meanwhile: a tail in base64, and some words.
MAX_JSON_BYTES: Final = 6 * 2**20
# Whoever sends a byte now and then would hold its part of them for ever.
BODY_S: Final = 120.0


class BodyLimit:
    """ASGI middleware that refuses what is declared too large unread, and else counts the bytes that come.

    Args:
        app: what is inside.
        max_body_bytes: of a form; of what is none, `MAX_JSON_BYTES` if that is less.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self.max_body_bytes = max_body_bytes
        self.held_bytes = 0
        self.held_by: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or go on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        most_bytes, declared = self._most_bytes(headers), headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > most_bytes:
            raise _too_large(most_bytes)
        body = _Body(self, scope, receive, most_bytes)
        try:
            await self._app(scope, body.receive, send)
        finally:
            self.hold(body.owner, -body.size_bytes)

    def _most_bytes(self, headers: Headers) -> int:
        is_form = headers.get("content-type", "").lower().startswith("multipart/form-data")
        return self.max_body_bytes if is_form else min(self.max_body_bytes, MAX_JSON_BYTES)

    def hold(self, owner: str, size_bytes: int) -> None:
        """Count bytes that came, or are let go of."""
        self.held_bytes += size_bytes
        self.held_by[owner] += size_bytes
        if not self.held_by[owner]:
            del self.held_by[owner]


class _Body:
    """One request's body."""

    def __init__(self, limit: BodyLimit, scope: Scope, receive: Receive, most_bytes: int) -> None:
        caller: Caller | None = scope.get("state", {}).get("caller")
        # Without keys there is one user, who may have all.
        self.owner = "" if caller is None or caller.key is None else caller.owner
        self.size_bytes, self._most_bytes = 0, most_bytes
        self._limit, self._receive = limit, receive
        self._deadline: float | None = asyncio.get_running_loop().time() + BODY_S

    async def receive(self) -> Message:
        """The next part, if it may still come."""
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            told = f"the request was not whole after {BODY_S:g} s; send it faster"
            raise ApiError(408, "body_late", told) from None
        if not message.get("more_body"):
            self._deadline = None  # what still comes is the end of the connection
        self._count(len(message.get("body", b"")))
        return message

    def _count(self, size_bytes: int) -> None:
        self.size_bytes += size_bytes
        self._limit.hold(self.owner, size_bytes)
        if self.size_bytes > self._most_bytes:
            raise _too_large(self._most_bytes)
        most_bytes = self._limit.max_body_bytes
        if not size_bytes or self.size_bytes <= min(SMALL_BYTES, most_bytes // LARGEST_AT_ONCE):
            return
        if self.owner and self._limit.held_by[self.owner] > LARGEST_PER_KEY * most_bytes:
            told = "too much is being uploaded with this key at once; try again soon"
            raise ApiError(429, "quota_exceeded", told, retry_after_s=2)
        if self._limit.held_bytes > LARGEST_AT_ONCE * most_bytes:
            raise ApiError(503, "busy", "too much is being uploaded at once; try again soon", retry_after_s=2)


def _too_large(most_bytes: int) -> ApiError:
    return ApiError(413, "too_large", f"the request is larger than {most_bytes} bytes; send a smaller picture")
