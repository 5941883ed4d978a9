"""The denoising loss that a tail is fitted to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from hiper.execution import Execution
from hiper.tail import splice


@dataclass(frozen=True)
class Objective:
    """How badly a frozen UNet denoises some images of one subject behind one prompt and a tail.

    Attributes:
        unet: diffusers' UNet2DConditionModel, made ready for `execution`.
        latents: (images, 4, h, w), fp32.
        prompt_embedding: (1, 77, dim), fp32.
        alphas_cumprod: (timesteps,), of the model's training schedule.
        prediction_type: "epsilon", or "v_prediction" (Salimans & Ho 2022).
        execution: resolved; all tensors are on its device.
    """

    unet: torch.nn.Module
    latents: Tensor
    prompt_embedding: Tensor
    alphas_cumprod: Tensor
    prediction_type: str
    execution: Execution

    def loss(self, tail: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Mean squared error over rows; row r belongs to image r modulo the number of images.

        Args:
            tail: (tail_tokens, dim), fp32.
            noise: (rows, 4, h, w), rows a multiple of the number of images.
            timesteps: (rows,).
        """
        latents = self.latents.repeat(len(noise) // len(self.latents), 1, 1, 1)
        alpha = self.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        signal, sigma = alpha.sqrt().float(), (1 - alpha).sqrt().float()
        noisy = signal * latents + sigma * noise
        target = noise if self.prediction_type == "epsilon" else signal * noise - sigma * latents
        encoder_hidden_states = splice(self.prompt_embedding, tail).expand(len(noise), -1, -1)
        with self.execution.autocast():
            model_out = self.unet(noisy, timesteps, encoder_hidden_states=encoder_hidden_states, return_dict=False)[0]
        return torch.nn.functional.mse_loss(model_out.float(), target)

    def draw(self, count: int, stratified: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noise and timesteps for `count` rows per image, in this order, from a generator on the CPU.

        Args:
            count: rows per image.
            stratified: one timestep from each of `count` equal parts of the range; otherwise all from the whole range.
            generator: gives the same numbers for every device.
        """
        images, timesteps = len(self.latents), len(self.alphas_cumprod)
        noise = torch.randn(count * images, *self.latents.shape[1:], generator=generator)
        if stratified:
            position = (torch.arange(count)[:, None] + torch.rand(count, images, generator=generator)) / count
            chosen = (position.flatten() * timesteps).long().clamp(max=timesteps - 1)  # a sum may round up to the end
        else:
            chosen = torch.randint(timesteps, (count * images,), generator=generator)
        return noise.to(self.latents.device), chosen.to(self.latents.device)


@contextmanager
def frozen(unet: torch.nn.Module) -> Iterator[None]:
    """Inside, no parameter collects a gradient and no layer is in training mode; afterwards all is as it was."""
    training = [module for module in unet.modules() if module.training]
    trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    unet.eval().requires_grad_(False)
    try:
        yield
    finally:
        for module in training:
            module.training = True
        for parameter in trained:
            parameter.requires_grad_()
