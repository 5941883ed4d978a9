"""Oracle: `hiper.images`, which decodes the user's own files in this process, and Pillow's view of what comes out."""

import asyncio
import hashlib
import io
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from engine.server.canonical_png import canonical_png
from engine.server.uploads import Upload, UploadError, UploadLimits, Uploads
from hiper.images import load_image

Decode = Callable[[bytes], Upload]

LIMITS = UploadLimits(max_bytes=2**20, max_pixels=500_000, memory_bytes=128 * 2**20)
NOISE = np.random.default_rng(0).integers(0, 256, (40, 56, 4), np.uint8)
NOISE[::2, ::3, 3] = 0
COLOR = Image.fromarray(NOISE[:, :, :3])
LAYERS = Image.fromarray(NOISE)


@pytest.fixture(scope="module")
def decode() -> Iterator[Decode]:
    """One process for all pictures, as in a server."""
    with asyncio.Runner() as runner:
        uploads = Uploads(LIMITS)
        runner.run(uploads.start())
        yield lambda data: runner.run(uploads.decode(data))
        runner.run(uploads.close())


def file(picture: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def deep_png(depth: int = 16, color: int = 0, channels: int = 1) -> bytes:
    """A PNG with 16 bits a channel, from every part of the range."""
    values = np.linspace(0, 65535, 40 * 56 * channels).astype(">u2").reshape(40, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    return png(struct.pack(">IIBBBBB", 56, 40, depth, color, 0, 0, 0), zlib.compress(rows))


def png(header: bytes, data: bytes, *others: tuple[bytes, bytes]) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    chunks = (b"IHDR", header), *others, (b"IDAT", data), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010F] = "secret camera"
    tags.get_ifd(0x8825)[1] = "N"
    return tags


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PICTURES = {
    "jpeg": file(COLOR, "JPEG"),
    "progressive jpeg": file(COLOR, "JPEG", progressive=True, quality=30),
    "grey jpeg": file(COLOR.convert("L"), "JPEG"),
    "cmyk jpeg": file(COLOR.convert("CMYK"), "JPEG"),
    "jpeg with a profile": file(COLOR, "JPEG", icc_profile=PROFILE, comment=b"secret"),
    "jpeg with a preview": file(COLOR, "MPO", save_all=True, append_images=[COLOR.resize((40, 40))]),
    "png": file(COLOR, "PNG"),
    "png with alpha": file(LAYERS, "PNG"),
    "grey png with alpha": file(LAYERS.convert("LA"), "PNG"),
    "png of two colours": file(COLOR.convert("1"), "PNG"),
    "png with a palette": file(COLOR.quantize(16), "PNG", transparency=3),
    "png with a transparent colour": file(COLOR, "PNG", transparency=COLOR.getpixel((0, 0))),
    "interlaced png": file(COLOR, "PNG", interlace=1),
    "deep grey png": deep_png(),
    "deep png": deep_png(color=2, channels=3),
    "png with a profile": file(COLOR, "PNG", icc_profile=PROFILE),
    "webp": file(COLOR, "WEBP"),
    "lossless webp": file(COLOR, "WEBP", lossless=True),
    "webp with alpha": file(LAYERS, "WEBP", icc_profile=PROFILE),
} | {f"turned {way}": file(COLOR, format, exif=exif(way)) for way in range(1, 9) for format in ("JPEG", "PNG", "WEBP")}


@pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES)
def test_a_picture_is_what_the_command_line_sees(decode: Decode, data: bytes) -> None:
    upload = decode(data)
    wanted = load_image(data).picture
    with Image.open(io.BytesIO(upload.png)) as picture:
        assert (picture.format, picture.mode, picture.info, dict(picture.getexif())) == ("PNG", "RGB", {}, {})
        assert picture.size == wanted.size == (upload.width, upload.height)
        np.testing.assert_array_equal(picture, wanted)
    assert upload.sha256 == hashlib.sha256(upload.png).hexdigest()
    assert re.findall(rb"IHDR|IDAT|IEND|tEXt|iTXt|zTXt|eXIf|iCCP|secret", upload.png) == [b"IHDR", b"IDAT", b"IEND"]


def test_the_same_pixels_are_the_same_picture(decode: Decode) -> None:
    digests = {
        decode(PICTURES[name]).sha256 for name in ("png", "interlaced png", "png with a profile", "lossless webp")
    }
    assert len(digests) == 1


