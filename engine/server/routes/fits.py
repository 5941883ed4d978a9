"""Fits: jobs that are accepted at once, never lost, watched as long as somebody likes, and cancelled by name."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Depends, Form, Header, Path, Response, UploadFile
from pydantic import BaseModel, Field, StringConstraints

from engine.server.auth import Caller, needs
from engine.server.connection import EventStream, event
from engine.server.errors import ApiError
from engine.server.fit_pace import remaining_s
from engine.server.fit_runner import FitRunner
from engine.server.messages import FitSettings
from engine.server.records import Event, FitRow, FitState
from engine.server.request_model import RequestModel
from engine.server.routes.shared import PROBLEMS, STORES, After, Limit, Name, Page, binary, default_name, page
from engine.server.services import Services, ServicesDep

_EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "Server-sent events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}

router = APIRouter(prefix="/v1/fits", tags=["fits"], responses=PROBLEMS)

CallerDep = Annotated[Caller, Depends(needs("fit"))]
Step = Annotated[int, Path(ge=0, le=2**53)]
IdempotencyKey = Annotated[
    str | None, Header(min_length=1, max_length=255, description="Sent again with the same fit, it finds that fit.")
]
LastEventId = Annotated[int, Header(ge=0, le=2**53, description="Number of the last event that was seen.")]


class NewFit(RequestModel):
    """A picture, and a few words that say what it shows."""

    image: UploadFile
    prompt: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
    name: Name | None = None
    preset: Literal["fast", "paper"] = "fast"
    subject: Literal["animal", "object", "person"] = "animal"
    crop: Literal["centre", "pad", "stretch"] = "centre"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    steps: Annotated[int, Field(ge=1, le=10_000)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=10)] | None = None

    def settings(self) -> FitSettings:
        """What the worker is told."""
        return FitSettings(**self.model_dump(exclude={"image", "name"}))


class Preview(BaseModel):
    """What the tail painted at a step."""

    step: int
    url: str


class ListedFit(BaseModel):
    """A fit, wherever it is on its way."""

    id: str
    object: Literal["fit"] = "fit"
    status: FitState
    name: str
    prompt: str
    settings: dict[str, Any]
    step: int
    steps: int
    loss: float | None
    attempt: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    tail: str | None
    image: str
    error: dict[str, Any] | None
    events: str


class Fit(ListedFit):
    """A fit with all that is known of it."""

    losses: list[tuple[int, float]]
    queue_position: int | None
    eta_s: float | None
    previews: list[Preview]


async def own_fit(fit_id: str, services: ServicesDep, caller: CallerDep) -> FitRow:
    """FastAPI dependency: the fit in the path.

    Raises:
        ApiError: the caller has no such fit.
    """
    row = await asyncio.to_thread(services.store.fit, caller.owner, fit_id)
    if row is None:
        raise _not_found(fit_id)
    return row


OwnFit = Annotated[FitRow, Depends(own_fit)]


async def fit_runner(services: ServicesDep) -> FitRunner:
    """FastAPI dependency: what runs fits.

    Raises:
        ApiError: nothing can be fitted here.
    """
    if services.fits is None or services.fits.problem:
        raise ApiError(409, "fits_unavailable", services.fits.problem if services.fits else services.no_fits)
    return services.fits


@router.post("", status_code=202, dependencies=STORES)
async def submit_fit(
    services: ServicesDep,
    caller: CallerDep,
    runner: Annotated[FitRunner, Depends(fit_runner)],
    response: Response,
    new: Annotated[NewFit, Form(media_type="multipart/form-data")],
    idempotency_key: IdempotencyKey = None,
) -> Fit:
    """Learn a tail from a picture; answered at once, and done some time later whatever happens in between."""
    data, settings, name = await new.image.read(), new.settings(), new.name or default_name(new.prompt)
    terms: dict[str, Any] = {
        "idempotency_key": idempotency_key,
        "payload_digest": await asyncio.to_thread(_digest, name, settings, data),
        "max_active": services.settings.max_fits_per_owner if caller.key is None else caller.key.max_fits,
        "max_queued": services.settings.max_queued_fits,
        "max_tails": services.settings.max_tails,
        "max_bytes": services.settings.max_bytes_per_owner,
    }
    await asyncio.to_thread(services.fit_prompts.check, settings)
    # Decoding is dear: whoever has no room for a fit is told so before.
    row = await asyncio.to_thread(services.store.expect_fit, caller.owner, **terms)
    if row is None:
        async with services.limits.turn(caller):
            upload = await services.uploads.decode(data)
        await asyncio.to_thread(services.store.put_image, upload.png)
        submit, terms["picture_bytes"] = services.store.submit_fit, len(upload.png)
        row = (await asyncio.to_thread(submit, caller.owner, name, settings, upload.sha256, **terms))[0]
        runner.wake()
    response.headers["location"] = f"/v1/fits/{row.id}"
    return await asyncio.to_thread(describe, services, row)


@router.get("")
async def list_fits(
    services: ServicesDep, caller: CallerDep, limit: Limit = 100, after: After = None
) -> Page[ListedFit]:
    """The caller's fits, newest first, without what only one fit is asked for."""
    rows = await asyncio.to_thread(services.store.fits, caller.owner, limit=limit + 1, after=after)
    return page([ListedFit(**_shown(row)) for row in rows], limit)


