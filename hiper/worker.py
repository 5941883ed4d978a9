"""Fits pictures in a process of its own: all it needs comes in messages, all it makes goes out in messages.

python -m hiper.worker --fd N --model M
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final, get_args

from engine.errors import HiPerError, PromptError
from engine.server.messages import (
    FitFailed,
    Message,
    StartFit,
    StopFit,
    ToWorker,
    WorkerFailed,
    WorkerReady,
)
from engine.server.wire import receive, send
from hiper.errors import ImageError
from hiper.execution import Attention, Dtype
from hiper.fit import FitError
from hiper.fit_job import FitJob
from hiper.fit_reporter import FitReporter
from hiper.memory import is_out_of_memory
from hiper.pipeline import HiPer
from hiper.recipe import choose_config
from hiper.snapshot_file import SnapshotError, Snapshots, parse_snapshots
from hiper.snapshots import check_identity, follow

LOWEST_PRIORITY: Final = 19

log = logging.getLogger(__name__)


class OtherModelError(Exception):
    """A checkpoint belongs to a fit of another model."""


# What the same input will meet again.
_PERMANENT: dict[type[Exception], str] = {
    PromptError: "prompt_invalid",
    ImageError: "image_invalid",
    OtherModelError: "model_mismatch",
    FitError: "diverged",
}


class Worker:
    """One model, and one fit at a time.

    Args:
        front: a stream socket; at its end the worker ends, in the midst of a fit with a checkpoint.
        hiper: the loaded model.
    """

    def __init__(self, front: socket.socket, hiper: HiPer) -> None:
        self._front, self._hiper = front, hiper

    def run(self) -> None:
        """Fit what comes, until nothing more can come."""
        model, execution = self._hiper.model, self._hiper.execution
        made = WorkerReady(
            model_id=model.model_id, model_digest=model.digest, device=execution.device, dtype=execution.dtype
        )
        send(self._front, made)
        while (message := self._receive()) is not None:
            # A StopFit may come for a fit that has just ended.
            if isinstance(message, StartFit):
                self._fit_or_fail(message)

    def _fit_or_fail(self, start: StartFit) -> None:
        try:
            self._fit(start)
        except ConnectionError:
            raise
        except Exception as error:
            log.warning("fit %s failed", start.id, exc_info=True)
            code, message, permanent = explain(error)
            failed = FitFailed(id=start.id, fence=start.fence, code=code, message=message, permanent=permanent)
            send(self._front, failed)

    def _fit(self, start: StartFit) -> None:
        job = make_job(self._hiper, start)
        snapshots = before = earlier(job, start.checkpoint)
        state = None if before is None else before.state
        reporter = FitReporter(self._front, start, job)
        reporter.start(0 if state is None else state.step)
        # Any, since an Iterator does not promise the `close` that a generator has.
        fit: Any = job.run(self._hiper.execution, state)
        with closing(fit):
            for progress, snapshots in follow(fit, job.identity, before):
                reporter.step(progress, snapshots)
                if self._is_to_stop(start.id):
                    return reporter.stopped(snapshots)
        assert snapshots is not None, "a fit has at least one step"
        reporter.done(snapshots)

    def _is_to_stop(self, fit_id: str) -> bool:
        """Whether the front has said so, or has gone."""
        while select.select([self._front], [], [], 0)[0]:
            message = self._receive()
            if message is None or (isinstance(message, StopFit) and message.id == fit_id):
                return True
        return False

    def _receive(self) -> Message | None:
        return receive(self._front, ToWorker)


def make_job(hiper: HiPer, start: StartFit) -> FitJob:
    """What `hiper-fit` would do with these settings.

    Raises:
        PromptError, ImageError, ValueError: it would refuse them.
    """
    wanted = start.settings
    config = choose_config(
        wanted.preset,
        wanted.subject,
        hiper.recipe,
        seed=wanted.seed,
        steps=wanted.steps,
        learning_rate=wanted.learning_rate,
    )
    return hiper.job(start.image, wanted.prompt, config, wanted.crop)


def earlier(job: FitJob, checkpoint: bytes | None) -> Snapshots | None:
    """What a fit goes on from.

    Returns:
        None for a start from the beginning: there is no checkpoint, or it is damaged or of another version of this
        program, which may cost time but never the fit.

    Raises:
        OtherModelError: another model was fitted.
    """
    if checkpoint is None:
        return None
    try:
        snapshots = parse_snapshots(checkpoint)
        if snapshots.identity.get("model") != job.identity["model"]:
            raise OtherModelError(
                f"the fit began with another model than {job.model.model_id}, which this server has now; fit it again"
            )
        check_identity(snapshots, job.identity)
    except SnapshotError as error:
        log.warning("the fit starts from the beginning: %s", error)
        return None
    return snapshots


def explain(error: Exception) -> tuple[str, str, bool]:
    """An error as code, message for the user, and whether the same input fails again."""
    for kind, code in _PERMANENT.items():
        if isinstance(error, kind):
            return code, str(error), True
    if is_out_of_memory(error):
        return "out_of_memory", "the memory is too small for this fit; use a smaller model or a larger device", False
    return "internal", f"the fit met an unexpected {type(error).__name__}; the server's log says more", False


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    options = vars(_parser().parse_args(arguments))
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    os.nice(options.pop("nice"))
    # Ctrl-C is for the front, which ends its children in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    front = socket.socket(fileno=options.pop("fd"))
    _end_at_sigterm(front)
    try:
        Worker(front, HiPer.from_pretrained(**options)).run()
    except HiPerError as error:
        send(front, WorkerFailed(message=str(error)))
        sys.exit(error.exit_code)
    except ConnectionError:
        log.warning("the front is gone")
    finally:
        front.detach()  # it ends with the process, which takes a while to go


def _end_at_sigterm(front: socket.socket) -> None:
    """To be terminated is to hear nothing more: the worker ends as if the front had gone, but can still report."""

    def hear_no_more(*_: object) -> None:
        with contextlib.suppress(OSError):
            front.shutdown(socket.SHUT_RD)

    signal.signal(signal.SIGTERM, hear_no_more)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hiper.worker", description="The fit worker of hiper-serve.")
    parser.add_argument("--fd", type=int, required=True, help="socket to the server, which it has inherited")
    parser.add_argument("--model", required=True)
    parser.add_argument("--nice", type=int, default=LOWEST_PRIORITY, help="how far to stand back behind edits")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", choices=get_args(Dtype))
    parser.add_argument("--attention", default="auto", choices=get_args(Attention))
    for flag in ("--channels-last", "--compile", "--cuda-graph"):
        parser.add_argument(flag, action="store_true")
    return parser


if __name__ == "__main__":
    main()
