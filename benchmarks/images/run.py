"""`hiper-bench fidelity`: a dataset, edited and judged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from PIL import Image

from benchmarks import bootstrap
from benchmarks.images.datasets import DatasetError, Subject, read_dataset
from benchmarks.images.edits import make_edits, picture_path
from benchmarks.images.metrics import METRICS, Judge
from benchmarks.record import write_record
from hiper.images import load_image

QUESTION = "Do edits show what was asked (CLIP-T), and the subject (CLIP-I, DINOv2, LPIPS), on a published dataset?"


@dataclass(frozen=True)
class Run:
    """What is edited and how it is judged.

    Attributes:
        dataset: a key of DATASETS.
        folder: of the dataset.
        output: gets pictures, tails and the record.
        model: what `load_model` takes; empty to judge pictures that are there.
        seeds: pictures per wish.
        metrics: of METRICS.
        limit: subjects, the first ones; None for all.
        source_prompt: where the dataset has none.
    """

    dataset: str
    folder: Path
    output: Path
    model: str
    seeds: int = 1
    metrics: tuple[str, ...] = METRICS
    limit: int | None = None
    source_prompt: str = ""

    def __post_init__(self) -> None:
        if unknown := set(self.metrics) - set(METRICS):
            raise ValueError(f"there is no metric {min(unknown)!r}; use some of {', '.join(METRICS)}")


def run(asked: Run, judge: Judge, report: Callable[[str], object] = lambda line: None) -> Path:
    """Edit, judge and write a record.

    Raises:
        DatasetError: the dataset is laid out otherwise, or a picture to judge is missing.
    """
    subjects = read_dataset(asked.dataset, asked.folder, asked.source_prompt)[: asked.limit]
    digest, pictures = None, asked.output / "pictures"
    if asked.model:
        from hiper.pipeline import HiPer

        hiper = HiPer.from_pretrained(asked.model, device=judge.device)
        digest = hiper.model.digest
        for count, subject in enumerate(make_edits(hiper, subjects, asked.seeds, pictures), start=1):
            report(f"edited {subject.name} ({count} of {len(subjects)})")
    results = summarise(asked, subjects, judge, pictures)
    settings = {
        "dataset": asked.dataset,
        "model": asked.model or "pictures as found",
        "subjects": len(subjects),
        "seeds": asked.seeds,
        "clip": judge.clip,
        "dinov2": judge.dinov2,
    }
    name = f"images-{asked.dataset}-{Path(asked.model or 'found').name}"
    return write_record(name, QUESTION, settings, results, asked.output, model_digest=digest)


def summarise(asked: Run, subjects: Sequence[Subject], judge: Judge, pictures: Path) -> dict[str, Any]:
    """Means over subjects with intervals, of all and by group, for each metric."""
    results: dict[str, Any] = {}
    for metric in asked.metrics:
        by_subject = [_mean_score(metric, subject, judge, asked.seeds, pictures) for subject in subjects]
        groups = defaultdict(list)
        for subject, score in zip(subjects, by_subject, strict=True):
            groups[subject.group].append(score)
        results[metric] = {
            **bootstrap.mean(by_subject)._asdict(),
            "by_subject": by_subject,
            "by_group": {group: mean(scores) for group, scores in groups.items()},
        }
    return results


def _mean_score(metric: str, subject: Subject, judge: Judge, seeds: int, pictures: Path) -> float:
    source, scores = load_image(subject.image).picture, []
    for wish, prompt in enumerate(subject.target_prompts):
        for seed in range(seeds):
            path = picture_path(pictures, subject, wish, seed)
            if not path.exists():
                raise DatasetError(f"{path} is missing; name a --model that makes it")
            with Image.open(path) as edit:
                scores.append(judge.score(metric, edit, source, prompt))
    return mean(scores)
