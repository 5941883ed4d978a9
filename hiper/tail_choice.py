"""Chooses another step's tail from the snapshots of a fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from hiper.snapshot_file import SnapshotError, read_snapshots
from hiper.tail import Tail


def choose_tail(tail: Tail, snapshots: str | Path, step: int) -> Tail:
    """The tail of the same fit after `step` steps: an earlier one follows a prompt more freely.

    Args:
        tail: what the fit ended in.
        snapshots: the file that followed it.
        step: one that was kept.

    Raises:
        SnapshotError: the file cannot be read, belongs to another fit, or lacks that step.
    """
    kept = read_snapshots(snapshots)
    if not torch.equal(kept.state.best_tail, tail.vectors):
        raise SnapshotError(f"{snapshots} belongs to another fit than the tail; keep the two files of one fit together")
    return replace(tail, vectors=kept.tail_at(step), info=replace(tail.info, step=step))
