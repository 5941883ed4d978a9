"""`RayEdits` against replicas that do what a test wants; the oracle is what `EditEngine` promises."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("ray")

from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException

from engine.server.edit_engine import EngineDown
from engine.server.messages import EditAccepted, EditDone, EditEnded, EditStep, Pixels, StartEdit, UnetCall
from engine.server.ray_edits import EngineStatus, RayEdits
from tests.server.deployed import READY

CALL = UnetCall(rows=2, edits=1, distinct_tails=0, bucket=2, latency_ms=1.0)
PICTURE = Pixels(1, 1, b"rgb")

Script = Sequence[Any]


def accepted(id: str) -> EditAccepted:
    return EditAccepted(id=id, steps=2, rows=2, tail_strength=0.8, guidance_scale=4.0)


def step(id: str) -> EditStep:
    return EditStep(id=id, step=1, steps=2)


def done(id: str) -> EditDone:
    return EditDone(id=id, image=PICTURE, text_ms=1.0, unet_ms=[1.0], decode_ms=1.0, total_ms=3.0)


class Stream:
    """What one replica says: events of the edit, errors, and at the end of the script nothing any more."""

    def __init__(self, request: StartEdit, script: Script) -> None:
        self.request, self.cancelled, self._script = request, False, iter(script)

    async def __anext__(self) -> Any:
        for said in self._script:
            if isinstance(said, Exception):
                raise said
            return [one(self.request.id) if callable(one) else one for one in said]
        await asyncio.Event().wait()

    def __aiter__(self) -> "Stream":
        return self

    def cancel(self) -> None:
        self.cancelled = True


class Replicas:
    """Stands for the handle of a deployment: each call gets the next script."""

    def __init__(self, *scripts: Script, up: bool = True) -> None:
        self.streams: list[Stream] = []
        self.up = up
        self._scripts = iter(scripts)
        self.edit = self

    def options(self, *, stream: bool) -> "Replicas":
        assert stream
        return self

    def remote(self, request: StartEdit) -> Stream:
        self.streams.append(Stream(request, next(self._scripts)))
        return self.streams[-1]

    def broadcast(self, method: str) -> "Replicas":
        assert method == "status"
        return self

    async def results_async(self, **options: Any) -> list[EngineStatus | Exception]:
        if not self.up:
            raise RayServeException("there are none")
        return [ActorDiedError(), EngineStatus(READY, 2), EngineStatus(None, 1)]


@asynccontextmanager
async def running(replicas: Replicas, on_call: Callable[[UnetCall], object] = print) -> AsyncIterator[RayEdits]:
    edits = RayEdits(replicas, 8, on_call)
    await edits.start()
    async with asyncio.timeout(30):
        while edits.ready is None and replicas.up:
            await asyncio.sleep(0.001)
        yield edits
        await edits.stop(0)
    assert edits.depth == 0 and edits.ready is None


def request(timeout_s: float = 20.0) -> StartEdit:
    return StartEdit(id="mine", user="alice", timeout_s=timeout_s, target_prompt="a dog")


async def collect(edits: RayEdits, timeout_s: float = 20.0) -> list[Any]:
    async with aclosing(edits.edit(request(timeout_s))) as events:
        return [event async for event in events]


def told(replicas: Replicas, timeout_s: float = 20.0) -> list[Any]:
    async def run() -> list[Any]:
        async with running(replicas) as edits:
            return await collect(edits, timeout_s)

    return asyncio.run(run())


def test_events_come_under_the_edits_own_id_and_calls_are_counted() -> None:
    replicas, calls = Replicas([[accepted], [CALL, CALL, step], [CALL, done]]), []

    async def run() -> list[Any]:
        async with running(replicas, calls.append) as edits:
            assert edits.restarts == 3
            return await collect(edits)

    assert asyncio.run(run()) == [accepted("mine"), step("mine"), done("mine")]
    assert calls == [CALL] * 3 and not replicas.streams[0].cancelled
    assert replicas.streams[0].request.id != "mine", "two fronts may have edits of one name"


def test_an_edit_whose_replica_dies_is_begun_again_once() -> None:
    replicas = Replicas([[accepted], [step], ActorDiedError()], [[accepted], [done]])
    assert told(replicas) == [accepted("mine"), step("mine"), accepted("mine"), done("mine")]
    first, second = replicas.streams
    assert second.request.timeout_s < first.request.timeout_s and second.request.id != first.request.id


@pytest.mark.parametrize("loss", [ActorDiedError(), EngineDown("it is gone"), StopAsyncIteration()])
def test_a_second_loss_is_a_clear_error(loss: Exception) -> None:
    replicas = Replicas([loss], [[accepted], loss])
    *_, last = told(replicas)
    assert isinstance(last, EditEnded) and (last.id, last.reason) == ("mine", "engine")
    assert last.message == "the edit engine died 2 times over this edit; try again later"


def test_a_full_queue_is_said_and_not_tried_again() -> None:
    replicas = Replicas([BackPressureError(4, 4)])
    [last] = told(replicas)
    assert last.reason == "full" and len(replicas.streams) == 1


def test_what_the_engine_refuses_is_passed_on() -> None:
    refused = EditEnded(id="", reason="prompt", message="too long")
    [last] = told(Replicas([[lambda id: refused]]))
    assert (last.id, last.reason, last.message) == ("mine", "prompt", "too long")


def test_a_mistake_of_ours_is_no_loss() -> None:
    with pytest.raises(RayTaskError):
        told(Replicas([RayTaskError("edit", "traceback", ValueError("oops"))]))


def test_an_edit_ends_when_its_time_is_up_wherever_it_waits() -> None:
    replicas = Replicas([[accepted]])
    *_, last = told(replicas, timeout_s=0.05)
    assert last.reason == "late" and replicas.streams[0].cancelled


def test_closing_the_stream_cancels() -> None:
    replicas = Replicas([[accepted], [step]])

    async def leave(edits: RayEdits) -> None:
        async with aclosing(edits.edit(request())) as events:
            assert await anext(events) == accepted("mine")

    async def interrupt(edits: RayEdits) -> None:
        task = asyncio.create_task(collect(edits))
        while not replicas.streams:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def run(how: Callable[[RayEdits], Awaitable[None]]) -> None:
        async with running(replicas) as edits:
            await how(edits)
            assert edits.depth == 0 and replicas.streams[0].cancelled

    asyncio.run(run(leave))
    replicas = Replicas([])
    asyncio.run(run(interrupt))


def test_a_front_that_ends_tells_those_who_wait_and_takes_nobody() -> None:
    replicas = Replicas([[accepted]])

    async def run() -> list[Any]:
        async with running(replicas) as edits:
            waiting = asyncio.create_task(collect(edits))
            while not replicas.streams:
                await asyncio.sleep(0)
            await edits.stop(0.01)
            with pytest.raises(EngineDown, match="the server is stopping"):
                await collect(edits)
            return await waiting

    *_, last = asyncio.run(run())
    assert last.reason == "cancelled" and replicas.streams[0].cancelled


def test_without_a_replica_there_is_no_engine() -> None:
    async def run() -> None:
        async with running(Replicas(up=False)) as edits:
            with pytest.raises(EngineDown, match="the edit engine is starting"):
                await collect(edits)

    asyncio.run(run())
