"""Oracle: the editor by itself. The UNet waits for permission, so that a test decides what happens at which step."""

import asyncio
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.batcher import Batcher, Call
from engine.bundle import Bundle, open_bundle
from engine.edit_request import EditRequest, EditResult
from engine.editor import Editor, Progress
from engine.errors import EditError, PromptError
from engine.tail_file import TailFile
from engine.tail_info import TailInfo

PATIENCE_S = 30
TAIL = TailFile(
    tail=np.linspace(-1, 2, 40, dtype=np.float32).reshape(5, 8),
    tail_init=np.zeros((5, 8), np.float32),
    info=TailInfo("toy", "0" * 64, "toy", "epsilon", 0, "a dog"),
)
REQUESTS = [
    EditRequest("a dog", TAIL, seed=1, num_inference_steps=4),
    EditRequest("a cat", TAIL, seed=2, num_inference_steps=7, solver="dpmpp_2m", tail_strength=1.0),
    EditRequest("a dog", seed=3, num_inference_steps=2, solver="euler", guidance_scale=1.0),
    EditRequest("dog", TAIL, seed=4, num_inference_steps=6, guidance_interval=(0.25, 0.75)),
]
ONE = EditRequest("a dog", TAIL, num_inference_steps=3)


class WaitingNetwork:
    """A UNet that answers as often as it was permitted to; `rows` knows the call that waits, too.

    An `error` is what its next call raises at once.
    """

    def __init__(self, network: Any) -> None:
        self._network = network
        self.inputs = network.inputs
        self.permits = threading.Semaphore(0)
        self.rows: list[int] = []
        self.error: Exception | None = None

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self.rows.append(len(inputs["sample"]))
        assert self.permits.acquire(timeout=PATIENCE_S)
        answer: dict[str, NDArray[Any]] = self._network(inputs)
        return answer


@pytest.fixture
def bundle(toy_bundle: Path) -> Bundle:
    return open_bundle(toy_bundle, "onnxruntime")


@pytest.fixture
def unet(bundle: Bundle) -> Iterator[WaitingNetwork]:
    network = bundle.__dict__["unet"] = WaitingNetwork(bundle.unet)
    yield network
    network.permits.release(10_000)


def picture(future: "Future[EditResult]") -> Any:
    return future.result(PATIENCE_S).image


