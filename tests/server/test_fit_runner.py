"""The runner with the real store and a worker that does as its prompt says; once with the real worker, killed."""

import asyncio
import hashlib
import io
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.server import child, fit_attempt, fit_runner
from engine.server.edit_client import EngineDown
from engine.server.fit_runner import FitRunner
from engine.server.folder_store import FolderStore
from engine.server.messages import EditDone, EditEnded, FitSettings, Pixels, StartEdit
from engine.server.metrics import Metrics
from engine.server.records import FitRow
from engine.server.settings import Settings
from engine.server.store import Store
from engine.server.store_errors import DiskFull
from engine.tail_file import parse_tail_file
from hiper.pipeline import HiPer
from hiper.recipe import choose_config
from tests.server.shared import SharedPlace

DIGEST = "a" * 64

WORKER = """
import os, select, signal, socket, sys, time
import numpy as np
from engine.server.messages import *
from engine.server.wire import receive, send
from engine.tail_file import TailFile, serialize_tail_file
from engine.tail_info import TailInfo

front = socket.socket(fileno=int(sys.argv[-1]))
digest = sys.argv[1]

def tail(step):
    rows = np.full((5, 4), step, np.float32)
    return serialize_tail_file(TailFile(rows, rows, TailInfo("toy", digest, "toy", "epsilon", 0, "a dog", step=step)))

def told_to_stop(id):
    while select.select([front], [], [], 0)[0]:
        message = receive(front, ToWorker)
        if message is None or isinstance(message, StopFit) and message.id == id:
            return True

def fit(start):
    about, wish = dict(id=start.id, fence=start.fence), start.settings.prompt
    begin = int(start.checkpoint or b"0")
    steps = start.settings.steps or 12
    send(front, FitStep(**about, step=begin, steps=steps, losses=[]))
    if wish == "hang" and start.fence == 1:
        time.sleep(1000)
    if wish in ("image_invalid", "out_of_memory"):
        permanent = wish == "image_invalid"
        return send(front, FitFailed(**about, code=wish, message="told so", permanent=permanent))
    for step in range(begin + 1, steps + 1):
        time.sleep(0.02 if wish == "slow" else 0)
        if wish == "stale":
            other = dict(id=start.id, fence=start.fence - 1)
            send(front, FitStep(**other, step=99, steps=steps, losses=[99.0]))
            send(front, FitDone(**other, step=99, tail=tail(99)))
        send(front, FitStep(**about, step=step, steps=steps, losses=[1 / step]))
        if step % start.checkpoint_every == 0:
            send(front, FitCheckpoint(**about, step=step, data=b"%d" % step, tail=tail(step)))
        if wish == "crash" or wish == "crash once" and step == 7 and start.fence == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if told_to_stop(start.id):
            send(front, FitCheckpoint(**about, step=step, data=b"%d" % step, tail=tail(step)))
            return send(front, FitStopped(**about, step=step))
    send(front, FitDone(**about, step=steps, tail=b"no tail" if wish == "no tail" else tail(steps)))

if digest == "broken":
    send(front, WorkerFailed(message="the model is missing; name another"))
    sys.exit(6)
if digest == "dying":
    sys.exit(1)
send(front, WorkerReady(model_id="toy", model_digest=digest, device="cpu", dtype="fp32"))
while (message := receive(front, ToWorker)) is not None:
    if isinstance(message, StartFit):
        fit(message)
"""


@dataclass
class Bundle:
    """All that the runner looks at in an EngineReady."""

    model_id: str = "toy-bundle"
    model_digest: str = DIGEST


