"""Pictures from strangers: checked and decoded in a process of their own, and stored as nothing but pixels."""

import asyncio
import contextlib
import hashlib
import json
import os
import struct
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from engine.server.canonical_png import canonical_png

UploadCode = Literal["unsupported_media_type", "too_large", "image_invalid"]

_CODES: Final = ("unsupported_media_type", "too_large", "image_invalid")
_PROGRAM: Final = Path(__file__).with_name("decode_process.py")
_START_TIMEOUT_S: Final = 30.0
_MAX_HEAD_BYTES: Final = 2**16
_BUFFER_BYTES: Final = 2**20


class UploadError(Exception):
    """A file that is not used; `code` tells which kind of refusal it is."""

    def __init__(self, code: UploadCode, message: str) -> None:
        super().__init__(message)
        self.code: UploadCode = code


@dataclass(frozen=True)
class Upload:
    """A picture that passed every check.

    Attributes:
        png: upright, opaque, 8-bit RGB, without metadata.
        sha256: of `png`; the same pixels have the same.
    """

    png: bytes
    sha256: str
    width: int
    height: int


@dataclass(frozen=True)
class UploadLimits:
    """What a picture may cost.

    Attributes:
        max_bytes: of a file.
        max_pixels: of a picture; checked before it is decoded.
        timeout_s: for decoding, by the clock.
        cpu_s: for decoding, of work.
        memory_bytes: for decoding.
    """

    max_bytes: int = 20 * 2**20
    max_pixels: int = 16_000_000
    timeout_s: float = 20.0
    cpu_s: int = 5
    memory_bytes: int = 640 * 2**20


class Uploads:
    """Decodes one picture at a time, in a process that is kept, and replaced when it broke a limit."""

    def __init__(self, limits: UploadLimits | None = None) -> None:
        self.limits = limits or UploadLimits()
        self._turn = asyncio.Lock()
        self._process: Process | None = None

    async def start(self) -> None:
        """Have the process ready before the first picture; without it, that one waits a little."""
        async with self._turn:
            await self._ready_process()

    async def close(self) -> None:
        """End the process."""
        async with self._turn:
            await self._end()

    async def decode(self, data: bytes) -> Upload:
        """Check a JPEG, PNG or WebP and make it a canonical PNG.

        Raises:
            UploadError: the file is no such picture, damaged, animated, too large or too small.
        """
        if len(data) > self.limits.max_bytes:
            raise UploadError(
                "too_large",
                f"the file has {len(data)} bytes; at most {self.limits.max_bytes} are taken; make it smaller",
            )
        async with self._turn:
            head, pixels = await self._ask(data)
        if "code" in head:
            raise UploadError(head["code"], head["message"])
        return await asyncio.to_thread(_upload, head["width"], head["height"], pixels)

    async def _ask(self, data: bytes) -> tuple[dict[str, Any], bytes]:
        process = await self._ready_process()
        try:
            async with asyncio.timeout(self.limits.timeout_s):
                return await _job(process, data, self.limits.max_pixels)
        except TimeoutError as error:
            await self._end()
            raise UploadError(
                "image_invalid", "the picture takes too long to decode; save it in another way"
            ) from error
        except (EOFError, OSError, ValueError) as error:  # it was killed, or says what it never says
            await self._end()
            raise UploadError("image_invalid", "the picture cannot be decoded; save it in another way") from error
        except BaseException:  # nobody waits for the answer any more, and the next one must not get it
            await self._end()
            raise

    async def _ready_process(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            limits = (self.limits.max_pixels, self.limits.memory_bytes, self.limits.cpu_s)
            argv = (sys.executable, "-I", str(_PROGRAM), *map(str, limits))
            libraries = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
            self._process = await asyncio.create_subprocess_exec(
                *argv, stdin=PIPE, stdout=PIPE, env=libraries, cwd="/", limit=_BUFFER_BYTES
            )
            assert self._process.stdout
            try:
                async with asyncio.timeout(_START_TIMEOUT_S):
                    await self._process.stdout.readexactly(1)
            except BaseException:
                await self._end()
                raise
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.communicate())  # a pipe with something unread in it keeps wait() waiting


async def _job(process: Process, data: bytes, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    """Send a file and read the answer, of which only the form is trusted."""
    assert process.stdin and process.stdout
    process.stdin.write(struct.pack("<I", len(data)) + data)
    await process.stdin.drain()
    [length] = struct.unpack("<I", await process.stdout.readexactly(4))
    if length > _MAX_HEAD_BYTES:
        raise ValueError("the answer is too long")
    head = json.loads(await process.stdout.readexactly(length))
    if set(head) == {"code", "message"} and head["code"] in _CODES:
        return head, b""
    width, height = head["width"], head["height"]
    if not (type(width) is type(height) is int and width > 0 and height > 0 and width * height <= max_pixels):
        raise ValueError("the picture has an impossible size")
    return head, await process.stdout.readexactly(3 * width * height)


def _upload(width: int, height: int, pixels: bytes) -> Upload:
    png = canonical_png(width, height, pixels)
    return Upload(png, hashlib.sha256(png).hexdigest(), width, height)
