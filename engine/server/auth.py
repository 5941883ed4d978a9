"""Keys: who a request comes from, and whether it may do what it asks."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from engine.server.caller import LOCAL, Caller
from engine.server.errors import ApiError
from engine.server.records import Scope
from engine.server.services import Services

__all__ = ["Authenticate", "Caller", "needs"]

# What the page asks before it has a key.
PUBLIC: Final = {"/v1/info"}


class Authenticate:
    """ASGI middleware that knows the caller before a byte of the body is read; a stranger's upload costs nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Refuse, or go on with the caller in the request's state."""
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            caller = await identify(scope["app"].state.services, Headers(scope=scope).get("authorization"))
            if caller is None and scope["path"] not in PUBLIC:
                raise _unauthorized("no key was sent")
            scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)


async def identify(services: Services, authorization: str | None) -> Caller | None:
    """The caller behind an Authorization header; None if there is none and the server has keys.

    Raises:
        ApiError: the header names no valid key.
    """
    if not await asyncio.to_thread(services.store.has_keys):
        return Caller(LOCAL)
    if authorization is None:
        return None
    kind, _, token = authorization.partition(" ")
    key = await asyncio.to_thread(services.store.find_key, token.strip()) if kind.lower() == "bearer" else None
    if key is None:
        raise _unauthorized("the key is unknown or revoked")
    return Caller(key.id, key)


def needs(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    """FastAPI dependency: the caller, whose key must have a scope."""

    async def check(request: Request) -> Caller:
        caller: Caller | None = request.scope.get("state", {}).get("caller")
        if caller is None:
            raise _unauthorized("no key was sent")
        if not caller.may(scope):
            raise ApiError(403, "forbidden", f"the key lacks the scope {scope!r}; ask the operator for one that has it")
        return caller

    return check


def _unauthorized(found: str) -> ApiError:
    return ApiError(401, "unauthorized", f"{found}; send one as 'Authorization: Bearer hiper_...'")
