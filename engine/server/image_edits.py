"""From a request for pictures to edits: what this server can do, which tail is meant, and one edit a picture."""

import secrets
from typing import Final

from engine.server.errors import ApiError
from engine.server.image_requests import SEEDS, ImageOptions
from engine.server.messages import EngineReady, StartEdit
from engine.server.settings import Settings

# Few enough digits for a person to remember, and for a browser to count in.
_RANDOM_SEEDS: Final = 2**32


def check_options(options: ImageOptions, ready: EngineReady, settings: Settings) -> None:
    """Refuse what this server, of all that speak this interface, cannot do.

    Raises:
        ApiError: a field is beyond its limit, or contradicts another.
    """
    side = f"{ready.image_size}x{ready.image_size}"
    if options.size not in ("auto", side):
        raise _invalid("size", f"size is {options.size} but this model makes {side}; leave it out")
    limit = min(settings.max_images_per_request, settings.max_edits)
    if options.n > limit:
        raise _invalid("n", f"n is {options.n} but one request may ask for {limit}; send several")
    if (options.num_inference_steps or 0) > settings.max_steps:
        found = f"num_inference_steps is {options.num_inference_steps}"
        raise _invalid("num_inference_steps", f"{found} but this server takes at most {settings.max_steps}")
    if options.output_format == "png" and options.output_compression not in (None, 100):
        raise _invalid("output_compression", "output_compression is not for png; set output_format, or leave it out")
    if options.partial_images and not options.stream:
        raise _invalid("partial_images", "partial_images need stream=true; set it, or leave them out")


def named_tail(options: ImageOptions, ready: EngineReady, has_file: bool) -> str | None:
    """The id of the tail that a request names, in whichever of the ways.

    Raises:
        ApiError: there is no such model, or a tail was named twice.
    """
    model = options.model
    if model is not None and model not in ("hiper", ready.model_id) and not model.startswith("hiper:"):
        raise ApiError(
            404,
            "model_not_found",
            f"model {model} is not served here; use {ready.model_id}, or hiper: and the id of a tail",
            param="model",
        )
    by_model = model.removeprefix("hiper:") if model is not None and model.startswith("hiper:") else None
    if (options.tail is not None) + (by_model is not None) + has_file > 1:
        raise _invalid("tail", "the tail is named more than once; use one of model, tail and tail_file")
    return options.tail if by_model is None else by_model


def to_edits(options: ImageOptions, tail: bytes | None, owner: str, timeout_s: float) -> list[StartEdit]:
    """The edits that a request asks for, one a picture; their ids are left to the registry."""
    seed = secrets.randbelow(_RANDOM_SEEDS) if options.seed is None else options.seed
    return [
        StartEdit(
            id="",
            user=owner,
            timeout_s=timeout_s,
            target_prompt=options.prompt,
            tail=tail,
            seed=(seed + index) % SEEDS,
            negative_prompt=options.negative_prompt,
            tail_strength=options.tail_strength,
            guidance_scale=options.guidance_scale,
            guidance_interval=options.guidance_interval,
            num_inference_steps=options.num_inference_steps,
            solver=options.solver,
            previews=options.partial_images,
        )
        for index in range(options.n)
    ]


def _invalid(param: str, message: str) -> ApiError:
    return ApiError(422, "validation_error", message, param=param)