@dataclass
class Edits:
    """An edit client whose pictures are grey."""

    ready: Bundle | None = field(default_factory=Bundle)
    asked: list[StartEdit] = field(default_factory=list)
    down: bool = False

    async def edit(self, request: StartEdit) -> AsyncGenerator[EditDone | EditEnded, None]:
        self.asked.append(request)
        if self.down:
            raise EngineDown("no engine")
        if len(self.asked) == 1:
            yield EditEnded(id=request.id, reason="full", message="too many")
            return
        image = Pixels(32, 32, bytes(3 * 32 * 32))
        yield EditDone(id=request.id, image=image, text_ms=0, unet_ms=[], decode_ms=0, total_ms=0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FolderStore]:
    store = FolderStore(tmp_path / "data")
    yield store
    store.close()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "FIRST_DELAY_S", 0.05)


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def submit(store: Store, prompt: str = "a dog", owner: str = "local", **settings: Any) -> str:
    image = store.put_image(picture())
    wanted = FitSettings(prompt=prompt, **settings)
    fit, _ = store.submit_fit(owner, prompt, wanted, image, max_active=99, max_queued=99)
    return fit.id


@dataclass
class Server:
    """A runner and what is around it."""

    store: Store
    runner: FitRunner
    edits: Edits
    metrics: Metrics

    def fit(self, id: str) -> FitRow:
        fit = self.store.fit("local", id)
        assert fit is not None
        return fit

    def submit(self, *arguments: Any, **settings: Any) -> str:
        id = submit(self.store, *arguments, **settings)
        self.runner.wake()
        return id

    async def end(self, id: str) -> FitRow:
        await until(lambda: self.fit(id).finished_at is not None)
        return self.fit(id)

    def kinds(self, id: str) -> list[str]:
        """Kinds of events, without those whose number is a matter of time."""
        return [event.kind for event in self.store.events(id) if event.kind not in ("progress", "preview")]

    def tail(self, id: str) -> Any:
        data = self.store.tail_data("local", self.fit(id).tail_id or "")
        assert data is not None
        return parse_tail_file(data)

    def figure(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


async def until(condition: Callable[[], object], timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(
    store: Store, digest: str = DIGEST, *, argv: tuple[str, ...] = (), lease_s: float = 30, **options: Any
) -> AsyncGenerator[Server, None]:
    settings, edits, metrics = Settings(lease_s=lease_s, checkpoint_every=5), Edits(), Metrics()
    store.count_ends(metrics.on_fit_end)
    argv = argv or (sys.executable, "-c", WORKER, digest)
    runner = FitRunner(store, edits, settings, metrics, argv=argv, **options)  # type: ignore[arg-type]
    await runner.start()
    try:
        yield Server(store, runner, edits, metrics)
    finally:
        await runner.stop(5)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 500))


def test_a_fit_becomes_a_tail(store: FolderStore) -> None:
    async def scene() -> None:
        async with serving(store) as server:
            assert server.runner.worker_pid is None  # started when it is needed
            id = server.submit()
            fit = await server.end(id)
            assert (fit.state, fit.step, fit.steps, fit.attempt) == ("succeeded", 12, 12, 1)
            assert [loss for _, loss in fit.losses] == [1 / step for step in range(1, 13)]
            assert server.kinds(id) == ["queued", "started", "checkpoint", "checkpoint", "succeeded"]
            assert server.tail(id).tail[0, 0] == 12
            await until(lambda: server.figure("hiper_fits_total", outcome="succeeded") == 1)
            await until(lambda: server.figure("hiper_fit_step_seconds_count") == 12)
            assert server.runner.problem == ""

    run(scene())


def test_one_after_the_other_in_one_process(store: FolderStore) -> None:
    async def scene() -> None:
        async with serving(store) as server:
            ids = [server.submit() for _ in range(3)]
            await server.end(ids[0])
            pid = server.runner.worker_pid
            for id in ids:
                assert (await server.end(id)).state == "succeeded"
            assert server.runner.worker_pid == pid and server.runner.worker_restarts == 0

    run(scene())


def test_an_idle_server_takes_what_a_busy_one_has_queued(shared_place: SharedPlace) -> None:
    async def scene() -> None:
        with closing(shared_place.open()) as busy, closing(shared_place.open()) as idle:
            async with serving(idle, lease_s=300) as server:
                await asyncio.sleep(0.5)  # it rests
                ids = [submit(busy, str(number)) for number in range(2)]
                for id in ids:
                    assert (await server.end(id)).state == "succeeded"
                assert busy.tails("local") == idle.tails("local")

    run(scene())


