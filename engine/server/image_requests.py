"""What a request for pictures may say, and the edits that come of it; names are OpenAI's where it has one."""

import base64
import binascii
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from engine.schedule import Solver
from engine.server.encode_image import ImageFormat
from engine.server.errors import ApiError
from engine.server.messages import EngineReady, StartEdit
from engine.server.settings import Settings
from engine.tail_file import MAX_SIZE_BYTES

_SEEDS: Final = 2**64
# Few enough digits for a person to remember, and for a browser to count in.
_RANDOM_SEEDS: Final = 2**32


@dataclass(frozen=True)
class OrNull:
    """Null asks for the default, as it does at OpenAI."""

    default: Any

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        nullable = core_schema.nullable_schema(handler(source))
        return core_schema.no_info_after_validator_function(self._fill, nullable)

    def _fill(self, value: Any) -> Any:
        return self.default if value is None else value


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: 2.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("must be base64") from error
    return text


def _growing(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError("must be two growing numbers")
    return interval


_WHOLE: Final = BeforeValidator(_whole)
_Part = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Prompt = Annotated[str, Field(min_length=1, max_length=4000, pattern=r"\S")]
_Base64 = Annotated[
    str,
    Field(
        max_length=4 * MAX_SIZE_BYTES // 3 + 4,
        pattern=r"^[A-Za-z0-9+/]*={0,2}$",
        json_schema_extra={"contentEncoding": "base64"},
    ),
    AfterValidator(_base64),
]
_File = Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})]


class ImageOptions(BaseModel):
    """What both routes take."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    prompt: _Prompt = Field(description="What is to be seen; as many tokens as the text encoder takes, less the tail.")
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="The bundle's model id, or `hiper`, or `hiper:` and the id of a tail."
    )
    n: Annotated[int, Field(ge=1, le=8), _WHOLE, OrNull(1)] = Field(1, description="Pictures; picture k has seed + k.")
    size: Annotated[str, Field(pattern=r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$"), OrNull("auto")] = Field(
        "auto", description="The bundle has one size; `auto` asks for it, as does its name (`512x512`)."
    )
    response_format: Annotated[Literal["b64_json"], OrNull("b64_json")] = Field(
        "b64_json", description="Pictures come in the answer; nothing is kept that a URL could point to."
    )
    output_format: Annotated[ImageFormat, OrNull("png")] = "png"
    output_compression: Annotated[int, Field(ge=0, le=100), _WHOLE] | None = Field(
        None, description="Quality of JPEG and WebP, 95 if left out; PNG loses nothing and takes none."
    )
    quality: Annotated[Literal["auto", "standard", "low", "medium", "high"], OrNull("auto")] = Field(
        "auto", description="Taken, without effect; use num_inference_steps."
    )
    background: Annotated[Literal["auto", "opaque"], OrNull("auto")] = "auto"
    moderation: Annotated[Literal["auto", "low"], OrNull("auto")] = Field(
        "auto", description="Taken, without effect: nothing is moderated."
    )
    user: Annotated[str, Field(max_length=512)] | None = Field(None, description="Taken, without effect; see keys.")
    stream: Annotated[bool, OrNull(False)] = Field(False, description="Answer with server-sent events.")
    partial_images: Annotated[int, Field(ge=0, le=10), _WHOLE, OrNull(0)] = Field(
        0, description="Previews of each picture on its way; needs `stream`."
    )
    tail: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None, description="The id of a tail of yours; the same as a model `hiper:` and this id."
    )
    seed: Annotated[int, Field(ge=0, lt=_SEEDS), _WHOLE] | None = Field(
        None, description="Of the starting noise: the same request with the same seed gives the same picture."
    )
    num_inference_steps: Annotated[int, Field(ge=1, le=1000), _WHOLE] | None = Field(
        None, description="Calls of the UNet; `/v1/info` has the limit of this server, and the default."
    )
    guidance_scale: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = Field(
        None, description="Of classifier-free guidance; at most 1 goes without, in half the time."
    )
    guidance_interval: Annotated[tuple[_Part, _Part], Field(strict=False), AfterValidator(_growing)] = Field(
        (0.0, 1.0), description="The part of the steps that is guided, from and to."
    )
    tail_strength: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] | None = Field(
        None, description="Multiplier on the tail; less loosens the likeness."
    )
    negative_prompt: Annotated[str, Field(max_length=4000)] = Field("", description="What to lead away from.")
    solver: Solver = "ddim"


class GenerationRequest(ImageOptions):
    """The JSON body of `POST /v1/images/generations`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "a cat on a beach", "seed": 7},
                {"prompt": "a standing dog", "tail": "tail_0123456789abcdefghij", "n": 2, "output_format": "webp"},
            ]
        }
    )

    style: Annotated[Literal["vivid", "natural"], OrNull(None)] | None = Field(
        None, description="Taken, without effect; say it in the prompt."
    )
    tail_file: _Base64 | None = Field(None, description="A tail itself, in base64; it is used once and not kept.")


class EditOptions(ImageOptions):
    """The fields of `POST /v1/images/edits` that are no files."""

    input_fidelity: Annotated[Literal["low", "high"], OrNull("low")] = Field(
        "low", description="Taken, without effect; use tail_strength."
    )


class EditForm(EditOptions):
    """The multipart form of `POST /v1/images/edits`."""

    image: _File | None = Field(
        None,
        description="JPEG, PNG or WebP. Without a tail, the newest tail that was fitted to this picture is used; "
        "with a tail it is not needed, and not looked at.",
    )
    tail_file: _File | None = Field(None, description="A tail itself; it is used once and not kept.")


# What a form writes as JSON does, since all its fields are texts.
JSON_FIELDS: Final = frozenset(
    {
        "n",
        "output_compression",
        "stream",
        "partial_images",
        "seed",
        "num_inference_steps",
        "guidance_scale",
        "guidance_interval",
        "tail_strength",
    }
)


def from_form(fields: Mapping[str, Sequence[str]]) -> EditOptions:
    """Read the texts of a form.

    Args:
        fields: all values of each name.

    Raises:
        pydantic.ValidationError: they are no options.
    """
    return EditOptions.model_validate({name: _form_value(name, values) for name, values in fields.items()})


def _form_value(name: str, values: Sequence[str]) -> Any:
    if name in JSON_FIELDS:
        values = [_json_or_text(value) for value in values]
    return values[0] if len(values) == 1 else list(values)


def _json_or_text(text: str) -> Any:
    """What is no JSON stays a text, which no such field takes; nor does it take null, which is to leave it out here."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if value is None else value


def form_schema() -> dict[str, Any]:
    """The JSON schema of the form; a form knows no null."""
    schema = EditForm.model_json_schema()
    for name, field in schema["properties"].items():
        kinds = [kind for kind in field.pop("anyOf", []) if kind != {"type": "null"}]
        schema["properties"][name] = {**(kinds[0] if kinds else {}), **field}
        if field.get("default", "") is None:
            del schema["properties"][name]["default"]
    return schema


def check_options(options: ImageOptions, ready: EngineReady, settings: Settings) -> None:
    """Refuse what this server, of all that speak this interface, cannot do.

    Raises:
        ApiError: a field is beyond its limit, or contradicts another.
    """
    side = f"{ready.image_size}x{ready.image_size}"
    if options.size not in ("auto", side):
        raise _invalid("size", f"size is {options.size} but this model makes {side}; leave it out")
    if options.n > settings.max_images_per_request:
        limit = settings.max_images_per_request
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
            seed=(seed + index) % _SEEDS,
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