@given(st.integers(1, 9), st.integers(1, 9), st.randoms(use_true_random=False))
def test_the_canonical_png_holds_the_pixels(width: int, height: int, random: Any) -> None:
    pixels = random.randbytes(3 * width * height)
    with Image.open(io.BytesIO(canonical_png(width, height, pixels))) as picture:
        assert (picture.size, picture.mode, picture.tobytes()) == ((width, height), "RGB", pixels)


def huge_png(width: int, height: int) -> bytes:
    """Small as a file: a megabyte of zeros for every kilobyte."""
    return png(
        struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0), zlib.compress(bytes(height * (1 + width // 8)), 9)
    )


def huge_jpeg() -> bytes:
    data = bytearray(PICTURES["jpeg"])
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65000, 65000)
    return bytes(data)


def huge_webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + 8 + len(body)) + b"WEBP" + kind + struct.pack("<I", len(body)) + body


FRAMES = {"save_all": True, "append_images": [COLOR.rotate(90)], "duration": 100}
REFUSED = {
    "nothing": (b"", "unsupported_media_type", "no picture of a known kind; use JPEG, PNG or WebP"),
    "text": (b"hello", "unsupported_media_type", "no picture of a known kind"),
    "gif": (file(COLOR, "GIF"), "unsupported_media_type", "no picture of a known kind"),
    "tiff": (file(COLOR, "TIFF"), "unsupported_media_type", "no picture of a known kind"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_media_type", "no picture of a known kind"),
    "cut jpeg": (PICTURES["jpeg"][:-300], "image_invalid", "damaged"),
    "cut png": (PICTURES["png"][:-300], "image_invalid", "damaged"),
    "cut webp": (PICTURES["webp"][:-300], "image_invalid", "damaged"),
    "signature of a png": (b"\x89PNG\r\n\x1a\n", "image_invalid", "damaged"),
    "animated webp": (file(COLOR, "WEBP", **FRAMES), "image_invalid", "animated; save one frame"),
    "animated png": (file(COLOR, "PNG", **FRAMES), "image_invalid", "animated; save one frame"),
    "tiny": (file(COLOR.resize((31, 400)), "PNG"), "image_invalid", "31x400; at least 32 pixels a side"),
    "flat": (png(struct.pack(">IIBBBBB", 0, 40, 8, 0, 0, 0, 0), b""), "image_invalid", "damaged|0x40"),
    "one more pixel": (
        huge_png(5000, 101),
        "too_large",
        "5000x101; at most 500,000 pixels can be used; make it smaller",
    ),
    "png bomb": (huge_png(20000, 20000), "too_large", "20000x20000"),
    "jpeg bomb": (huge_jpeg(), "too_large", "65000x65000"),
    "webp bomb": (huge_webp(b"VP8X", bytes(4) + b"\xfe\x3f\0" * 2), "too_large", "16383x16383"),
    "lossless webp bomb": (huge_webp(b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(9)), "too_large", "16384x16384"),
    "lossy webp bomb": (huge_webp(b"VP8 ", b"\x10\0\0\x9d\1\x2a\xff\x3f\xff\x3f"), "too_large", "16383x16383"),
    "text bomb": (
        png(
            struct.pack(">IIBBBBB", 56, 40, 8, 0, 0, 0, 0),
            zlib.compress(bytes(40 * 57)),
            (b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26))),
        ),
        "image_invalid",
        "damaged",
    ),
    "large file": (bytes(2**20 + 1), "too_large", "1048577 bytes; at most 1048576 are taken"),
}


