"""What several routes have in common."""

import re
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict, StringConstraints

from engine.server.admission import refuse_while_draining, require_room
from engine.server.image_answers import OpenAiError

Item = TypeVar("Item")

# A name ends up in headers and terminals: no control characters, of C0, of C1, or of the direction of writing.
_CONTROLS: Final = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_MAX_NAME: Final = 100
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=_MAX_NAME, pattern=rf"^[^{_CONTROLS}]+$"),
]
Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
After = Annotated[str | None, Query(max_length=64, description="Id of the last one that was seen.")]

BEGINS: Final = (Depends(refuse_while_draining),)
STORES: Final = (*BEGINS, Depends(require_room))


def default_name(text: str) -> str:
    """What of a text can be a `Name`."""
    return re.sub(f"[{_CONTROLS}]", "", text).strip()[:_MAX_NAME].strip() or "a subject"


class Problem(BaseModel):
    """Problem details as in RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    param: str | None = None


_PROBLEM: Final[dict[str, Any]] = {"content": {"application/problem+json": {"schema": Problem.model_json_schema()}}}
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"description": "What is wrong with the request; `code` names it for programs.", **_PROBLEM},
    "503": {"description": "Not now; `Retry-After` says when.", **_PROBLEM},
    "507": {"description": "The server's disk is full.", **_PROBLEM},
}

OPENAI_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": OpenAiError, "description": problem["description"]} for status, problem in PROBLEMS.items()
}


def binary(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    """The answer of a route that sends a file."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": description, "content": content}}


class Page(BaseModel, Generic[Item]):
    """Part of a list, newest first; ask for the rest with `after`."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool


def page(items: list[Item], limit: int) -> Page[Item]:
    """A page of `limit` from one item more, which tells whether there are more."""
    return Page(data=items[:limit], has_more=len(items) > limit)