def test_previews_are_edits_with_the_latest_tail(store: FolderStore) -> None:
    async def scene() -> None:
        async with serving(store) as server:
            id = server.submit("slow", steps=20)
            await server.end(id)
            first, second, *_ = server.edits.asked
            assert (first.target_prompt, first.seed, first.user) == ("slow", 0, "fit previews")
            assert first.id == f"preview-{id}-1-5"
            assert second.tail is not None and parse_tail_file(second.tail).info.step == 10
            assert store.previews(id)[:1] == [10]  # the engine had no room for the first one
            png = store.preview("local", id, 10)
            assert png is not None and Image.open(io.BytesIO(png)).size == (32, 32)

    run(scene())


def test_no_engine_means_no_previews_and_no_harm(store: FolderStore) -> None:
    async def scene() -> None:
        async with serving(store) as server:
            server.edits.down = True
            id = server.submit("slow")
            assert (await server.end(id)).state == "succeeded"
            assert store.previews(id) == [] and server.edits.asked

    run(scene())


def test_a_lost_worker_is_replaced_and_its_fit_goes_on_from_the_checkpoint(store: FolderStore) -> None:
    async def scene() -> None:
        async with serving(store) as server:
            id = server.submit("crash once")
            fit = await server.end(id)
            assert (fit.state, fit.attempt) == ("succeeded", 2)
            assert server.kinds(id) == [
                *("queued", "started", "checkpoint"),
                *("queued", "resumed", "checkpoint", "succeeded"),
            ]
            assert [loss for _, loss in fit.losses] == [1 / step for step in range(1, 13)]
            await until(lambda: server.figure("hiper_fit_resumed_total") == 1)
            assert server.runner.worker_restarts == 1

    run(scene())


def test_a_fit_that_kills_every_worker_fails(store: FolderStore) -> None:
    async def scene() -> None:
        async with serving(store) as server:
            id, next_id = server.submit("crash"), server.submit()
            fit = await server.end(id)
            assert (fit.state, fit.attempt) == ("failed", 3)
            assert fit.error is not None and fit.error["code"] == "poison"
            assert (await server.end(next_id)).state == "succeeded"
            await until(lambda: server.figure("hiper_fits_total", outcome="failed") == 1)

    run(scene())


def test_a_hung_worker_is_killed(store: FolderStore) -> None:
    async def scene() -> None:
        async with serving(store, lease_s=0.3, first_step_s=1) as server:
            id = server.submit("hang")
            await until(lambda: server.fit(id).state == "running")
            begun = server.fit(id).lease_until or 0
            await until(lambda: (server.fit(id).lease_until or begun) > begun)  # while there is patience
            fit = await server.end(id)
            assert (fit.state, fit.attempt) == ("succeeded", 2)

    run(scene())


def test_what_an_earlier_attempt_says_is_ignored(store: FolderStore) -> None:
    async def scene() -> None:
        async with serving(store) as server:
            id = server.submit("stale")
            fit = await server.end(id)
            assert (fit.state, fit.step) == ("succeeded", 12)
            assert server.tail(id).tail[0, 0] == 12
            assert max(loss for _, loss in fit.losses) == 1

    run(scene())


def test_failures(store: FolderStore) -> None:
    async def scene() -> None:
        async with serving(store) as server:
            fit = await server.end(server.submit("image_invalid"))
            assert (fit.state, fit.attempt) == ("failed", 1)
            assert fit.error == {"code": "image_invalid", "message": "told so"}
            pid = server.runner.worker_pid
            fit = await server.end(server.submit("no tail"))
            assert fit.error is not None and fit.error["code"] == "internal"
            fit = await server.end(server.submit("out_of_memory"))
            assert (fit.state, fit.attempt) == ("failed", 3)  # each time in a fresh process
            assert fit.error == {"code": "out_of_memory", "message": "told so"}
            assert server.runner.worker_pid != pid and server.runner.worker_restarts >= 2

    run(scene())


