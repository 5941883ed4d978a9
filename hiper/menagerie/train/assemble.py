"""Put the trained parts together in diffusers' layout, in half precision."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModel

from hiper.menagerie.train.checkpoint import load
from hiper.menagerie.train.text import Matcher, new_text_encoder, open_tokenizer
from hiper.menagerie.train.unet import new_scheduler, new_unet
from hiper.menagerie.train.vae import new_vae


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
    """The text encoder with its image tower."""
    tokenizer = open_tokenizer(folder / "tokenizer")
    matcher = Matcher(new_text_encoder(tokenizer, 128), 128)
    matcher.load_state_dict(_state(folder / "text.pt")["average"])
    return matcher.eval()


def trained_unet(folder: Path, name: str) -> UNet2DConditionModel:
    """The averaged denoiser `name` of a training folder."""
    unet = new_unet()
    unet.load_state_dict(_state(folder / f"{name}.pt")["average"])
    return unet.eval()


def assemble(folder: Path, target: Path, name: str) -> None:
    """Write the pipeline to `target`, and the probe beside it; replaces what was there."""
    text_encoder: CLIPTextModel = trained_matcher(folder).text_encoder
    pipeline = StableDiffusionPipeline(
        vae=trained_vae(folder),
        text_encoder=text_encoder,
        tokenizer=open_tokenizer(folder / "tokenizer"),
        unet=trained_unet(folder, name),
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
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def _state(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    state = load(path)
    if state is None:
        raise FileNotFoundError(f"{path} is missing; train this part first: python -m hiper.menagerie.train --help")
    return state
