"""Ray's proxy adds the request's id to every answer, as our application does; one of the two is enough."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-request-id"


class OneRequestId:
    """ASGI middleware, outermost: an id that the request came with is left for the proxy to add."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_once(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get(HEADER) == Headers(scope=scope).get(HEADER):
                    del headers[HEADER]
            await send(message)

        await self._app(scope, receive, send_once)
