"""What a fit has learned so far, as a picture: its source prompt, edited with its latest tail."""

import asyncio
import logging
from contextlib import aclosing

from engine.server.edit_engine import EditEngine, EngineDown
from engine.server.encode_image import encode_image
from engine.server.messages import EditDone, FitCheckpoint, Pixels, StartEdit
from engine.server.records import FitRow
from engine.server.store import Store
from engine.server.store_errors import StoreError

USER = "fit previews"

log = logging.getLogger(__name__)


class FitPreviews:
    """Makes previews beside the fit, which never waits for one: while one is made, others are left out.

    Args:
        store: keeps them.
        edits: makes them.
        timeout_s: until one must be there.
    """

    def __init__(self, store: Store, edits: EditEngine, timeout_s: float) -> None:
        self._store, self._edits, self._timeout_s = store, edits, timeout_s
        self._task: asyncio.Task[None] | None = None

    def offer(self, fit: FitRow, checkpoint: FitCheckpoint) -> None:
        """Make a preview of a checkpoint, if none is being made."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._make(fit, checkpoint), name="hiper-fit-preview")

    async def stop(self) -> None:
        """Let go of the preview that is being made."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _make(self, fit: FitRow, checkpoint: FitCheckpoint) -> None:
        try:
            image = await self._edit(fit, checkpoint)
            if image is not None:
                await asyncio.to_thread(self._keep, fit.id, checkpoint, image)
        except (EngineDown, StoreError) as error:
            log.info("fit %s has no preview of step %d: %s", fit.id, checkpoint.step, error)
        except Exception:
            log.exception("fit %s has no preview of step %d", fit.id, checkpoint.step)

    async def _edit(self, fit: FitRow, checkpoint: FitCheckpoint) -> Pixels | None:
        request = StartEdit(
            id=f"preview-{fit.id}-{checkpoint.fence}-{checkpoint.step}",
            user=USER,
            timeout_s=self._timeout_s,
            target_prompt=fit.settings.prompt,
            tail=checkpoint.tail,
        )
        async with aclosing(self._edits.edit(request)) as messages:
            async for message in messages:
                if isinstance(message, EditDone):
                    return message.image
        return None

    def _keep(self, fit_id: str, checkpoint: FitCheckpoint, image: Pixels) -> None:
        self._store.record_preview(fit_id, checkpoint.fence, checkpoint.step, encode_image(image, "png"))
