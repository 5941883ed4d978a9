"""What the front, the edit engine and the fit worker tell each other; `wire` carries it."""

from typing import Literal

import msgspec

from engine.schedule import Solver

EndReason = Literal["prompt", "tail", "value", "full", "late", "infinite", "cancelled", "engine"]


class Message(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Base of all messages; a message's tag is the name of its class."""


class Pixels(msgspec.Struct, frozen=True):
    """A picture: RGB, 8 bits, height x width x 3 bytes, row by row."""

    height: int
    width: int
    data: bytes


# Front to edit engine.


class StartEdit(Message, frozen=True, kw_only=True):
    """An edit; fields as in `engine.edit_request.EditRequest`.

    Attributes:
        id: names it in all messages about it.
        user: who wants it; users get equal shares of the rows.
        timeout_s: until the picture must be there.
        tail: the content of a tail file.
        previews: how many steps, evenly spread, come with a preview.
    """

    id: str
    user: str
    timeout_s: float
    target_prompt: str
    tail: bytes | None = None
    seed: int = 0
    negative_prompt: str = ""
    tail_strength: float | None = None
    guidance_scale: float | None = None
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    num_inference_steps: int | None = None
    solver: Solver = "ddim"
    previews: int = 0


class CancelEdit(Message, frozen=True, kw_only=True):
    """Let go of an edit; it ends in EditEnded("cancelled"), or was done already."""

    id: str


# Edit engine to front.


class ResolvedDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """What an edit gets that leaves everything open; a tail's own strength comes before this one."""

    guidance_scale: float
    num_inference_steps: int
    tail_strength: float


class EngineReady(Message, frozen=True, kw_only=True):
    """The engine is warm and takes edits.

    Attributes:
        model_id: of the bundle, as are the next five.
        model_digest: SHA-256 over the weights, 64 hex digits.
        family: "sd1", "sd2", ...
        dim: width of a tail.
        max_tokens: rows of a prompt embedding.
        image_size: height and width of pictures in pixels.
        runtime: that runs the networks.
        reason: why that runtime, as half a sentence.
        precision: "exact" or "fast".
        max_rows: that a call of the UNet takes.
        max_edits: that may be under way at once.
        edit_defaults: what is used where a request leaves it open.
        warm_up_ms: from opening the bundle to now.
    """

    model_id: str
    model_digest: str
    family: str
    dim: int
    max_tokens: int
    image_size: int
    runtime: str
    reason: str
    precision: str
    max_rows: int
    max_edits: int
    edit_defaults: ResolvedDefaults
    warm_up_ms: float


class EngineFailed(Message, frozen=True, kw_only=True):
    """The engine cannot start, and starting it again will not help; the message says what will."""

    message: str


class EditAccepted(Message, frozen=True, kw_only=True):
    """An edit is in the batch, with nothing left open.

    Attributes:
        steps: calls of the UNet.
        rows: that each takes, at most.
    """

    id: str
    steps: int
    rows: int
    tail_strength: float
    guidance_scale: float


class EditStep(Message, frozen=True, kw_only=True):
    """An edit took a step, counted from 1; a preview has one pixel a latent."""

    id: str
    step: int
    steps: int
    preview: Pixels | None = None


class EditDone(Message, frozen=True, kw_only=True):
    """An edit's picture; times as in `engine.edit_request.Timings`."""

    id: str
    image: Pixels
    text_ms: float
    unet_ms: list[float]
    decode_ms: float
    total_ms: float


class EditEnded(Message, frozen=True, kw_only=True):
    """An edit ended without a picture.

    Attributes:
        reason: "prompt", "tail" and "value": the request cannot be met. "full": too many edits are under way. "late":
            its time was up. "infinite": its numbers became so. "cancelled": it was. "engine": the engine failed.
        message: for whoever asked.
    """

    id: str
    reason: EndReason
    message: str


class UnetCall(Message, frozen=True, kw_only=True):
    """A call of the UNet, for those who count.

    Attributes:
        rows: that were wanted.
        edits: that had rows.
        distinct_tails: among these edits.
        bucket: rows that were computed.
        latency_ms: of the call.
    """

    rows: int
    edits: int
    distinct_tails: int
    bucket: int
    latency_ms: float


# Front to fit worker.


class FitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to fit; fields as the options of `hiper-fit`, and None leaves it to the preset."""

    prompt: str
    preset: Literal["fast", "paper"] = "fast"
    subject: Literal["animal", "object", "person"] = "animal"
    crop: Literal["centre", "pad", "stretch"] = "centre"
    seed: int = 0
    steps: int | None = None
    learning_rate: float | None = None


class StartFit(Message, frozen=True, kw_only=True):
    """A fit, with all it needs.

    Attributes:
        id: names it in all messages about it.
        fence: of this attempt; comes back in all messages about it.
        settings: how to fit.
        image: a PNG.
        image_sha256: its digest, 64 hex digits.
        checkpoint: of an earlier attempt, to go on from.
        checkpoint_every: steps.
    """

    id: str
    fence: int
    settings: FitSettings
    image: bytes
    image_sha256: str
    checkpoint: bytes | None = None
    checkpoint_every: int = 50


class StopFit(Message, frozen=True, kw_only=True):
    """Stop a fit; it answers with a FitCheckpoint and FitStopped."""

    id: str


# Fit worker to front.


class WorkerReady(Message, frozen=True, kw_only=True):
    """The worker has loaded its model and takes fits."""

    model_id: str
    model_digest: str
    device: str
    dtype: str


class WorkerFailed(Message, frozen=True, kw_only=True):
    """The worker cannot start, and starting it again will not help; the message says what will."""

    message: str


class FitStep(Message, frozen=True, kw_only=True):
    """How far a fit is, with the losses since the last such message; also the sign of life, a few every second."""

    id: str
    fence: int
    step: int
    steps: int
    losses: list[float]


class FitCheckpoint(Message, frozen=True, kw_only=True):
    """What a fit can go on from, and the tail file of this step."""

    id: str
    fence: int
    step: int
    data: bytes
    tail: bytes


class FitDone(Message, frozen=True, kw_only=True):
    """A fit's tail file."""

    id: str
    fence: int
    step: int
    tail: bytes


class FitFailed(Message, frozen=True, kw_only=True):
    """A fit ended without a tail; `permanent`: the same input fails again."""

    id: str
    fence: int
    code: str
    message: str
    permanent: bool


class FitStopped(Message, frozen=True, kw_only=True):
    """A fit stopped as it was told to."""

    id: str
    fence: int
    step: int


ToEngine = StartEdit | CancelEdit
FromEngine = EngineReady | EngineFailed | EditAccepted | EditStep | EditDone | EditEnded | UnetCall
ToWorker = StartFit | StopFit
FromWorker = WorkerReady | WorkerFailed | FitStep | FitCheckpoint | FitDone | FitFailed | FitStopped