@pytest.mark.parametrize(("data", "code", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_picture_is_refused(decode: Decode, data: bytes, code: str, message: str) -> None:
    with pytest.raises(UploadError, match=message) as caught:
        decode(data)
    assert caught.value.code == code


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_pictures_give_pixels_or_a_refusal(decode: Decode, data: st.DataObject) -> None:
    broken = bytearray(data.draw(st.sampled_from(list(PICTURES.values()))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(broken) - 1, data.draw(st.sampled_from((40, 2**16))))))
        news = data.draw(st.binary(max_size=6) | st.sampled_from((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff")))
        broken[at : at + data.draw(st.integers(0, 6))] = news
    try:
        upload = decode(bytes(broken))
    except UploadError as error:
        assert error.code in ("unsupported_media_type", "too_large", "image_invalid")
        assert "cannot be decoded" not in str(error)  # the process lives
    else:
        assert Image.open(io.BytesIO(upload.png)).tobytes()


def slow_jpeg(scans: int) -> bytes:
    """Of a progressive picture a scan repeated: legal, small, and as slow as one likes."""
    data = file(Image.new("RGB", (2000, 2000)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def test_a_decoder_that_takes_too_long_is_replaced() -> None:
    async def scenario() -> None:
        uploads = Uploads(UploadLimits(timeout_s=0.3))
        await uploads.start()
        with pytest.raises(UploadError, match="takes too long to decode") as caught:
            await uploads.decode(slow_jpeg(1000))
        assert caught.value.code == "image_invalid"
        assert (await uploads.decode(PICTURES["png"])).width == 56
        await uploads.close()

    asyncio.run(scenario())


def test_a_decoder_that_works_too_much_is_ended_by_the_system() -> None:
    async def scenario() -> None:
        uploads = Uploads(UploadLimits(timeout_s=60, cpu_s=0))
        with pytest.raises(UploadError, match="cannot be decoded"):
            await uploads.decode(slow_jpeg(5000))
        assert (await uploads.decode(PICTURES["png"])).width == 56
        await uploads.close()

    asyncio.run(scenario())


def test_a_picture_that_needs_too_much_memory_is_refused() -> None:
    async def scenario() -> None:
        uploads = Uploads(UploadLimits(memory_bytes=24 * 2**20))
        with pytest.raises(UploadError, match="needs too much memory") as caught:
            await uploads.decode(file(Image.new("RGB", (4000, 4000)), "PNG"))
        assert caught.value.code == "too_large"
        assert (await uploads.decode(PICTURES["png"])).width == 56
        await uploads.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("mode", "format"),
    [
        ("RGBA", "PNG"),
        pytest.param("CMYK", "JPEG", marks=pytest.mark.slow),
        pytest.param("RGBA", "WEBP", marks=pytest.mark.slow),
    ],
)
def test_the_largest_pictures_need_no_more_memory_than_there_is(mode: str, format: str) -> None:
    async def scenario() -> None:
        uploads = Uploads()
        data = file(Image.new(mode, (4000, 4000)), format, exif=exif(6), compress_level=1, method=0)
        assert (await uploads.decode(data)).width == 4000
        await uploads.close()

    asyncio.run(scenario())


def test_a_killed_or_forgotten_decoder_gives_nobody_anothers_picture() -> None:
    async def scenario() -> None:
        uploads = Uploads()
        await uploads.start()
        assert uploads._process
        uploads._process.kill()
        await uploads._process.wait()
        gone = asyncio.create_task(uploads.decode(file(Image.new("RGB", (2000, 2000)), "PNG", compress_level=1)))
        while not (uploads._process and uploads._process.stdout._paused):  # type: ignore[union-attr]
            assert not gone.done()
            await asyncio.sleep(0)  # until asyncio has read more than it likes
        gone.cancel()
        sizes = (40, 50, 60)
        uploaded = await asyncio.gather(*(uploads.decode(file(COLOR.resize((n, n)), "PNG")) for n in sizes))
        assert tuple(upload.width for upload in uploaded) == sizes
        await uploads.close()

    asyncio.run(scenario())


def test_the_decoder_can_write_no_file_and_opens_few(tmp_path: Path) -> None:
    async def limits() -> str:
        uploads = Uploads(LIMITS)
        await uploads.start()
        assert uploads._process
        folder = Path(f"/proc/{uploads._process.pid}")
        assert os.readlink(folder / "cwd") == "/"
        assert (folder / "environ").read_bytes() in (
            b"",
            f"LD_LIBRARY_PATH={os.environ.get('LD_LIBRARY_PATH')}\0".encode(),
        )
        text = (folder / "limits").read_text()
        await uploads.close()
        return text

    text = asyncio.run(limits())
    for name, value in (("file size", 0), ("core file size", 0), ("processes", 0), ("open files", 8)):
        assert re.search(rf"Max {name} +{value} +{value} ", text), text
    found = re.search(r"Max address space +(\d+) ", text)
    assert found and int(found[1]) < LIMITS.memory_bytes + 2**30
