"""Train the autoencoder of Menagerie on freshly rendered pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from hiper.images import from_uint8, to_bytes
from hiper.menagerie.render import render
from hiper.menagerie.train.loop import Plan, run
from hiper.menagerie.train.workers import Worker
from hiper.menagerie.world import sample_content, sample_framing, sample_identity
from hiper.psnr import psnr_db

HELD_OUT = 1_000_000_007


@dataclass(frozen=True)
class VaeConfig:
    """128-pixel pictures to 16x16x4 latents; `decoder_only` refines the decoder and leaves the latents as they are."""

    samples: int = 64_000
    batch: int = 16
    learning_rate: float = 2e-3
    kl_weight: float = 2e-4
    size: int = 128
    checkpoint_steps: int = 250
    decoder_only: bool = False


def new_vae() -> AutoencoderKL:
    """An autoencoder that halves the picture three times; no attention, so that it is quick on a CPU."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 128),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=128,
    )


def picture_batch(seed: int, count: int, size: int) -> Tensor:
    """`count` random pictures in [-1, 1], (count, 3, size, size); the same seed gives the same pictures."""
    rng = np.random.default_rng(seed)
    pictures = [render(sample_identity(rng), sample_content(rng), sample_framing(rng), size) for _ in range(count)]
    return from_uint8(pictures)


def vae_loss(vae: AutoencoderKL, images: Tensor, kl_weight: float) -> Tensor:
    """Reconstruction (absolute and squared) plus a weak pull of the latents to a unit normal."""
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(images).latent_dist
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        latents = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        decoded = vae.decode(latents).sample.float()
    difference = decoded - images
    coarse = torch.nn.functional.avg_pool2d(difference, 8)
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    reconstruction = difference.abs().mean() + 2 * difference.square().mean() + coarse.abs().mean()
    loss: Tensor = reconstruction + kl_weight * kl
    return loss


def psnr(images: Tensor, truth: Tensor) -> float:
    """Peak signal to noise in dB of images in [-1, 1], over all pixels together."""
    return psnr_db(images.numpy(), truth.numpy(), span=2)


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Images (batch, 3, H, W) in [-1, 1] there and back, as the sampler would decode them."""
    with torch.autocast("cpu", torch.bfloat16):
        decoded: Tensor = vae.decode(vae.encode(images).latent_dist.mean).sample
    return decoded.float().clamp(-1, 1)


def quality(vae: AutoencoderKL, sheet: Path, size: int) -> str:
    """PSNR on 64 held-out pictures; writes a sheet of pairs."""
    images = picture_batch(HELD_OUT, 64, size)
    decoded = reconstruct(vae, images)
    rows = torch.stack([images[:24].unflatten(0, (3, 8)), decoded[:24].unflatten(0, (3, 8))], 1)
    grid = rows.flatten(0, 1).permute(0, 3, 1, 4, 2).reshape(6 * size, 8 * size, 3)
    Image.fromarray(to_bytes(grid).numpy()).save(sheet)
    return f"{psnr(decoded, images):.2f} dB"


def train(worker: Worker, folder: Path, config: VaeConfig) -> None:
    """Train until `config.samples`; started again, goes on from the last checkpoint."""
    torch.manual_seed(0)
    vae, share = new_vae(), config.batch // worker.count
    if config.decoder_only:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    run(
        vae,
        lambda seed: vae_loss(vae, picture_batch(seed, share, config.size), config.kl_weight),
        Plan(config.samples // config.batch, config.learning_rate, checkpoint_steps=config.checkpoint_steps),
        folder / ("vae-decoder.pt" if config.decoder_only else "vae.pt"),
        worker=worker,
        start=folder / "vae.pt" if config.decoder_only else None,
        report=lambda: quality(vae, folder / "vae.png", config.size),
    )
