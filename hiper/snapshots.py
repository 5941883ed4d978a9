"""Follows a fit with one file: tails to choose from, losses, and the state to go on from after an interruption."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from hiper.fit import FitConfig, FitProgress
from hiper.snapshot_file import SnapshotError, Snapshots, read_snapshots, write_snapshots


def fit_identity(config: FitConfig, **inputs: str | Tensor | None) -> dict[str, str]:
    """Names a fit by all that decides its result: two fits may share a file if these are equal.

    Args:
        config: of the fit.
        inputs: what else decides it, under names that an error may show: `model`, `image`, `prompt`, `init`.
    """
    identity = {name: json.dumps(value) for name, value in asdict(config).items()}
    return identity | {name: _digest(value) for name, value in inputs.items()}


def find_snapshots(path: str | Path, identity: dict[str, str]) -> Snapshots | None:
    """What an interrupted fit has left at `path`: its `state` is what `fit_tail` resumes. None where there is no file.

    Raises:
        SnapshotError: it is no snapshot file, or that of a fit with other inputs.
    """
    if not Path(path).exists():
        return None
    snapshots = read_snapshots(path)
    check_identity(snapshots, identity, str(path))
    return snapshots


def check_identity(snapshots: Snapshots, identity: dict[str, str], name: str = "checkpoint") -> None:
    """Refuse the snapshots of a fit with other inputs.

    Raises:
        SnapshotError: they are; the message calls them `name` and says which inputs differ.
    """
    names = sorted(key for key in identity if snapshots.identity.get(key) != identity[key])
    if names or snapshots.identity.keys() != identity.keys():
        raise SnapshotError(
            f"{name} belongs to a fit with another {', '.join(names) or 'version of this program'}; "
            "repeat the earlier inputs to resume it, or delete it to fit from the start"
        )


def follow(
    fit: Iterable[FitProgress], identity: dict[str, str], earlier: Snapshots | None = None, every: int = 0
) -> Iterator[tuple[FitProgress, Snapshots]]:
    """Pass a fit through with what it has left after each step.

    Args:
        fit: what `fit_tail` returns.
        identity: of the fit.
        earlier: what it resumes.
        every: steps between two tails to choose from; 0 keeps none.
    """
    snapshots = earlier
    for progress in fit:
        snapshots = _extended(snapshots, progress, identity, every > 0 and progress.step % every == 0)
        yield progress, snapshots


def keep_snapshots(
    fit: Iterable[FitProgress],
    path: str | Path,
    every: int,
    identity: dict[str, str],
    earlier: Snapshots | None = None,
) -> Iterator[FitProgress]:
    """Pass a fit through and write its snapshots, every so many steps and when it ends, is interrupted or fails.

    Args:
        fit: what `fit_tail` returns.
        path: of the one file, rewritten whole each time.
        every: steps between snapshots, at least 1.
        identity: of the fit.
        earlier: what `find_snapshots` returned, where the fit resumes it.

    Raises:
        OutputError: on iteration, the disk refuses.
    """
    snapshots, written = earlier, True
    try:
        for progress, snapshots in follow(fit, identity, earlier, every):
            written = False
            if progress.step % every == 0:
                write_snapshots(path, snapshots)
                written = True
            yield progress
    finally:
        if snapshots is not None and not written:
            write_snapshots(path, snapshots)


def _extended(earlier: Snapshots | None, progress: FitProgress, identity: dict[str, str], choice: bool) -> Snapshots:
    """What there is after one more step, whose tail is one to choose from if `choice`."""
    before = earlier or Snapshots(identity, progress.state, {}, (), {})
    step, held_out = progress.step, progress.held_out_loss
    return Snapshots(
        identity=identity,
        state=progress.state,
        tails={**before.tails, step: progress.tail} if choice else before.tails,
        losses=(*before.losses, progress.loss),
        held_out_losses=before.held_out_losses if held_out is None else {**before.held_out_losses, step: held_out},
    )


def _digest(value: str | Tensor | None) -> str:
    if isinstance(value, Tensor):
        value = hashlib.sha256(value.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
    return json.dumps(value)
