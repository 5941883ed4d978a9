"""What a tail file tells about its tail: where it comes from and which model it belongs to."""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class TailInfo:
    """Provenance of a tail; every field is checked, whoever builds it.

    Attributes:
        model_id: hub id or folder name of the base model.
        model_digest: SHA-256 over the base model's weights, 64 hex digits.
        family: models of one family share a text encoder: "sd1", "sd2", ...
        prediction_type: "epsilon" or "v_prediction".
        clip_skip: text encoder layers left out; a tail is tied to the value it was fitted with.
        source_prompt: describes the source images.
        source_image_sha256: one digest per source image.
        settings: the fit's settings, names to scalars.
        seed: of the fit's noise.
        step: optimiser steps behind the vectors.
        loss_trace: (step, loss) pairs in the order of the fit.
        tail_strength: suggested multiplier for edits.

    Raises:
        ValueError: a field has a wrong type or an impossible value; the message names it.
    """

    model_id: str
    model_digest: str
    family: str
    prediction_type: str
    clip_skip: int
    source_prompt: str
    source_image_sha256: tuple[str, ...] = ()
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    seed: int = 0
    step: int = 0
    loss_trace: tuple[tuple[int, float], ...] = field(default=(), repr=False)
    tail_strength: float = 0.8

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            try:
                object.__setattr__(self, name, check(getattr(self, name)))
            except ValueError as error:
                raise ValueError(f"{name} is not {error}") from error


def _text(value: Any) -> str:
    try:
        if isinstance(value, str):
            value.encode()
            return value
    except UnicodeEncodeError:
        pass
    raise ValueError("text")


def _digest(value: Any) -> str:
    if not (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)):
        raise ValueError("a SHA-256 in 64 hex digits")
    return value


def _prediction_type(value: Any) -> str:
    if value not in ("epsilon", "v_prediction"):
        raise ValueError("epsilon or v_prediction")
    return str(value)


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("a whole number from 0 to 2^63 - 1")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not -sys.float_info.max <= value <= sys.float_info.max:
        raise ValueError("a finite number")
    return float(value)


def _digests(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("a list of digests")
    return tuple(_digest(item) for item in value)


def _scalars(value: Any) -> dict[str, Scalar]:
    if not isinstance(value, Mapping):
        raise ValueError("a mapping of names to values")
    return {_text(name): _scalar(item) for name, item in value.items()}


def _scalar(value: Any) -> Scalar:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    return _number(value) if isinstance(value, float) else _text(value)


def _trace(value: Any) -> tuple[tuple[int, float], ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("a list of (step, loss) pairs")
    return tuple(_pair(item) for item in value)


def _pair(value: Any) -> tuple[int, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("a list of (step, loss) pairs")
    return _natural(value[0]), _number(value[1])


_CHECKS: dict[str, Callable[[Any], object]] = {
    "model_id": _text,
    "model_digest": _digest,
    "family": _text,
    "prediction_type": _prediction_type,
    "clip_skip": _natural,
    "source_prompt": _text,
    "source_image_sha256": _digests,
    "settings": _scalars,
    "seed": _natural,
    "step": _natural,
    "loss_trace": _trace,
    "tail_strength": _number,
}
