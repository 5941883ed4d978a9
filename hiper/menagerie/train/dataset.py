"""Pictures as latents with their captions, rendered once, in shards that a kill cannot spoil."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save
from torch import Tensor
from transformers import CLIPTokenizer

from engine.atomic_file import write_atomically
from hiper.images import from_uint8
from hiper.menagerie.captions import caption, identity_caption
from hiper.menagerie.render import render
from hiper.menagerie.tokenizer import MAX_TOKENS
from hiper.menagerie.train.text import tokenize
from hiper.menagerie.train.workers import Worker
from hiper.menagerie.world import sample_content, sample_framing, sample_identity

SHARD = 2048
CAPTIONS = 4


@dataclass(frozen=True)
class Dataset:
    """Latents (count, 4, 16, 16) as the VAE gives them, and token ids (count, captions, 77)."""

    latents: Tensor
    captions: Tensor
    others: Tensor
    """Captions of the same individual as another animal, doing something else somewhere else."""

    def batch(self, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """`count` random rows, the same for the same seed: latents, ids of a caption, ids of another caption."""
        rng = torch.Generator().manual_seed(seed)
        rows = torch.randint(len(self.latents), (count,), generator=rng)
        pick = torch.randint(CAPTIONS, (2, count), generator=rng)
        return self.latents[rows].float(), self.captions[rows, pick[0]].long(), self.others[rows, pick[1]].long()


def build(worker: Worker, folder: Path, vae: AutoencoderKL, tokenizer: CLIPTokenizer, count: int) -> None:
    """Write the shards that `folder` still lacks of `count` pictures; each worker takes every n-th."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(worker.rank, count // SHARD, worker.count):
        path = folder / f"{index:04}.safetensors"
        if path.exists():
            continue
        started = time.time()
        write_atomically(path, save(_shard(index, vae, tokenizer)))
        print(f"shard {index + 1}/{count // SHARD} {SHARD / (time.time() - started):.0f} img/s", flush=True)


def read(folder: Path) -> Dataset:
    """All shards of `folder` in memory."""
    shards = [load_file(path) for path in sorted(folder.glob("*.safetensors"))]
    return Dataset(**{name: torch.cat([shard[name] for shard in shards]) for name in ("latents", "captions", "others")})


def _shard(index: int, vae: AutoencoderKL, tokenizer: CLIPTokenizer) -> dict[str, Tensor]:
    rng = np.random.default_rng((3, index))
    latents, captions, others = [], [], []
    for _ in range(SHARD // 64):
        pictures = []
        for _ in range(64):
            identity, content = sample_identity(rng), sample_content(rng)
            pictures.append(render(identity, content, sample_framing(rng)))
            captions += [caption(identity, content, rng) for _ in range(CAPTIONS)]
            others += [identity_caption(identity, sample_content(rng), rng) for _ in range(CAPTIONS)]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            latents.append(vae.encode(from_uint8(pictures)).latent_dist.mean.half())
    shape = (SHARD, CAPTIONS, MAX_TOKENS)
    return {
        "latents": torch.cat(latents).contiguous(),
        "captions": tokenize(tokenizer, captions).short().reshape(shape),
        "others": tokenize(tokenizer, others).short().reshape(shape),
    }
