"""Train the denoiser of Menagerie and its text encoder: epsilon prediction, captions dropped now and then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextModel

from hiper.menagerie.train.dataset import Dataset
from hiper.menagerie.train.loop import Plan, run
from hiper.menagerie.train.workers import Worker


@dataclass(frozen=True)
class UnetConfig:
    """`mixing` is the share of captions whose last `tail_tokens` rows tell of the same animal elsewhere."""

    samples: int = 300_000
    batch: int = 32
    learning_rate: float = 7e-4
    caption_dropout: float = 0.1
    mixing: float = 0.0
    tail_tokens: int = 5
    average_decay: float = 0.9985
    checkpoint_steps: int = 100


def new_unet(width: int = 128) -> UNet2DConditionModel:
    """10.9 M parameters for 16x16x4 latents; cross-attention at 8x8 and 4x4."""
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=width,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def new_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def mix_tails(embedding: Tensor, other: Tensor, share: float, tail_tokens: int) -> Tensor:
    """For a random `share` of rows, take the last `tail_tokens` vectors from `other`; both are (batch, 77, dim)."""
    chosen = torch.rand(len(embedding), 1, 1) < share
    tail = torch.arange(embedding.shape[1])[None, :, None] >= embedding.shape[1] - tail_tokens
    return torch.where(chosen & tail, other, embedding)


def snr_weight(alphas_cumprod: Tensor, timesteps: Tensor) -> Tensor:
    """Weight min(SNR, 5) / SNR with a floor of 0.15 (Hang et al. 2023), (batch,)."""
    alpha = alphas_cumprod[timesteps]
    snr = alpha / (1 - alpha)
    weight: Tensor = (snr.clamp(max=5) / snr).clamp(min=0.15)
    return weight


class Denoising(nn.Module):
    """UNet and text encoder, trained together as in latent diffusion (Rombach et al. 2022, section 3.3)."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, empty: Tensor, scale: float) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder
        self.empty, self.scale = empty, scale
        self.alphas_cumprod = new_scheduler().alphas_cumprod

    def loss(self, config: UnetConfig, latents: Tensor, ids: Tensor, other_ids: Tensor) -> Tensor:
        """Weighted mean squared error of the predicted noise."""
        latents, count = latents * self.scale, len(latents)
        timesteps, noise = torch.randint(1000, (count,)), torch.randn_like(latents)
        alpha = self.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        with torch.autocast("cpu", torch.bfloat16):
            embedding = self._embed(config, ids, other_ids)
            noise_pred = self.unet(noisy, timesteps, embedding).sample.float()
        errors = (noise_pred - noise).square().mean((1, 2, 3))
        loss: Tensor = (snr_weight(self.alphas_cumprod, timesteps) * errors).mean()
        return loss

    def _embed(self, config: UnetConfig, ids: Tensor, other_ids: Tensor) -> Tensor:
        """Prompt embeddings (batch, 77, dim): some captions dropped, the tails of others mixed."""
        dropped = torch.rand(len(ids), 1) < config.caption_dropout
        embedding: Tensor = self.text_encoder(torch.where(dropped, self.empty, ids)).last_hidden_state
        if not config.mixing:
            return embedding
        other = self.text_encoder(other_ids).last_hidden_state
        mixed = mix_tails(embedding, other, config.mixing, config.tail_tokens)
        return torch.where(dropped[..., None], embedding, mixed)


def train(
    worker: Worker, folder: Path, config: UnetConfig, data: Dataset, denoising: Denoising, name: str, start: str = ""
) -> None:
    """Train until `config.samples`; started again, goes on from the last checkpoint (or first from `start`)."""
    # On a CPU the backward pass of fused attention is several times slower than that of plain matrix products.
    denoising.unet.set_attn_processor(AttnProcessor())
    denoising.text_encoder.set_attn_implementation("eager")
    share = config.batch // worker.count
    run(
        denoising,
        lambda seed: denoising.loss(config, *data.batch(share, seed)),
        Plan(config.samples // config.batch, config.learning_rate, config.average_decay, config.checkpoint_steps),
        folder / f"{name}.pt",
        worker=worker,
        start=folder / f"{start}.pt" if start else None,
    )
