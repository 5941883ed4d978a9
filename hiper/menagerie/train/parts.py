"""The trained parts: what each training needs of the ones before, and all together in diffusers' layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from safetensors.torch import save_file

from hiper.menagerie.train import dataset, unet
from hiper.menagerie.train.checkpoint import load
from hiper.menagerie.train.text import Matcher, new_text_encoder, open_tokenizer, tokenize
from hiper.menagerie.train.unet import Denoising, UnetConfig, new_scheduler, new_unet
from hiper.menagerie.train.vae import new_vae
from hiper.menagerie.train.workers import Worker

# The model card, and what suits the model best.
WRITTEN_BY_HAND = ("README.md", "hiper.json")


def trained_vae(folder: Path) -> AutoencoderKL:
    """The averaged autoencoder of a training folder; its `scaling_factor` is set once latents were measured."""
    vae = new_vae()
    refined = folder / "vae-decoder.pt"
    vae.load_state_dict(_state(refined if refined.exists() else folder / "vae.pt")["average"])
    scale = load(folder / "latent_scale.pt")
    if scale:
        vae.register_to_config(scaling_factor=scale["latent_scale"])
    return vae.eval()


def trained_matcher(folder: Path) -> Matcher:
    """The text encoder after its contrastive training, with its image tower."""
    matcher = Matcher(new_text_encoder(open_tokenizer(folder / "tokenizer"), 128), 128)
    matcher.load_state_dict(_state(folder / "text.pt")["average"])
    return matcher.eval()


def new_denoising(folder: Path) -> Denoising:
    """An untrained UNet with the text encoder after its contrastive training."""
    scale = load(folder / "latent_scale.pt")
    if scale is None:
        raise FileNotFoundError(f"{folder} has no latents yet; run: python -m hiper.menagerie.train data")
    empty = tokenize(open_tokenizer(folder / "tokenizer"), [""])
    torch.manual_seed(0)
    return Denoising(new_unet(), trained_matcher(folder).text_encoder, empty, float(scale["latent_scale"]))


def trained_denoising(folder: Path, name: str) -> Denoising:
    """The averaged UNet and text encoder of the checkpoint `name`."""
    denoising = new_denoising(folder)
    denoising.load_state_dict(_state(folder / f"{name}.pt")["average"])
    return denoising.eval()


def build_shards(worker: Worker, folder: Path, count: int) -> None:
    """Write the shards that are still missing, with the trained autoencoder."""
    tokenizer = open_tokenizer(folder / "tokenizer")
    dataset.build(worker, folder / "shards", trained_vae(folder), tokenizer, count)


def train_unet(worker: Worker, folder: Path, config: UnetConfig, name: str, start: str) -> None:
    """Train on the shards there are."""
    unet.train(worker, folder, config, dataset.read(folder / "shards"), new_denoising(folder), name, start)


def assemble(folder: Path, target: Path, name: str) -> None:
    """Write the pipeline to `target`, and the probe beside it; replaces what was there but for card and recipe."""
    denoising = trained_denoising(folder, name)
    pipeline = StableDiffusionPipeline(
        vae=trained_vae(folder),
        text_encoder=denoising.text_encoder,
        tokenizer=open_tokenizer(folder / "tokenizer"),
        unet=denoising.unet,
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    pipeline.to(dtype=torch.float16).save_pretrained(partial)
    if (probe := load(folder / "probe.pt")) is not None:
        save_file({key: weight.half() for key, weight in probe["average"].items()}, partial / "probe.safetensors")
    for kept in WRITTEN_BY_HAND:
        if (target / kept).exists():
            shutil.copy(target / kept, partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def _state(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    state = load(path)
    if state is None:
        raise FileNotFoundError(f"{path} is missing; train this part first: python -m hiper.menagerie.train --help")
    return state
