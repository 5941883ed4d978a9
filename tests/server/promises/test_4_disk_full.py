"""Promise 4: a full disk. Oracle: what was there before it was full, and the fit that ran meanwhile on a free one."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.server.folder_store import FolderStore
from hiper.tail import serialize
from tests.server.promises.client import CLIENT
from tests.server.promises.conftest import MINUTES, WholeFit
from tests.server.promises.deployment import EVERY, Deployment, repeated_steps, until
from tests.server.promises.edits import GENERATE, ask
from tests.server.promises.fits import check_results, fit_form, pages, picture, submit

ROUNDS = 20 if MINUTES else 2
EDIT = {"prompt": "a dog", "seed": 1, "num_inference_steps": 10}
# More than what the write-ahead log may take in its old pages before it has to grow.
ENOUGH = 2000


class Ballast:
    """A file that leaves so many free pages on the disk."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ballast"

    def fill(self, free_pages: int) -> None:
        with open(self._path, "ab", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(2**16))
        with open(self._path, "r+b") as file:
            file.truncate(self._path.stat().st_size - 4096 * free_pages)

    def drop(self) -> None:
        self._path.unlink(missing_ok=True)


@pytest.fixture
def ballast(small_disk: tuple[Path, str]) -> Iterator[Ballast]:
    folder, reason = small_disk
    if reason:
        pytest.skip(f"no small disk can be mounted here: {reason}")
    ballast = Ballast(folder)
    yield ballast
    ballast.drop()


def test_a_full_disk_stops_what_needs_it_and_nothing_else(
    deployment: Deployment, ballast: Ballast, whole_fit: WholeFit
) -> None:
    chance = random.Random(2)
    tail = serialize(whole_fit(0))
    painted = ask(deployment.url, EDIT, 60).images
    fit = submit(deployment, 1)
    until(lambda: fit.step)
    for _ in range(ROUNDS):
        ballast.fill(chance.randrange(16))
        kept = store_until_full(deployment, tail)
        new_work_is_refused(deployment, tail)
        assert ask(deployment.url, EDIT, 60).images == painted
        reading_goes_on(deployment, kept, tail, fit.id)
        assert FolderStore.check(deployment.data_dir) == []
        ballast.drop()
        assert add_tail(deployment, tail).status_code == 201
    until(lambda: fit.ended)
    assert not any(event.kind == "resumed" for event in fit.events)
    check_results(deployment, {fit.id: whole_fit(1)})


@pytest.mark.skipif(not MINUTES, reason="long; set HIPER_SOAK_MINUTES")
def test_a_server_killed_on_a_full_disk_loses_nothing(
    deployment: Deployment, ballast: Ballast, whole_fit: WholeFit
) -> None:
    fit, tail = submit(deployment), serialize(whole_fit(0))
    until(lambda: fit.checkpoints)
    for free_pages in range(8):
        ballast.fill(free_pages)
        kept = store_until_full(deployment, tail)
        deployment.kill("front")
        ballast.drop()
        deployment.up()
        reading_goes_on(deployment, kept, tail, fit.id)
    until(lambda: fit.ended)
    assert max(repeated_steps(fit.events)) <= EVERY
    check_results(deployment, {fit.id: whole_fit(0)})


def add_tail(deployment: Deployment, tail: bytes) -> httpx.Response:
    return CLIENT.post(f"{deployment.url}/v1/tails", files={"file": tail}, timeout=60)


def store_until_full(deployment: Deployment, tail: bytes) -> list[str]:
    """The tails that were acknowledged while there was room for them."""
    kept: list[str] = []
    for _ in range(ENOUGH):
        answer = add_tail(deployment, tail)
        if answer.status_code != 201:
            assert_full(answer)
            return kept
        kept.append(answer.json()["id"])
    raise AssertionError("the disk is never full")


def new_work_is_refused(deployment: Deployment, tail: bytes) -> None:
    form: dict[str, Any] = fit_form(0)
    form["files"] = {"image": picture(random.randrange(2**32))}  # one that is not stored yet
    assert_full(CLIENT.post(f"{deployment.url}/v1/fits", **form, timeout=60))
    assert_full(add_tail(deployment, tail))


def assert_full(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
    assert int(answer.headers["retry-after"]) > 0


def reading_goes_on(deployment: Deployment, kept: list[str], tail: bytes, fit_id: str) -> None:
    there = {row["id"] for row in pages(deployment, "/v1/tails")}
    assert set(kept) <= there
    for id in kept[:3]:
        content = CLIENT.get(f"{deployment.url}/v1/tails/{id}/content", timeout=60)
        assert content.content == tail
    fit = CLIENT.get(f"{deployment.url}/v1/fits/{fit_id}", timeout=60).json()
    assert fit["status"] in ("running", "queued", "succeeded")
    assert CLIENT.get(f"{deployment.url}/v1/fits/{fit_id}/image", timeout=60).status_code == 200
    assert CLIENT.get(f"{deployment.url}/livez", timeout=60).status_code == 200
    form = {"prompt": "a dog", "tail": kept[0], "num_inference_steps": 3} if kept else EDIT
    assert CLIENT.post(deployment.url + GENERATE, json=form, timeout=60).status_code == 200
