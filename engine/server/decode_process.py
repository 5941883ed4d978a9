"""Turns an uploaded picture into pixels, in a process that can be killed and that can write no file.

A program of its own, run by its path in isolated mode: it imports Pillow and nothing of this project. It says a byte
when it is ready, then answers jobs on its standard input one by one. A job is four bytes of length (little-endian) and
a file. An answer is four bytes of length and a JSON object, and after one with "width" and "height" these many RGB
pixels.

The parent believes nothing but the number of bytes, so that a hole in a decoder ends here.
"""

import io
import json
import os
import resource
import struct
import sys
import time
import warnings
from typing import BinaryIO

from PIL import Image, ImageFile, ImageOps, PngImagePlugin

FORMATS = ("JPEG", "PNG", "WEBP")
MIN_SIDE = 32
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_MAX_TEXT_BYTES = 2**20


class Refusal(Exception):
    """Why there are no pixels: a code of `UploadError` and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def main(max_pixels: int, memory_bytes: int, cpu_s: int) -> None:
    """Answer jobs until the parent closes the pipe."""
    jobs, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    _prepare_decoders()
    _give_up_rights(memory_bytes)
    answers.write(b"\0")
    answers.flush()
    while length := jobs.read(4):
        _limit_cpu(cpu_s)
        answer(jobs.read(struct.unpack("<I", length)[0]), max_pixels, answers)


def answer(data: bytes, max_pixels: int, answers: BinaryIO) -> None:
    """Do one job."""
    head: dict[str, str | int]
    try:
        picture = decode(data, max_pixels)
        head, pixels = {"width": picture.width, "height": picture.height}, picture.tobytes()
    except Refusal as refusal:
        head, pixels = {"code": refusal.code, "message": str(refusal)}, b""
    except MemoryError:
        head, pixels = {"code": "too_large", "message": "the picture needs too much memory; make it smaller"}, b""
    text = json.dumps(head).encode()
    answers.write(struct.pack("<I", len(text)) + text)
    answers.write(pixels)
    answers.flush()


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """Decode one upright, opaque, 8-bit RGB picture; transparent parts lie on white.

    Raises:
        Refusal: it is none, or too large.
        MemoryError: more is needed than this process may have.
    """
    _check_size(_webp_size(data), max_pixels)
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_size(picture.size, max_pixels)
        _check_frames(picture)
        picture.load()
        return _opaque(_eight_bit(ImageOps.exif_transpose(picture)))
    except (Refusal, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever their parsers meet
        if data.startswith(_SIGNATURES) or _is_webp(data):
            raise Refusal("image_invalid", "the picture is damaged; save or download it again") from error
        raise Refusal(
            "unsupported_media_type", "the file is no picture of a known kind; use JPEG, PNG or WebP"
        ) from error


def _prepare_decoders() -> None:
    """Our own limit comes first, and what is in texts and profiles is not wanted."""
    Image.preinit()
    Image.init()
    Image.MAX_IMAGE_PIXELS = None
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = _MAX_TEXT_BYTES
    warnings.simplefilter("ignore")


def _give_up_rights(memory_bytes: int) -> None:
    os.nice(5)
    with open("/proc/self/statm") as file:
        used_bytes = int(file.read().split()[0]) * resource.getpagesize()
    for limit, value in (
        (resource.RLIMIT_AS, used_bytes + memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 8),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(limit, (value, value))


def _limit_cpu(cpu_s: int) -> None:
    """The system ends this process when it has worked on one job for that long."""
    soft = int(time.process_time()) + 1 + cpu_s
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _check_size(size: tuple[int, int] | None, max_pixels: int) -> None:
    if size is None:
        return
    width, height = size
    if width * height > max_pixels:
        raise Refusal(
            "too_large", f"the picture is {width}x{height}; at most {max_pixels:,} pixels can be used; make it smaller"
        )
    if min(width, height) < MIN_SIDE:
        raise Refusal("image_invalid", f"the picture is {width}x{height}; at least {MIN_SIDE} pixels a side are wanted")


def _check_frames(picture: Image.Image) -> None:
    # A camera's JPEG may have a preview as a second picture, which makes it an MPO.
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
        raise Refusal("image_invalid", "the picture is animated; save one frame of it as a picture")
    if picture.mode in ("I", "F"):
        raise Refusal("image_invalid", "the picture has 32 bits a pixel in one channel; save it with 8 or 16")


def _is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height; Pillow tells them only after it has reserved memory for all pixels."""
    kind, body = data[12:16], data[20:30]
    if not _is_webp(data) or len(body) < 10:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Scale 16-bit grey, which Pillow's own conversion would cut off at 255."""
    if not picture.mode.startswith("I;16"):
        return picture
    return picture.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")


def _opaque(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layers = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
