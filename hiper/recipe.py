"""Which FitConfig a fit gets: a preset, the kind of subject, and what the model itself recommends."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hiper.errors import ModelError
from hiper.fit import FitConfig

RECIPE_NAME = "hiper.json"
MAX_SIZE_BYTES = 64 * 2**10

PRESETS = {
    "paper": FitConfig(),
    "fast": FitConfig(
        learning_rate=2e-2,
        decay="cosine",
        steps=160,
        timesteps_per_step=4,
        stratified=True,
        evaluate_every=10,
        patience=3,
    ),
}

# Its authors' advice: HiPer0/HiPer, issue 1.
TAIL_TOKENS = {"animal": 5, "object": 5, "person": 10}

_WHOLE = ("steps", "num_inference_steps")


@dataclass(frozen=True)
class Recipe:
    """What suits one model better than the values for Stable Diffusion; None where it says nothing.

    Attributes:
        learning_rate: of the preset `fast`; grows with the scale of the model's prompt embeddings.
        steps: of the preset `fast`.
        tail_strength: for edits.
        guidance_scale: for edits.
        num_inference_steps: for edits.
    """

    learning_rate: float | None = None
    steps: int | None = None
    tail_strength: float | None = None
    guidance_scale: float | None = None
    num_inference_steps: int | None = None


def read_recipe(model_folder: str | Path) -> Recipe:
    """Read `hiper.json` beside a model's model_index.json; an empty Recipe where there is none.

    Raises:
        ModelError: it is not a JSON object of the fields of Recipe with numbers above 0.
    """
    path = Path(model_folder) / RECIPE_NAME
    if not path.is_file():
        return Recipe()
    try:
        with open(path, "rb") as file:
            return _parse(file.read(MAX_SIZE_BYTES + 1))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no recipe: {error}; correct or delete it") from error


def choose_config(preset: str, subject: str = "animal", recipe: Recipe | None = None, **changes: Any) -> FitConfig:
    """The configuration of a preset for a kind of subject.

    Args:
        preset: "paper", which no recipe changes, or "fast".
        subject: "animal", "object" or "person".
        recipe: the model's own.
        changes: fields of the configuration that somebody chose; None leaves one as it is.

    Raises:
        ValueError: no such preset or subject, or an impossible change.
    """
    _check_choice("preset", preset, PRESETS)
    _check_choice("subject", subject, TAIL_TOKENS)
    if preset == "fast" and recipe is not None:
        changes = {"learning_rate": recipe.learning_rate, "steps": recipe.steps} | _known(changes)
    return replace(PRESETS[preset], tail_tokens=TAIL_TOKENS[subject], **_known(changes))


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _check_choice(what: str, name: str, choices: Collection[str]) -> None:
    if name not in choices:
        raise ValueError(f"{what} is {name!r} but must be one of {', '.join(choices)}")


def _parse(data: bytes) -> Recipe:
    if len(data) > MAX_SIZE_BYTES:
        raise ValueError(f"it is larger than {MAX_SIZE_BYTES} bytes")
    values = json.loads(data)
    known = {field.name for field in fields(Recipe)}
    if not isinstance(values, dict) or not values.keys() <= known:
        raise ValueError(f"it must be an object of {', '.join(sorted(known))}")
    for name, value in values.items():
        wanted: tuple[type, ...] = (int,) if name in _WHOLE else (int, float)
        if type(value) not in wanted or not 0 < value <= 1e6:
            raise ValueError(
                f"{name} is {value!s:.40} but must be of type {wanted[-1].__name__}, above 0 and up to 1e6"
            )
    return Recipe(**values)
