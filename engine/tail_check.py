"""Whether a tail and a model belong together."""

import warnings
from typing import Protocol

from engine.errors import TailError
from engine.tail_info import TailInfo


class TailModel(Protocol):
    """What a tail is checked against: a loaded model or a bundle's manifest."""

    @property
    def model_id(self) -> str:
        """Hub id or folder name."""

    @property
    def digest(self) -> str:
        """SHA-256 over the weights."""

    @property
    def family(self) -> str:
        """Models of one family share a text encoder."""

    @property
    def dim(self) -> int:
        """Width of a prompt embedding."""

    @property
    def clip_skip(self) -> int:
        """Text encoder layers left out."""


class OtherCheckpointWarning(UserWarning):
    """A tail is used with another checkpoint of its family; it usually works, less faithfully."""


def check_tail(info: TailInfo, dim: int, model: TailModel) -> None:
    """Refuse a tail that a model cannot use, and warn of one that was fitted with a sister of the model.

    Args:
        info: the tail's provenance.
        dim: the tail's width.
        model: what it is to be used with.

    Raises:
        TailError: width, family or clip_skip differ.

    Warns:
        OtherCheckpointWarning: same family, other weights.
    """
    again = f"fit it again with {model.model_id}"
    if dim != model.dim:
        raise TailError(f"tail is {dim} wide but the text encoder of {model.model_id} is {model.dim} wide; {again}")
    if info.family != model.family:
        raise TailError(f"tail is for the family {info.family} but {model.model_id} is {model.family}; {again}")
    if info.clip_skip != model.clip_skip:
        raise TailError(
            f"tail was fitted with clip_skip {info.clip_skip} but {model.model_id} is loaded with {model.clip_skip}; "
            f"load the model with clip_skip {info.clip_skip}"
        )
    if info.model_digest != model.digest:
        warnings.warn(
            f"tail was fitted with {info.model_id} but {model.model_id} has other weights; if edits lose it, {again}",
            OtherCheckpointWarning,
            stacklevel=3,
        )
