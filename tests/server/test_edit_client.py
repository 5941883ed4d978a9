"""The client and the real engine's process, which is killed, stopped and slowed down. Oracle: the editor by itself."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from engine.bundle import open_bundle
from engine.edit_request import EditRequest
from engine.editor import Editor
from engine.server import child as child_module
from engine.server import edit_client as client_module
from engine.server.edit_client import COMMAND, EditClient, EngineDown
from engine.server.engine_options import EngineOptions
from engine.server.messages import EditAccepted, EditDone, EditEnded, EditStep, StartEdit, UnetCall
from engine.tail_file import TailFile, serialize_tail_file
from engine.tail_info import TailInfo
from tests.engine.conftest import write_toy_bundle

PATIENCE_S = 30
TAIL = TailFile(
    tail=np.linspace(-1, 2, 40, dtype=np.float32).reshape(5, 8),
    tail_init=np.zeros((5, 8), np.float32),
    info=TailInfo("toy", "0" * 64, "toy", "epsilon", 0, "a dog"),
)
EDIT = StartEdit(
    id="a", user="me", timeout_s=60, target_prompt="a dog", tail=serialize_tail_file(TAIL), num_inference_steps=5
)
LONG = msgspec.structs.replace(EDIT, num_inference_steps=900)
DEADLY = 'inputs["encoder_hidden_states"].max() > 1e6 and os.kill(os.getpid(), 9)'
DEADLY_TAIL = serialize_tail_file(replace(TAIL, tail=np.full((5, 8), 1e8, np.float32)))
SLOW = """
import os, sys, time
from engine.bundle import Bundle
from engine.server.edit_process import main

fast = Bundle.__dict__["unet"].func

class Slow:
    def __init__(self, bundle):
        self.network, self.calls = fast(bundle), 0
        self.inputs = self.network.inputs

    def __call__(self, inputs):
        self.calls += 1
        {what}
        return self.network(inputs)

