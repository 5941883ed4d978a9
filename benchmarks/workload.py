"""What a fit is measured on: a UNet, latents and a prompt, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from hiper.model_folder import find_folder, weights_digest
from hiper.models import load_model


@dataclass(frozen=True)
class Workload:
    """The inputs of a fit.

    Attributes:
        unet: in fp32 on the CPU, in evaluation mode as diffusers loads it, its parameters not frozen.
        latents: of one image, (1, 4, h, w).
        prompt_embedding: (1, 77, dim).
        alphas_cumprod: (1000,), fp64.
        prediction_type: "epsilon" or "v_prediction".
    """

    unet: Any
    latents: Tensor
    prompt_embedding: Tensor
    alphas_cumprod: Tensor
    prediction_type: str = "epsilon"


def workload(model: str) -> Workload:
    """The inputs of a fit, the same at every call; neither time nor memory depends on what image it is.

    Args:
        model: "tiny", "sd1" or "sd2" (Stable Diffusion 1.x, 2.x, at 512 pixels) with random weights, or what
            `load_model` takes.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if model in _ARCHITECTURES:
            unet = UNet2DConditionModel(**_ARCHITECTURES[model]).eval()
            prompt_embedding = torch.randn(1, 77, unet.config.cross_attention_dim, generator=generator)
            return Workload(unet, _latents(unet, generator), prompt_embedding, _scaled_linear())
        loaded = load_model(model)
    loaded.unet.requires_grad_(True)
    return Workload(
        loaded.unet,
        _latents(loaded.unet, generator),
        loaded.encode_prompt(["a standing dog"]),
        loaded.alphas_cumprod,
        loaded.prediction_type,
    )


def model_digest(model: str) -> str | None:
    """SHA-256 over a model's weights; None where `workload` draws them."""
    return None if model in _ARCHITECTURES else weights_digest(find_folder(model))


_ARCHITECTURES: dict[str, dict[str, Any]] = {
    "sd1": {"sample_size": 64, "cross_attention_dim": 768},
    "sd2": {
        "sample_size": 64,
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
    "tiny": {
        "sample_size": 16,
        "cross_attention_dim": 64,
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    },
}


def _latents(unet: Any, generator: torch.Generator) -> Tensor:
    return torch.randn(1, 4, unet.config.sample_size, unet.config.sample_size, generator=generator)


def _scaled_linear() -> Tensor:
    """The schedule of Stable Diffusion 1.x and 2.x."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0)
