"""Fits every subject of a dataset and paints every wish; what is there already stays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.images.datasets import Subject
from hiper.pipeline import HiPer
from hiper.tail import load, save


def picture_path(folder: Path, subject: Subject, wish: int, seed: int) -> Path:
    """Where an edit of a subject lies, made by us or by somebody else."""
    return folder / subject.name / f"{wish}-{seed}.png"


def make_edits(hiper: HiPer, subjects: Sequence[Subject], seeds: int, folder: Path) -> Iterator[Subject]:
    """Make what `folder` lacks; yields every subject when its pictures are there.

    Args:
        hiper: a loaded model.
        subjects: of a dataset.
        seeds: pictures per wish.
        folder: gets a folder a subject, with its tail and its pictures.
    """
    for subject in subjects:
        missing = [
            (wish, seed)
            for wish in range(len(subject.target_prompts))
            for seed in range(seeds)
            if not picture_path(folder, subject, wish, seed).exists()
        ]
        if missing:
            (folder / subject.name).mkdir(parents=True, exist_ok=True)
            tail_path = folder / subject.name / "subject.hiper.safetensors"
            if not tail_path.exists():
                save(hiper.fit(subject.image, subject.source_prompt), tail_path)
            tail = load(tail_path)
            for wish, seed in missing:
                (picture,) = hiper.edit(tail, subject.target_prompts[wish], seed=seed)
                picture.save(picture_path(folder, subject, wish, seed))
        yield subject
