"""`POST /v1/images/generations` and `/v1/images/edits`, as OpenAI's clients speak to them."""

import base64
from collections.abc import AsyncGenerator
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from engine.server.auth import Caller, needs
from engine.server.connection import EventStream, while_connected
from engine.server.errors import ApiError
from engine.server.find_tail import Files, find_tail
from engine.server.image_answers import CompletedEvent, ImagesAnswer, OpenAiError, PartialImageEvent
from engine.server.image_edits import check_options, to_edits
from engine.server.image_form import read_image_form
from engine.server.image_job import ImageJob, Kind, answer, events
from engine.server.image_requests import GenerationRequest, ImageOptions, form_schema
from engine.server.routes.shared import BEGINS, OPENAI_PROBLEMS
from engine.server.services import Services, ServicesDep

_STREAM: Final = {
    "description": "The pictures; with `stream`, events `….partial_image` and `….completed`, and `error` as the last "
    "one if something goes wrong on the way.",
    "content": {
        "text/event-stream": {
            "schema": {
                "type": "string",
                "description": "Server-sent events; the data of each is one of these, and ends a line.",
                "contentMediaType": "application/json",
                "contentSchema": {
                    "anyOf": [kind.model_json_schema() for kind in (PartialImageEvent, CompletedEvent, OpenAiError)]
                },
            }
        }
    },
}
_FORM: Final = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": form_schema()}},
    }
}

router = APIRouter(
    prefix="/v1/images", tags=["images"], responses=OPENAI_PROBLEMS | {200: _STREAM}, dependencies=BEGINS
)

CallerDep = Annotated[Caller, Depends(needs("edit"))]


@router.post("/generations", response_model=ImagesAnswer, summary="Paint a prompt, with or without a tail")
async def generate(request: Request, body: GenerationRequest, caller: CallerDep, services: ServicesDep) -> Response:
    """Pictures of a prompt; with a tail, of its subject as the prompt wishes.

    The stock `openai` client speaks to this route: what OpenAI has not goes into `extra_body`. A client that goes away
    cancels its edits.
    """
    tail = None if body.tail_file is None else base64.b64decode(body.tail_file)
    return await _respond("image_generation", request, body, Files(None, tail), caller, services)


@router.post("/edits", response_model=ImagesAnswer, openapi_extra=_FORM, summary="Paint a picture's subject anew")
async def edit(request: Request, caller: CallerDep, services: ServicesDep) -> Response:
    """Pictures of a subject that was fitted before, as the prompt wishes.

    Which subject: a tail that is named or sent, else the newest tail that was fitted to `image`. A picture without a
    tail is answered with 409 `tail_not_fitted`, and with the way to fit it.
    """
    options, files = await read_image_form(request)
    return await _respond("image_edit", request, options, files, caller, services)


async def _respond(
    kind: Kind, request: Request, options: ImageOptions, files: Files, caller: Caller, services: Services
) -> Response:
    job = await _job(kind, request, options, files, caller, services)
    try:
        if not options.stream:
            body = await while_connected(request.receive, answer(job, services))
            return Response(body.model_dump_json(exclude_none=True), media_type="application/json")
        stream = events(job, services)
        await while_connected(request.receive, _begin(stream))
        return EventStream(stream)
    except ClientDisconnect:
        # Nobody reads it; logs and metrics do.
        return Response(status_code=499)


async def _job(
    kind: Kind, request: Request, options: ImageOptions, files: Files, caller: Caller, services: Services
) -> ImageJob:
    ready, settings = services.engine(), services.settings
    check_options(options, ready, settings)
    tail = await find_tail(services, caller, options, files, ready)
    if kind == "image_edit" and tail.data is None:
        raise ApiError(422, "validation_error", "there is no image and no tail; send one of them", param="image")
    return ImageJob(
        kind=kind,
        id=request.state.request_id,
        caller=caller,
        options=options,
        edits=to_edits(options, tail.data, caller.owner, settings.edit_timeout_s),
        model_id=ready.model_id,
        image_size=ready.image_size,
        tail_id=tail.id,
    )


async def _begin(stream: AsyncGenerator[bytes, None]) -> None:
    """Wait for the engine to accept an edit; until then an error has a status of its own."""
    await anext(stream)
