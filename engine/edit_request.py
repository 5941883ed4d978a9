"""What is asked of an edit and what comes of it."""

import math
from dataclasses import dataclass

from engine.row_kernels import Pixels
from engine.schedule import Solver, StepTable
from engine.tail_file import TailFile


@dataclass(frozen=True, eq=False)
class EditRequest:
    """An edit. What is None is left to the tail, then to the model, then to Stable Diffusion's usual values.

    Attributes:
        target_prompt: the wish.
        tail: of the subject; None samples the text alone.
        seed: of the starting noise, 0 to 2^64 - 1; PyTorch makes the same picture of it.
        negative_prompt: what to lead away from.
        tail_strength: multiplier on the tail; less than 1 loosens the source's identity.
        guidance_scale: of classifier-free guidance; at most 1 samples without, in half the time.
        guidance_interval: the part of the steps that is guided, within 0 to 1 (Kynkäänniemi et al. 2024).
        num_inference_steps: calls of the UNet.
        solver: "ddim", "dpmpp_2m" or "euler".

    Raises:
        ValueError: a number is not finite, or the interval is none.
    """

    target_prompt: str
    tail: TailFile | None = None
    seed: int = 0
    negative_prompt: str = ""
    tail_strength: float | None = None
    guidance_scale: float | None = None
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    num_inference_steps: int | None = None
    solver: Solver = "ddim"

    def __post_init__(self) -> None:
        for name in ("tail_strength", "guidance_scale"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{name} is {value} but must be a finite number")
        start, end = self.guidance_interval
        if not 0 <= start <= end <= 1:
            raise ValueError(f"guidance_interval is {start} to {end}; use two growing numbers from 0 to 1")


@dataclass(frozen=True, eq=False)
class CheckedEdit:
    """A request that can be met.

    Attributes:
        request: with nothing left open.
        table: of its solver.
        tail_strength: as in the request.
        guidance_scale: as in the request.
    """

    request: EditRequest
    table: StepTable
    tail_strength: float
    guidance_scale: float

    @property
    def rows(self) -> int:
        """How many rows a step takes, at most."""
        return 1 + (self.guidance_scale > 1)


@dataclass(frozen=True)
class Timings:
    """Where the time of an edit went, in milliseconds.

    Attributes:
        text_ms: tokenizer and text encoder; nothing but a look-up for texts seen before.
        unet_ms: of each call that the edit had rows in.
        decode_ms: latents to pixels.
        total_ms: from its beginning to its picture, with the time in which other edits had the rows.
    """

    text_ms: float
    unet_ms: tuple[float, ...]
    decode_ms: float
    total_ms: float

    @property
    def other_ms(self) -> float:
        """All that was no network: the loop itself, and waiting."""
        return self.total_ms - self.text_ms - sum(self.unet_ms) - self.decode_ms


@dataclass(frozen=True, eq=False)
class EditResult:
    """A picture.

    Attributes:
        image: (H, W, 3) uint8.
        request: what was asked, with nothing left open.
        timings: where the time went.
    """

    image: Pixels
    request: EditRequest
    timings: Timings
