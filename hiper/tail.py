"""The idea of the paper (Han et al. 2023, arXiv 2303.08767): a tail, how it enters a prompt, how it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from engine.tail_check import TailModel
from engine.tail_check import check_tail as _check_info
from engine.tail_file import TailFile, read_tail_file, serialize_tail_file, tail_digest, write_tail_file
from engine.tail_info import TailInfo
from hiper.errors import TailError

__all__ = ["Tail", "TailInfo", "average", "check_tail", "interpolate", "load", "save", "serialize", "splice"]


@dataclass(frozen=True, eq=False)
class Tail:
    """A subject: the learned last rows of a prompt embedding.

    Attributes:
        vectors: as fitted, never pre-multiplied by a strength, (tail_tokens, dim) fp32 on the CPU.
        initial: what the fit started from, same shape.
        info: which model, images and settings it comes from.
    """

    vectors: Tensor = field(repr=False)
    initial: Tensor = field(repr=False)
    info: TailInfo

    @property
    def tail_tokens(self) -> int:
        """How many rows of a prompt the tail replaces."""
        return self.vectors.shape[0]

    @property
    def dim(self) -> int:
        """Width of a row."""
        return self.vectors.shape[1]

    @property
    def digest(self) -> str:
        """SHA-256 over the vectors, 64 hex digits; the same before saving and after loading."""
        return tail_digest(self.vectors.numpy())


def splice(prompt_embedding: Tensor, tail: Tensor, strength: float = 1.0) -> Tensor:
    """Replace the last rows of a prompt embedding by a learned tail (Han et al. 2023, fig. 2).

    Args:
        prompt_embedding: last hidden state of the text encoder, (batch, 77, dim).
        tail: learned rows, (tail_tokens, dim), same dtype and device.
        strength: multiplier on the tail; 1 as fitted, less loosens the source's identity.

    Returns:
        A new tensor (batch, 77, dim); the inputs are unchanged.

    Raises:
        ValueError: the widths differ, or the tail is longer than the prompt.
    """
    batch, rows, dim = prompt_embedding.shape
    tail_tokens, tail_dim = tail.shape
    if tail_dim != dim:
        raise ValueError(f"tail is {tail_dim} wide but this prompt embedding is {dim} wide; use a tail of this model")
    if tail_tokens > rows:
        raise ValueError(f"tail has {tail_tokens} rows but this prompt embedding has {rows}; use a shorter tail")
    return torch.cat([prompt_embedding[:, : rows - tail_tokens], (strength * tail).expand(batch, -1, -1)], dim=1)


def save(tail: Tail, path: str | Path) -> None:
    """Write NAME.hiper.safetensors; a crash leaves the old file or the new one.

    Raises:
        TailError: the name has another ending, or the vectors are not finite.
        OutputError: no such folder, no permission or no space.
    """
    write_tail_file(path, _file(tail))


def serialize(tail: Tail) -> bytes:
    """The content of the file that `save` writes.

    Raises:
        TailError: the vectors are not finite.
    """
    return serialize_tail_file(_file(tail))


def load(path: str | Path) -> Tail:
    """Read NAME.hiper.safetensors strictly.

    Raises:
        TailError: it is missing, or not exactly what `save` writes.
    """
    file = read_tail_file(path)
    return Tail(torch.from_numpy(file.tail), torch.from_numpy(file.tail_init), file.info)


def check_tail(tail: Tail, model: TailModel) -> None:
    """Refuse a tail that `model` cannot use (TailError); warn of one from another checkpoint of the same family."""
    _check_info(tail.info, tail.dim, model)


def interpolate(first: Tail, second: Tail, amount: float) -> Tail:
    """The tail that lies `amount` (0 to 1) of the way from `first` to `second`.

    Each row turns along the great circle (slerp; Shoemake 1985) while its length changes evenly.

    Raises:
        TailError: the two are not of one length, family and clip_skip.
    """
    info = _combined_info([first, second], "interpolated", amount)
    vectors = _slerp(first.vectors, second.vectors, amount)
    return Tail(vectors, _slerp(first.initial, second.initial, amount), info)


def average(tails: Sequence[Tail]) -> Tail:
    """The mean of several tails, as for several photographs of one subject.

    Raises:
        TailError: there are none, or they are not of one length, family and clip_skip.
    """
    info = _combined_info(tails, "averaged", len(tails))
    vectors = torch.stack([tail.vectors for tail in tails]).mean(0)
    return Tail(vectors, torch.stack([tail.initial for tail in tails]).mean(0), info)


def _file(tail: Tail) -> TailFile:
    return TailFile(tail.vectors.numpy(), tail.initial.numpy(), tail.info)


def _slerp(first: Tensor, second: Tensor, amount: float) -> Tensor:
    length = torch.lerp(first.norm(dim=-1, keepdim=True), second.norm(dim=-1, keepdim=True), amount)
    start, end = normalize(first.double(), dim=-1), normalize(second.double(), dim=-1)
    angle = (start * end).sum(-1, keepdim=True).clamp(-1, 1).acos()
    arc = (torch.sin((1 - amount) * angle) * start + torch.sin(amount * angle) * end) / torch.sin(angle)
    # Rows that point the same way, or opposite ways, have no great circle of their own.
    direction = torch.where(torch.sin(angle) > 1e-6, arc, torch.lerp(start, end, amount))
    return (length * direction).float()


def _combined_info(tails: Sequence[Tail], operation: str, value: float) -> TailInfo:
    """Provenance of a tail made of several: the first one's model, all images, and which tails they were."""
    if not tails:
        raise TailError("nothing to combine: got no tail, wanted at least one; name the tails")
    kinds = {(tail.vectors.shape, tail.info.family, tail.info.clip_skip) for tail in tails}
    if len(kinds) > 1:
        found = " and ".join(sorted(f"{tuple(shape)} of {family}, clip_skip {skip}" for shape, family, skip in kinds))
        raise TailError(f"tails cannot be combined: found {found}, wanted one kind; fit them alike")
    return replace(
        tails[0].info,
        source_prompt=" | ".join(dict.fromkeys(tail.info.source_prompt for tail in tails)),
        source_image_sha256=tuple(dict.fromkeys(image for tail in tails for image in tail.info.source_image_sha256)),
        settings={operation: value, "tails": " ".join(tail.digest for tail in tails)},
        loss_trace=(),
    )
