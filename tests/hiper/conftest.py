"""A UNet that fits in a blink, and what a fit needs beside it."""

from typing import NamedTuple

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor


class FitInputs(NamedTuple):
    """In the order of fit_tail's arguments."""

    unet: UNet2DConditionModel
    latents: Tensor
    prompt_embedding: Tensor
    alphas_cumprod: Tensor


@pytest.fixture
def fit_inputs() -> FitInputs:
    """Two images of 8x8 latents behind one prompt, 12 wide, under Stable Diffusion's schedule."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    return FitInputs(unet.eval(), torch.randn(2, 4, 8, 8), torch.randn(1, 77, 12), scheduler.alphas_cumprod)