def test_a_running_fit_can_be_cancelled(store: FolderStore) -> None:
    async def scene() -> None:
        async with serving(store) as server:
            id = server.submit("slow", steps=1000)
            await until(lambda: server.fit(id).step > 2)
            store.cancel_fit("local", id)
            await server.runner.cancel("fit_other")
            await server.runner.cancel(id)
            fit = await server.end(id)
            assert fit.state == "cancelled" and fit.step < 100
            await until(lambda: server.figure("hiper_fits_total", outcome="cancelled") == 1)

    run(scene())


def test_a_cancel_that_nobody_told_is_noticed(store: FolderStore) -> None:
    async def scene() -> None:
        async with serving(store) as server:
            id = server.submit("slow", steps=1000)
            await until(lambda: server.fit(id).step > 2)
            store.cancel_fit("local", id)
            assert (await server.end(id)).state == "cancelled"

    run(scene())


def test_draining_keeps_what_was_done_and_another_server_goes_on(store: FolderStore) -> None:
    async def scene() -> None:
        async with serving(store) as server:
            id = server.submit("slow", steps=60)
            waiting = server.submit()
            await until(lambda: server.fit(id).step > 2)
            await server.runner.stop(5)
            stopped = server.fit(id)
            assert stopped.state == "queued" and 2 < stopped.step < 60
            assert server.kinds(id)[-2:] == ["checkpoint", "queued"]
            assert server.runner.worker_pid is None
        async with serving(store) as server:
            fit = await server.end(id)
            assert (fit.state, fit.attempt) == ("succeeded", 2)
            assert [step for step, _ in fit.losses] == list(range(1, 61))
            assert (await server.end(waiting)).state == "succeeded"

    run(scene())


def test_a_server_that_died_left_its_fit_running(store: FolderStore) -> None:
    id = submit(store)
    claim = store.claim_fit(1000)
    assert claim is not None and store.record_checkpoint(id, claim.fit.fence, 5, b"5")

    async def scene() -> None:
        async with serving(store) as server:
            fit = await server.end(id)
            assert (fit.state, fit.attempt, fit.fence) == ("succeeded", 2, 2)

    run(scene())


