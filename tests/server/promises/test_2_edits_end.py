"""Promise 2: every accepted edit ends before its deadline. Oracle: the clock, and the same edit without any trouble."""

import os
import random
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.server.conftest import RunningServer, StartServer, wait_until
from tests.server.promises.client import CLIENT
from tests.server.promises.conftest import MINUTES
from tests.server.promises.deployment import LONG_S
from tests.server.promises.edits import GENERATE, Ended, ask, leave, status, wish
from tests.server.test_lifecycle import engine_of

# An engine that dies again and again is started ever more rarely.
ROUNDS = 15 if MINUTES else 2
CLIENTS = 8
TIMEOUT_S = 5.0
# Between the deadline and its news at the client; the rest is the time that a busy machine takes to run the client.
SLACK_S = 3.0
UNHURT = {"prompt": "a dog a cat", "seed": 11, "n": 2, "num_inference_steps": 40, "stream": False}


@pytest.fixture
def server(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> RunningServer:
    monkeypatch.setenv("HIPER_EDIT_TIMEOUT_S", str(TIMEOUT_S))
    return start_server()


def test_every_edit_ends_before_its_deadline_though_the_engine_dies_or_hangs(server: RunningServer) -> None:
    chance = random.Random(3)
    expected = ask(server.url, UNHURT, 60)
    ended: list[Ended] = []
    with ThreadPoolExecutor(CLIENTS) as pool:
        for number in range(ROUNDS):
            ended += one_round(server, chance, pool, hangs=number % 3 == 1)
    assert {one.what for one in ended} <= {"image", "gone", "deadline_missed", "engine_unavailable", "edit_cancelled"}
    assert max(one.seconds for one in ended) < TIMEOUT_S + SLACK_S
    assert sum(one.what == "image" for one in ended) > 0
    assert all(one.images == expected.images for one in ended if one.what == "image" and 11 in one.images)
    nothing_is_under_way(server, ended)
    print({what: sum(one.what == what for one in ended) for what in {one.what for one in ended}})


def one_round(server: RunningServer, chance: random.Random, pool: ThreadPoolExecutor, hangs: bool) -> list[Ended]:
    """All clients ask; the engine is stopped so that their edits are under way, then killed, or left as it is."""
    wait_until(lambda: CLIENT.get(f"{server.url}/readyz").status_code == 200, LONG_S)
    engine = engine_of(server)
    os.kill(engine, signal.SIGSTOP)
    try:
        asked = [pool.submit(client, server.url, random.Random(chance.random()), n) for n in range(CLIENTS)]
        time.sleep(chance.uniform(0.1, 1.0))
        if hangs:
            return results(asked)
        os.kill(engine, signal.SIGCONT)
        time.sleep(chance.uniform(0, 0.05))
        os.kill(engine, signal.SIGKILL)
        wait_until(lambda: CLIENT.get(f"{server.url}/readyz").status_code == 503)
        return results(asked)
    finally:
        with suppress(ProcessLookupError):
            os.kill(engine, signal.SIGCONT)


def client(url: str, chance: random.Random, number: int) -> Ended:
    if number == 0:
        return leave(url, wish(chance), chance.uniform(0, 1), abruptly=chance.random() < 0.5)
    if number == 1:
        return ask(url, UNHURT, 60)
    return ask(url, wish(chance, seed=100), 60)


def results(asked: list["Future[Ended]"]) -> list[Ended]:
    return [one.result() for one in asked]


def nothing_is_under_way(server: RunningServer, ended: list[Ended]) -> None:
    """The server agrees on how each of them ended."""
    for one in ended:
        found = status(server.url, one.id)
        if one.what == "gone":  # None: before its request was read
            assert found in ("cancelled", "succeeded", "failed", None)
        else:
            assert found == {"image": "succeeded", "edit_cancelled": "cancelled"}.get(one.what, "failed")


def test_who_goes_away_cancels_what_the_engine_is_at(server: RunningServer) -> None:
    """The edits of two clients are under way; one goes, and only the other's is painted."""
    engine = engine_of(server)
    os.kill(engine, signal.SIGSTOP)
    with ThreadPoolExecutor(2) as pool:
        stays = pool.submit(ask, server.url, UNHURT, 60)
        goes = pool.submit(leave, server.url, {**UNHURT, "n": 8}, 0.5, True).result()
        wait_until(lambda: status(server.url, goes.id) == "cancelled", TIMEOUT_S)
        os.kill(engine, signal.SIGCONT)
        assert stays.result().what == "image"
    assert CLIENT.post(f"{server.url}{GENERATE}", json=UNHURT).status_code == 200
    seen = CLIENT.get(f"{server.url}/v1/requests/{goes.id}").json()
    assert [edit["status"] for edit in seen["edits"]] == ["cancelled"] * 8
