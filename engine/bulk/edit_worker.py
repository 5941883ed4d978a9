"""Edits rows: many at once, in one batch of an edit engine like that of `hiper-serve`."""

import asyncio
from contextlib import aclosing

from engine.bulk.folder import Folder
from engine.bulk.rows import EditRow, Task
from engine.bulk.worker import READY_S, Made, RowError, Unavailable, Worker, content
from engine.server.edit_client import EditClient
from engine.server.edit_engine import EngineDown
from engine.server.encode_image import encode_image
from engine.server.engine_options import EngineOptions
from engine.server.messages import EditDone, EditEnded, StartEdit, UnetCall

SUFFIX = ".png"


class EditWorker(Worker):
    """A worker with an edit engine.

    Args:
        folder: for the results.
        threads: of the CPU.
        options: of the engine, whose `max_edits` are as many as there are threads to call the worker.
        timeout_s: until a picture must be there.
        run, workers: as in `Worker`.
    """

    def __init__(
        self, folder: Folder, threads: int, options: EngineOptions, timeout_s: float, run: str = "", workers: int = 1
    ) -> None:
        super().__init__(folder, threads, run, workers)
        self._timeout_s = timeout_s
        self._calls = self._edits = 0
        self._client = EditClient(options, self._count)
        self.wait_for(self._client.start())

    async def make(self, task: Task) -> Made:
        """Make a PNG."""
        request = _request(task, self._timeout_s)
        calls, edits = self._calls, self._edits
        done = await self._edit(request)
        per_call = (self._edits - edits) / max(1, self._calls - calls)
        return Made(encode_image(done.image, "png", seed=request.seed), per_call)

    async def _edit(self, request: StartEdit) -> EditDone:
        while True:
            try:
                async with asyncio.timeout(READY_S):
                    await self._client.wait_ready()
            except TimeoutError as error:
                raise Unavailable(f"the edit engine did not start within {READY_S:.0f} s; see Ray's logs") from error
            except EngineDown as error:
                raise Unavailable(str(error)) from error
            try:
                return await self._picture(request)
            except EngineDown:
                continue  # it died just now, and is started again

    async def _picture(self, request: StartEdit) -> EditDone:
        async with aclosing(self._client.edit(request)) as events:
            async for event in events:
                if isinstance(event, EditEnded):
                    raise RowError(event.reason, event.message)
                if isinstance(event, EditDone):
                    return event
        raise AssertionError("an edit ends in EditDone or EditEnded")

    def _count(self, call: UnetCall) -> None:
        self._calls += 1
        self._edits += call.edits


def _request(task: Task, timeout_s: float) -> StartEdit:
    row = task.row
    assert isinstance(row, EditRow)
    return StartEdit(
        id=row.id,
        user="",
        timeout_s=timeout_s,
        target_prompt=row.prompt,
        tail=content(task, row.tail, "tail"),
        seed=row.seed,
        negative_prompt=row.negative_prompt,
        tail_strength=row.tail_strength,
        guidance_scale=row.guidance_scale,
        num_inference_steps=row.num_inference_steps,
        solver=row.solver,
    )
