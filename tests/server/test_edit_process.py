"""The edit engine's real process at the other end of a socket. Oracle: the editor by itself."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from engine.bundle import open_bundle
from engine.edit_request import EditRequest
from engine.editor import Editor
from engine.errors import TailError
from engine.server.edit_desk import EditDesk, preview_steps
from engine.server.engine_options import EngineOptions, parse_arguments
from engine.server.messages import (
    CancelEdit,
    EditAccepted,
    EditDone,
    EditEnded,
    EditStep,
    EngineFailed,
    EngineReady,
    FromEngine,
    Message,
    StartEdit,
    UnetCall,
)
from engine.server.outbox import CROWD, Outbox
from engine.server.tail_cache import TailCache
from engine.server.wire import receive, send
from engine.tail_file import TailFile, parse_tail_file, serialize_tail_file
from engine.tail_info import TailInfo
from tests.engine.conftest import write_toy_bundle

PATIENCE_S = 30
ROOT = Path(__file__).parents[2]
TAIL = TailFile(
    tail=np.linspace(-1, 2, 40, dtype=np.float32).reshape(5, 8),
    tail_init=np.zeros((5, 8), np.float32),
    info=TailInfo("toy", "0" * 64, "toy", "epsilon", 0, "a dog"),
)
TAIL_DATA = serialize_tail_file(TAIL)
POISON = serialize_tail_file(replace(TAIL, tail=np.full((5, 8), 3e38, np.float32)))
EDIT = StartEdit(id="a", user="me", timeout_s=60, target_prompt="a dog", tail=TAIL_DATA, num_inference_steps=6)


class Engine:
    """A process and the socket to it."""

    def __init__(self, process: "subprocess.Popen[bytes]", connection: socket.socket) -> None:
        self.process = process
        self.connection = connection

    def say(self, *messages: Message) -> None:
        for message in messages:
            send(self.connection, message)

    def hear(self) -> Message:
        message = receive(self.connection, FromEngine)
        assert message is not None
        return message

    def hear_until(self, *ids: str) -> list[Any]:
        """All messages until these edits have ended."""
        heard, missing = [], {*ids}
        while missing:
            heard.append(message := self.hear())
            if isinstance(message, EditDone | EditEnded):
                missing.discard(message.id)
        return heard


@contextmanager
def engine(*arguments: str) -> Iterator[Engine]:
    with ExitStack() as stack:
        ours, theirs = map(stack.enter_context, socket.socketpair())
        ours.settimeout(PATIENCE_S)
        command = [sys.executable, "-m", "engine.server.edit_process", *arguments, f"--fd={theirs.fileno()}"]
        process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
        stack.enter_context(process)
        stack.callback(process.kill)
        theirs.close()
        yield Engine(process, ours)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy bundle")
    write_toy_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def running(bundle: Path) -> Iterator[Engine]:
    """One process for all tests that leave it alive: whatever they send, it goes on."""
    options = EngineOptions(bundle, "onnxruntime", threads=1, buckets=(8,), max_edits=4)
    with engine(*options.arguments()) as it:
        ready = it.hear()
        assert isinstance(ready, EngineReady)
        assert (ready.model_id, ready.dim, ready.image_size, ready.max_rows, ready.max_edits) == ("toy", 8, 32, 8, 4)
        assert ready.edit_defaults.guidance_scale == 3.0 and ready.edit_defaults.num_inference_steps == 50
        yield it


def alone(bundle: Path, **change: Any) -> Any:
    editor = Editor(open_bundle(bundle, "onnxruntime"), buckets=[8])
    return editor.edit([EditRequest("a dog", **{"tail": TAIL, "num_inference_steps": 6, **change})])[0].image


def array(done: EditDone) -> Any:
    return np.frombuffer(done.image.data, np.uint8).reshape(done.image.height, done.image.width, 3)


def test_options_come_through_the_command_line(tmp_path: Path) -> None:
    options = EngineOptions(tmp_path / "-a bundle", "openvino", "exact", 3, 1, (2, 4), 5)
    for it in (options, EngineOptions(tmp_path)):
        assert parse_arguments([*it.arguments(), "--fd", "7"]) == (it, 7)


def test_an_edit_is_told_from_acceptance_to_picture(running: Engine, bundle: Path) -> None:
    running.say(msgspec.structs.replace(EDIT, previews=2))
    heard = running.hear_until("a")
    accepted, *between, done = heard
    assert accepted == EditAccepted(id="a", steps=6, rows=2, tail_strength=0.8, guidance_scale=3.0)
    steps = [message for message in between if isinstance(message, EditStep)]
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]
    assert [step.step for step in steps if step.preview] == [2, 4]
    calls = [message for message in between if isinstance(message, UnetCall)]
    assert all((call.rows, call.edits, call.distinct_tails, call.bucket) == (2, 1, 1, 8) for call in calls)
    np.testing.assert_array_equal(array(done), alone(bundle))
    assert len(done.unet_ms) == 6 and done.total_ms > sum(done.unet_ms)


def test_previews_are_those_of_the_editor(running: Engine, bundle: Path) -> None:
    expected: dict[int, Any] = {}
    editor = Editor(open_bundle(bundle, "onnxruntime"), buckets=[8])
    request = EditRequest("a dog", TAIL, num_inference_steps=6)
    editor.edit([request], lambda it: expected.update({it.step: it.preview().tobytes()}))
    running.say(msgspec.structs.replace(EDIT, previews=5))
    previews = {it.step: it.preview for it in running.hear_until("a") if isinstance(it, EditStep) and it.preview}
    assert {*previews} == {1, 2, 3, 4, 5}
    assert all((it.height, it.width, it.data) == (4, 4, expected[step]) for step, it in previews.items())


@pytest.mark.parametrize(
    ("previews", "steps", "expected"),
    [(0, 9, set()), (1, 2, {1}), (3, 50, {13, 25, 38}), (4, 5, {1, 2, 3, 4}), (10, 3, {1, 2, 3}), (2, 1, {1})],
)
def test_previews_are_spread_evenly(previews: int, steps: int, expected: set[int]) -> None:
    assert preview_steps(previews, steps) == expected


@pytest.mark.parametrize(
    ("change", "reason", "complaint"),
    [
        ({"target_prompt": " "}, "prompt", "prompt is empty"),
        ({"target_prompt": "a " * 80}, "prompt", "prompt has 80 tokens"),
        ({"tail": b"\x80\x04\x95pickle"}, "tail", "tail is not a tail file"),
        ({"num_inference_steps": 0}, "value", "num_inference_steps is 0"),
        ({"num_inference_steps": 10**15}, "value", "num_inference_steps is"),
        ({"guidance_interval": (0.5, 0.1)}, "value", "guidance_interval"),
        ({"tail_strength": float("nan")}, "value", "must be a finite number"),
        ({"seed": -1}, "value", "seed is -1"),
        ({"timeout_s": 0.0}, "late", "edit had no picture after 0 s"),
        ({"tail": POISON}, "infinite", "became infinite"),
        ({"tail": POISON, "previews": 6}, "infinite", "became infinite"),
    ],
)
def test_what_cannot_be_done_is_said_and_others_go_on(
    running: Engine, bundle: Path, change: dict[str, Any], reason: str, complaint: str
) -> None:
    running.say(msgspec.structs.replace(EDIT, id="good"), msgspec.structs.replace(EDIT, id="bad", **change))
    ends = [it for it in running.hear_until("good", "bad") if isinstance(it, EditDone | EditEnded)]
    heard: dict[str, Any] = {it.id: it for it in ends}
    assert heard["bad"].reason == reason
    assert re.search(complaint, heard["bad"].message)
    np.testing.assert_array_equal(array(heard["good"]), alone(bundle))


def test_more_edits_than_there_may_be_are_refused(running: Engine) -> None:
    names = [str(number) for number in range(12)]
    running.say(*(msgspec.structs.replace(EDIT, id=name, num_inference_steps=900) for name in names))
    running.say(*(CancelEdit(id=name) for name in names))
    ends = [it for it in running.hear_until(*names) if isinstance(it, EditEnded)]
    reasons = [it.reason for it in ends]
    assert reasons.count("full") >= 1 and {*reasons} <= {"full", "cancelled"} and len(reasons) == 12
    assert next(it.message for it in ends if it.reason == "full").startswith("4 edits are under way")


def test_a_cancelled_edit_ends_once_and_takes_no_more_steps(running: Engine) -> None:
    running.say(msgspec.structs.replace(EDIT, num_inference_steps=900))
    while not isinstance(running.hear(), EditAccepted):
        pass
    running.say(CancelEdit(id="a"), CancelEdit(id="a"), CancelEdit(id="unknown"))
    heard = running.hear_until("a")
    assert heard[-1] == EditEnded(id="a", reason="cancelled", message="edit was cancelled")
    running.say(msgspec.structs.replace(EDIT, id="b"))
    later = running.hear_until("b")
    assert sum(getattr(it, "id", "b") == "a" for it in later) <= 1  # the step of the call that was running


def test_distinct_tails_of_a_call_are_counted(running: Engine) -> None:
    other = serialize_tail_file(replace(TAIL, tail=TAIL.tail + 1))
    tails = {"a": TAIL_DATA, "b": TAIL_DATA, "c": other, "d": None}
    running.say(
        *(msgspec.structs.replace(EDIT, id=id, tail=tail, num_inference_steps=900) for id, tail in tails.items())
    )
    calls = [it for it in running.hear_until(*tails) if isinstance(it, UnetCall)]
    assert (4, 2, 8, 8) in {(call.edits, call.distinct_tails, call.rows, call.bucket) for call in calls}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_left_to_the_front(running: Engine, number: int) -> None:
    running.process.send_signal(number)
    running.say(EDIT)
    assert isinstance(running.hear_until("a")[-1], EditDone)


@pytest.mark.parametrize("when", ["starting", "idle", "busy", "garbage"])
def test_the_process_goes_when_the_front_is_gone(bundle: Path, when: str) -> None:
    with engine(*EngineOptions(bundle, "onnxruntime", threads=1).arguments()) as it:
        if when != "starting":
            assert isinstance(it.hear(), EngineReady)
        if when == "busy":
            it.say(msgspec.structs.replace(EDIT, num_inference_steps=1000))
            it.hear()
        if when == "garbage":
            it.connection.sendall(b"\xff" * 100)
        else:
            it.connection.close()
        assert it.process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(
    ("damage", "options", "complaint", "code"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), {}, "manifest", 8),
        (lambda folder: (folder / "unet.onnx").write_bytes(b""), {}, "unet.onnx", 8),
        (lambda folder: None, {"runtime": "tensorrt"}, "tensorrt", 9),
        (lambda folder: None, {"runtime": "guesswork"}, "the runtime is 'guesswork'; use auto", 2),
        (lambda folder: None, {"buckets": (1,)}, "room for the 2 rows of a guided edit", 2),
    ],
)
def test_what_hinders_the_start_is_told(
    tmp_path: Path, damage: Callable[[Path], object], options: dict[str, Any], complaint: str, code: int
) -> None:
    write_toy_bundle(tmp_path)
    damage(tmp_path)
    with engine(*EngineOptions(**{"bundle": tmp_path, "runtime": "onnxruntime", **options}).arguments()) as it:
        failed = it.hear()
        assert isinstance(failed, EngineFailed) and complaint in failed.message
        assert receive(it.connection, FromEngine) is None and it.process.wait(PATIENCE_S) == code


def test_a_slow_front_loses_previews_and_no_results(bundle: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        editor = Editor(open_bundle(bundle, "onnxruntime"), buckets=(8,))
        desk = EditDesk(editor, (8,), Outbox(theirs))
        names = [str(number) for number in range(4)]
        for name in names:
            desk.take(msgspec.structs.replace(EDIT, id=name, num_inference_steps=200, previews=200))
        end = time.monotonic() + PATIENCE_S
        while desk._futures:
            assert time.monotonic() < end
            time.sleep(0.01)
        heard = Engine.hear_until(Engine(None, ours), *names)  # type: ignore[arg-type]
    steps = [it for it in heard if isinstance(it, EditStep)]
    assert len(steps) == 800 and sum(isinstance(it, EditDone) for it in heard) == 4
    # Those that wait, those that are being sent, and those that the socket took.
    assert 0 < sum(it.preview is not None for it in steps) <= 3 * CROWD


def test_tails_are_parsed_once_and_forgotten_by_size() -> None:
    cache = TailCache(max_size_bytes=2 * len(TAIL_DATA))
    tails = [serialize_tail_file(replace(TAIL, tail=TAIL.tail + number)) for number in range(3)]
    first, second = map(cache.parse, tails[:2])
    assert cache.parse(bytes(bytearray(tails[0]))) is first
    cache.parse(tails[2])
    assert cache.parse(tails[0]) is first and cache.parse(tails[1]) is not second
    np.testing.assert_array_equal(first.tail, parse_tail_file(tails[0]).tail)
    with pytest.raises(TailError):
        cache.parse(b"")
    assert TailCache(0).parse(TAIL_DATA) is not None