Bundle.__dict__["unet"].func = Slow
main()
"""


def slow(what: str = "time.sleep(0.01)") -> tuple[str, ...]:
    return sys.executable, "-c", SLOW.replace("{what}", what)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "FIRST_DELAY_S", 0.01)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy bundle")
    write_toy_bundle(folder)
    return folder


@asynccontextmanager
async def client(
    bundle: Path, command: tuple[str, ...] = COMMAND, on_call: Callable[[UnetCall], object] = id, **options: Any
) -> AsyncIterator[EditClient]:
    options = {"runtime": "onnxruntime", "threads": 1, "buckets": (8,), **options}
    it = EditClient(EngineOptions(bundle, **options), on_call, command)
    async with asyncio.timeout(PATIENCE_S):
        await it.start()
        await it.wait_ready()
        yield it
        await it.stop(0)
        assert it.depth == 0 and it.ready is None and it.state == "stopped"


async def collect(it: EditClient, request: StartEdit) -> list[Any]:
    return [event async for event in it.edit(request)]


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def array(done: EditDone) -> Any:
    assert isinstance(done, EditDone)
    return np.frombuffer(done.image.data, np.uint8).reshape(done.image.height, done.image.width, 3)


def alone(bundle: Path, request: EditRequest) -> Any:
    return Editor(open_bundle(bundle, "onnxruntime"), buckets=[8]).edit([request])[0].image


def test_pictures_of_many_edits_at_once_equal_the_editor_alone(bundle: Path) -> None:
    requests = [
        EditRequest("a dog", TAIL, seed=1, num_inference_steps=4),
        EditRequest("a cat", TAIL, seed=2, num_inference_steps=7, solver="dpmpp_2m", tail_strength=1.0),
        EditRequest("a dog", seed=3, num_inference_steps=2, solver="euler", guidance_scale=1.0),
        EditRequest("dog", replace(TAIL, tail=-TAIL.tail), num_inference_steps=6, guidance_interval=(0.25, 0.75)),
        EditRequest("a dog", negative_prompt="a cat", seed=2**64 - 1),
    ]
    expected = [alone(bundle, request) for request in requests]
    # The order of a file's metadata differs from one call to the next.
    files = {tail: serialize_tail_file(tail) for request in requests if (tail := request.tail)}
    calls: list[UnetCall] = []

    async def ask(it: EditClient, index: int) -> None:
        wanted = requests[index % 5]
        fields = {name: getattr(wanted, name) for name in EditRequest.__dataclass_fields__}
        fields["tail"] = files.get(wanted.tail)
        order = StartEdit(id=str(index), user=str(index % 3), timeout_s=60, previews=index % 4, **fields)
        *_, done = await collect(it, order)
        np.testing.assert_array_equal(array(done), expected[index % 5])

    async def talk() -> None:
        async with client(bundle, on_call=calls.append) as it:
            await asyncio.gather(*(ask(it, index) for index in range(40)))

    asyncio.run(talk())
    assert max(call.distinct_tails for call in calls) == 2 and all(call.bucket == 8 for call in calls)


def test_events_come_in_order_and_an_id_is_free_again_afterwards(bundle: Path) -> None:
    async def talk() -> None:
        async with client(bundle) as it:
            for _ in range(2):
                accepted, *steps, done = await collect(it, msgspec.structs.replace(EDIT, previews=1))
                assert accepted == EditAccepted(id="a", steps=5, rows=2, tail_strength=0.8, guidance_scale=3.0)
                assert [(step.step, step.preview is not None) for step in steps] == [
                    (number, number == 3) for number in range(1, 6)
                ]
                assert isinstance(done, EditDone)

    asyncio.run(talk())


def test_refusals_come_as_the_last_word(bundle: Path) -> None:
    async def talk() -> None:
        async with client(bundle) as it:
            [ended] = await collect(it, msgspec.structs.replace(EDIT, target_prompt=""))
            assert isinstance(ended, EditEnded) and ended.reason == "prompt"
            for change in ({"seed": 2**64}, {"target_prompt": "\ud800"}):
                [ended] = await collect(it, msgspec.structs.replace(EDIT, **change))
                assert ended.reason == "value" and "cannot be sent" in ended.message
            assert it.depth == 0

    asyncio.run(talk())


def test_an_id_under_way_is_refused(bundle: Path) -> None:
    async def talk() -> None:
        async with client(bundle, slow()) as it, aclosing(it.edit(LONG)) as events:
            await anext(events)
            with pytest.raises(ValueError, match="an edit named 'a' is under way"):
                await anext(it.edit(EDIT))
            assert it.depth == 1

    asyncio.run(talk())


@pytest.mark.parametrize("how", ["close", "task", "abandoned before it began"])
def test_who_leaves_cancels_the_edit_and_no_other(bundle: Path, how: str) -> None:
    calls: list[UnetCall] = []

    async def leave(it: EditClient) -> None:
        events = it.edit(msgspec.structs.replace(LONG, id="leaves"))
        if how == "abandoned before it began":
            await asyncio.sleep(0.1)
            return await events.aclose()
        while not isinstance(await anext(events), EditStep):
            pass
        if how == "close":
            await events.aclose()
        else:
            task = asyncio.create_task(collect_rest(events))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def collect_rest(events: Any) -> None:
        async for _ in events:
            pass

    async def talk() -> None:
        async with client(bundle, slow(), calls.append) as it:
            stays = asyncio.create_task(collect(it, msgspec.structs.replace(LONG, num_inference_steps=60)))
            await leave(it)
            assert it.depth == 1
            counted = len(calls)
            *_, done = await stays
            assert all(call.edits == 1 for call in calls[counted + 3 :])
            wanted = EditRequest("a dog", TAIL, num_inference_steps=60)
            np.testing.assert_array_equal(array(done), alone(bundle, wanted))
            assert {call.edits for call in calls} == ({1} if how.startswith("abandoned") else {1, 2})

    asyncio.run(talk())


def test_an_edit_outlives_the_death_of_the_engine(bundle: Path) -> None:
    async def talk() -> None:
        async with client(bundle, slow()) as it:
            request = msgspec.structs.replace(LONG, num_inference_steps=30)
            tasks = [
                asyncio.create_task(collect(it, msgspec.structs.replace(request, id=id, seed=int(id)))) for id in "0123"
            ]
            events = it.edit(request)
            while not isinstance(await anext(events), EditStep):
                pass
            os.kill(it.pid or 0, signal.SIGKILL)
            await until(lambda: it.ready is None)
            with pytest.raises(EngineDown, match="the edit engine is starting; try again soon"):
                await anext(it.edit(msgspec.structs.replace(EDIT, id="new")))
            *_, last = [event async for event in events]
            for seed, task in enumerate(tasks):
                *_, done = await task
                wanted = EditRequest("a dog", TAIL, seed=seed, num_inference_steps=30)
                np.testing.assert_array_equal(array(done), alone(bundle, wanted))
            np.testing.assert_array_equal(
                array(last), alone(bundle, EditRequest("a dog", TAIL, num_inference_steps=30))
            )
            assert it.restarts == 1

    asyncio.run(talk())


def test_edits_that_kill_the_engine_take_no_other_along(bundle: Path) -> None:
    innocent = msgspec.structs.replace(EDIT, num_inference_steps=12)
    guilty = msgspec.structs.replace(EDIT, tail=DEADLY_TAIL)

    async def talk() -> None:
        async with client(bundle, slow(f"time.sleep(0.01); {DEADLY}")) as it:
            asked = [msgspec.structs.replace(innocent, id=str(seed), seed=seed) for seed in range(12)]
            asked[6:6] = [msgspec.structs.replace(guilty, id=f"guilty {number}") for number in range(2)]
            ends = [one[-1] for one in await asyncio.gather(*(collect(it, one) for one in asked))]
            assert [one.id for one in ends if isinstance(one, EditEnded)] == [f"guilty {n}" for n in range(2)]
            assert {one.reason for one in ends if isinstance(one, EditEnded)} == {"engine"}
            pictures = [one for one in ends if isinstance(one, EditDone)]
            for seed, done in enumerate(pictures):
                wanted = EditRequest("a dog", TAIL, seed=seed, num_inference_steps=12)
                np.testing.assert_array_equal(array(done), alone(bundle, wanted))
            assert it.restarts <= 5  # over all, over each eight of them at most, over each killer alone
            assert isinstance((await collect(it, EDIT))[-1], EditDone)

    asyncio.run(talk())


def test_who_comes_while_suspects_are_tried_waits_and_is_painted(bundle: Path) -> None:
    guilty = msgspec.structs.replace(EDIT, tail=DEADLY_TAIL, id="guilty")

    async def talk() -> None:
        async with client(bundle, slow(f"time.sleep(0.01); {DEADLY}")) as it:
            condemned = asyncio.create_task(collect(it, guilty))
            await until(lambda: it.restarts == 1 and it.ready)
            assert isinstance((await collect(it, EDIT))[-1], EditDone)
            assert (await condemned)[-1].reason == "engine" and it.restarts == 2

    asyncio.run(talk())


def test_an_edit_that_kills_the_engine_alone_ends_and_the_engine_comes_back(bundle: Path) -> None:
    async def talk() -> None:
        async with client(bundle, slow(DEADLY)) as it:
            # It may die before it can say that it accepts.
            *accepted, ended = await collect(it, msgspec.structs.replace(EDIT, tail=DEADLY_TAIL))
            assert len(accepted) <= 2 and ended.reason == "engine"
            assert ended.message.startswith("the edit engine died over this edit, at last over it alone; change the")
            await it.wait_ready()
            assert isinstance((await collect(it, EDIT))[-1], EditDone) and it.restarts == 2

    asyncio.run(talk())


def test_a_runtime_that_fails_once_fails_its_edit_and_one_that_goes_on_failing_is_replaced(bundle: Path) -> None:
    # The warm-up calls it three times, every picture five times.
    failing = "assert self.calls not in (11, 17, 18), 'the GPU fell off the bus'"

    async def talk() -> None:
        async with client(bundle, slow(failing)) as it:
            for reason in (None, "engine", None, "engine", None):
                last = (await collect(it, EDIT))[-1]
                assert getattr(last, "reason", None) == reason
            assert it.restarts == 1

    asyncio.run(talk())


def test_an_edit_ends_at_its_deadline_though_the_engine_hangs(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "SILENCE_S", 0.1)

    async def talk() -> None:
        async with client(bundle, slow()) as it:
            events = it.edit(msgspec.structs.replace(LONG, timeout_s=0.5))
            await anext(events)
            hanging = it.pid or 0
            os.kill(hanging, signal.SIGSTOP)
            *_, last = [event async for event in events]
            assert last.reason == "late" and last.message.startswith("edit had no picture after 0.5 s; allow more")
            await until(lambda: it.restarts == 1)
            await it.wait_ready()
            assert it.pid != hanging and isinstance((await collect(it, EDIT))[-1], EditDone)

    asyncio.run(talk())


def test_an_engine_that_hangs_longer_than_any_edit_may_take_is_replaced(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "SILENCE_S", 0.6)

    async def talk() -> None:
        async with client(bundle) as it:
            assert isinstance((await collect(it, EDIT))[-1], EditDone)
            await asyncio.sleep(0.7)  # an engine without edits has nothing to say
            hanging, late = it.pid or 0, 0
            os.kill(hanging, signal.SIGSTOP)
            while it.ready is not None and it.pid == hanging:
                assert (await collect(it, msgspec.structs.replace(EDIT, timeout_s=0.2)))[-1].reason == "late"
                late += 1
                await asyncio.sleep(0.05)
            assert late > 2
            await it.wait_ready()
            assert isinstance((await collect(it, EDIT))[-1], EditDone)

    asyncio.run(talk())


def test_a_late_edit_is_no_reason_to_kill_a_busy_engine(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "SILENCE_S", 0.2)

    async def talk() -> None:
        async with client(bundle, slow()) as it:
            await asyncio.sleep(0.5)
            assert (await collect(it, msgspec.structs.replace(LONG, timeout_s=0.4)))[-1].reason == "late"
            # The engine's word that this one is cancelled comes while the next of its name is under way.
            assert (await collect(it, msgspec.structs.replace(LONG, timeout_s=0)))[-1].reason == "late"
            assert isinstance((await collect(it, EDIT))[-1], EditDone) and it.restarts == 0

    asyncio.run(talk())


def test_an_engine_that_cannot_start_is_not_tried_again(tmp_path: Path) -> None:
    async def talk() -> None:
        it = EditClient(EngineOptions(tmp_path))
        await it.start()
        with pytest.raises(EngineDown, match=r"the edit engine cannot start: .*manifest"):
            await it.wait_ready()
        with pytest.raises(EngineDown, match="the edit engine cannot start"):
            await anext(it.edit(EDIT))
        await until(lambda: it.state == "stopped")
        assert it.restarts == 0 and it.failure is not None and it.pid is None
        await it.stop(1)

    asyncio.run(asyncio.wait_for(talk(), PATIENCE_S))


def test_stopping_waits_for_pictures_and_then_for_no_longer(bundle: Path) -> None:
    async def talk() -> None:
        async with client(bundle, slow()) as it:
            pid = it.pid or 0
            short, long = (
                asyncio.create_task(
                    collect(it, msgspec.structs.replace(LONG, id=str(steps), num_inference_steps=steps))
                )
                for steps in (20, 900)
            )
            await until(lambda: it.depth == 2)
            stopping = asyncio.create_task(it.stop(2))
            await asyncio.sleep(0)
            with pytest.raises(EngineDown, match="the server is stopping"):
                await anext(it.edit(EDIT))
            await stopping
            assert isinstance((await short)[-1], EditDone)
            assert (await long)[-1].reason == "cancelled"
            assert not Path(f"/proc/{pid}").exists()

    asyncio.run(talk())


def test_an_engine_that_hangs_is_not_waited_for_without_a_grace(bundle: Path) -> None:
    async def talk() -> float:
        async with client(bundle) as it:
            os.kill(it.pid or 0, signal.SIGSTOP)
            started = time.monotonic()
        return time.monotonic() - started

    assert asyncio.run(talk()) < client_module.EXIT_S / 2


def test_engines_killed_at_random_moments_lose_no_edit(bundle: Path) -> None:
    wanted = alone(bundle, EditRequest("a dog", TAIL, num_inference_steps=12))
    generator = np.random.default_rng(0)

    async def ask(it: EditClient, id: str) -> str:
        await it.wait_ready()
        try:
            *_, last = await collect(it, msgspec.structs.replace(EDIT, id=id, num_inference_steps=12))
        except EngineDown:
            return "down"
        if isinstance(last, EditEnded):
            return last.reason
        np.testing.assert_array_equal(array(last), wanted)
        return "done"

    async def talk() -> list[str]:
        async with client(bundle, slow("time.sleep(0.005)")) as it:
            asked = []
            for number in range(8):
                asked += [asyncio.create_task(ask(it, f"{number}-{one}")) for one in range(5)]
                await asyncio.sleep(generator.uniform(0, 0.4))
                if it.pid is not None:
                    os.kill(it.pid, signal.SIGKILL)
            return await asyncio.gather(*asked)

    outcomes = asyncio.run(talk())
    assert len(outcomes) == 40 and {*outcomes} <= {"done", "engine", "down"} and "done" in outcomes
