"""Whether a request is meant for this server and comes from its own page: any web page can post to localhost."""

from ipaddress import ip_address
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.server.errors import ApiError

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_READING: Final = {"GET", "HEAD"}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class OriginGuard:
    """ASGI middleware that refuses names that are not this server's, and other pages' requests.

    At a loopback address the Host must be a loopback name or one of `allowed_hosts`: a stranger's name that was made to
    lead here (DNS rebinding) is not. Elsewhere keys protect, and only `allowed_hosts`, if there are any, are checked.

    Args:
        app: what is inside.
        host: where the server listens.
        allowed_hosts: further names.
    """

    def __init__(self, app: ASGIApp, host: str, allowed_hosts: tuple[str, ...]) -> None:
        self._app = app
        names = {*map(str.lower, allowed_hosts)}
        local = is_loopback(host)
        self._hosts = names | LOOPBACK | {host.lower()} if local or names else None
        self._origins = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or go on."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            self._check_host(headers)
            if scope["method"] not in _READING:
                self._check_origin(headers)
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        names = [_name(value) for value in headers.getlist("host")]
        if self._hosts is not None and (len(names) != 1 or names[0] not in self._hosts):
            raise ApiError(
                421,
                "host_refused",
                f"host {', '.join(names)[:80] or 'without a name'} is not this server; call it by its own name, or let "
                "the operator add it to allowed_hosts",
            )

    def _check_origin(self, headers: Headers) -> None:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        own = origin is None or self._is_own(origin, headers.get("host", ""))
        if not own or (origin is None and site not in ("none", "same-origin")):
            raise ApiError(
                403,
                "origin_refused",
                f"origin {(origin or site)[:80]} is another site's page and may not ask this server for anything",
            )

    def _is_own(self, origin: str, host: str) -> bool:
        scheme, _, place = origin.lower().partition("://")
        return scheme in ("http", "https") and (place == host.lower() or _name(place) in self._origins)


def _name(host: str) -> str:
    """A host without its port, an IPv6 address without brackets, in small letters."""
    host = host.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
