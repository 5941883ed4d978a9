"""What an edit is made of besides its model: settings, starting noise, and the record that its picture carries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from hiper.models import StableDiffusion
from hiper.recipe import Recipe
from hiper.schedule import Solver
from hiper.tail import Tail


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


def choose_edit_config(recipe: Recipe, tail: Tail | None, **wishes: Any) -> EditConfig:
    """Take each setting from the wishes, else from the tail, else from the model's recipe, else EditConfig's default.

    Args:
        recipe: the model's.
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


def draw_from(generator: Generator | Sequence[Generator], shape: tuple[int, ...]) -> Tensor:
    """Draw starting noise as diffusers does: all pictures from one generator, or each from its own.

    Args:
        generator: one, or one a picture.
        shape: (pictures, 4, h, w).

    Raises:
        ValueError: several generators, but not one a picture.
    """
    if isinstance(generator, Generator):
        return torch.randn(shape, generator=generator, device=generator.device)
    if len(generator) != shape[0]:
        raise ValueError(f"there are {len(generator)} generators for {shape[0]} pictures; give one, or one a picture")
    return torch.cat([torch.randn((1, *shape[1:]), generator=one, device=one.device).cpu() for one in generator])


def describe_edit(
    model: StableDiffusion, tail: Tail | None, prompt: str, seed: int | None, config: EditConfig
) -> dict[str, str]:
    """All that is needed to make a picture again, as text; a picture from a generator has no seed."""
    fields = asdict(config) | {"prompt": prompt, "model": model.model_id, "model_sha256": model.digest, "seed": seed}
    if tail is None:
        del fields["tail_strength"]
    else:
        fields |= {"tail_sha256": tail.digest, "source_prompt": tail.info.source_prompt}
    return {name: str(value) for name, value in sorted(fields.items()) if value is not None}
