"""Loads Stable Diffusion 1.x and 2.x; the only file that names diffusers and transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Generator, Tensor
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging

from hiper.errors import ModelError, PromptError
from hiper.model_folder import find_folder, read_config, weights_digest
from hiper.schedule import NoiseSchedule

FAMILIES = {768: "sd1", 1024: "sd2"}


@dataclass(frozen=True, eq=False)
class StableDiffusion:
    """A frozen Stable Diffusion and what its configuration says.

    Attributes:
        model_id: what it was loaded as: hub id or folder name.
        folder: where its files lie.
        unet: predicts the noise, or v, in latents.
        vae: turns images into latents and back.
        text_encoder: always in fp32, since a prompt is encoded once.
        tokenizer: CLIP's.
        schedule: the diffusion it was trained with.
        clip_skip: text encoder layers left out, 0 for the last hidden state.
    """

    model_id: str
    folder: Path
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    schedule: NoiseSchedule
    clip_skip: int = 0

    @property
    def alphas_cumprod(self) -> Tensor:
        """Cumulative product of 1 - beta, (1000,) fp64 on the CPU."""
        return self.schedule.alphas_cumprod

    @property
    def prediction_type(self) -> str:
        """What the UNet predicts, "epsilon" or "v_prediction"."""
        return self.schedule.prediction_type

    @property
    def latent_scale(self) -> float:
        """The VAE's scaling_factor: brings latents to unit variance."""
        return float(self.vae.config.scaling_factor)

    @property
    def vae_factor(self) -> int:
        """Pixels per latent along a side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def image_size(self) -> int:
        """Side of the square images the model was trained on, in pixels."""
        return int(self.unet.config.sample_size) * self.vae_factor

    @property
    def dim(self) -> int:
        """Width of a prompt embedding."""
        return int(self.text_encoder.config.hidden_size)

    @property
    def max_tokens(self) -> int:
        """Rows of a prompt embedding, 77."""
        return int(self.text_encoder.config.max_position_embeddings)

    @property
    def family(self) -> str:
        """Models of one family share a text encoder: "sd1", "sd2", else "clip-" and its width."""
        return FAMILIES.get(self.dim, f"clip-{self.dim}")

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the weights; reads them all once, when first asked for."""
        return weights_digest(self.folder)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        device: torch.device = next(self.unet.parameters()).device
        return device

    @torch.no_grad()
    def encode_prompt(self, prompts: str | Sequence[str], tail_tokens: int = 0) -> Tensor:
        """Encode prompts as diffusers does: padded to 77 tokens, last hidden state, final layer norm.

        Args:
            prompts: one or several; "" is the unconditional prompt.
            tail_tokens: rows at the end that a tail will replace; the prompt's words must leave them free.

        Returns:
            (batch, 77, dim) fp32 on the model's device.

        Raises:
            PromptError: a prompt is too long; the message names the limit and the words that do not fit.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        for prompt in prompts:
            self._check_room(prompt, tail_tokens)
        tokens = self.tokenizer(prompts, padding="max_length", max_length=self.max_tokens, return_tensors="pt")
        output = self.text_encoder(tokens.input_ids.to(self.device), output_hidden_states=self.clip_skip > 0)
        embedding: Tensor = output.last_hidden_state
        if self.clip_skip > 0:
            embedding = self.text_encoder.final_layer_norm(output.hidden_states[-(self.clip_skip + 1)])
        return embedding

    @torch.no_grad()
    def encode_image(self, image: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw latents of images from the VAE's posterior, once.

        Args:
            image: (batch, 3, H, W) in [-1, 1]; H and W are multiples of `vae_factor`.
            generator: on the CPU, so that a seed means the same everywhere; without one the posterior's mode is taken.

        Returns:
            (batch, 4, H / vae_factor, W / vae_factor) fp32 on the model's device, scaled by `latent_scale`.
        """
        posterior = self.vae.encode(image.to(self.device, self.vae.dtype)).latent_dist
        latents: Tensor = posterior.mode() if generator is None else posterior.sample(generator)
        return latents.float() * self.latent_scale

    @torch.no_grad()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Turn scaled latents (batch, 4, h, w) into images (batch, 3, H, W), fp32 in [-1, 1]."""
        latents = (latents / self.latent_scale).to(self.device, self.vae.dtype)
        image: Tensor = self.vae.decode(latents).sample
        return image.float().clamp(-1, 1)

    def _check_room(self, prompt: str, tail_tokens: int) -> None:
        room = self.max_tokens - tail_tokens - 2
        words = self.tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        found = len(words.input_ids)
        if found > room:
            first = prompt.rfind(" ", 0, words.offset_mapping[room][0]) + 1
            raise PromptError(
                f"prompt has {found} tokens but {room} fit between its start, its end and a tail of {tail_tokens}; "
                f"leave out {prompt[first:]!r}"
            )


def load_model(
    source: str | Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32, clip_skip: int = 0
) -> StableDiffusion:
    """Load a Stable Diffusion 1.x or 2.x, frozen; reads safetensors only.

    Args:
        source: a hub id, a folder in diffusers layout, or "menagerie" for the model that ships with HiPer.
        device: where the networks go.
        dtype: of UNet and VAE; the text encoder stays in fp32.
        clip_skip: text encoder layers to leave out; a tail is tied to the value it was fitted with.

    Raises:
        ModelError: it is missing, incomplete, damaged, or of another kind.
    """
    folder = find_folder(source)
    layers = read_config(folder, "text_encoder/config.json").get("num_hidden_layers", 12)
    if not 0 <= clip_skip < layers:
        raise ModelError(f"clip_skip is {clip_skip} but the text encoder has {layers} layers; use 0 to {layers - 1}")
    schedule = NoiseSchedule.from_config(read_config(folder, "scheduler/scheduler_config.json"))
    return StableDiffusion(
        model_id=folder.resolve().name if folder == Path(source) else str(source),
        folder=folder,
        unet=_load_network(UNet2DConditionModel, folder / "unet", dtype).to(device),
        vae=_load_network(AutoencoderKL, folder / "vae", dtype).to(device),
        text_encoder=_load_network(CLIPTextModel, folder / "text_encoder", torch.float32).to(device),
        tokenizer=_load_tokenizer(folder / "tokenizer"),
        schedule=schedule,
        clip_skip=clip_skip,
    )


def _load_network(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    with _no_progress_bar():
        network, report = _load(kind, folder, dtype=dtype, use_safetensors=True, output_loading_info=True)
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"{folder} lacks {len(missing)} weights, {missing[0]} among them; download the model again")
    return network.eval().requires_grad_(False)


def _load_tokenizer(folder: Path) -> CLIPTokenizer:
    # Without its files, transformers hands out a tokenizer that knows no word.
    if not ((folder / "tokenizer.json").is_file() or (folder / "vocab.json").is_file()):
        raise ModelError(f"{folder} has neither tokenizer.json nor vocab.json; download the model again")
    return _load(CLIPTokenizer, folder)


def _load(kind: Any, folder: Path, **options: Any) -> Any:
    try:
        return kind.from_pretrained(folder, local_files_only=True, **options)
    except Exception as error:  # what a damaged file raises is up to three libraries
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"{folder} cannot be loaded: {reason}; download the model again") from error


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Libraries stay silent: transformers draws a bar even for the smallest file."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
