"""Runs the edits of one request and puts their pictures into an answer, or into a stream of events."""

import asyncio
import base64
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from engine.server.admission import admit_edits
from engine.server.caller import Caller
from engine.server.connection import event
from engine.server.edit_record import Happy
from engine.server.encode_image import ImageFormat, encode_image, enlarge
from engine.server.errors import openai_error
from engine.server.image_answers import (
    AnswerImage,
    CompletedEvent,
    ImagesAnswer,
    OpenAiError,
    PartialImageEvent,
    Timings,
    UsedSettings,
)
from engine.server.image_requests import ImageOptions
from engine.server.messages import EditAccepted, EditDone, EditStep, Pixels, StartEdit
from engine.server.problems import refuse
from engine.server.services import Services

Kind = Literal["image_generation", "image_edit"]


@dataclass(frozen=True, eq=False)
class ImageJob:
    """A request for pictures that can be met, as far as the front can tell.

    Attributes:
        kind: first word of the events' names.
        id: of the request.
        caller: who asks.
        options: what is asked.
        edits: one a picture.
        model_id: of the bundle.
        image_size: height and width of its pictures.
        tail_id: of the tail, where it is a stored one.
    """

    kind: Kind
    id: str
    caller: Caller
    options: ImageOptions
    edits: list[StartEdit]
    model_id: str
    image_size: int
    tail_id: str | None

    @property
    def preview_format(self) -> ImageFormat:
        """PNG only if it was asked for in so many words; a preview is too rough for it."""
        options = self.options
        return "png" if options.output_format == "png" and "output_format" in options.model_fields_set else "jpeg"

    def used(self, accepted: EditAccepted) -> UsedSettings:
        """What the edits run with, which is the same for all of them but for the seed."""
        return UsedSettings(
            model=self.model_id,
            tail=self.tail_id,
            seed=self.edits[0].seed,
            num_inference_steps=accepted.steps,
            guidance_scale=accepted.guidance_scale,
            guidance_interval=self.options.guidance_interval,
            tail_strength=accepted.tail_strength,
            negative_prompt=self.options.negative_prompt,
            solver=self.options.solver,
        )


class _File(NamedTuple):
    """A picture as JSON can carry it, and the milliseconds that this took."""

    b64_json: str
    encode_ms: float


async def answer(job: ImageJob, services: Services) -> ImagesAnswer:
    """Run a job to its end.

    Raises:
        ApiError: there will be no pictures.
    """
    images: dict[int, AnswerImage] = {}
    timings: list[Timings] = []
    used: UsedSettings | None = None
    async with aclosing(_run(job, services)) as messages:
        async for index, message in messages:
            if isinstance(message, EditAccepted):
                used = job.used(message)
            elif isinstance(message, EditDone):
                file = await _picture(job, index, message)
                images[index] = AnswerImage(b64_json=file.b64_json, seed=job.edits[index].seed)
                timings.append(_timings(message, file))
    assert used is not None, "the engine accepts an edit before it is done"
    return ImagesAnswer(
        created=int(time.time()),
        data=[images[index] for index in sorted(images)],
        id=job.id,
        settings=used,
        timings=max(timings, key=lambda one: one.total_ms),
        **_look(job),
    )


async def events(job: ImageJob, services: Services) -> AsyncGenerator[bytes, None]:
    """Run a job and tell of it; before the engine has accepted an edit, errors are raised.

    Yields:
        An empty event when the engine has accepted an edit, then the events of the pictures, then one of an error if
        there is one.

    Raises:
        ApiError: there will be no pictures.
    """
    opened = False
    try:
        async with aclosing(_told(job, services)) as pieces:
            async for piece in pieces:
                yield piece
                opened = True
    except Exception as error:
        if not opened:
            raise
        body = OpenAiError.model_validate(openai_error(refuse(error, services.metrics)))
        yield event("error", body.model_dump_json())


async def _told(job: ImageJob, services: Services) -> AsyncGenerator[bytes, None]:
    used: dict[int, UsedSettings] = {}
    previews = [0] * len(job.edits)
    async with aclosing(_run(job, services)) as messages:
        async for index, message in messages:
            if isinstance(message, EditAccepted):
                if not used:
                    yield b""
                used[index] = job.used(message)
            elif isinstance(message, EditDone):
                yield await _completed(job, index, message, used[index])
            elif message.preview is not None:
                yield await _partial(job, index, previews[index], message, message.preview)
                previews[index] += 1


async def _run(job: ImageJob, services: Services) -> AsyncGenerator[tuple[int, Happy], None]:
    """Run the edits where server and caller may have them."""
    with admit_edits(services, job.caller, len(job.edits)):
        async with aclosing(services.requests.run(job.caller.owner, job.id, job.edits)) as messages:
            async for told in messages:
                yield told


async def _partial(job: ImageJob, index: int, count: int, step: EditStep, preview: Pixels) -> bytes:
    image_format = job.preview_format
    data = await asyncio.to_thread(_preview_file, preview, job.image_size, image_format)
    name: Any = f"{job.kind}.partial_image"
    body = PartialImageEvent(
        type=name,
        b64_json=data,
        partial_image_index=count,
        step=step.step,
        steps=step.steps,
        **_where(job, index),
        **_look(job) | {"output_format": image_format},
    )
    return event(name, body.model_dump_json())


async def _completed(job: ImageJob, index: int, done: EditDone, used: UsedSettings) -> bytes:
    file = await _picture(job, index, done)
    name: Any = f"{job.kind}.completed"
    body = CompletedEvent(
        type=name,
        b64_json=file.b64_json,
        id=job.id,
        settings=used,
        timings=_timings(done, file),
        **_where(job, index),
        **_look(job),
    )
    return event(name, body.model_dump_json(exclude_none=True))


def _look(job: ImageJob) -> dict[str, Any]:
    return {"output_format": job.options.output_format, "size": f"{job.image_size}x{job.image_size}"}


def _where(job: ImageJob, index: int) -> dict[str, Any]:
    return {"created_at": int(time.time()), "image_index": index, "seed": job.edits[index].seed}


def _timings(done: EditDone, file: _File) -> Timings:
    return Timings(
        text_ms=done.text_ms,
        unet_ms=sum(done.unet_ms),
        decode_ms=done.decode_ms,
        total_ms=done.total_ms,
        encode_ms=file.encode_ms,
    )


async def _picture(job: ImageJob, index: int, done: EditDone) -> _File:
    return await asyncio.to_thread(_picture_file, job.options, done.image, job.edits[index].seed)


def _picture_file(options: ImageOptions, pixels: Pixels, seed: int) -> _File:
    start = time.perf_counter()
    quality = 95 if options.output_compression is None else options.output_compression
    data = encode_image(pixels, options.output_format, quality=quality, seed=seed)
    return _File(base64.b64encode(data).decode(), 1e3 * (time.perf_counter() - start))


def _preview_file(preview: Pixels, size: int, image_format: ImageFormat) -> str:
    return base64.b64encode(encode_image(enlarge(preview, size), image_format, quality=85)).decode()
