"""What a user could choose instead of HiPer, on the same model, sampler, guidance and noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from benchmarks.fidelity.cases import Case, Shot, shots
from benchmarks.fidelity.descent import descend
from benchmarks.fidelity.methods import Outcome, Setting
from benchmarks.fidelity.pseudo_word import encode_pseudo_word, first_vectors, pseudo_prompts
from benchmarks.fidelity.studio import Studio
from hiper.schedule import NoiseSchedule

SDEDIT_STRENGTHS = (0.4, 0.6, 0.8)
# Share of the target prompt; the rest is the embedding that was fitted to the picture.
IMAGIC_ETAS = (0.3, 0.5, 0.7, 0.9)
# Of the budget, for textual inversion's curve.
INVERSION_SNAPSHOTS = (1 / 4, 1 / 2)


def sdedit(studio: Studio, cases: Sequence[Case]) -> Iterator[Outcome]:
    """SDEdit (Meng et al. 2022): the source picture, noised by a strength, denoised behind the target prompt."""
    takes = shots(cases, studio.settings.seeds)
    latents = studio.encode_sources([shot.case for shot in takes])
    noise, prompts = studio.noise(takes).to(latents), studio.encode_prompts(takes)
    for strength in SDEDIT_STRENGTHS:
        steps = round(strength * studio.settings.num_inference_steps)
        schedule = last_part(studio.model.schedule, steps, studio.settings.num_inference_steps)
        alpha = float(schedule.alphas_cumprod[schedule.timesteps("ddim", steps)[0]])
        noisy = alpha**0.5 * latents + (1 - alpha) ** 0.5 * noise
        yield Outcome(Setting("sdedit", "strength", strength), takes, studio.paint(noisy, prompts, schedule, steps))


def last_part(schedule: NoiseSchedule, steps: int, of_steps: int) -> NoiseSchedule:
    """The schedule whose `steps` DDIM steps are the last of the whole one's `of_steps`, with leading timesteps."""
    stride = schedule.num_train_timesteps // of_steps
    return replace(schedule, alphas_cumprod=schedule.alphas_cumprod[: steps * stride])


def inversion(studio: Studio, cases: Sequence[Case]) -> Iterator[Outcome]:
    """Textual inversion (Gal et al. 2022): a pseudo-word of as many input vectors as HiPer's tail, on its budget."""
    model, config = studio.model, replace(studio.settings.fit, learning_rate=studio.settings.inversion_learning_rate)
    source_ids = pseudo_prompts(model, [case.prompt for case in cases], config.tail_tokens)
    start = first_vectors(model, [case.source.species for case in cases], config.tail_tokens)
    embed = partial(encode_pseudo_word, model, source_ids)
    snapshots = {round(share * config.steps) for share in INVERSION_SNAPSHOTS}
    for step, vectors in enumerate(descend(studio, studio.encode_sources(cases), start, embed, config), 1):
        if step in snapshots:
            yield _with_pseudo_word(studio, Setting("inversion", "steps", step), shots(cases, seeds=1), vectors)
    yield _with_pseudo_word(studio, Setting("inversion"), shots(cases, studio.settings.seeds), vectors)


def imagic(studio: Studio, cases: Sequence[Case]) -> Iterator[Outcome]:
    """Imagic (Kawar et al. 2023) without its fine-tuning: the target embedding, fitted to the picture, then mixed."""
    settings = studio.settings
    config = replace(settings.fit, steps=settings.imagic_steps, learning_rate=settings.imagic_learning_rate)
    targets = shots(cases, seeds=1)
    target = studio.encode_prompts(targets)
    latents = studio.encode_sources([shot.case for shot in targets])
    *_, fitted = descend(studio, latents, target, lambda embedding: embedding, config)
    takes = shots(cases, settings.seeds)
    for eta in IMAGIC_ETAS:
        mixed = (eta * target + (1 - eta) * fitted).repeat_interleave(settings.seeds, 0)
        yield Outcome(Setting("imagic", "eta", eta), takes, studio.paint(studio.noise(takes), mixed))


def _with_pseudo_word(studio: Studio, setting: Setting, takes: list[Shot], vectors: Tensor) -> Outcome:
    ids = pseudo_prompts(studio.model, [shot.prompt for shot in takes], vectors.shape[1])
    with torch.no_grad():
        embedding = encode_pseudo_word(studio.model, ids, vectors.repeat_interleave(len(takes) // len(vectors), 0))
    return Outcome(setting, takes, studio.paint(studio.noise(takes), embedding))
