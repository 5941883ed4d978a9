"""What a request for pictures may say, as JSON and as a form; names are OpenAI's where it has one."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from engine.schedule import Solver
from engine.server.encode_image import ImageFormat
from engine.server.request_model import RequestModel
from engine.tail_file import MAX_SIZE_BYTES

SEEDS: Final = 2**64


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


class ImageOptions(RequestModel):
    """What both routes take."""

    model_config = ConfigDict(strict=True, frozen=True)

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
    seed: Annotated[int, Field(ge=0, lt=SEEDS), _WHOLE] | None = Field(
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
