"""The registry of edits against an engine that does as each test says."""

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress

import pytest

from engine.server import edit_requests
from engine.server.edit_client import EngineDown
from engine.server.edit_record import EditRecord, Told
from engine.server.edit_requests import EditRequests
from engine.server.errors import ApiError
from engine.server.messages import EditAccepted, EditDone, EditEnded, EditStep, EndReason, Pixels, StartEdit
from engine.server.metrics import Metrics

STEPS = 3
Script = Callable[[StartEdit], AsyncGenerator[Told, None]]


class Engine:
    """Runs a script for each edit, and remembers which were closed before their end."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.started: list[StartEdit] = []
        self.cancelled: list[str] = []

    async def edit(self, request: StartEdit) -> AsyncGenerator[Told, None]:
        self.started.append(request)
        try:
            async with aclosing(self.script(request)) as messages:
                async for message in messages:
                    yield message
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.append(request.id)
            raise


async def paints(edit: StartEdit) -> AsyncGenerator[Told, None]:
    yield EditAccepted(id=edit.id, steps=STEPS, rows=2, tail_strength=0.8, guidance_scale=7.5)
    for step in range(1, STEPS + 1):
        await asyncio.sleep(0)
        yield EditStep(id=edit.id, step=step, steps=STEPS)
    yield EditDone(id=edit.id, image=Pixels(1, 1, b"abc"), text_ms=1, unet_ms=[1.0] * STEPS, decode_ms=1, total_ms=5)


async def hangs(edit: StartEdit) -> AsyncGenerator[Told, None]:
    yield EditAccepted(id=edit.id, steps=STEPS, rows=2, tail_strength=0.8, guidance_scale=7.5)
    yield EditStep(id=edit.id, step=1, steps=STEPS)
    await asyncio.Event().wait()


def ends(reason: EndReason) -> Script:
    async def script(edit: StartEdit) -> AsyncGenerator[Told, None]:
        yield EditEnded(id=edit.id, reason=reason, message=f"because of {reason}")

    return script


def edits(count: int, timeout_s: float = 60) -> list[StartEdit]:
    return [
        StartEdit(id="", user="ann", timeout_s=timeout_s, target_prompt="a dog", seed=seed) for seed in range(count)
    ]


async def all_of(requests: EditRequests, count: int, id: str = "r", owner: str = "ann") -> list[tuple[int, Told]]:
    async with aclosing(requests.run(owner, id, edits(count))) as messages:
        return [message async for message in messages]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


def record_of(requests: EditRequests, id: str) -> EditRecord:
    record = requests.get("ann", id)
    assert record is not None
    return record


def counted(metrics: Metrics, **labels: str) -> float:
    return metrics.registry.get_sample_value("hiper_edits_total", labels) or 0


def run(test: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))  # type: ignore[arg-type]


def test_every_edit_ends_in_its_picture() -> None:
    async def test() -> None:
        metrics, engine = Metrics(), Engine(paints)
        requests = EditRequests(engine, metrics)
        messages = await all_of(requests, 3)
        for index in range(3):
            told = [message for number, message in messages if number == index]
            assert [type(message).__name__ for message in told] == ["EditAccepted", *["EditStep"] * STEPS, "EditDone"]
        assert len({edit.id for edit in engine.started}) == 3
        assert not engine.cancelled
        record = requests.get("ann", "r")
        assert record is not None
        assert (record.status, [edit.status for edit in record.edits]) == ("succeeded", ["succeeded"] * 3)
        assert [(edit.step, edit.steps) for edit in record.edits] == [(STEPS, STEPS)] * 3
        assert counted(metrics, outcome="succeeded") == 3

    run(test())


@pytest.mark.parametrize(
    ("reason", "status", "code", "retry"),
    [
        ("prompt", 422, "prompt_invalid", False),
        ("tail", 422, "tail_invalid", False),
        ("value", 422, "validation_error", False),
        ("full", 503, "busy", True),
        ("late", 503, "deadline_missed", True),
        ("infinite", 422, "edit_infinite", False),
        ("engine", 503, "engine_unavailable", True),
        ("cancelled", 503, "draining", True),
    ],
)
def test_edit_without_picture_is_an_error(reason: EndReason, status: int, code: str, retry: bool) -> None:
    async def test() -> None:
        metrics = Metrics()
        requests = EditRequests(Engine(ends(reason)), metrics)
        with pytest.raises(ApiError, match=f"because of {reason}") as caught:
            await all_of(requests, 1)
        assert (caught.value.status, caught.value.code) == (status, code)
        assert (caught.value.retry_after_s is not None) == retry
        record = requests.get("ann", "r")
        assert record is not None and record.status == "failed"
        assert record.failure == (code, f"because of {reason}")
        assert counted(metrics, outcome=reason) == 1

    run(test())


def test_one_failure_ends_the_others() -> None:
    async def script(edit: StartEdit) -> AsyncGenerator[Told, None]:
        if edit.seed == 1:
            await asyncio.sleep(0.01)
        async for message in ends("infinite")(edit) if edit.seed == 1 else hangs(edit):
            yield message

    async def test() -> None:
        metrics, engine = Metrics(), Engine(script)
        requests = EditRequests(engine, metrics)
        with pytest.raises(ApiError) as caught:
            await all_of(requests, 3)
        assert caught.value.code == "edit_infinite"
        assert len(engine.cancelled) == 2
        record = requests.get("ann", "r")
        assert record is not None
        assert [edit.status for edit in record.edits] == ["cancelled", "failed", "cancelled"]
        assert counted(metrics, outcome="cancelled") == 2

    run(test())


def test_cancel_by_name_ends_exactly_that_request() -> None:
    async def test() -> None:
        metrics, engine = Metrics(), Engine(hangs)
        requests = EditRequests(engine, metrics)
        one, other = (asyncio.create_task(all_of(requests, 2, id)) for id in ("one", "other"))
        await until(
            lambda: all((record := requests.get("ann", id)) and record.status == "running" for id in ("one", "other"))
        )
        record = await requests.cancel("ann", "one")
        assert record is not None and record.status == "cancelled"
        assert len(engine.cancelled) == 2 and all(id.startswith("one/") for id in engine.cancelled)
        with pytest.raises(ApiError) as caught:
            await one
        assert (caught.value.status, caught.value.code) == (409, "edit_cancelled")
        assert not other.done()
        assert await requests.cancel("ann", "one") is record
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
        assert len(engine.cancelled) == 4
        assert metrics.registry.get_sample_value("hiper_cancelled_total", {"phase": "running"}) == 4

    run(test())


def test_cancel_of_a_finished_request_changes_nothing() -> None:
    async def test() -> None:
        requests = EditRequests(Engine(paints), Metrics())
        await all_of(requests, 1)
        record = await requests.cancel("ann", "r")
        assert record is not None and record.status == "succeeded"

    run(test())


def test_stranger_sees_and_cancels_nothing() -> None:
    async def test() -> None:
        requests = EditRequests(Engine(hangs), Metrics())
        task = asyncio.create_task(all_of(requests, 1))
        await until(lambda: requests.get("ann", "r"))
        assert requests.get("bob", "r") is None
        assert await requests.cancel("bob", "r") is None
        record = requests.get("ann", "r")
        assert record is not None and record.finished_at is None
        task.cancel()

    run(test())


def test_the_same_name_of_two_owners_means_two_requests() -> None:
    async def test() -> None:
        engine = Engine(hangs)
        requests = EditRequests(engine, Metrics())
        anns, bobs = (asyncio.create_task(all_of(requests, 1, "r", owner)) for owner in ("ann", "bob"))
        await until(lambda: requests.get("ann", "r") and requests.get("bob", "r"))
        with pytest.raises(ApiError) as caught:
            await all_of(requests, 1)
        assert (caught.value.status, caught.value.code) == (409, "request_id_taken")
        await requests.cancel("bob", "r")
        await asyncio.gather(bobs, return_exceptions=True)
        assert record_of(requests, "r").finished_at is None and not anns.done()
        anns.cancel()
        await asyncio.gather(anns, return_exceptions=True)
        engine.script = paints
        await all_of(requests, 3, "r", "bob")
        kept = [requests.get(owner, "r") for owner in ("ann", "bob")]
        assert [(one.status, len(one.edits)) for one in kept if one] == [("cancelled", 1), ("succeeded", 3)]

    run(test())


def test_who_finishes_much_pushes_out_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(edit_requests, "KEPT", 4)
        requests = EditRequests(Engine(paints), Metrics())
        await all_of(requests, 1, "mine")
        for number in range(20):
            await all_of(requests, 1, str(number), "bob")
            await all_of(requests, 1, "19", "bob")
        assert requests.get("ann", "mine")
        assert [number for number in range(20) if requests.get("bob", str(number))] == [17, 18, 19]
        assert len(requests._finished) <= 4

    run(test())


def test_closing_the_generator_cancels_the_edits() -> None:
    async def test() -> None:
        engine = Engine(hangs)
        requests = EditRequests(engine, Metrics())
        async with aclosing(requests.run("ann", "r", edits(2))) as messages:
            await anext(messages)
        assert len(engine.cancelled) == 2
        record = requests.get("ann", "r")
        assert record is not None and record.status == "cancelled"

    run(test())


def test_engine_that_says_nothing_misses_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(edit_requests, "_GRACE_S", 0.01)
        engine = Engine(hangs)
        requests = EditRequests(engine, Metrics())
        with pytest.raises(ApiError) as caught:
            async with aclosing(requests.run("ann", "r", edits(1, timeout_s=0.02))) as messages:
                async for _ in messages:
                    pass
        assert (caught.value.status, caught.value.code) == (503, "deadline_missed")
        assert len(engine.cancelled) == 1

    run(test())


def test_engine_that_is_down_is_told_so() -> None:
    async def down(edit: StartEdit) -> AsyncGenerator[Told, None]:
        raise EngineDown("the engine is down")
        yield

    async def test() -> None:
        with pytest.raises(ApiError) as caught:
            await all_of(EditRequests(Engine(down), Metrics()), 2)
        assert (caught.value.status, caught.value.code) == (503, "engine_unavailable")

    run(test())


def test_mistake_of_ours_leaves_nobody_waiting() -> None:
    async def breaks(edit: StartEdit) -> AsyncGenerator[Told, None]:
        raise KeyError("oops")
        yield

    async def test() -> None:
        with pytest.raises(KeyError):
            await all_of(EditRequests(Engine(breaks), Metrics()), 2)

    run(test())


class Upload:
    """Something large that a request has."""


def test_failed_request_keeps_nothing_of_what_it_had() -> None:
    async def test() -> None:
        requests, upload = EditRequests(Engine(ends("prompt")), Metrics()), Upload()
        left = weakref.ref(upload)

        async def respond(upload: Upload) -> None:
            await all_of(requests, 2)

        with suppress(ApiError):
            await respond(upload)
        del upload
        gc.collect()
        assert record_of(requests, "r").failure and left() is None

    run(test())


def test_pictures_that_nobody_took_are_not_kept() -> None:
    def pictures() -> int:
        gc.collect()
        return sum(type(thing) is EditDone for thing in gc.get_objects())

    async def test() -> None:
        others = pictures()
        requests = EditRequests(Engine(paints), Metrics())
        async with aclosing(requests.run("ann", "r", edits(3))) as messages:
            await anext(messages)
            await until(lambda: record_of(requests, "r").status == "succeeded")
        assert pictures() <= others

    run(test())


def test_finished_requests_are_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(edit_requests, "KEPT", 2)
        requests = EditRequests(Engine(paints), Metrics())
        for number in range(4):
            await all_of(requests, 1, str(number))
        assert [requests.get("ann", str(number)) is not None for number in range(4)] == [False, False, True, True]
        monkeypatch.setattr(edit_requests, "KEPT_S", 0)
        assert requests.get("ann", "3") is None

    run(test())
