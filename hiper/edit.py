"""What an edit is made of besides networks and noise: settings, and the record that its picture carries.

Loads no PyTorch: `HiPer` and `hiper-edit --bundle` share it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from engine.tail_info import TailInfo
    from hiper.schedule import Solver


class Subject(Protocol):
    """A tail, whether PyTorch has read it or not."""

    @property
    def digest(self) -> str:
        """SHA-256 over the vectors."""

    @property
    def info(self) -> TailInfo:
        """Provenance."""


class Recommendations(Protocol):
    """What a model's folder, or its bundle, recommends for edits; None where it says nothing."""

    @property
    def guidance_scale(self) -> float | None:
        """As in `EditConfig`."""

    @property
    def num_inference_steps(self) -> int | None:
        """As in `EditConfig`."""

    @property
    def tail_strength(self) -> float | None:
        """As in `EditConfig`."""


@dataclass(frozen=True)
class EditConfig:
    """How prompts are sampled.

    Attributes:
        negative_prompt: what the unconditional branch is told.
        guidance_scale: of classifier-free guidance; at most 1 samples without.
        num_inference_steps: UNet evaluations a picture.
        solver: "ddim" or "dpmpp_2m".
        tail_strength: multiplier on the tail.

    Raises:
        ValueError: a number is not finite.
    """

    negative_prompt: str = ""
    guidance_scale: float = 7.5
    num_inference_steps: int = 50
    solver: Solver = "ddim"
    tail_strength: float = 0.8

    def __post_init__(self) -> None:
        for name in ("guidance_scale", "tail_strength"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)} but must be a finite number")


def choose_edit_config(recipe: Recommendations, tail: Subject | None, **wishes: Any) -> EditConfig:
    """Take each setting from the wishes, else from the tail, else from the model's recipe, else EditConfig's default.

    Args:
        recipe: the model's, or its bundle's.
        tail: suggests a strength.
        wishes: fields of EditConfig; None is no wish.
    """
    recommended = {
        "guidance_scale": recipe.guidance_scale,
        "num_inference_steps": recipe.num_inference_steps,
        "tail_strength": recipe.tail_strength if tail is None else tail.info.tail_strength,
    }
    wishes = {name: value for name, value in wishes.items() if value is not None}
    return EditConfig(**{name: value for name, value in (recommended | wishes).items() if value is not None})


def describe_edit(
    model_id: str, model_digest: str, tail: Subject | None, prompt: str, seed: int | None, config: EditConfig
) -> dict[str, str]:
    """All that is needed to make a picture again, as text; a picture from a generator has no seed."""
    fields = asdict(config) | {"prompt": prompt, "model": model_id, "model_sha256": model_digest, "seed": seed}
    if tail is None:
        del fields["tail_strength"]
    else:
        fields |= {"tail_sha256": tail.digest, "source_prompt": tail.info.source_prompt}
    return {name: str(value) for name, value in sorted(fields.items()) if value is not None}
