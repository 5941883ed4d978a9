"""The one reader and writer of a snapshot file: safetensors, written whole, read strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save
from torch import Tensor

from engine.atomic_file import write_atomically
from hiper.errors import HiPerError
from hiper.fit_state import FitState

Arrays = dict[str, NDArray[Any]]

FORMAT = "hiper.snapshots/1"
MAX_SIZE_BYTES = 256 * 2**20

_DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "u1"}
_TAIL = ("tail_tokens", "dim")
# Name of a tensor: its dtype and its shape. A size of the same name is the same everywhere.
_LAYOUT: dict[str, tuple[str, tuple[str, ...]]] = {
    "step": ("I64", ()),
    "tail": ("F32", _TAIL),
    "adam_step": ("F32", ()),
    "adam_mean": ("F32", _TAIL),
    "adam_square": ("F32", _TAIL),
    "loss_scale": ("F64", ("two",)),
    "generator": ("U8", ("generator_bytes",)),
    "best_loss": ("F64", ()),
    "best_step": ("I64", ()),
    "best_tail": ("F32", _TAIL),
    "snapshot_steps": ("I64", ("snapshots",)),
    "snapshot_tails": ("F32", ("snapshots", *_TAIL)),
    "losses": ("F64", ("step",)),
    "held_out_steps": ("I64", ("evaluations",)),
    "held_out_losses": ("F64", ("evaluations",)),
}


class SnapshotError(HiPerError):
    """A snapshot file cannot be read, belongs to another fit, or lacks the step that was asked for."""

    exit_code = 10


@dataclass(frozen=True)
class Snapshots:
    """What a fit has left so far.

    Attributes:
        identity: of the fit, from `fit_identity`.
        state: where it goes on.
        tails: by steps done, each (tail_tokens, dim) fp32.
        losses: one per step done.
        held_out_losses: by steps done.
    """

    identity: Mapping[str, str]
    state: FitState
    tails: Mapping[int, Tensor]
    losses: tuple[float, ...]
    held_out_losses: Mapping[int, float]

    def tail_at(self, step: int) -> Tensor:
        """The tail after `step` steps.

        Raises:
            SnapshotError: no snapshot was taken then.
        """
        if step not in self.tails:
            steps = ", ".join(map(str, self.tails)) or "none"
            raise SnapshotError(f"there is no snapshot of step {step}; choose one of {steps}")
        return self.tails[step]


def write_snapshots(path: str | Path, snapshots: Snapshots) -> None:
    """Write a snapshot file; the file at `path` is the old one or the new one, whatever happens in between.

    Raises:
        OutputError: the disk refuses.
    """
    write_atomically(path, serialize_snapshots(snapshots))


def read_snapshots(path: str | Path) -> Snapshots:
    """Read and check a snapshot file; never unpickles and never reads more than MAX_SIZE_BYTES.

    Raises:
        SnapshotError: it is not exactly what `write_snapshots` writes.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_SIZE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise SnapshotError(f"{path} is no snapshot file: {error}; delete it to fit from the start") from error
    return parse_snapshots(data, str(path))


def serialize_snapshots(snapshots: Snapshots) -> bytes:
    """The content of a snapshot file."""
    metadata = {"format": FORMAT, "identity": json.dumps(dict(snapshots.identity))}
    return save(_arrays(snapshots), metadata=metadata)


def parse_snapshots(data: bytes, name: str = "checkpoint") -> Snapshots:
    """Check the content of a snapshot file.

    Args:
        data: of at most MAX_SIZE_BYTES.
        name: what an error calls it.

    Raises:
        SnapshotError: it is not exactly what `serialize_snapshots` returns.
    """
    try:
        return _parse(data)
    except (ValueError, RecursionError, SafetensorError) as error:
        raise SnapshotError(f"{name} is no snapshot file: {error}; delete it to fit from the start") from error


def _arrays(snapshots: Snapshots) -> Arrays:
    state = {field.name: np.asarray(getattr(snapshots.state, field.name)) for field in fields(FitState)}
    values: dict[str, Any] = {
        **state,
        "snapshot_steps": list(snapshots.tails),
        "snapshot_tails": np.stack([*snapshots.tails.values()]) if snapshots.tails else state["tail"][None][:0],
        "losses": snapshots.losses,
        "held_out_steps": list(snapshots.held_out_losses),
        "held_out_losses": list(snapshots.held_out_losses.values()),
    }
    return {name: np.array(values[name], _DTYPES[dtype]) for name, (dtype, _) in _LAYOUT.items()}


def _parse(data: bytes) -> Snapshots:
    if len(data) > MAX_SIZE_BYTES:
        raise ValueError(f"it is larger than {MAX_SIZE_BYTES} bytes")
    tensors = dict(deserialize(data))
    if tensors.keys() != _LAYOUT.keys():
        raise ValueError(f"it is wrong about {', '.join(sorted(tensors.keys() ^ _LAYOUT.keys()))[:200]}")
    arrays = {name: _array(name, tensor) for name, tensor in tensors.items()}
    _check(arrays)
    return _snapshots(arrays, _identity(data))


def _array(name: str, tensor: Mapping[str, Any]) -> NDArray[Any]:
    dtype = _LAYOUT[name][0]
    if tensor["dtype"] != dtype:
        raise ValueError(f"{name} is {tensor['dtype']} instead of {dtype}")
    # A copy of its own, which torch may write to.
    return np.frombuffer(tensor["data"], _DTYPES[dtype]).reshape(tensor["shape"]).copy()


def _check(arrays: Arrays) -> None:
    sizes = {"two": 2, "step": int(arrays["step"]) if arrays["step"].shape == () else -1}
    for name, (_, dimensions) in _LAYOUT.items():
        shape = arrays[name].shape
        if len(shape) != len(dimensions) or shape != tuple(map(sizes.setdefault, dimensions, shape)):
            raise ValueError(f"{name} has the shape {shape}, which does not match the others")
        if name != "best_loss" and not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} has values that are not finite")
    for name in ("snapshot_steps", "held_out_steps"):
        if not all(earlier < later for earlier, later in pairwise([0, *arrays[name], sizes["step"] + 1])):
            raise ValueError(f"{name} does not rise from 1 to at most {sizes['step']}")
    try:
        torch.Generator().set_state(torch.from_numpy(arrays["generator"]))
    except RuntimeError as error:
        raise ValueError("generator is no state of a random generator") from error


def _snapshots(arrays: Arrays, identity: dict[str, str]) -> Snapshots:
    scalars = {"step": int, "best_step": int, "best_loss": float}
    state: dict[str, Any] = {
        field.name: scalars.get(field.name, torch.from_numpy)(arrays[field.name]) for field in fields(FitState)
    }
    return Snapshots(
        identity=identity,
        state=FitState(**state),
        tails=dict(zip(arrays["snapshot_steps"].tolist(), torch.from_numpy(arrays["snapshot_tails"]), strict=True)),
        losses=tuple(arrays["losses"].tolist()),
        held_out_losses=dict(zip(arrays["held_out_steps"].tolist(), arrays["held_out_losses"].tolist(), strict=True)),
    )


def _identity(data: bytes) -> dict[str, str]:
    """From the string metadata, which `deserialize` has checked but does not return."""
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
    if metadata.get("format") != FORMAT:
        raise ValueError(f"its format is {metadata.get('format')!r:.40} instead of {FORMAT!r}")
    identity = json.loads(metadata.get("identity", "null"))
    if not isinstance(identity, dict) or not all(isinstance(value, str) for value in identity.values()):
        raise ValueError("it does not say which fit it belongs to")
    return identity
