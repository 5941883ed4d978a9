"""Whether the edit engine still paints what it painted at first: one small edit, compared with a picture that is kept.

A bundle was compared with PyTorch when it was exported, and its files are compared with their digests when the engine
opens them. What remains is this machine: a driver, a runtime or a CPU that computes something else than before. So the
first engine that runs a bundle by some runtime in some precision leaves its picture in the data folder, and every later
start has to paint the same one again, but for rounding.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.atomic_file import write_atomically
from engine.bundle_files import MANIFEST_NAME
from engine.errors import OutputError
from engine.server.edit_engine import EditEngine, EngineDown
from engine.server.encode_image import encode_image
from engine.server.messages import EditDone, EditEnded, EngineReady, Pixels, StartEdit

logger = logging.getLogger(__name__)

MAX_RMS: Final = 4.0  # of 255: 36 dB; two runtimes in fp32 differ by less than 1, a broken kernel by tens
UNDER_WAY: Final = "the engine is warming up"

_LOOK_S: Final = 0.25
_EDIT = StartEdit(id="warm-up", user="", timeout_s=600.0, target_prompt="a dog", seed=0, num_inference_steps=4)


class WarmUp:
    """Checks every engine that becomes ready.

    Args:
        edits: the engine.
        bundle: the bundle that it runs.
        folder: for the pictures that are kept.
        on_ready: told of every engine that becomes ready, before it is checked.

    Attributes:
        failure: why the engine is not to be trusted yet, or at all; None when it is.
    """

    def __init__(
        self,
        edits: EditEngine,
        bundle: Path,
        folder: Path,
        on_ready: Callable[[EngineReady], object] = lambda ready: None,
    ) -> None:
        self.failure: str | None = UNDER_WAY
        self._edits = edits
        self._bundle = bundle
        self._folder = folder
        self._on_ready = on_ready
        self._checked: EngineReady | None = None

    async def run(self) -> None:
        """Watch the engine until cancelled."""
        while True:
            ready = self._edits.ready
            if ready is None:
                self._checked, self.failure = None, UNDER_WAY
            elif ready is not self._checked:
                await self._check(ready)
            await asyncio.sleep(_LOOK_S)

    async def check(self) -> str | None:
        """Check an engine that is ready, once; why it is not to be trusted, or None."""
        if self._edits.ready is not None:
            await self._check(self._edits.ready)
        return self.failure

    async def _check(self, ready: EngineReady) -> None:
        before = self.failure
        self._on_ready(ready)
        try:
            image = await self._paint()
            self.failure = await asyncio.to_thread(self._compare, ready, image)
            self._checked = ready
        except (EngineDown, OutputError, OSError, ValueError) as error:
            self.failure = f"the warm-up edit failed: {error}"
        if self.failure is None:
            logger.info("%s is ready on %s: %s", ready.model_id, ready.runtime, ready.reason)
        elif self.failure != before:
            logger.error("%s", self.failure)

    async def _paint(self) -> Pixels:
        async for message in self._edits.edit(_EDIT):
            if isinstance(message, EditDone):
                return message.image
            if isinstance(message, EditEnded):
                raise ValueError(message.message)
        raise EngineDown("the engine ended")

    def _compare(self, ready: EngineReady, image: Pixels) -> str | None:
        manifest = hashlib.sha256((self._bundle / MANIFEST_NAME).read_bytes()).hexdigest()
        path = self._folder / f"{manifest[:32]}-{ready.runtime}-{ready.precision}.png"
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, encode_image(image, "png"))
            return None
        with Image.open(path, formats=("PNG",)) as kept:
            rms = _rms(np.asarray(kept.convert("RGB")), image)
        if rms <= MAX_RMS:
            return None
        return (
            f"the warm-up picture differs from the one that {ready.runtime} painted first by {rms:.1f} of 255, at most "
            f"{MAX_RMS:g} are rounding; check the hardware and its driver, and if the change is meant, delete {path}"
        )


def _rms(kept: NDArray[np.uint8], image: Pixels) -> float:
    """Root mean square of the difference, in 8-bit levels; infinite for another size."""
    if kept.shape != (image.height, image.width, 3):
        return float("inf")
    found = np.frombuffer(image.data, np.uint8).reshape(kept.shape)
    return float(np.sqrt(np.mean((found.astype(np.float32) - kept) ** 2)))
