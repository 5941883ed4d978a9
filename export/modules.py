"""The four networks of an edit as functions of tensors; inputs and outputs are fp32 whatever the weights are."""

from types import MappingProxyType
from typing import Final, cast

import torch
from torch import Tensor, nn

from hiper.models import StableDiffusion


class TextEncoder(nn.Module):
    """Token ids (rows, 77) int64 → prompt embedding (rows, 77, dim), with the final layer norm."""

    def __init__(self, model: StableDiffusion) -> None:
        super().__init__()
        self.text_encoder = model.text_encoder
        self.clip_skip = model.clip_skip

    def forward(self, input_ids: Tensor) -> Tensor:
        """Encode; the same layers as `StableDiffusion.encode_prompt`."""
        output = self.text_encoder(input_ids, output_hidden_states=self.clip_skip > 0)
        if self.clip_skip == 0:
            return cast(Tensor, output.last_hidden_state)
        return cast(Tensor, self.text_encoder.final_layer_norm(output.hidden_states[-(self.clip_skip + 1)]))


class UNet(nn.Module):
    """Latents (rows, 4, h, w), a timestep and a prompt embedding for each row → predicted noise or v."""

    def __init__(self, model: StableDiffusion) -> None:
        super().__init__()
        self.unet = model.unet

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Predict; timesteps may lie between training timesteps."""
        dtype = self.unet.dtype
        output = self.unet(sample.to(dtype), timestep, encoder_hidden_states.to(dtype))
        return cast(Tensor, output.sample.float())


class Decoder(nn.Module):
    """Scaled latents (rows, 4, h, w) → images (rows, H, W, 3) uint8, rounded as diffusers rounds."""

    def __init__(self, model: StableDiffusion) -> None:
        super().__init__()
        self.vae = model.vae
        self.latent_scale = model.latent_scale

    def forward(self, latent_sample: Tensor) -> Tensor:
        """Decode to 8 bits."""
        image: Tensor = self.vae.decode((latent_sample / self.latent_scale).to(self.vae.dtype)).sample.float()
        # TensorRT takes 8 bits at a network's border only: the cast comes last.
        return ((image / 2 + 0.5).clamp(0, 1) * 255).round().permute(0, 2, 3, 1).to(torch.uint8)


class Encoder(nn.Module):
    """Images (rows, H, W, 3) uint8 → mean and standard deviation of their scaled latents, both (rows, 4, h, w)."""

    def __init__(self, model: StableDiffusion) -> None:
        super().__init__()
        self.vae = model.vae
        self.latent_scale = model.latent_scale

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Encode; drawing from the distribution is left to the caller, who has the seed."""
        image = (image.float() / 127.5 - 1).permute(0, 3, 1, 2)
        latents = self.vae.encode(image.to(self.vae.dtype)).latent_dist
        return latents.mean.float() * self.latent_scale, latents.std.float() * self.latent_scale


MODULES: Final = MappingProxyType(
    {"text_encoder": TextEncoder, "unet": UNet, "decoder": Decoder, "encoder": Encoder},
)
