"""The fit worker, mostly as a process: its tails against `HiPer.fit`, through stops, kill -9 and what it refuses."""

import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.server.messages import (
    FitCheckpoint,
    FitDone,
    FitFailed,
    FitSettings,
    FitStep,
    FitStopped,
    FromWorker,
    Message,
    StartFit,
    StopFit,
    WorkerFailed,
    WorkerReady,
)
from engine.server.wire import receive, send
from engine.tail_file import parse_tail_file
from hiper.errors import ModelError
from hiper.pipeline import HiPer
from hiper.recipe import choose_config
from hiper.snapshot_file import parse_snapshots, serialize_snapshots
from hiper.tail import Tail
from hiper.worker import Worker, explain, main

ROOT = Path(__file__).parents[2]
SETTINGS = FitSettings(prompt="a dog", seed=3, steps=12, crop="pad")


def picture() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (80, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = picture()


def start(settings: FitSettings = SETTINGS, *, image: bytes = PICTURE, **options: Any) -> StartFit:
    digest = hashlib.sha256(image).hexdigest()
    return StartFit(id="fit_1", settings=settings, image=image, image_sha256=digest, **{"fence": 1, **options})


class Line:
    """The front's end of a worker's socket."""

    def __init__(self) -> None:
        self.front, self.theirs = socket.socketpair()
        self.front.settimeout(60)

    def send(self, message: Message) -> None:
        send(self.front, message)

    def hear(self) -> Message | None:
        return receive(self.front, FromWorker)

    def until(self, *kinds: type[Message]) -> list[Message]:
        """Everything up to the first message of these kinds."""
        heard: list[Message] = []
        while not heard or not isinstance(heard[-1], kinds):
            message = self.hear()
            assert message is not None, f"the worker is gone; it said {heard}"
            heard.append(message)
        return heard

    def fit(self, message: StartFit) -> list[Message]:
        self.send(message)
        return self.until(FitDone, FitFailed, FitStopped)


class Process(Line):
    """A worker in a process of its own."""

    def __init__(self, model: Path) -> None:
        super().__init__()
        argv = [sys.executable, "-m", "hiper.worker", "--model", str(model), "--device", "cpu", "--dtype", "fp32"]
        argv += ["--nice", "0"]  # on a busy machine the tests would wait for minutes
        with self.theirs:
            self.popen = subprocess.Popen(
                [*argv, "--fd", str(self.theirs.fileno())],
                cwd=ROOT,
                pass_fds=[self.theirs.fileno()],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        [self.ready] = self.until(WorkerReady)

    def end(self) -> None:
        self.front.close()
        self.popen.kill()
        self.popen.wait(60)


class Thread(Line):
    """A worker in a thread of the test, which can see into its model."""

    def __init__(self, hiper: HiPer) -> None:
        super().__init__()
        self.thread = threading.Thread(target=self._run, args=(hiper,), daemon=True)
        self.thread.start()
        self.until(WorkerReady)

    def _run(self, hiper: HiPer) -> None:
        torch.set_num_threads(1)
        with self.theirs:
            Worker(self.theirs, hiper).run()


@pytest.fixture(scope="module")
def process(sd1_folder: Path) -> Iterator[Callable[[], Process]]:
    """A process that is ready: the same one for as long as it lives."""
    running: list[Process] = []

    def get() -> Process:
        if not running or running[-1].popen.poll() is not None:
            running.append(Process(sd1_folder))
        return running[-1]

    yield get
    for one in running:
        one.end()


@pytest.fixture(scope="module")
def hiper(sd1_folder: Path) -> HiPer:
    return HiPer.from_pretrained(sd1_folder, device="cpu", dtype="fp32")


@pytest.fixture
def line(hiper: HiPer) -> Iterator[Thread]:
    line = Thread(hiper)
    yield line
    line.front.close()
    line.thread.join(60)


@pytest.fixture(scope="module")
def whole(hiper: HiPer) -> Iterator[Tail]:
    """What `hiper-fit` makes of the same settings, without a break."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = choose_config("fast", "animal", hiper.recipe, seed=3, steps=12)
    yield hiper.fit(PICTURE, "a dog", config=config, crop="pad")
    torch.set_num_threads(threads)


def same(data: bytes, tail: Tail) -> bool:
    """The same tail by its bits, and by all that is said of it."""
    file = parse_tail_file(data)
    return file.digest == tail.digest and np.array_equal(file.tail_init, tail.initial) and file.info == tail.info


def losses(messages: list[Message]) -> list[float]:
    return [loss for message in messages if isinstance(message, FitStep) for loss in message.losses]


def checkpoints(messages: list[Message]) -> list[FitCheckpoint]:
    return [message for message in messages if isinstance(message, FitCheckpoint)]


def test_a_fit_is_that_of_the_command_line(process: Callable[[], Process], whole: Tail) -> None:
    heard = process().fit(start(checkpoint_every=5, fence=7))
    first, done = heard[0], heard[-1]
    assert first == FitStep(id="fit_1", fence=7, step=0, steps=12, losses=[])
    assert isinstance(done, FitDone) and (done.id, done.fence, done.step) == ("fit_1", 7, 12)
    assert same(done.tail, whole)
    assert losses(heard) == [loss for _, loss in whole.info.loss_trace]
    assert [checkpoint.step for checkpoint in checkpoints(heard)] == [5, 10]
    assert [parse_tail_file(checkpoint.tail).info.step for checkpoint in checkpoints(heard)] == [5, 10]


def test_the_worker_says_what_it_is(process: Callable[[], Process], hiper: HiPer) -> None:
    assert process().ready == WorkerReady(
        model_id=hiper.model.model_id, model_digest=hiper.model.digest, device="cpu", dtype="fp32"
    )


def test_a_killed_fit_goes_on_in_another_process_as_if_nothing_had_happened(
    process: Callable[[], Process], whole: Tail
) -> None:
    first = process()
    first.send(start(checkpoint_every=5))
    [*_, checkpoint] = first.until(FitCheckpoint)
    assert isinstance(checkpoint, FitCheckpoint)
    first.popen.kill()
    first.popen.wait(60)
    heard = process().fit(start(checkpoint=checkpoint.data, fence=2))
    assert process() is not first
    assert heard[0] == FitStep(id="fit_1", fence=2, step=5, steps=12, losses=[])
    assert losses(heard) == [loss for _, loss in whole.info.loss_trace[5:]]
    assert isinstance(heard[-1], FitDone) and same(heard[-1].tail, whole)


def test_ctrl_c_is_for_the_front_and_sigterm_ends_in_a_checkpoint(process: Callable[[], Process], whole: Tail) -> None:
    one = process()
    one.send(start())
    one.until(FitStep)
    one.popen.send_signal(signal.SIGINT)
    one.popen.send_signal(signal.SIGTERM)
    [*_, checkpoint, stopped] = one.until(FitStopped, FitDone)
    assert isinstance(checkpoint, FitCheckpoint) and isinstance(stopped, FitStopped)
    assert checkpoint.step == stopped.step < 12
    assert one.hear() is None
    assert one.popen.wait(60) == 0


def test_a_stop_comes_within_its_step(line: Thread, hiper: HiPer, whole: Tail) -> None:
    calls = []

    def at_the_fourth_step(*_: object) -> None:
        calls.append(0)
        if len(calls) == 4:
            line.send(StopFit(id="fit_0"))  # an earlier fit, which is over
            line.send(StopFit(id="fit_1"))

    hook = hiper.model.unet.register_forward_hook(at_the_fourth_step)
    [*_, checkpoint, stopped] = line.fit(start())
    hook.remove()
    assert stopped == FitStopped(id="fit_1", fence=1, step=4)
    assert isinstance(checkpoint, FitCheckpoint) and checkpoint.step == 4
    done = line.fit(start(checkpoint=checkpoint.data))[-1]
    assert isinstance(done, FitDone) and same(done.tail, whole)


def test_a_fit_that_stopped_after_its_last_step_is_done(line: Thread, whole: Tail) -> None:
    [last] = checkpoints(line.fit(start(checkpoint_every=12)))
    heard = line.fit(start(checkpoint=last.data))
    assert isinstance(heard[-1], FitDone) and same(heard[-1].tail, whole) and losses(heard) == []


def test_the_end_of_the_front_is_the_end_of_the_worker(line: Thread) -> None:
    line.send(start())
    line.until(FitStep)
    line.front.shutdown(socket.SHUT_WR)
    assert isinstance(line.until(FitStopped, FitDone)[-1], FitStopped)
    assert line.hear() is None
    line.thread.join(60)
    assert not line.thread.is_alive()


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        (start(FitSettings(prompt="dog " * 80)), "prompt_invalid", "prompt has 80 tokens but 70 fit"),
        (start(FitSettings(prompt=" ")), "prompt_invalid", "prompt is empty"),
        (start(image=b"no picture"), "image_invalid", "image is no picture that can be read"),
        (start(FitSettings(prompt="a dog", learning_rate=1e30)), "diverged", "the loss is nan at step"),
    ],
)
def test_what_fails_again_is_named(line: Thread, message: StartFit, code: str, words: str) -> None:
    failed = line.fit(message)[-1]
    assert isinstance(failed, FitFailed) and failed.permanent
    assert (failed.id, failed.fence, failed.code) == ("fit_1", 1, code)
    assert words in failed.message


def test_a_bug_ends_one_fit_and_says_nothing_of_itself(line: Thread, hiper: HiPer, whole: Tail) -> None:
    def break_down(*_: object) -> None:
        raise RuntimeError("secret")

    hook = hiper.model.unet.register_forward_hook(break_down)
    failed = line.fit(start())[-1]
    hook.remove()
    assert isinstance(failed, FitFailed) and (failed.code, failed.permanent) == ("internal", False)
    assert failed.message == "the fit met an unexpected RuntimeError; the server's log says more"
    done = line.fit(start())[-1]
    assert isinstance(done, FitDone) and same(done.tail, whole)


def test_too_little_memory_may_suffice_another_time() -> None:
    code, message, permanent = explain(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert (code, permanent) == ("out_of_memory", False) and "smaller model" in message


def test_a_checkpoint_of_another_model_is_refused_and_a_damaged_one_costs_time(
    line: Thread, sd2_folder: Path, whole: Tail
) -> None:
    [checkpoint, *_] = checkpoints(line.fit(start(checkpoint_every=5)))
    snapshots = parse_snapshots(checkpoint.data)
    other = serialize_snapshots(replace(snapshots, identity={**snapshots.identity, "model": '"another"'}))
    failed = line.fit(start(checkpoint=other))[-1]
    assert isinstance(failed, FitFailed) and (failed.code, failed.permanent) == ("model_mismatch", True)
    assert "the fit began with another model than tiny-sd1" in failed.message
    older = serialize_snapshots(replace(snapshots, identity={**snapshots.identity, "novelty": "1"}))
    for data in (older, checkpoint.data[:-1]):
        heard = line.fit(start(checkpoint=data))
        assert losses(heard) == [loss for _, loss in whole.info.loss_trace]
        assert isinstance(heard[-1], FitDone) and same(heard[-1].tail, whole)


def test_a_model_that_cannot_be_loaded_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nice: list[int] = []
    monkeypatch.setattr(os, "nice", nice.append)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    line = Line()
    fd = line.theirs.detach()
    with pytest.raises(SystemExit) as ended:
        main(["--fd", str(fd), "--model", str(tmp_path)])
    os.close(fd)
    assert ended.value.code == ModelError.exit_code
    [failed] = line.until(WorkerFailed)
    assert isinstance(failed, WorkerFailed) and "is no pipeline" in failed.message
    assert line.hear() is None
    assert nice == [19]
