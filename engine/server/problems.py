"""What each exception is to those who asked."""

import logging
from collections.abc import Callable
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from engine.errors import PromptError, TailError
from engine.server.edit_engine import EngineDown
from engine.server.errors import ApiError, error_response
from engine.server.metrics import Metrics
from engine.server.store_errors import (
    BytesFull,
    DiskFull,
    IdempotencyMismatch,
    QueueFull,
    QuotaReached,
    StoreError,
    TailsFull,
)
from engine.server.uploads import UploadError

logger = logging.getLogger(__name__)

# Whoever has more to mend will ask again.
MAX_PROBLEMS: Final = 20

_UPLOAD_STATUS: Final = {"unsupported_media_type": 415, "too_large": 413, "image_invalid": 422}
_HTTP_CODES: Final = {
    400: "validation_error",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}


def api_error(error: Exception) -> ApiError:
    """The answer to an exception; one that nobody expected is logged, and told without its words."""
    if isinstance(error, ApiError):
        return error
    for kind, convert in _CONVERSIONS.items():
        if isinstance(error, kind):
            return convert(error)
    logger.error("request failed", exc_info=error)
    return ApiError(503, "internal", "the server made a mistake; its log has the details under this request's id")


def refuse(error: Exception, metrics: Metrics) -> ApiError:
    """The answer to an exception, counted."""
    told = api_error(error)
    metrics.refused.labels(told.code).inc()
    return told


async def render(request: Request, error: Exception) -> Response:
    """Exception handler for what FastAPI would render in its own way.

    Raises:
        ClientDisconnect: while the body was read.
    """
    if isinstance(error.__cause__, ClientDisconnect):
        raise error.__cause__
    told = refuse(error, request.app.state.services.metrics)
    if isinstance(error, HTTPException) and error.status_code in (404, 405):
        told.message = f"there is no {request.method} {request.url.path:.80}; /openapi.json lists what there is"
    if isinstance(error, HTTPException) and error.status_code == 405:
        told.headers = {"allow": _methods(request) or "GET, HEAD"}
    return error_response(told, request.url.path, request.state.request_id)


def _methods(request: Request) -> str:
    """All that a path of the schema takes; Starlette knows those of its first route only."""
    path = getattr(request.scope.get("route"), "path", "")
    methods = ", ".join(request.app.openapi()["paths"].get(path, ())).upper()
    return methods.replace("GET", "GET, HEAD")


def _from_http(error: HTTPException) -> ApiError:
    if isinstance(error.__cause__, ApiError):  # FastAPI takes whatever happens while it reads for a broken body
        return error.__cause__
    code = _HTTP_CODES.get(error.status_code, "validation_error")
    return ApiError(error.status_code, code, str(error.detail), headers=error.headers)


def _from_validation(error: RequestValidationError) -> ApiError:
    told = error.errors()[:MAX_PROBLEMS]
    problems = [{"param": _param(one["loc"]), "message": one["msg"]} for one in told]
    first = problems[0]
    where = f"{first['param']}: " if first["param"] else ""
    return ApiError(
        422,
        "validation_error",
        f"the request is not as this route takes it, {where}{first['message']}; /openapi.json says how it does",
        param=first["param"],
        extra={"errors": problems},
    )


def _param(place: tuple[int | str, ...]) -> str | None:
    """A field's name without "body" or "query" in front; None for the request as a whole."""
    return ".".join(map(str, place[1:])) or None


def _from_upload(error: UploadError) -> ApiError:
    return ApiError(_UPLOAD_STATUS[error.code], error.code, str(error), param="image")


def _from_store(error: StoreError) -> ApiError:
    """Its words name the server's folders: they are for the operator."""
    logger.error("%s", error)
    if isinstance(error, DiskFull):
        return ApiError(507, "disk_full", "the server's disk is full; its operator has to make room", retry_after_s=60)
    told = "the server cannot use its data at present; its log says why"
    return ApiError(503, "store_unavailable", told, retry_after_s=10)


_CONVERSIONS: Final[dict[type[Exception], Callable[[Any], ApiError]]] = {
    HTTPException: _from_http,
    RequestValidationError: _from_validation,
    UploadError: _from_upload,
    PromptError: lambda error: ApiError(422, "prompt_invalid", str(error), param="prompt"),
    TailError: lambda error: ApiError(422, "tail_invalid", str(error), param="tail"),
    IdempotencyMismatch: lambda error: ApiError(422, "idempotency_mismatch", str(error), param="Idempotency-Key"),
    TailsFull: lambda error: ApiError(429, "tails_full", str(error), headers={"x-should-retry": "false"}),
    BytesFull: lambda error: ApiError(429, "bytes_full", str(error), headers={"x-should-retry": "false"}),
    QuotaReached: lambda error: ApiError(429, "quota_exceeded", str(error), retry_after_s=30),
    QueueFull: lambda error: ApiError(503, "busy", str(error), retry_after_s=30),
    StoreError: _from_store,
    EngineDown: lambda error: ApiError(503, "engine_unavailable", str(error), retry_after_s=2),
}
