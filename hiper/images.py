"""Pictures from outside to tensors, and tensors back to pictures."""

import hashlib
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from engine.capped_file import read_capped
from hiper.errors import ImageError

Crop = Literal["centre", "pad", "stretch"]

FORMATS: Final = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
MAX_SIZE_BYTES: Final = 128 * 2**20
MAX_PIXELS: Final = 100_000_000
MIN_SIDE: Final = 32


@dataclass(frozen=True, eq=False)
class SourceImage:
    """A picture that has passed every check.

    Attributes:
        picture: upright, opaque, 8-bit RGB.
        sha256: of the file it came from, or of its pixels where there was no file; 64 hex digits.
    """

    picture: Image.Image
    sha256: str


def load_image(source: str | Path | bytes | Image.Image | SourceImage) -> SourceImage:
    """Read a picture of any common kind; transparent parts become white, 16-bit grey becomes 8-bit.

    Args:
        source: a file's name, a file's content, or a PIL image; what was loaded already is returned.

    Raises:
        ImageError: not a picture, damaged, animated, too large or too small; the message says which.
    """
    if isinstance(source, SourceImage):
        return source
    if isinstance(source, Image.Image):
        picture = _checked(lambda: source, "image")
        return SourceImage(picture, hashlib.sha256(picture.tobytes()).hexdigest())
    name = "image" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else read_capped(source, MAX_SIZE_BYTES)
    except ValueError as error:
        raise ImageError(f"{name} cannot be read: {error}; name a picture file") from error
    picture = _checked(lambda: Image.open(io.BytesIO(data), formats=FORMATS), name)
    return SourceImage(picture, hashlib.sha256(data).hexdigest())


def to_tensor(picture: Image.Image, size: int, crop: Crop = "centre") -> Tensor:
    """Bring an RGB picture to a model's square.

    Args:
        picture: as in SourceImage.
        size: side of the square in pixels.
        crop: "centre" cuts the longer side, "pad" adds white to the shorter one, "stretch" distorts.

    Returns:
        (1, 3, size, size) fp32 in [-1, 1].
    """
    square, filter_ = (size, size), Image.Resampling.LANCZOS
    if crop == "centre":
        picture = ImageOps.fit(picture, square, filter_)
    elif crop == "pad":
        picture = ImageOps.pad(picture, square, filter_, color="white")
    elif crop == "stretch":
        picture = picture.resize(square, filter_)
    else:
        raise ValueError(f"crop is {crop!r}; use centre, pad or stretch")
    return from_uint8([np.array(picture)])


def from_uint8(pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Pictures (H, W, 3) in 0..255 as one batch (batch, 3, H, W) fp32 in [-1, 1]."""
    return from_bytes(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2))


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Round images (batch, 3, H, W) in [-1, 1] to pixels (batch, H, W, 3) in 0..255."""
    array: NDArray[np.uint8] = to_bytes(images).permute(0, 2, 3, 1).cpu().numpy()
    return array


def from_bytes(pixels: Tensor) -> Tensor:
    """Pixels 0..255 of any layout as fp32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Round images in [-1, 1] of any layout to pixels 0..255, as diffusers does."""
    return (images.detach().float() / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)


def to_pictures(images: Tensor) -> list[Image.Image]:
    """Turn images (batch, 3, H, W) in [-1, 1] into PIL images."""
    return [Image.fromarray(pixels) for pixels in to_uint8(images)]


def _checked(open_picture: Callable[[], Image.Image], name: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of large pictures, which have their own limit here, and of harmless oddities
            picture = open_picture()
            _check_kind(picture, name)
            picture.load()
            return _opaque(_eight_bit(ImageOps.exif_transpose(picture)))
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} is too large: {error}; make it smaller") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is no picture that can be read; use one of {', '.join(FORMATS)}") from error
    except Exception as error:  # decoders raise whatever their parsers meet
        raise ImageError(f"{name} is damaged: {error}; save or download it again") from error


def _check_kind(picture: Image.Image, name: str) -> None:
    """Refuse by what the file's header says, before any pixel is decoded."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name} is {width}x{height}, at most {MAX_PIXELS:,} pixels can be read; make it smaller")
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{name} is {width}x{height}, at least {MIN_SIDE} pixels a side are wanted; use a larger one")
    frames = getattr(picture, "n_frames", 1)
    # A camera's JPEG may have a preview as a second picture, which makes it an MPO.
    if frames > 1 and picture.format != "MPO":
        raise ImageError(f"{name} is animated, it has {frames} frames and one is wanted; save one of them as a picture")
    if picture.mode in ("I", "F"):
        raise ImageError(f"{name} has 32 bits a pixel in one channel, 8 or 16 are wanted; save it as PNG")


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Scale 16-bit grey, which Pillow's own conversion would cut off at 255."""
    if not picture.mode.startswith("I;16"):
        return picture
    return Image.fromarray((np.asarray(picture, np.float32) / 257).round().astype(np.uint8))


def _opaque(picture: Image.Image) -> Image.Image:
    """Convert to RGB, what is transparent lying on white."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layers = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")
