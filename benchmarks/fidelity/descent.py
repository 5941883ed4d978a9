"""Fit the text side of several pictures at once, for methods that learn something else than a tail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.fidelity.studio import Studio
from hiper.fit import FitConfig
from hiper.objective import Objective, frozen


def descend(
    studio: Studio, latents: Tensor, start: Tensor, embed: Callable[[Tensor], Tensor], config: FitConfig
) -> Iterator[Tensor]:
    """Adam on HiPer's loss, each picture on its own: with one picture and its tail this is `fit_tail`.

    Args:
        studio: the frozen model.
        latents: of the pictures, (pictures, 4, h, w).
        start: what is learned, (pictures, ...).
        embed: turns what is learned into prompt embeddings, (pictures, 77, dim).
        config: steps, learning rate and its decay, timesteps per step, seed; nothing stops it early.

    Yields:
        What is learned, after each step.
    """
    learned = start.clone().requires_grad_()
    adam = torch.optim.Adam([learned], betas=(0.9, 0.999), eps=1e-8)
    generator = torch.Generator().manual_seed(config.seed)
    no_tail = start.new_zeros(0, studio.model.dim)
    objective = Objective(
        studio.model.unet,
        latents,
        no_tail,
        studio.model.alphas_cumprod.to(latents.device),
        studio.model.prediction_type,
        studio.execution,
    )
    for step in range(config.steps):
        noise, timesteps = objective.draw(config.timesteps_per_step, config.stratified, generator)
        with frozen(studio.model.unet):
            embedding = embed(learned).repeat(config.timesteps_per_step, 1, 1)
            loss = replace(objective, prompt_embedding=embedding).loss(no_tail, noise, timesteps)
            # The loss is a mean over pictures, but none of them should learn less for being one of many.
            (learned.grad,) = torch.autograd.grad(len(latents) * loss, learned)
        adam.param_groups[0]["lr"] = config.learning_rate_at(step)
        adam.step()
        yield learned.detach().clone()
