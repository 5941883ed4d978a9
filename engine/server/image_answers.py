"""What a request for pictures is answered with, in OpenAI's shape; what OpenAI has not comes beside it."""

from typing import Literal

from pydantic import BaseModel, Field

from engine.schedule import Solver
from engine.server.encode_image import ImageFormat


class TokenDetails(BaseModel):
    """OpenAI's kinds of tokens."""

    image_tokens: int = 0
    text_tokens: int = 0


class Usage(BaseModel):
    """Clients want one; nothing is counted in tokens here, so all are 0."""

    input_tokens: int = 0
    input_tokens_details: TokenDetails = TokenDetails()
    output_tokens: int = 0
    total_tokens: int = 0


class UsedSettings(BaseModel):
    """What the pictures were made with, with nothing left open; the same again gives the same pictures."""

    model: str
    tail: str | None = Field(None, description="The id of the tail, where a stored one was used.")
    seed: int = Field(description="Of the first picture.")
    num_inference_steps: int
    guidance_scale: float
    guidance_interval: tuple[float, float]
    tail_strength: float
    negative_prompt: str
    solver: Solver


class Timings(BaseModel):
    """Where the time of the slowest picture went, in milliseconds."""

    text_ms: float = Field(description="Tokenizer and text encoder.")
    unet_ms: float = Field(description="All calls of the UNet that it had rows in.")
    decode_ms: float = Field(description="Latents to pixels.")
    total_ms: float = Field(description="From its beginning in the engine to its pixels, waiting included.")
    encode_ms: float = Field(description="Pixels to a file; after total_ms.")


class AnswerImage(BaseModel):
    """A picture."""

    b64_json: str = Field(description="The file in base64.", json_schema_extra={"contentEncoding": "base64"})
    seed: int


class _Look(BaseModel):
    """OpenAI's words for how a picture is made; all but the format are the same for all pictures."""

    background: Literal["opaque"] = "opaque"
    output_format: ImageFormat
    quality: Literal["high"] = Field("high", description="There is one quality, whatever was asked for.")
    size: str = Field(examples=["512x512"])


class ImagesAnswer(_Look):
    """All pictures of a request."""

    created: int = Field(description="Seconds since the epoch.")
    data: list[AnswerImage]
    usage: Usage = Usage()
    id: str = Field(description="Of the request, as in the header X-Request-Id.")
    settings: UsedSettings
    timings: Timings


class _ImageEvent(_Look):
    b64_json: str = Field(json_schema_extra={"contentEncoding": "base64"})
    created_at: int
    image_index: int = Field(description="0 to n - 1.")
    seed: int


class PartialImageEvent(_ImageEvent):
    """A preview."""

    type: Literal["image_generation.partial_image", "image_edit.partial_image"]
    partial_image_index: int = Field(description="Counted for each picture from 0.")
    step: int = Field(description="That the picture had taken.")
    steps: int


class CompletedEvent(_ImageEvent):
    """A picture; the last of them ends the stream."""

    type: Literal["image_generation.completed", "image_edit.completed"]
    usage: Usage = Usage()
    id: str = Field(description="Of the request, as in the header X-Request-Id.")
    settings: UsedSettings
    timings: Timings


class OpenAiErrorDetails(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAiError(BaseModel):
    """An error as OpenAI's clients know it; also the data of a stream's `error` event."""

    error: OpenAiErrorDetails
