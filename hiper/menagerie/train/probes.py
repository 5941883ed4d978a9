"""Train the probe on renders and on renders that went through the autoencoder."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from hiper.menagerie.probe import CLASSES, Probe, split_outputs, true_outputs
from hiper.menagerie.render import render
from hiper.menagerie.train.checkpoint import cosine, load, save
from hiper.menagerie.world import sample_content, sample_framing, sample_identity


@dataclass(frozen=True)
class ProbeConfig:
    """`decoded` is the share of pictures that went through the autoencoder."""

    samples: int = 160_000
    batch: int = 64
    learning_rate: float = 2e-3
    pool: int = 12_000
    decoded: float = 0.5
    checkpoint_steps: int = 250


Batch = tuple[Tensor, Tensor, Tensor]


def labelled_pictures(seed: int, count: int) -> Batch:
    """Pictures (count, 3, 128, 128) as bytes, class indices (count, classes), values (count, values)."""
    rng = np.random.default_rng((4, seed))
    pictures, classes, values = [], [], []
    for _ in range(count):
        facts = sample_identity(rng), sample_content(rng), sample_framing(rng)
        pictures.append(render(*facts))
        truth = true_outputs(*facts)
        classes.append(truth[0])
        values.append(truth[1])
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), torch.tensor(classes), torch.tensor(values)


def to_unit(pictures: Tensor) -> Tensor:
    """Bytes to [-1, 1]."""
    return pictures.float().div(127.5).sub(1)


@torch.no_grad()
def through_vae(vae: AutoencoderKL, pictures: Tensor, batch: int = 64) -> Tensor:
    """Byte pictures encoded and decoded, as bytes."""
    decoded = []
    for part in pictures.split(batch):
        with torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(to_unit(part)).latent_dist.mean
            decoded.append(vae.decode(latents).sample.float())
    return torch.cat(decoded).clamp(-1, 1).add(1).mul(127.5).round().byte()


def probe_loss(outputs: Tensor, classes: Tensor, values: Tensor) -> Tensor:
    """Cross entropy of every class and the absolute error of every value that can be seen."""
    scores, read = split_outputs(outputs)
    loss = sum(torch.nn.functional.cross_entropy(score, classes[:, i]) for i, score in enumerate(scores.values()))
    seen = ~values.isnan()
    return torch.as_tensor(loss) / len(CLASSES) + 2 * (read - values)[seen].abs().mean()


@torch.no_grad()
def accuracy(probe: Probe, batch: Batch) -> dict[str, float]:
    """The share read right, class by class."""
    reading = probe.read(to_unit(batch[0]))
    return {
        name: float((reading.classes[name] == batch[1][:, index]).float().mean()) for index, name in enumerate(CLASSES)
    }


def train(folder: Path, config: ProbeConfig, vae: AutoencoderKL, report_seconds: float = 30.0) -> Probe:
    """Train until `config.samples`; started again, goes on from the last checkpoint."""
    torch.manual_seed(0)
    probe, step = Probe(), 0
    optimizer = torch.optim.AdamW(probe.parameters(), lr=config.learning_rate, weight_decay=1e-3)
    path = folder / "probe.pt"
    if state := load(path):
        probe.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    pool_path = folder / "decoded.pt"
    if (pool := load(pool_path)) is None:
        pictures, classes, values = labelled_pictures(1 << 20, config.pool)
        pool = {"pictures": through_vae(vae, pictures), "classes": classes, "values": values}
        save(pool_path, pool)
    held_out = labelled_pictures(1 << 21, 512)
    held_decoded = (through_vae(vae, held_out[0]), *held_out[1:])
    total, shown, from_pool = config.samples // config.batch, time.time(), int(config.batch * config.decoded)
    while step < total:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * cosine(step / total)
        torch.manual_seed(step)
        fresh = labelled_pictures(step, config.batch - from_pool)
        rows = torch.randint(config.pool, (from_pool,))
        reused = (pool["pictures"][rows], pool["classes"][rows], pool["values"][rows])
        pictures, classes, values = (torch.cat(pair) for pair in zip(fresh, reused, strict=True))
        with torch.autocast("cpu", torch.bfloat16):
            outputs = probe(to_unit(pictures))
        loss = probe_loss(outputs.float(), classes, values)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % config.checkpoint_steps == 0 or step == total:
            save(path, {"network": probe.state_dict(), "optimizer": optimizer.state_dict(), "step": step})
        if time.time() - shown > report_seconds or step == total:
            shown = time.time()
            for kind, batch in (("rendered", held_out), ("decoded", held_decoded)):
                shares = " ".join(f"{name} {share:.3f}" for name, share in accuracy(probe, batch).items())
                print(f"step {step}/{total} loss {loss.item():.3f} {kind}: {shares}", flush=True)
    return probe
