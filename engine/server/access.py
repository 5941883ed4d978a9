"""The layer where every request gets an id, an answer whatever happens, and is counted."""

import logging
import re
import secrets
import time
from typing import Final
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.server.caller import Caller
from engine.server.errors import error_response
from engine.server.log import request_id as log_request_id
from engine.server.metrics import Metrics
from engine.server.problems import refuse

logger = logging.getLogger(__name__)

_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Access:
    """ASGI middleware.

    Args:
        app: what is inside.
        metrics: count requests.
        log: whether every request gets a line.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, log: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._log = log
        self._under_way: set[tuple[str, str]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        key = headers.get("authorization", "").partition(" ")[2].strip()
        name = self._name(key, headers.get("x-request-id", ""))
        token, start = log_request_id.set(name), time.perf_counter()
        self._under_way.add((key, name))
        self._metrics.active_requests.inc()
        scope.setdefault("state", {})["request_id"] = name
        answer = _Answer(send, name)
        try:
            await self._answer(scope, receive, answer, name)
        finally:
            self._under_way.discard((key, name))
            self._metrics.active_requests.dec()
            self._count(scope, answer.status, time.perf_counter() - start)
            log_request_id.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, answer: "_Answer", name: str) -> None:
        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            return
        except Exception as error:
            told = refuse(error, self._metrics)
            if answer.status:
                logger.error("an answer broke off: %s", told.message)
                return
            response = error_response(told, scope["path"], name)
            await response(scope, receive, answer)

    def _name(self, key: str, wanted: str) -> str:
        """The client's own id where it is one and it has no other request of that name now."""
        usable = _ID.fullmatch(wanted) and (key, wanted) not in self._under_way
        return wanted if usable else "req_" + secrets.token_urlsafe(15)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        # Without an answer, the client was gone: 499, as nginx has it.
        route, code = getattr(scope.get("route"), "path", "other"), status or 499
        self._metrics.requests.labels(route, code).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        if self._log:
            caller: Caller | None = scope["state"].get("caller")
            owner = caller.owner if caller else "-"
            words = (scope["method"], quote(scope["path"]), code, 1e3 * seconds, owner)
            logger.info("%s %s %d %.1f ms %s", *words, extra={"owner": owner})


class _Answer:
    """A `send` that adds the id and remembers the status."""

    def __init__(self, send: Send, name: str) -> None:
        self._send = send
        self._name = name
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["x-request-id"] = self._name
        await self._send(message)