def until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_pictures_from_many_threads_equal_the_editor_alone(bundle: Bundle) -> None:
    editor = Editor(bundle, buckets=[8])
    expected = [result.image for result in editor.edit(REQUESTS)]
    found: dict[int, Any] = {}

    def ask(index: int) -> None:
        found[index] = picture(batcher.submit(REQUESTS[index % 4], user=str(index % 3)))

    with Batcher(editor) as batcher:
        threads = [threading.Thread(target=ask, args=(index,)) for index in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for index in range(32):
        np.testing.assert_array_equal(found[index], expected[index % 4])


def test_an_edit_joins_a_running_batch_and_leaves_it_before_the_others(bundle: Bundle, unet: WaitingNetwork) -> None:
    with Batcher(Editor(bundle)) as batcher:
        long = batcher.submit(replace(ONE, num_inference_steps=20))
        unet.permits.release(5)
        until(lambda: len(unet.rows) == 6)
        short = batcher.submit(replace(ONE, num_inference_steps=2, guidance_scale=1.0))
        unet.permits.release(4)
        picture(short)
        assert not long.done() and len(unet.rows) <= 10
        unet.permits.release(20)
        picture(long)
    # The sixth call had been put together before the short edit came.
    assert unet.rows == [2] * 6 + [4] * 2 + [2] * 12


def test_a_cancelled_edit_is_gone_before_the_next_step(bundle: Bundle, unet: WaitingNetwork) -> None:
    steps: list[int] = []
    editor = Editor(bundle)
    with Batcher(editor) as batcher:
        stays = batcher.submit(REQUESTS[1])
        goes = batcher.submit(
            replace(ONE, num_inference_steps=50), on_step=lambda progress: steps.append(progress.step)
        )
        unet.permits.release(3)
        until(lambda: len(steps) >= 1)
        assert goes.cancel()
        counted = len(steps)
        unet.permits.release(100)
        image = picture(stays)
    assert len(steps) <= counted + 1 < 50
    with pytest.raises(CancelledError):
        goes.result()
    np.testing.assert_array_equal(image, editor.edit([REQUESTS[1]])[0].image)


def test_a_late_edit_fails_and_frees_its_place(bundle: Bundle, unet: WaitingNetwork) -> None:
    with Batcher(Editor(bundle, max_edits=2)) as batcher:
        late = batcher.submit(ONE, timeout_s=0.05)
        patient = batcher.submit(ONE)
        time.sleep(0.1)
        unet.permits.release(100)
        with pytest.raises(TimeoutError, match=r"edit had no picture after 0\.05 s; allow more"):
            late.result(PATIENCE_S)
        another = batcher.submit(ONE)
        np.testing.assert_array_equal(picture(patient), picture(another))


def test_the_urgent_edit_runs_and_the_other_waits_without_harm(bundle: Bundle, unet: WaitingNetwork) -> None:
    order: list[str] = []
    editor = Editor(bundle, buckets=[2])
    with Batcher(editor) as batcher:
        bulk = batcher.submit(REQUESTS[1], timeout_s=500, on_step=lambda _: order.append("bulk"))
        unet.permits.release(2)
        until(lambda: order)
        urgent = batcher.submit(ONE, timeout_s=60, on_step=lambda _: order.append("urgent"))
        unet.permits.release(100)
        picture(urgent)
        image = picture(bulk)
    first = order.index("urgent")
    assert order[first : first + 3] == ["urgent"] * 3 and order[-1] == "bulk"
    np.testing.assert_array_equal(image, editor.edit([REQUESTS[1]])[0].image)


def test_a_user_with_many_edits_does_not_hold_up_another(bundle: Bundle, unet: WaitingNetwork) -> None:
    ended: list[str] = []
    with Batcher(Editor(bundle, buckets=[2])) as batcher:
        greedy = [batcher.submit(ONE, user="greedy") for _ in range(10)]
        modest = batcher.submit(ONE, user="modest")
        for future in greedy:
            future.add_done_callback(lambda _: ended.append("greedy"))
        modest.add_done_callback(lambda _: ended.append("modest"))
        unet.permits.release(100)
        for future in [*greedy, modest]:
            picture(future)
    assert "modest" in ended[:2]


def test_a_full_batcher_and_a_wrong_request_are_refused_at_once(bundle: Bundle, unet: WaitingNetwork) -> None:
    with Batcher(Editor(bundle, max_edits=2)) as batcher:
        accepted = [batcher.submit(ONE) for _ in range(2)]
        with pytest.raises(queue.Full, match="2 edits are under way, as many as there may be; try again later"):
            batcher.submit(ONE)
        with pytest.raises(PromptError):
            batcher.submit(replace(ONE, target_prompt=""))
        unet.permits.release(100)
        for future in accepted:
            picture(future)
        picture(batcher.submit(ONE))


def test_a_poisoned_edit_fails_alone(bundle: Bundle) -> None:
    editor = Editor(bundle, buckets=[8])
    poisoned = replace(ONE, tail=replace(TAIL, tail=np.full((5, 8), np.nan, np.float32)))
    expected = editor.edit([ONE])[0].image
    with Batcher(editor) as batcher:
        bad, good = batcher.submit(poisoned), batcher.submit(ONE)
        np.testing.assert_array_equal(picture(good), expected)
        with pytest.raises(EditError, match="became infinite"):
            picture(bad)


def test_a_failing_network_fails_the_edits_of_its_call_and_no_later_one(bundle: Bundle, unet: WaitingNetwork) -> None:
    def failing(inputs: Any) -> Any:
        raise MemoryError

    unet.permits.release(100)
    unet.error = MemoryError("no memory")
    with Batcher(Editor(bundle)) as batcher:
        with pytest.raises(MemoryError, match="no memory"):
            picture(batcher.submit(ONE))
        picture(batcher.submit(ONE))
        bundle.__dict__["text_encoder"] = failing
        with pytest.raises(MemoryError):
            picture(batcher.submit(replace(ONE, target_prompt="a cat")))
        picture(batcher.submit(ONE))


def test_a_callback_that_raises_ends_its_own_edit(bundle: Bundle) -> None:
    def fail(progress: Progress) -> None:
        if progress.step == 2:
            raise ZeroDivisionError

    with Batcher(Editor(bundle)) as batcher:
        bad, good = batcher.submit(ONE, on_step=fail), batcher.submit(ONE)
        with pytest.raises(ZeroDivisionError):
            picture(bad)
        picture(good)


def test_an_edit_that_ended_while_its_next_call_fails_ends_once(bundle: Bundle, unet: WaitingNetwork) -> None:
    def fail(progress: Progress) -> None:
        unet.error = MemoryError()
        raise ZeroDivisionError

    with Batcher(Editor(bundle)) as batcher:
        other = batcher.submit(replace(ONE, num_inference_steps=50))
        bad = batcher.submit(ONE, on_step=fail)
        unet.permits.release(2)
        with pytest.raises(ZeroDivisionError):
            picture(bad)
        with pytest.raises(MemoryError):
            picture(other)
        unet.permits.release(100)
        picture(batcher.submit(ONE))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_batcher_that_died(bundle: Bundle) -> None:
    def fail(call: Call) -> None:
        raise ZeroDivisionError

    batcher = Batcher(Editor(bundle), on_call=fail)
    with pytest.raises(ZeroDivisionError):
        picture(batcher.submit(ONE))
    with pytest.raises(RuntimeError, match="the batcher is closed; make a new one"):
        batcher.submit(ONE)
    batcher.close()


@pytest.mark.parametrize("cancel", [False, True])
def test_closing_waits_for_pictures_unless_told_to_cancel(bundle: Bundle, unet: WaitingNetwork, cancel: bool) -> None:
    batcher = Batcher(Editor(bundle))
    future = batcher.submit(ONE)
    threading.Timer(0.05, lambda: unet.permits.release(100)).start()
    batcher.close(cancel)
    assert future.cancelled() == cancel and future.done()


def test_calls_are_told_with_their_rows(bundle: Bundle) -> None:
    calls: list[Call] = []
    with Batcher(Editor(bundle), calls.append) as batcher:
        picture(batcher.submit(REQUESTS[3]))
    assert [call.rows for call in calls] == [1, 1, 2, 2, 2, 1]
    assert all(call.latency_ms > 0 and [it.seed for it in call.requests] == [4] for call in calls)


def test_a_call_that_was_not_made_is_not_told(bundle: Bundle, unet: WaitingNetwork) -> None:
    def fail(progress: Progress) -> None:
        raise ZeroDivisionError

    calls: list[Call] = []
    unet.permits.release(100)
    with Batcher(Editor(bundle), calls.append) as batcher:
        bad = batcher.submit(replace(ONE, num_inference_steps=50), on_step=fail)
        with pytest.raises(ZeroDivisionError):
            bad.result(PATIENCE_S)
    assert len(calls) == len(unet.rows) == 1


def test_an_edit_that_ended_before_its_call_is_not_told(bundle: Bundle, unet: WaitingNetwork) -> None:
    def fail(progress: Progress) -> None:
        raise ZeroDivisionError

    calls: list[Call] = []
    with Batcher(Editor(bundle, buckets=[2, 4]), calls.append) as batcher:
        good = batcher.submit(replace(ONE, seed=7))
        until(lambda: unet.rows)
        bad = batcher.submit(replace(ONE, seed=8), on_step=fail)
        unet.permits.release(100)
        picture(good)
        with pytest.raises(ZeroDivisionError):
            picture(bad)
    assert [[it.seed for it in call.requests] for call in calls] == [[7], [7, 8], [7]]
    assert [call.rows for call in calls] == [2, 4, 4]


def test_asyncio_can_wait_for_an_edit_and_cancel_it(bundle: Bundle, unet: WaitingNetwork) -> None:
    async def talk() -> None:
        waits = asyncio.wrap_future(batcher.submit(ONE))
        cancelled = asyncio.wrap_future(batcher.submit(ONE))
        cancelled.cancel()
        unet.permits.release(100)
        assert (await asyncio.wait_for(waits, PATIENCE_S)).image.shape == (32, 32, 3)

    with Batcher(Editor(bundle)) as batcher:
        asyncio.run(talk())
