"""What the axes of the networks count."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hiper.models import StableDiffusion

Axes = tuple[str | int, ...]


@dataclass(frozen=True)
class Signature:
    """Names of a network's inputs and outputs in order, each with its axes; an axis is a size or a field of `Sizes`."""

    inputs: Mapping[str, Axes]
    outputs: Mapping[str, Axes]


SIZE_AXES: Final = ("image_height", "image_width", "latent_height", "latent_width")

_LATENTS: Final = ("rows", 4, "latent_height", "latent_width")
_IMAGE: Final = ("rows", "image_height", "image_width", 3)
_EMBEDDING: Final = ("rows", "tokens", "dim")

SIGNATURES: Final = MappingProxyType(
    {
        "text_encoder": Signature({"input_ids": ("rows", "tokens")}, {"prompt_embedding": _EMBEDDING}),
        "unet": Signature(
            {"sample": _LATENTS, "timestep": ("rows",), "encoder_hidden_states": _EMBEDDING},
            {"out_sample": _LATENTS},
        ),
        "decoder": Signature({"latent_sample": _LATENTS}, {"image": _IMAGE}),
        "encoder": Signature({"image": _IMAGE}, {"latent_mean": _LATENTS, "latent_std": _LATENTS}),
    }
)


@dataclass(frozen=True)
class Sizes:
    """A number for every axis.

    Attributes:
        rows: UNet evaluations, prompts or images in one call.
        image_height: in pixels.
        image_width: in pixels.
        vae_factor: pixels per latent along a side.
        tokens: rows of a prompt embedding.
        dim: width of a prompt embedding.
    """

    rows: int
    image_height: int
    image_width: int
    vae_factor: int
    tokens: int
    dim: int

    @staticmethod
    def of(model: StableDiffusion, rows: int, size: tuple[int, int]) -> "Sizes":
        """Those of a model, for so many rows and images of (height, width) pixels."""
        return Sizes(rows, *size, vae_factor=model.vae_factor, tokens=model.max_tokens, dim=model.dim)

    @property
    def latent_height(self) -> int:
        """Rows of latents."""
        return self.image_height // self.vae_factor

    @property
    def latent_width(self) -> int:
        """Columns of latents."""
        return self.image_width // self.vae_factor

    def shape(self, axes: Axes) -> tuple[int, ...]:
        """Put numbers for names."""
        return tuple(axis if isinstance(axis, int) else int(getattr(self, axis)) for axis in axes)

    def open_shape(self, axes: Axes, open_axes: Collection[str | int]) -> Axes:
        """Put numbers for names, except for the axes that stay open."""
        return tuple(axis if axis in open_axes else size for axis, size in zip(axes, self.shape(axes), strict=True))


def choose_open_axes(dynamic_size: bool) -> frozenset[str | int]:
    """Return the axes that an ONNX file leaves open: the rows, and where asked height and width."""
    return frozenset(("rows", *SIZE_AXES) if dynamic_size else ("rows",))


def dtype_of(name: str) -> str:
    """Return the dtype of an input or output: all are float32 but token ids and pixels."""
    return {"input_ids": "int64", "image": "uint8"}.get(name, "float32")
