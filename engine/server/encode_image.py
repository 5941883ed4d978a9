"""Pictures as answers carry them: nothing but pixels, and in a PNG its seed; a prompt never gets into a file."""

import io
from typing import Literal

from PIL import Image, PngImagePlugin

from engine.server.messages import Pixels

ImageFormat = Literal["png", "jpeg", "webp"]

# Level 1 takes a third of the time of Pillow's level 6, for files a tenth larger.
_PNG_LEVEL = 1


def encode_image(pixels: Pixels, image_format: ImageFormat, *, quality: int = 95, seed: int | None = None) -> bytes:
    """Write a picture.

    Args:
        pixels: the picture.
        image_format: of the file; the same pixels always give the same bytes.
        quality: of JPEG and WebP, 0 to 100.
        seed: kept in a PNG, as the text field "seed".
    """
    buffer = io.BytesIO()
    picture = _picture(pixels)
    if image_format == "png":
        fields = PngImagePlugin.PngInfo()
        if seed is not None:
            fields.add_text("seed", str(seed))
        picture.save(buffer, "PNG", pnginfo=fields, compress_level=_PNG_LEVEL)
    elif image_format == "jpeg":
        # Pillow takes quality 0 for "whatever is usual".
        picture.save(buffer, "JPEG", quality=max(1, quality), subsampling=0)
    else:
        picture.save(buffer, "WEBP", quality=quality, method=2)
    return buffer.getvalue()


def enlarge(pixels: Pixels, size: int) -> Pixels:
    """Bring a preview to `size` pixels a side, bicubically."""
    large = _picture(pixels).resize((size, size), Image.Resampling.BICUBIC)
    return Pixels(size, size, large.tobytes())


def _picture(pixels: Pixels) -> Image.Image:
    return Image.frombytes("RGB", (pixels.width, pixels.height), pixels.data)
