"""Train the autoencoder of Menagerie on freshly rendered pictures."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from hiper.menagerie.render import render
from hiper.menagerie.train.checkpoint import Average, cosine, load, psnr, save
from hiper.menagerie.train.workers import Worker
from hiper.menagerie.world import sample_content, sample_framing, sample_identity

HELD_OUT = 1_000_000_007


@dataclass(frozen=True)
class VaeConfig:
    """128-pixel pictures to 16x16x4 latents. `samples` sets the length of the learning-rate schedule."""

    samples: int = 80_000
    batch: int = 8
    learning_rate: float = 2e-3
    kl_weight: float = 2e-4
    size: int = 128
    checkpoint_steps: int = 250


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
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def vae_loss(vae: AutoencoderKL, images: Tensor, kl_weight: float) -> tuple[Tensor, Tensor]:
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
    return reconstruction + kl_weight * kl, kl.detach()


@torch.no_grad()
def evaluate(vae: AutoencoderKL, weights: dict[str, Tensor], sheet: Path, size: int) -> float:
    """PSNR in dB on 64 held-out pictures; writes a sheet of pairs."""
    trained = {name: weight.clone() for name, weight in vae.state_dict().items()}
    vae.load_state_dict(weights)
    images = picture_batch(HELD_OUT, 64, size)
    with torch.autocast("cpu", torch.bfloat16):
        decoded = vae.decode(vae.encode(images).latent_dist.mean).sample.float().clamp(-1, 1)
    vae.load_state_dict(trained)
    rows = torch.cat([images[:24].reshape(3, 8, 3, size, size), decoded[:24].reshape(3, 8, 3, size, size)], 1)
    grid = rows.reshape(6, 8, 3, size, size).permute(0, 3, 1, 4, 2).reshape(6 * size, 8 * size, 3)
    Image.fromarray(((grid + 1) * 127.5).round().byte().numpy()).save(sheet)
    return psnr(decoded, images)


def train(worker: Worker, folder: Path, config: VaeConfig, report_seconds: float = 60.0) -> None:
    """Train until `config.samples`; started again, goes on from the last checkpoint."""
    torch.manual_seed(0)
    vae = new_vae()
    average = Average(vae)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    path, step = folder / "vae.pt", 0
    if state := load(path):
        vae.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        average.weights, average.updates, step = state["average"], state["updates"], state["step"]
    total, started, shown, first = config.samples // config.batch, time.time(), time.time(), step
    while step < total:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * cosine(step / total)
        seed, share = step * worker.count + worker.rank, config.batch // worker.count
        torch.manual_seed(seed)
        loss, kl = vae_loss(vae, picture_batch(seed, share, config.size), config.kl_weight)
        optimizer.zero_grad()
        loss.backward()
        worker.average_gradients(vae.parameters())
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        average.update()
        step += 1
        if not worker.leads:
            continue
        if step % config.checkpoint_steps == 0 or step == total:
            save(
                path,
                {
                    "network": vae.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "average": average.weights,
                    "updates": average.updates,
                    "step": step,
                },
            )
        if time.time() - shown > report_seconds or step == total:
            shown = time.time()
            rate = (step - first) * config.batch / (time.time() - started)
            db = evaluate(vae, average.weights, folder / "vae.png", config.size)
            print(
                f"step {step}/{total} loss {loss.item():.4f} kl {kl.item():.2f} {rate:.1f} img/s {db:.2f} dB",
                flush=True,
            )
