"""Takes the front's orders to the batcher, and tells the front what becomes of each."""

import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final, NoReturn

from engine.batcher import Batcher, Call
from engine.edit_request import CheckedEdit, EditRequest, EditResult
from engine.editor import Editor, Progress
from engine.errors import EditError, PromptError, TailError
from engine.row_kernels import Pixels as PixelArray
from engine.server.messages import (
    CancelEdit,
    EditAccepted,
    EditDone,
    EditEnded,
    EditStep,
    EndReason,
    Pixels,
    StartEdit,
    UnetCall,
)
from engine.server.outbox import Outbox
from engine.server.tail_cache import TailCache

logger = logging.getLogger(__name__)

_REFUSALS: Final[dict[type[Exception], EndReason]] = {
    PromptError: "prompt",
    TailError: "tail",
    ValueError: "value",
    queue.Full: "full",
}
_FAILURES: Final[dict[type[Exception], EndReason]] = {TimeoutError: "late", EditError: "infinite"}
_FAILED: Final = "the edit engine failed; try again"


class EditDesk:
    """Owns the batcher of an editor. `take` is for one thread.

    When two calls in a row fail, the process ends: after some errors of a GPU only a new one works again.

    Args:
        editor: a warm one.
        buckets: the editor's.
        outbox: to the front.
    """

    def __init__(self, editor: Editor, buckets: Sequence[int], outbox: Outbox) -> None:
        self._editor = editor
        self._buckets = buckets
        self._outbox = outbox
        self._tails = TailCache()
        self._futures: dict[str, Future[EditResult]] = {}
        self._failure: BaseException | None = None
        self._batcher = Batcher(editor, self._tell_call)

    def take(self, order: StartEdit | CancelEdit) -> None:
        """Start an edit, or cancel one; an unknown one has ended already."""
        if isinstance(order, StartEdit):
            self._start(order)
        elif (future := self._futures.get(order.id)) is not None:
            future.cancel()

    def _start(self, order: StartEdit) -> None:
        try:
            self._submit(order, self._editor.check(self._request(order)))
        except tuple(_REFUSALS) as error:
            self._tell_end(order.id, _reason(error, _REFUSALS), str(error))
        except Exception:
            logger.exception("a request could not be checked")
            self._tell_end(order.id, "engine", _FAILED)

    def _request(self, order: StartEdit) -> EditRequest:
        return EditRequest(
            target_prompt=order.target_prompt,
            tail=None if order.tail is None else self._tails.parse(order.tail),
            seed=order.seed,
            negative_prompt=order.negative_prompt,
            tail_strength=order.tail_strength,
            guidance_scale=order.guidance_scale,
            guidance_interval=order.guidance_interval,
            num_inference_steps=order.num_inference_steps,
            solver=order.solver,
        )

    def _submit(self, order: StartEdit, checked: CheckedEdit) -> None:
        told, steps = threading.Event(), len(checked.table)
        on_step = self._step_teller(order.id, preview_steps(order.previews, steps), told)
        try:
            future = self._batcher.submit(checked.request, user=order.user, timeout_s=order.timeout_s, on_step=on_step)
        except RuntimeError as error:
            _die(error)  # the batcher made a mistake and is closed
        self._outbox.put(
            EditAccepted(
                id=order.id,
                steps=steps,
                rows=checked.rows,
                tail_strength=checked.tail_strength,
                guidance_scale=checked.guidance_scale,
            )
        )
        told.set()
        self._futures[order.id] = future
        future.add_done_callback(lambda future: self._end(order.id, future))

    def _step_teller(self, id: str, previews: set[int], told: threading.Event) -> Callable[[Progress], None]:
        def tell(progress: Progress) -> None:
            told.wait()  # the first step may be quicker than the news that the edit was accepted
            wanted = progress.step in previews and not self._outbox.crowded
            preview = _pixels(progress.preview()) if wanted else None
            step = EditStep(id=id, step=progress.step, steps=progress.steps, preview=preview)
            self._outbox.put(step, urgent=preview is not None)

        return tell

    def _end(self, id: str, future: "Future[EditResult]") -> None:
        del self._futures[id]
        if future.cancelled():
            self._tell_end(id, "cancelled", "edit was cancelled")
        elif (error := future.exception()) is None:
            self._tell_done(id, future.result())
        elif isinstance(error, tuple(_FAILURES)):
            self._tell_end(id, _reason(error, _FAILURES), str(error))
        else:
            self._note_failure(error)
            self._tell_end(id, "engine", _FAILED)

    def _note_failure(self, error: BaseException) -> None:
        if self._failure is error:
            return  # all edits of a call fail with the same error
        if self._failure is not None:
            _die(error)
        self._failure = error
        logger.error("a call failed", exc_info=error)

    def _tell_done(self, id: str, result: EditResult) -> None:
        times = result.timings
        self._outbox.put(
            EditDone(
                id=id,
                image=_pixels(result.image),
                text_ms=times.text_ms,
                unet_ms=[*times.unet_ms],
                decode_ms=times.decode_ms,
                total_ms=times.total_ms,
            )
        )

    def _tell_end(self, id: str, reason: EndReason, message: str) -> None:
        self._outbox.put(EditEnded(id=id, reason=reason, message=message))

    def _tell_call(self, call: Call) -> None:
        self._failure = None
        self._outbox.put(
            UnetCall(
                rows=call.rows,
                edits=len(call.requests),
                distinct_tails=len({request.tail for request in call.requests} - {None}),
                bucket=next(bucket for bucket in self._buckets if bucket >= call.rows),
                latency_ms=call.latency_ms,
            ),
            urgent=False,
        )


def preview_steps(previews: int, steps: int) -> set[int]:
    """The steps after which to show a preview: so many, evenly spread, and the last only if there are no others."""
    previews = min(previews, steps)
    return {-(-steps * number // (previews + 1)) for number in range(1, previews + 1)}


def _pixels(image: PixelArray) -> Pixels:
    height, width, _ = image.shape
    return Pixels(height, width, image.tobytes())


def _reason(error: BaseException, reasons: dict[type[Exception], EndReason]) -> EndReason:
    return next(reason for kind, reason in reasons.items() if isinstance(error, kind))


def _die(error: BaseException) -> NoReturn:
    """End the process at once; the front starts another one, and sends it the edits again."""
    logger.critical("the edit engine is broken", exc_info=error)
    os._exit(1)
