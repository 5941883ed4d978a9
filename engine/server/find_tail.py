"""The tail that a request for pictures means, in whichever way it says so."""

import asyncio
from typing import NamedTuple

from engine.server.admission import admit_edits
from engine.server.caller import Caller
from engine.server.errors import ApiError
from engine.server.image_edits import named_tail
from engine.server.image_requests import ImageOptions
from engine.server.messages import EngineReady
from engine.server.records import TailRow
from engine.server.services import Services


class ChosenTail(NamedTuple):
    """A tail file's content, and its id if it is a stored one; neither for a picture of the text alone."""

    id: str | None = None
    data: bytes | None = None


class Files(NamedTuple):
    """What a request brings along."""

    image: bytes | None = None
    tail: bytes | None = None


async def find_tail(
    services: Services, caller: Caller, options: ImageOptions, files: Files, ready: EngineReady
) -> ChosenTail:
    """Find the tail of a request; a picture is looked at only where nothing else says which it is.

    Raises:
        ApiError: it is named twice, there is none, no tail was fitted to the picture, or the caller may have no edits.
        UploadError: the picture is none.
    """
    name = named_tail(options, ready, files.tail is not None)
    if name is not None:
        return ChosenTail(name, await _stored(services, caller, name, "model" if options.tail is None else "tail"))
    if files.tail is not None or files.image is None:
        return ChosenTail(None, files.tail)
    row = await _fitted_to(services, caller, files.image, options.n, ready)
    return ChosenTail(row.id, await _stored(services, caller, row.id, "image"))


async def _stored(services: Services, caller: Caller, id: str, param: str) -> bytes:
    data = await asyncio.to_thread(services.store.tail_data, caller.owner, id)
    if data is None:
        raise ApiError(404, "tail_not_found", f"there is no tail {id}; GET /v1/tails lists yours", param=param)
    return data


async def _fitted_to(services: Services, caller: Caller, image: bytes, edits: int, ready: EngineReady) -> TailRow:
    """Look at a picture for a caller who may have the edits; it takes their share if they come to nothing."""
    with admit_edits(services, caller, edits):
        async with services.limits.turn(caller):
            upload = await services.uploads.decode(image)
        row = await asyncio.to_thread(services.store.tail_of_image, caller.owner, upload.sha256, ready.model_digest)
    if row is None:
        raise ApiError(
            409,
            "tail_not_fitted",
            "no tail was fitted to this picture; POST it to /v1/fits with a prompt that says what it shows, "
            "and ask again when that fit has succeeded",
            param="image",
            extra={"fit": {"method": "POST", "url": "/v1/fits", "fields": ["image", "prompt"]}},
        )
    services.limits.give_back(caller, edits)
    return row
