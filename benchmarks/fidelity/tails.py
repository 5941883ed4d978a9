"""HiPer under test, with its curves over tail strength, fit steps and tail tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from benchmarks.fidelity.cases import Case, Shot, shots
from benchmarks.fidelity.methods import Outcome, Setting
from benchmarks.fidelity.studio import Studio
from hiper.fit import FitConfig
from hiper.fit_job import FitJob
from hiper.images import load_image
from hiper.tail import splice

STRENGTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
TAIL_TOKENS = (1, 2, 5, 10)
# Of the recipe's steps.
SNAPSHOTS = (1 / 8, 1 / 4, 1 / 2, 1)


@dataclass(frozen=True)
class Fit:
    """A finished fit: the tail that the recipe keeps, and the tails on its way by step, (tail_tokens, dim) each."""

    tail: Tensor
    snapshots: dict[int, Tensor]


def hiper(studio: Studio, cases: Sequence[Case]) -> Iterator[Outcome]:
    """HiPer as it ships, then the curves over strength and steps from one seed."""
    settings = studio.settings
    fits = {case.index: fit(studio, case, settings.fit) for case in cases}
    tails = {index: found.tail for index, found in fits.items()}
    yield edit(studio, Setting("hiper"), shots(cases, settings.seeds), tails, settings.tail_strength)
    takes = shots(cases, seeds=1)
    for strength in STRENGTHS:
        yield edit(studio, Setting("hiper", "tail_strength", strength), takes, tails, strength)
    for step in snapshot_steps(settings.fit):
        then = {index: found.snapshots[step] for index, found in fits.items()}
        yield edit(studio, Setting("hiper", "steps", step), takes, then, settings.tail_strength)


def tail_tokens(studio: Studio, cases: Sequence[Case]) -> Iterator[Outcome]:
    """The curve over the length of the tail, on fewer cases, since every point needs fits of its own."""
    settings = studio.settings
    chosen = [case for case in cases if case.index < settings.token_cases]
    for count in TAIL_TOKENS if chosen else ():
        config = replace(settings.fit, tail_tokens=count)
        tails = {case.index: fit(studio, case, config).tail for case in chosen}
        takes = shots(chosen, settings.seeds)
        yield edit(studio, Setting("hiper", "tail_tokens", count), takes, tails, settings.tail_strength)


def snapshot_steps(config: FitConfig) -> list[int]:
    """The steps of the curve over steps."""
    return sorted({max(1, round(share * config.steps)) for share in SNAPSHOTS})


def fit(studio: Studio, case: Case, config: FitConfig) -> Fit:
    """Fit one case; for the snapshots the fit goes on where the recipe stops early."""
    job = FitJob(studio.model, [load_image(Image.fromarray(case.picture()))], case.prompt, config)
    done = list(job.run(studio.execution))
    longer = replace(job, config=replace(config, patience=0, evaluate_every=0))
    rest = list(longer.run(studio.execution, resume=done[-1].state))
    tails = {progress.step: progress.tail for progress in [*done, *rest]}
    return Fit(done[-1].best_tail, {step: tails[step] for step in snapshot_steps(config)})


def edit(studio: Studio, setting: Setting, takes: list[Shot], tails: Mapping[int, Tensor], strength: float) -> Outcome:
    """Make shots with the tails of their cases, by index."""
    prompts = studio.encode_prompts(takes)
    spliced = [
        splice(prompt, tails[shot.case.index].to(prompt), strength)
        for prompt, shot in zip(prompts.split(1), takes, strict=True)
    ]
    return Outcome(setting, takes, studio.paint(studio.noise(takes), torch.cat(spliced)))
