"""Fits rows, one after the other, in the process that fits for `hiper-serve`; a fit that was cut off goes on."""

import asyncio
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.atomic_file import write_atomically
from engine.bulk.folder import Folder
from engine.bulk.rows import FitRow, Task
from engine.bulk.worker import READY_S, Made, RowError, Unavailable, Worker, content
from engine.server import fit_worker
from engine.server.child import ChildDown
from engine.server.messages import FitCheckpoint, FitDone, FitFailed, FitSettings, StartFit
from engine.server.wire import WireError
from engine.tail_file import SUFFIX

__all__ = ["SUFFIX", "FitOptions", "FitWorker"]

ATTEMPTS: Final = 3
# A step of the largest model on a slow CPU, and the encoding before it, take minutes.
SILENCE_S: Final = 1800.0


@dataclass(frozen=True)
class FitOptions:
    """What fits are made with.

    Attributes:
        model: hub id, folder, or menagerie.
        device: for PyTorch.
        dtype: of the UNet.
        checkpoint_every: steps.
    """

    model: str
    device: str = "auto"
    dtype: str = "auto"
    checkpoint_every: int = 50

    def command(self) -> Sequence[str]:
        """Of the process that fits."""
        return fit_worker.worker_command(self.model, self.device, self.dtype, nice=0)


class FitWorker(Worker):
    """A worker with a process that fits.

    Args:
        folder: for the results.
        threads: of the CPU.
        options: what fits are made with.
        run, workers: as in `Worker`.
    """

    def __init__(self, folder: Folder, threads: int, options: FitOptions, run: str = "", workers: int = 1) -> None:
        super().__init__(folder, threads, run, workers)
        self._options = options
        self._process = fit_worker.FitWorker(options.command())

    async def make(self, task: Task) -> Made:
        """Make a tail."""
        for fence in itertools.count(1):
            await self._up()
            ended = await self._attempt(self._start(task, fence), self._checkpoint(task))
            if isinstance(ended, FitDone):
                return Made(ended.tail)
            if ended.permanent:
                self.forget(task)
            if ended.permanent or fence == ATTEMPTS:
                raise RowError(ended.code, ended.message)
        raise AssertionError("the last attempt decides")

    def forget(self, task: Task) -> None:
        """Let go of the checkpoint."""
        self._checkpoint(task).unlink(missing_ok=True)

    def _checkpoint(self, task: Task) -> Path:
        return self._folder.checkpoints / task.row.stem

    def _start(self, task: Task, fence: int) -> StartFit:
        row, checkpoint = task.row, self._checkpoint(task)
        assert isinstance(row, FitRow)
        image = content(task, row.image, "image_invalid")
        return StartFit(
            id=row.id,
            fence=fence,
            settings=_settings(row),
            image=image,
            image_sha256=hashlib.sha256(image).hexdigest(),
            checkpoint=checkpoint.read_bytes() if checkpoint.exists() else None,
            checkpoint_every=self._options.checkpoint_every,
        )

    async def _up(self) -> None:
        """Wait for the process; one that has said, or shown, that it cannot start is not waited for."""
        try:
            async with asyncio.timeout(READY_S):
                ready = await self._process.up(patient=False)
        except TimeoutError as error:
            raise Unavailable(f"the fit worker did not start within {READY_S:.0f} s; see Ray's logs") from error
        except fit_worker.WorkerUnavailable as error:
            raise Unavailable(str(error)) from error
        self._folder.tie(ready.model_digest)

    async def _attempt(self, start: StartFit, checkpoint: Path) -> FitDone | FitFailed:
        try:
            await self._process.begin(start)
            while True:
                async with asyncio.timeout(SILENCE_S):
                    message = await self._process.hear()
                if isinstance(message, FitCheckpoint):
                    write_atomically(checkpoint, message.data)
                elif isinstance(message, FitDone | FitFailed):
                    return message
                elif message is None:
                    return _lost(start, "the process that fitted it died")
        except WireError as error:
            raise RowError("image_invalid", f"the image is too large: {error}") from error
        except ChildDown:
            return _lost(start, "the process that was to fit it died")
        except TimeoutError:
            self._process.kill()
            return _lost(start, f"it made no step for {SILENCE_S:.0f} s")


def _lost(start: StartFit, message: str) -> FitFailed:
    return FitFailed(id=start.id, fence=start.fence, code="engine", message=message, permanent=False)


def _settings(row: FitRow) -> FitSettings:
    return FitSettings(
        prompt=row.prompt,
        preset=row.preset,
        subject=row.subject,
        crop=row.crop,
        seed=row.seed,
        steps=row.steps,
        learning_rate=row.learning_rate,
    )
