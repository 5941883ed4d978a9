"""Train the probe on renders and on renders that went through the autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from hiper.images import from_bytes, to_bytes
from hiper.menagerie.probe import CLASSES, Probe, split_outputs, true_outputs
from hiper.menagerie.render import render
from hiper.menagerie.train.checkpoint import load, save
from hiper.menagerie.train.loop import Plan, run
from hiper.menagerie.train.vae import reconstruct
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


def through_vae(vae: AutoencoderKL, pictures: Tensor, batch: int = 64) -> Tensor:
    """Byte pictures encoded and decoded, as bytes."""
    decoded = [reconstruct(vae, from_bytes(part)) for part in pictures.split(batch)]
    return to_bytes(torch.cat(decoded))


def probe_loss(outputs: Tensor, classes: Tensor, values: Tensor) -> Tensor:
    """Cross entropy of every class and the absolute error of every value that can be seen."""
    scores, read = split_outputs(outputs)
    loss = sum(torch.nn.functional.cross_entropy(score, classes[:, i]) for i, score in enumerate(scores.values()))
    seen = ~values.isnan()
    return torch.as_tensor(loss) / len(CLASSES) + 2 * (read - values)[seen].abs().mean()


@torch.no_grad()
def accuracy(probe: Probe, batch: Batch) -> dict[str, float]:
    """The share read right, class by class."""
    reading = probe.read(from_bytes(batch[0]))
    return {
        name: round(float((reading.classes[name] == batch[1][:, index]).float().mean()), 3)
        for index, name in enumerate(CLASSES)
    }


def decoded_pool(path: Path, vae: AutoencoderKL, count: int) -> Batch:
    """`count` labelled pictures that went through the autoencoder; made once and kept at `path`."""
    if (kept := load(path)) is None:
        pictures, classes, values = labelled_pictures(1 << 20, count)
        kept = {"pictures": through_vae(vae, pictures), "classes": classes, "values": values}
        save(path, kept)
    return kept["pictures"], kept["classes"], kept["values"]


def train(folder: Path, config: ProbeConfig, vae: AutoencoderKL) -> None:
    """Train until `config.samples`; started again, goes on from the last checkpoint."""
    torch.manual_seed(0)
    probe, from_pool = Probe(), int(config.batch * config.decoded)
    pool = decoded_pool(folder / "decoded.pt", vae, config.pool)
    rendered = labelled_pictures(1 << 21, 512)
    decoded = (through_vae(vae, rendered[0]), *rendered[1:])

    def loss(seed: int) -> Tensor:
        fresh, rows = labelled_pictures(seed, config.batch - from_pool), torch.randint(config.pool, (from_pool,))
        pictures, classes, values = (torch.cat([new, kept[rows]]) for new, kept in zip(fresh, pool, strict=True))
        with torch.autocast("cpu", torch.bfloat16):
            outputs = probe(from_bytes(pictures))
        return probe_loss(outputs.float(), classes, values)

    def report() -> str:
        shares = {"rendered": accuracy(probe, rendered), "decoded": accuracy(probe, decoded)}
        return "\n".join(f"{kind}: {share}" for kind, share in shares.items())

    plan = Plan(config.samples // config.batch, config.learning_rate, checkpoint_steps=config.checkpoint_steps)
    run(probe, loss, plan, folder / "probe.pt", report=report)
