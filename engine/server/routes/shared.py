"""What several routes have in common."""

from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict, StringConstraints

from engine.server.admission import refuse_while_draining, require_room
from engine.server.image_answers import OpenAiError

Item = TypeVar("Item")

# No control characters: a name ends up in headers and terminals.
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")
]
Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
After = Annotated[str | None, Query(max_length=64, description="Id of the last one that was seen.")]

BEGINS: Final = (Depends(refuse_while_draining),)
STORES: Final = (*BEGINS, Depends(require_room))


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
