"""Is a Menagerie model good enough to be worth measuring edits on?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.fidelity.studio import Studio
from hiper.images import from_uint8, to_pictures
from hiper.menagerie.captions import describe, terse_caption
from hiper.menagerie.probe import CLASSES, true_outputs
from hiper.menagerie.render import render
from hiper.menagerie.train.vae import psnr
from hiper.menagerie.world import Content, Framing, Identity, held_out
from hiper.sample import draw_noise
from hiper.sheet import contact_sheet

# Animals that neither the fidelity run nor its tuning meets.
FIRST = 100_000
CONTENT = ("species", "pose", "place")
MARKS = ("pattern", "collar")
NUM_INFERENCE_STEPS = 50

LEAST_PSNR_DB = 27.0
LEAST_PROBE_ACCURACY = 0.97
LEAST_PICTURES_RIGHT = 0.90
SHOWN = 64


@dataclass(frozen=True)
class Request:
    """A held-out picture, and the caption it could have: terse, or with every detail of its animal."""

    identity: Identity
    content: Content
    framing: Framing
    prompt: str
    detailed: bool


def held_out_request(index: int) -> Request:
    """Every second request is detailed."""
    identity, content, framing = held_out(FIRST + index)
    prompt, detailed = terse_caption(content), index % 2 == 1
    if detailed:
        prompt = f"{prompt} with {describe(identity, np.random.default_rng(index))}"
    return Request(identity, content, framing, prompt, detailed)


def measure(studio: Studio, count: int) -> tuple[dict[str, Any], Image.Image]:
    """The figures of the gate, and a sheet of the first pictures made from text.

    Args:
        studio: its settings name the guidance; the steps are 50.
        count: held-out pictures, and as many pictures from captions.
    """
    requests = [held_out_request(index) for index in range(count)]
    rendered = from_uint8([render(request.identity, request.content, request.framing) for request in requests])
    decoded = torch.cat([_through_vae(studio, images) for images in rendered.split(studio.settings.batch)])
    made = _from_text(studio, requests)
    detailed = [index for index, request in enumerate(requests) if request.detailed]
    results = {
        "vae_psnr_db": psnr(decoded, rendered),
        "probe_on_rendered": _shares(studio, rendered, requests, (*CONTENT, *MARKS)),
        "probe_on_decoded": _shares(studio, decoded, requests, (*CONTENT, *MARKS)),
        "from_text": _shares(studio, made, requests, CONTENT),
        "from_detailed_text": _shares(studio, made[detailed], [requests[index] for index in detailed], MARKS),
    }
    return results, _sheet(made[:SHOWN], requests[:SHOWN])


def failures(results: dict[str, Any]) -> list[str]:
    """What is not good enough, a sentence each."""
    found = [("the VAE's PSNR in dB", results["vae_psnr_db"], LEAST_PSNR_DB, "vae")]
    for name in CONTENT:
        for kind in ("probe_on_rendered", "probe_on_decoded"):
            found.append((f"{kind} {name}", results[kind][name], LEAST_PROBE_ACCURACY, "probe"))
        found.append((f"from_text {name}", results["from_text"][name], LEAST_PICTURES_RIGHT, "unet"))
    return [
        f"{what} is {value:.3f} but must be at least {least}; train on: python -m hiper.menagerie.train {part}"
        for what, value, least, part in found
        if not value >= least
    ]


def _through_vae(studio: Studio, images: Tensor) -> Tensor:
    return studio.model.decode_latents(studio.model.encode_image(images)).cpu()


def _from_text(studio: Studio, requests: list[Request]) -> Tensor:
    model = studio.model
    side = model.image_size // model.vae_factor
    prompts = model.encode_prompt([request.prompt for request in requests])
    return studio.paint(draw_noise(range(len(requests)), side, side), prompts, None, NUM_INFERENCE_STEPS)


def _shares(studio: Studio, images: Tensor, requests: list[Request], names: tuple[str, ...]) -> dict[str, float]:
    """The share of pictures whose class is read as requested, by name."""
    reading = studio.probe.read(images)
    truths = torch.tensor([true_outputs(r.identity, r.content, r.framing)[0] for r in requests])
    right = {name: reading.classes[name] == truths[:, index] for index, name in enumerate(CLASSES)}
    return {name: float(right[name].float().mean()) for name in names}


def _sheet(images: Tensor, requests: list[Request], columns: int = 8) -> Image.Image:
    pictures = to_pictures(images)
    captions = [f"{r.content.pose} {r.content.species}, {r.content.place}" for r in requests]
    starts = range(0, len(pictures), columns)
    return contact_sheet(
        [pictures[start : start + columns] for start in starts],
        captions=[captions[start : start + columns] for start in starts],
        cell=128,
    )
