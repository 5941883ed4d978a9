"""The files that answers carry, as Pillow reads them back."""

import io

import numpy as np
import pytest
from PIL import Image

from engine.server.encode_image import ImageFormat, encode_image, enlarge
from engine.server.messages import Pixels


def pixels(height: int, width: int) -> Pixels:
    """A smooth picture, different in every corner."""
    y, x = np.mgrid[0:height, 0:width]
    colours = np.stack([255 * y / height, 255 * x / width, 255 * (x + y) / (height + width)], axis=-1)
    return Pixels(height, width, colours.astype(np.uint8).tobytes())


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def test_png_loses_nothing_and_keeps_its_seed() -> None:
    given = pixels(40, 24)
    picture = opened(encode_image(given, "png", seed=2**64 - 1))
    assert picture.size == (24, 40)
    assert picture.tobytes() == given.data
    assert picture.info == {"seed": str(2**64 - 1)}


@pytest.mark.parametrize(("image_format", "name"), [("jpeg", "JPEG"), ("webp", "WEBP")])
@pytest.mark.parametrize("quality", [0, 50, 100])
def test_lossy_formats_come_close(image_format: ImageFormat, name: str, quality: int) -> None:
    given = pixels(64, 48)
    picture = opened(encode_image(given, image_format, quality=quality, seed=7))
    assert picture.format == name
    assert not {"exif", "xmp", "comment", "seed"} & picture.info.keys()
    off = np.frombuffer(picture.convert("RGB").tobytes(), np.uint8).astype(int) - np.frombuffer(given.data, np.uint8)
    assert np.abs(off).mean() < (40 if quality == 0 else 6)


@pytest.mark.parametrize("image_format", ["jpeg", "webp"])
def test_quality_is_kept_in_order(image_format: ImageFormat) -> None:
    noise = Pixels(64, 64, np.random.default_rng(0).bytes(64 * 64 * 3))
    sizes = [len(encode_image(noise, image_format, quality=quality)) for quality in (0, 10, 50, 95)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_same_pixels_give_same_bytes(image_format: ImageFormat) -> None:
    assert encode_image(pixels(32, 32), image_format, seed=1) == encode_image(pixels(32, 32), image_format, seed=1)


def test_enlarged_preview_is_the_picture_at_its_size() -> None:
    small = pixels(8, 8)
    large = enlarge(small, 64)
    assert (large.height, large.width, len(large.data)) == (64, 64, 64 * 64 * 3)
    values = np.frombuffer(large.data, np.uint8).reshape(8, 8, 8, 8, 3).mean(axis=(1, 3))
    assert np.abs(values - np.frombuffer(small.data, np.uint8).reshape(8, 8, 3)).max() < 12
