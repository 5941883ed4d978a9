"""The one error of the HTTP interface, and its two renderings: problem details and OpenAI's error object."""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import JSONResponse

# Trying again later may help with these, and never with any other.
_MAY_PASS: Final = {408, 429, 503, 507}
_OPENAI_PATHS: Final = ("/v1/images/", "/v1/models")
_OPENAI_TYPES: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """What a request is answered with instead of a result.

    Attributes:
        status: of HTTP; of those from 500 only 503 and 507.
        code: names the kind of error for programs.
        message: subject, found, wanted and remedy, for people.
        param: the field of the request that is to blame.
        retry_after_s: when trying again may help.
        extra: further members of the body; they must be JSON.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})


def is_openai_path(path: str) -> bool:
    """Whether a route speaks OpenAI's dialect."""
    return path.startswith(_OPENAI_PATHS)


def problem(error: ApiError, request_id: str) -> dict[str, Any]:
    """Problem details (RFC 9457); the type is no address, since the code says all."""
    details = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "request_id": request_id,
    }
    return {**error.extra, **details} | ({} if error.param is None else {"param": error.param})


def openai_error(error: ApiError) -> dict[str, Any]:
    """OpenAI's error object."""
    kind = _OPENAI_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    body = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    return {"error": {**error.extra, **body}}


def error_response(error: ApiError, path: str, request_id: str) -> JSONResponse:
    """The error as the route at `path` speaks; OpenAI's have 400 where ours have 422."""
    headers = error.headers | ({} if error.status in _MAY_PASS else {"x-should-retry": "false"})
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if is_openai_path(path):
        return JSONResponse(openai_error(error), 400 if error.status == 422 else error.status, headers)
    return JSONResponse(problem(error, request_id), error.status, headers, media_type="application/problem+json")