def test_a_server_that_starts_on_a_full_disk_waits_with_its_fits(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = submit(store)
    store.claim_fit(30)
    full, real = [True], store.recover

    def recover() -> int:
        if full:
            raise DiskFull("the disk is full")
        return real()

    monkeypatch.setattr(store, "recover", recover)
    monkeypatch.setattr(fit_runner, "RETRY_S", 0.02)

    async def scene() -> None:
        async with serving(store):
            await asyncio.sleep(0.1)
        async with serving(store) as server:
            await asyncio.sleep(0.1)
            assert server.fit(id).state == "running"
            full.clear()
            fit = await server.end(id)
            assert (fit.state, fit.attempt) == ("succeeded", 2)

    run(scene())


def test_stopping_while_nothing_runs_or_the_worker_starts(store: FolderStore) -> None:
    async def scene() -> None:
        async with serving(store):
            pass
        async with serving(store) as server:
            id = server.submit()
            await until(lambda: server.runner.worker_pid is not None)
            start = time.monotonic()
            await server.runner.stop(20)
            assert time.monotonic() - start < 15
            assert server.fit(id).state in ("queued", "succeeded")

    run(scene())


def test_another_model_than_the_bundles_is_refused(store: FolderStore) -> None:
    async def scene() -> None:
        async with serving(store, "b" * 64) as server:
            fit = await server.end(server.submit())
            assert (fit.state, fit.error) == ("failed", {"code": "model_mismatch", "message": server.runner.problem})
            assert server.runner.problem == (
                "fits use toy, digest bbbbbbbbbbbb, but edits use toy-bundle, digest aaaaaaaaaaaa; "
                "start hiper-serve with --model naming what its bundle was exported from"
            )

    run(scene())


@pytest.mark.parametrize(
    ("kind", "problem"),
    [("broken", "the model is missing; name another"), ("dying", "ended 1 times before it was ready")],
)
def test_without_a_worker_fits_wait(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, kind: str, problem: str
) -> None:
    monkeypatch.setattr("engine.server.fit_worker.RESTARTS_BEFORE_COMPLAINT", 0)

    async def scene() -> None:
        async with serving(store, kind) as server:
            id = server.submit()
            await until(lambda: problem in server.runner.problem)
            assert server.fit(id).state == "queued"

    run(scene())


def test_a_worker_that_could_not_start_is_tried_again(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fit_runner, "UNAVAILABLE_S", 0.05)
    model = tmp_path / "model"
    needs_it = WORKER.replace('digest == "broken"', f"not os.path.exists({str(model)!r})")

    async def scene() -> None:
        async with serving(store, argv=(sys.executable, "-c", needs_it, DIGEST)) as server:
            id = server.submit()
            await until(lambda: "the model is missing" in server.runner.problem)
            model.touch()
            assert (await server.end(id)).state == "succeeded"
            assert server.runner.problem == ""

    run(scene())


def test_an_idle_worker_is_stopped_and_comes_back(store: FolderStore) -> None:
    async def scene() -> None:
        async with serving(store, lease_s=0.1, idle_s=0.2) as server:
            await server.end(server.submit())
            await until(lambda: server.runner.worker_pid is None)
            assert (await server.end(server.submit())).state == "succeeded"
            assert server.runner.worker_restarts == 0

    run(scene())


def test_a_full_disk_delays_and_loses_nothing(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_attempt, "RETRY_S", 0.05)
    calls = dict.fromkeys(("claim_fit", "record_step", "record_checkpoint", "finish_fit"), 0)
    for name in calls:

        def fail_twice(*arguments: Any, name: str = name, real: Any = getattr(store, name)) -> Any:  # noqa: B008
            calls[name] += 1
            if calls[name] <= 2:
                raise DiskFull("the disk is full")
            return real(*arguments)

        monkeypatch.setattr(store, name, fail_twice)

    async def scene() -> None:
        async with serving(store) as server:
            fit = await server.end(server.submit())
            assert (fit.state, fit.attempt) == ("succeeded", 1)
            assert len(fit.losses) == 12

    run(scene())


def test_a_mistake_of_the_runner_costs_an_attempt_and_not_the_fit(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_runner, "RETRY_S", 0.05)
    real, failed = store.record_checkpoint, []

    def fail_once(*arguments: Any) -> bool:
        if not failed:
            failed.append(0)
            raise KeyError("a bug")
        return real(*arguments)

    monkeypatch.setattr(store, "record_checkpoint", fail_once)

    async def scene() -> None:
        async with serving(store, lease_s=0.3) as server:
            fit = await server.end(server.submit())
            assert (fit.state, fit.attempt) == ("succeeded", 2)

    run(scene())


def test_the_real_worker_killed_at_work(store: FolderStore, sd1_folder: Path, one_thread: None) -> None:
    hiper = HiPer.from_pretrained(sd1_folder, device="cpu", dtype="fp32")
    config = choose_config("fast", "animal", hiper.recipe, steps=60)
    whole = hiper.fit(picture(), "a dog", config=config)
    worker = (sys.executable, "-m", "hiper.worker", "--model", str(sd1_folder), "--device", "cpu", "--dtype", "fp32")
    worker += ("--nice", "0")

    async def scene() -> None:
        async with serving(store, argv=("env", "OMP_NUM_THREADS=1", *worker)) as server:
            server.edits.ready = Bundle(model_digest=hiper.model.digest)
            id = server.submit("a dog", steps=60)
            await until(lambda: "checkpoint" in server.kinds(id), 240)
            pid = server.runner.worker_pid
            assert pid is not None
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            await until(lambda: server.fit(id).finished_at is not None, 240)
            fit = server.fit(id)
            assert (fit.state, fit.attempt) == ("succeeded", 2)
            assert server.tail(id).digest == whole.digest
            assert server.tail(id).info == whole.info
            assert server.tail(id).info.source_image_sha256 == (hashlib.sha256(picture()).hexdigest(),)

    run(scene())
