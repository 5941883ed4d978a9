"""Where pictures are made: the model, its probe, and what all methods share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from benchmarks.fidelity.cases import Case, Shot
from hiper.execution import Execution, make_ready
from hiper.fit import FitConfig
from hiper.images import from_uint8
from hiper.menagerie.probe import Probe, load_probe
from hiper.models import StableDiffusion, load_model
from hiper.recipe import PRESETS
from hiper.sample import draw_noise, sample
from hiper.schedule import NoiseSchedule


@dataclass(frozen=True)
class Settings:
    """Everything that pictures depend on, beside the cases.

    Attributes:
        model: what `load_model` takes; the folder also holds `probe.safetensors`.
        digest: of the model's weights.
        probe_digest: of the probe's.
        fit: how HiPer fits; also the budget of textual inversion.
        tail_strength: of HiPer's edits outside the curve over it.
        num_inference_steps: of DDIM.
        guidance_scale: of every method.
        seeds: pictures per edit.
        token_cases: cases below this index also make the curve over tail tokens.
        inversion_learning_rate: of textual inversion.
        imagic_learning_rate: of Imagic's embedding.
        imagic_steps: per target; 100 as in the paper, of as many timesteps each as HiPer's.
        batch: pictures made at once.
    """

    model: str = "menagerie"
    digest: str = ""
    probe_digest: str = ""
    fit: FitConfig = field(default_factory=lambda: PRESETS["fast"])
    tail_strength: float = 0.8
    num_inference_steps: int = 25
    guidance_scale: float = 3.0
    seeds: int = 3
    token_cases: int = 8
    inversion_learning_rate: float = 5e-3
    imagic_learning_rate: float = 1e-2
    imagic_steps: int = 100
    batch: int = 32


@dataclass(frozen=True, eq=False)
class Studio:
    """A loaded model with its referee.

    Attributes:
        settings: of the run.
        model: its UNet is ready for `execution`.
        probe: reads pictures.
        execution: how the UNet runs.
    """

    settings: Settings
    model: StableDiffusion
    probe: Probe
    execution: Execution

    def encode_sources(self, cases: Sequence[Case]) -> Tensor:
        """Latents of the source pictures, (cases, 4, h, w)."""
        return self.model.encode_image(from_uint8([case.picture() for case in cases]))

    def encode_prompts(self, shots: Sequence[Shot]) -> Tensor:
        """Embeddings of the target prompts, (shots, 77, dim)."""
        return self.model.encode_prompt([shot.prompt for shot in shots])

    def noise(self, shots: Sequence[Shot]) -> Tensor:
        """Starting noise, (shots, 4, h, w)."""
        side = self.model.image_size // self.model.vae_factor
        return draw_noise([shot.noise_seed for shot in shots], side, side)

    def paint(
        self,
        noise: Tensor,
        prompt_embedding: Tensor,
        schedule: NoiseSchedule | None = None,
        num_inference_steps: int | None = None,
    ) -> Tensor:
        """Sample and decode.

        Args:
            noise: where to start, (batch, 4, h, w).
            prompt_embedding: (batch, 77, dim).
            schedule: the model's own if not given.
            num_inference_steps: those of the settings if not given.

        Returns:
            (batch, 3, H, W) in [-1, 1].
        """
        negative = self.model.encode_prompt("")
        images = []
        for some_noise, some_prompts in zip(
            noise.split(self.settings.batch), prompt_embedding.split(self.settings.batch), strict=True
        ):
            latents = sample(
                self.model.unet,
                some_noise,
                some_prompts,
                negative,
                schedule=schedule or self.model.schedule,
                num_inference_steps=num_inference_steps or self.settings.num_inference_steps,
                guidance_scale=self.settings.guidance_scale,
            )
            images.append(self.model.decode_latents(latents).cpu())
        return torch.cat(images)


@cache
def open_studio(settings: Settings) -> Studio:
    """Load model and probe, once a process."""
    model = load_model(settings.model)
    execution = make_ready(model.unet, Execution("auto", "auto"))
    model.vae.to(execution.device)
    model.text_encoder.to(execution.device)
    return Studio(settings, model, load_probe(model.folder / "probe.safetensors"), execution)
