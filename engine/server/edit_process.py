"""The edit engine's process, `python -m engine.server.edit_process`: a bundle, one batcher, one socket to the front."""

import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
from concurrent.futures import Future
from time import perf_counter

from engine.bundle import Bundle, open_bundle
from engine.edit_request import EditRequest
from engine.editor import Editor, Progress
from engine.errors import HiPerError
from engine.runtimes import RuntimeOptions
from engine.server.edit_desk import EditDesk
from engine.server.engine_options import EngineOptions, parse_arguments
from engine.server.messages import CancelEdit, EngineFailed, EngineReady, ResolvedDefaults, StartEdit, ToEngine
from engine.server.outbox import Outbox
from engine.server.wire import WireError, receive

logger = logging.getLogger(__name__)


def main() -> None:
    """Serve edits until the front is gone."""
    # The front decides when to stop, and says so by closing the socket.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    options, fd = parse_arguments()
    connection = socket.socket(fileno=fd)
    outbox, desk = Outbox(connection), Future[EditDesk]()
    reader = threading.Thread(target=_read, args=(connection, desk), name="hiper-reader", daemon=True)
    reader.start()
    try:
        desk.set_result(_open(options, outbox))
    except (HiPerError, ValueError) as error:
        outbox.put(EngineFailed(message=str(error)))
        outbox.close()
        sys.exit(getattr(error, "exit_code", 2))
    reader.join()


def _read(connection: socket.socket, desk: "Future[EditDesk]") -> None:
    """Take orders until the front is gone; what is under way then is for nobody."""
    try:
        while (order := receive(connection, ToEngine)) is not None:
            assert isinstance(order, StartEdit | CancelEdit)
            desk.result().take(order)
    except WireError:
        logger.exception("the front sent what is no order")
    os._exit(0)


def _open(options: EngineOptions, outbox: Outbox) -> EditDesk:
    started = perf_counter()
    runtime_options = RuntimeOptions(options.precision, options.threads, options.device)
    bundle = open_bundle(options.bundle, options.runtime, runtime_options)
    editor = Editor(bundle, buckets=options.buckets, max_edits=options.max_edits)
    editor.warm_up()
    editor.edit([EditRequest("warm-up", num_inference_steps=1)], Progress.preview)
    outbox.put(_ready(options, bundle, editor, 1e3 * (perf_counter() - started)))
    return EditDesk(editor, editor.buckets, outbox)


def _ready(options: EngineOptions, bundle: Bundle, editor: Editor, warm_up_ms: float) -> EngineReady:
    manifest, edit = bundle.manifest, editor.check(EditRequest("defaults"))
    return EngineReady(
        model_id=manifest.model_id,
        model_digest=manifest.model_digest,
        family=manifest.family,
        dim=manifest.dim,
        max_tokens=manifest.max_tokens,
        image_size=manifest.image_size,
        runtime=bundle.runtime,
        reason=bundle.reason,
        precision=options.precision,
        max_rows=editor.max_rows,
        max_edits=editor.max_edits,
        edit_defaults=ResolvedDefaults(
            guidance_scale=edit.guidance_scale,
            num_inference_steps=len(edit.table),
            tail_strength=edit.tail_strength,
        ),
        warm_up_ms=warm_up_ms,
    )


if __name__ == "__main__":
    main()
