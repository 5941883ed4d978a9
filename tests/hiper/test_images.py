"""Oracle: NumPy knows the pixels that went into each file; every input either loads or raises ImageError."""

import hashlib
import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hiper.errors import ImageError
from hiper.images import load_image, to_pictures, to_tensor, to_uint8

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)


def encoded(picture: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def pixels_of(data: bytes) -> np.ndarray:
    picture = load_image(data).picture
    assert picture.mode == "RGB"
    return np.asarray(picture)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_exact_formats(format: str) -> None:
    np.testing.assert_array_equal(pixels_of(encoded(PICTURE, format)), PIXELS)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF", "GIF"])
def test_lossy_formats(format: str) -> None:
    even = np.full((40, 60, 3), (200, 100, 50), np.uint8)
    assert np.abs(pixels_of(encoded(Image.fromarray(even), format)).astype(int) - even).max() < 8


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    data = encoded(PICTURE)
    (tmp_path / "dog.png").write_bytes(data)
    expected = hashlib.sha256(data).hexdigest()
    assert load_image(tmp_path / "dog.png").sha256 == load_image(str(tmp_path / "dog.png")).sha256 == expected
    assert load_image(data).sha256 == expected
    assert load_image(PICTURE).sha256 == hashlib.sha256(PIXELS.tobytes()).hexdigest()


def test_rotation_by_exif_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned a quarter to the left
    np.testing.assert_array_equal(pixels_of(encoded(PICTURE, exif=exif)), np.rot90(PIXELS, -1))


def test_what_is_transparent_lies_on_white() -> None:
    alpha = np.full((40, 60, 1), 255, np.uint8)
    alpha[:, :20], alpha[:, 20:40] = 0, 51  # 51 of 255 is a fifth
    expected = PIXELS.astype(float)
    expected[:, :20], expected[:, 20:40] = 255, 0.8 * 255 + 0.2 * expected[:, 20:40]
    found = pixels_of(encoded(Image.fromarray(np.concatenate([PIXELS, alpha], 2))))
    np.testing.assert_allclose(found, expected, atol=1)


def test_a_transparent_palette_lies_on_white() -> None:
    picture = Image.new("P", (40, 40), 0)
    picture.putpalette([10, 20, 30])
    assert (pixels_of(encoded(picture, transparency=0)) == 255).all()
    assert (pixels_of(encoded(picture)) == (10, 20, 30)).all()


def test_sixteen_bit_grey_is_scaled_not_cut() -> None:
    grey = np.linspace(0, 65535, 40 * 60).reshape(40, 60).astype(np.uint16)
    np.testing.assert_allclose(pixels_of(encoded(Image.fromarray(grey)))[..., 0], grey / 257, atol=0.5)


def test_cmyk() -> None:
    cyan = Image.new("CMYK", (40, 40), (255, 0, 0, 0))
    red, green, blue = pixels_of(encoded(cyan, "JPEG", quality=100))[20, 20]
    assert red < 5 and green > 250 and blue > 250


def test_a_cameras_preview_is_no_animation() -> None:
    data = encoded(PICTURE, "MPO", save_all=True, append_images=[PICTURE.resize((32, 32))])
    assert load_image(data).picture.size == (60, 40)


def huge_png(side: int) -> bytes:
    """A header that promises side x side pixels, and a scrap of data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "image is no picture that can be read; use one of PNG, JPEG"),
        (b"a few words", "image is no picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "image is no picture"),
        (encoded(PICTURE)[:2000], "image is damaged: .*; save or download it again"),
        (encoded(PICTURE, "JPEG")[:-500], "image is damaged: .*truncated"),
        (encoded(Image.new("RGB", (1, 1))), "image is 1x1, at least 32 pixels a side are wanted; use a larger one"),
        (huge_png(10_001), "image is 10001x10001, at most 100,000,000 pixels can be read; make it smaller"),
        (huge_png(30_000), "image is too large: .*; make it smaller"),
        (
            encoded(PICTURE, "GIF", save_all=True, append_images=[PICTURE.rotate(9)]),
            "image is animated, it has 2 frames",
        ),
        (
            encoded(PICTURE, "PNG", save_all=True, append_images=[PICTURE.rotate(9)]),
            "image is animated, it has 2 frames",
        ),
        (encoded(Image.new("F", (40, 40)), "TIFF"), "image has 32 bits a pixel in one channel, 8 or 16 are wanted"),
    ],
)
def test_wrong_pictures_are_named_for_what_is_wrong(data: bytes, complaint: str) -> None:
    with pytest.raises(ImageError, match=complaint):
        load_image(data)


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"dog\.png cannot be read: no such file; name a picture file"):
        load_image(tmp_path / "dog.png")
    with pytest.raises(ImageError, match="cannot be read: it is a folder or device"):
        load_image(tmp_path)
    with pytest.raises(ImageError, match="image is 1x1"):
        load_image(Image.new("RGB", (1, 1)))


SAMPLES = [encoded(PICTURE, format) for format in ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")]


@given(
    sample=st.sampled_from(SAMPLES),
    edits=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=6),
    kept=st.floats(0, 1),
)
def test_mutated_and_cut_files(sample: bytes, edits: list[tuple[float, int]], kept: float) -> None:
    data = bytearray(sample)
    for position, value in edits:
        data[int(position**3 * len(data))] = value  # most of them in the header
    with suppress(ImageError):
        assert load_image(bytes(data[: int(len(data) * kept) + 1])).picture.mode == "RGB"


@given(data=st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    with pytest.raises(ImageError):
        load_image(data)


def test_a_square_picture_is_only_rescaled_in_value() -> None:
    square = PICTURE.crop((0, 0, 40, 40))
    expected = torch.from_numpy(PIXELS[:, :40].copy()).permute(2, 0, 1)[None] / 127.5 - 1
    for crop in ("centre", "pad", "stretch"):
        assert torch.equal(to_tensor(square, 40, crop), expected)
    with pytest.raises(ValueError, match="crop is 'random'; use centre, pad or stretch"):
        to_tensor(square, 40, "random")  # type: ignore[arg-type]


def test_crops() -> None:
    stripes = np.full((40, 80, 3), 255, np.uint8)
    stripes[:, 20:60] = 0  # the middle half
    picture = Image.fromarray(stripes)
    assert (to_tensor(picture, 40) == -1).all()
    padded = to_tensor(picture, 80, "pad")
    assert (padded[..., :20, :] == 1).all() and (padded[..., 60:, :] == 1).all()
    assert (padded[..., 20:60, 20:60] == -1).all() and (padded[..., 20:60, :20] == 1).all()
    assert torch.equal(to_tensor(picture, 80, "stretch")[..., 30, :], padded[..., 30, :])


def test_shrinking_averages_instead_of_picking() -> None:
    chequers = np.indices((256, 256)).sum(0) % 2 * 255
    picture = Image.fromarray(np.repeat(chequers[..., None], 3, 2).astype(np.uint8))
    assert to_tensor(picture, 32).abs().max() < 0.1


def test_pixels_return_unchanged() -> None:
    values = torch.arange(256, dtype=torch.float32).reshape(1, 1, 16, 16).expand(2, 3, 16, 16)
    assert (to_uint8(values / 127.5 - 1) == values.permute(0, 2, 3, 1).numpy()).all()
    assert to_uint8(torch.tensor([-9.0, 9.0]).reshape(1, 1, 1, 2).expand(1, 3, 1, 2))[0, 0, :, 0].tolist() == [0, 255]
    assert [picture.size for picture in to_pictures(torch.zeros(2, 3, 8, 16))] == [(16, 8), (16, 8)]
