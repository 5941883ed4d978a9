"""Tails: list, bring, take along, rename and delete; a stranger's tail is as unknown as none."""

import asyncio
from functools import partial
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Response, UploadFile
from pydantic import BaseModel

from engine.server.auth import Caller, needs
from engine.server.errors import ApiError
from engine.server.records import TailRow
from engine.server.request_model import RequestModel
from engine.server.routes.shared import PROBLEMS, STORES, After, Limit, Name, Page, binary, default_name, page
from engine.server.services import ServicesDep
from engine.tail_file import MAX_SIZE_BYTES, SUFFIX, parse_tail_file

router = APIRouter(prefix="/v1/tails", tags=["tails"], responses=PROBLEMS)

CallerDep = Annotated[Caller, Depends(needs("tails"))]


class Tail(BaseModel):
    """A subject."""

    id: str
    object: Literal["tail"] = "tail"
    name: str
    model: str
    model_digest: str
    digest: str
    source_prompt: str
    tail_strength: float
    size_bytes: int
    created_at: float
    fit: str | None
    image: str | None
    content: str


class NewTail(RequestModel):
    """A tail file as `hiper-fit` writes it."""

    file: UploadFile
    name: Name | None = None


class Renaming(RequestModel):
    """What of a tail can be changed."""

    name: Name


async def own_tail(tail_id: str, services: ServicesDep, caller: CallerDep) -> TailRow:
    """FastAPI dependency: the tail in the path.

    Raises:
        ApiError: the caller has no such tail.
    """
    row = await asyncio.to_thread(services.store.tail, caller.owner, tail_id)
    if row is None:
        raise tail_not_found(tail_id)
    return row


OwnTail = Annotated[TailRow, Depends(own_tail)]


@router.get("")
async def list_tails(services: ServicesDep, caller: CallerDep, limit: Limit = 100, after: After = None) -> Page[Tail]:
    """The caller's tails, newest first."""
    rows = await asyncio.to_thread(services.store.tails, caller.owner, limit=limit + 1, after=after)
    return page([describe(row) for row in rows], limit)


@router.post("", status_code=201, dependencies=STORES)
async def add_tail(
    services: ServicesDep,
    caller: CallerDep,
    response: Response,
    new: Annotated[NewTail, Form(media_type="multipart/form-data")],
) -> Tail:
    """Bring a tail that was fitted elsewhere."""
    data = await new.file.read(MAX_SIZE_BYTES + 1)
    name = new.name or default_name(parse_tail_file(data).info.source_prompt)
    add, settings = partial(services.store.add_tail, caller.owner, name, data), services.settings
    row = await asyncio.to_thread(add, max_tails=settings.max_tails, max_bytes=settings.max_bytes_per_owner)
    response.headers["location"] = f"/v1/tails/{row.id}"
    return describe(row)


@router.get("/{tail_id}")
async def read_tail(row: OwnTail) -> Tail:
    """One tail."""
    return describe(row)


@router.patch("/{tail_id}", dependencies=STORES)
async def rename_tail(services: ServicesDep, caller: CallerDep, row: OwnTail, change: Renaming) -> Tail:
    """Give a tail another name."""
    renamed = await asyncio.to_thread(services.store.rename_tail, caller.owner, row.id, change.name)
    if renamed is None:
        raise tail_not_found(row.id)
    return describe(renamed)


@router.delete("/{tail_id}", status_code=204)
async def delete_tail(services: ServicesDep, caller: CallerDep, row: OwnTail) -> None:
    """Delete a tail with its pictures and the fit that made it; nothing of it stays."""
    await asyncio.to_thread(services.store.delete_tail, caller.owner, row.id)


@router.get("/{tail_id}/content", response_class=Response, responses=binary("application/octet-stream", "A tail file."))
async def read_content(services: ServicesDep, caller: CallerDep, row: OwnTail) -> Response:
    """The tail file, to be kept or brought elsewhere."""
    data = await asyncio.to_thread(services.store.tail_data, caller.owner, row.id)
    if data is None:
        raise tail_not_found(row.id)
    disposition = f"attachment; filename*=UTF-8''{quote(row.name, safe='')}{SUFFIX}"
    return Response(data, media_type="application/octet-stream", headers={"content-disposition": disposition})


@router.get("/{tail_id}/image", response_class=Response, responses=binary("image/png", "A PNG."))
async def read_image(services: ServicesDep, row: OwnTail) -> Response:
    """The picture that the tail was fitted to."""
    if row.image is None:
        raise ApiError(404, "not_found", f"tail {row.id} was brought without its picture")
    return Response(await asyncio.to_thread(services.store.image, row.image), media_type="image/png")


def describe(row: TailRow) -> Tail:
    """A tail as the interface shows it."""
    place = f"/v1/tails/{row.id}"
    return Tail(
        id=row.id,
        name=row.name,
        model=row.model_id,
        model_digest=row.model_digest,
        digest=row.digest,
        source_prompt=row.source_prompt,
        tail_strength=row.tail_strength,
        size_bytes=row.size_bytes,
        created_at=row.created_at,
        fit=row.fit_id,
        image=None if row.image is None else f"{place}/image",
        content=f"{place}/content",
    )


def tail_not_found(tail_id: str) -> ApiError:
    """The answer for an id that is no tail of the caller's."""
    return ApiError(404, "tail_not_found", f"there is no tail {tail_id[:64]!r}; GET /v1/tails lists those there are")