@router.get("/{fit_id}")
async def read_fit(services: ServicesDep, row: OwnFit) -> Fit:
    """One fit."""
    return await asyncio.to_thread(describe, services, row)


@router.post("/{fit_id}/cancel")
async def cancel_fit(services: ServicesDep, caller: CallerDep, row: OwnFit) -> Fit:
    """Stop a fit, whether it waits or runs; one that has ended stays as it is."""
    cancelled = await asyncio.to_thread(services.store.cancel_fit, caller.owner, row.id)
    if cancelled is None:
        raise _not_found(row.id)
    if cancelled.state == "running" and services.fits is not None:
        await services.fits.cancel(row.id)
    return await asyncio.to_thread(describe, services, cancelled)


@router.delete("/{fit_id}", status_code=204)
async def delete_fit(services: ServicesDep, row: OwnFit) -> None:
    """Delete a fit that has ended, with its tail and its pictures; nothing of it stays."""
    if not await asyncio.to_thread(services.store.delete_fit, row.owner, row.id):
        raise ApiError(409, "fit_not_ended", f"fit {row.id} is {row.state}; cancel it first")


@router.get("/{fit_id}/events", response_class=Response, responses=_EVENTS)
async def follow_fit(services: ServicesDep, caller: CallerDep, row: OwnFit, last_event_id: LastEventId = 0) -> Response:
    """All events of a fit, past ones first; ends with the fit, and goes on after `Last-Event-ID`."""
    return EventStream(_events(services, row, last_event_id), services.limits.admit_stream(caller))


async def _events(services: Services, row: FitRow, after: int) -> AsyncGenerator[bytes, None]:
    async with aclosing(services.fit_events.follow(row.owner, row.id, after)) as news:
        async for one in news:
            yield event(one.kind, _event_data(row.id, one), one.seq)


@router.get("/{fit_id}/previews/{step}", response_class=Response, responses=binary("image/png", "A PNG."))
async def read_preview(services: ServicesDep, row: OwnFit, step: Step) -> Response:
    """What the tail painted at a step."""
    data = await asyncio.to_thread(services.store.preview, row.owner, row.id, step)
    if data is None:
        raise ApiError(404, "not_found", f"fit {row.id} has no preview of step {step}; its 'previews' lists them")
    return Response(data, media_type="image/png")


@router.get("/{fit_id}/image", response_class=Response, responses=binary("image/png", "A PNG."))
async def read_image(services: ServicesDep, row: OwnFit) -> Response:
    """The picture, as it was kept: upright, and without anything but its pixels."""
    return Response(await asyncio.to_thread(services.store.image, row.image), media_type="image/png")


def describe(services: Services, row: FitRow) -> Fit:
    """A fit as the interface shows it; reads from the store."""
    shown, store = _shown(row), services.store
    news = store.pace(row.id) if row.state == "running" else []
    return Fit(
        **shown,
        losses=list(row.losses),
        queue_position=store.queue_position(row.id) if row.state == "queued" else None,
        eta_s=remaining_s(row, news, time.time()),
        previews=[Preview(step=step, url=f"/v1/fits/{row.id}/previews/{step}") for step in store.previews(row.id)],
    )


def _shown(row: FitRow) -> dict[str, Any]:
    """What a fit's row tells by itself."""
    place = f"/v1/fits/{row.id}"
    return {
        "id": row.id,
        "status": row.state,
        "name": row.name,
        "prompt": row.settings.prompt,
        "settings": {key: value for key, value in msgspec.structs.asdict(row.settings).items() if key != "prompt"},
        "step": row.step,
        "steps": row.steps,
        "loss": row.loss,
        "attempt": row.attempt,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "tail": row.tail_id,
        "image": f"{place}/image",
        "error": None if row.error is None else dict(row.error),
        "events": f"{place}/events",
    }


def _event_data(fit_id: str, event: Event) -> str:
    """An event's data as JSON; a picture is named by its address."""
    data = {**event.data, "at": event.at}
    if event.kind == "preview":
        del data["image"]
        data["url"] = f"/v1/fits/{fit_id}/previews/{event.data['step']}"
    return json.dumps(data)


def _digest(name: str, settings: FitSettings, image: bytes) -> str:
    """Of all that makes two requests the same."""
    return hashlib.sha256(msgspec.json.encode([name, settings, hashlib.sha256(image).hexdigest()])).hexdigest()


def _not_found(fit_id: str) -> ApiError:
    return ApiError(404, "fit_not_found", f"there is no fit {fit_id[:64]!r}; GET /v1/fits lists those there are")
