"""Train Menagerie part by part; every command can be stopped and started again."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hiper.menagerie.train import dataset, parts, probes, text, unet, vae
from hiper.menagerie.train.checkpoint import save
from hiper.menagerie.train.workers import run_workers

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Option(help="Where checkpoints, shards and sheets are kept.")]
Samples = Annotated[int, typer.Option(help="Samples in all; sets the learning-rate schedule.")]
Workers = Annotated[int, typer.Option(help="Processes of one thread each.")]
FOLDER = Path("menagerie-training")


@app.command("vae")
def train_vae(
    folder: Folder = FOLDER,
    samples: Samples = 64_000,
    workers: Workers = 2,
    decoder_only: Annotated[bool, typer.Option(help="Refine the decoder; latents stay as they are.")] = False,
) -> None:
    """1. The autoencoder, 128x128x3 to 16x16x4."""
    config = vae.VaeConfig(samples=samples, decoder_only=decoder_only)
    run_workers(partial(vae.train, folder=folder, config=config), workers)


@app.command("text")
def train_text(folder: Folder = FOLDER, samples: Samples = 64_000) -> None:
    """2. The tokenizer and the contrastive text encoder."""
    text.train(folder, text.TextConfig(samples=samples))


@app.command("data")
def make_data(
    folder: Folder = FOLDER,
    count: Annotated[int, typer.Option(help="Pictures; rounded down to whole shards.")] = 98_304,
    workers: Workers = 2,
) -> None:
    """3. Pictures as latents, with captions, and the scale of the latents."""
    run_workers(partial(parts.build_shards, folder=folder, count=count), workers)
    deviation = float(dataset.read(folder / "shards").latents[:8192].float().std())
    save(folder / "latent_scale.pt", {"latent_scale": 1 / deviation})
    print(f"latent scale {1 / deviation:.5f}")


@app.command("unet")
def train_unet(
    folder: Folder = FOLDER,
    samples: Samples = 300_000,
    workers: Workers = 2,
    name: Annotated[str, typer.Option(help="The checkpoint's name.")] = "unet",
    start: Annotated[str, typer.Option(help="The checkpoint to begin with.")] = "",
    mixing: Annotated[float, typer.Option(help="Share of captions with another caption's tail.")] = 0.0,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 7e-4,
    batch: Annotated[int, typer.Option(help="Samples per step, over all workers.")] = 32,
) -> None:
    """4. The denoiser, and the text encoder with it."""
    config = unet.UnetConfig(samples, batch, learning_rate, mixing=mixing)
    run_workers(partial(parts.train_unet, folder=folder, config=config, name=name, start=start), workers)


@app.command("probe")
def train_probe(folder: Folder = FOLDER, samples: Samples = 160_000) -> None:
    """5. The probe that reads pictures."""
    probes.train(folder, probes.ProbeConfig(samples=samples), parts.trained_vae(folder))


@app.command("assemble")
def assemble(
    target: Annotated[Path, typer.Argument(help="The folder to write, replaced when it exists.")],
    folder: Folder = FOLDER,
    name: Annotated[str, typer.Option(help="The denoiser's checkpoint.")] = "unet",
) -> None:
    """6. The whole model in diffusers' layout."""
    parts.assemble(folder, target, name)


if __name__ == "__main__":
    app()
