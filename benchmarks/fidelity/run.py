"""Do the work in parts, several at once; a part that is done stays done."""

from __future__ import annotations

import io
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.fidelity import methods, rivals, tails
from benchmarks.fidelity.cases import Case, held_out_case
from benchmarks.fidelity.methods import Outcome, Setting
from benchmarks.fidelity.scores import Score, judge
from benchmarks.fidelity.studio import Settings, Studio, open_studio
from engine.atomic_file import write_atomically
from hiper.images import to_uint8

Method = Callable[[Studio, Sequence[Case]], Iterator[Outcome]]

METHODS: dict[str, Method] = {
    "truth": methods.truth,
    "source": methods.source,
    "text": methods.text,
    "hiper": tails.hiper,
    "sdedit": rivals.sdedit,
    "inversion": rivals.inversion,
    "imagic": rivals.imagic,
    "tail_tokens": tails.tail_tokens,
}

# Few enough that a cut-off run loses little, enough to keep a processor busy.
CASES_PER_PART = 4


@dataclass(frozen=True)
class Part:
    """One method on some cases, by index."""

    method: str
    indices: tuple[int, ...]

    def scores_path(self, folder: Path) -> Path:
        """Where its scores are, once it is done."""
        return folder / f"{self.method}-{self.indices[0]:05}-{len(self.indices)}.json"

    def pictures_path(self, folder: Path) -> Path:
        """Where its pictures of seed 0 are, by setting, (shots, 128, 128, 3) each."""
        return self.scores_path(folder).with_suffix(".npz")


def split(names: Sequence[str], first: int, identities: int) -> list[Part]:
    """The parts of a run: method after method, cases in order."""
    indices = range(first, first + identities)
    chunks = [tuple(indices[start : start + CASES_PER_PART]) for start in range(0, identities, CASES_PER_PART)]
    return [Part(name, chunk) for name in names for chunk in chunks]


def work(settings: Settings, folder: Path, part: Part) -> None:
    """Make and judge the pictures of a part."""
    studio, start = open_studio(settings), time.perf_counter()
    scores: list[Score] = []
    pictures: dict[str, NDArray[np.uint8]] = {}
    for outcome in METHODS[part.method](studio, [held_out_case(index) for index in part.indices]):
        scores += judge(studio.probe, outcome)
        shown = [shot.seed == 0 for shot in outcome.shots]
        pictures[str(outcome.setting)] = to_uint8(outcome.images[torch.tensor(shown)])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **pictures)
    write_atomically(part.pictures_path(folder), buffer.getvalue())
    # Last, since it says that the part is done.
    done = {"work_s": time.perf_counter() - start, "scores": [asdict(score) for score in scores]}
    write_atomically(part.scores_path(folder), json.dumps(done).encode())


def run(settings: Settings, folder: Path, parts: Sequence[Part], workers: int) -> Iterator[Part]:
    """Do what `folder` lacks; yields every part when it is done."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [part for part in parts if not part.scores_path(folder).exists()]
    yield from (part for part in parts if part not in missing)
    do = partial(work, settings, folder)
    if workers == 1:
        for part in missing:
            do(part)
            yield part
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        futures = {pool.submit(do, part): part for part in missing}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        finally:
            pool.shutdown(cancel_futures=True)


def read_scores(folder: Path, parts: Sequence[Part]) -> list[Score]:
    """The scores of parts that are done."""
    return [Score(**row) for part in parts for row in _read(folder, part)["scores"]]


def read_work_s(folder: Path, parts: Sequence[Part]) -> dict[str, float]:
    """How long the parts took by method, in seconds of one worker."""
    work_s: dict[str, float] = defaultdict(float)
    for part in parts:
        work_s[part.method] += _read(folder, part)["work_s"]
    return dict(work_s)


def read_pictures(folder: Path, parts: Sequence[Part], setting: Setting) -> NDArray[np.uint8]:
    """A setting's pictures of seed 0 in the order of `shots`, (shots, 128, 128, 3)."""
    archives = (np.load(part.pictures_path(folder)) for part in parts if part.method == setting.method)
    return np.concatenate([archive[str(setting)] for archive in archives])


def _read(folder: Path, part: Part) -> dict[str, Any]:
    return dict(json.loads(part.scores_path(folder).read_bytes()))
