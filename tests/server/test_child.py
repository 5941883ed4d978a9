"""Real processes of a few lines, which answer, crash, hang or leave children behind as they are told."""

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engine.server import child as child_module
from engine.server.child import Child, ChildDown
from engine.server.messages import CancelEdit, EditEnded, Message

PATIENCE_S = 30
ROOT = Path(__file__).parents[2]

ECHO = """
import os, signal, socket, subprocess, sys, time
from engine.server.messages import CancelEdit, StopFit
from engine.server.wire import receive, send

connection = socket.socket(fileno=int(sys.argv[-1]))
print("hello", flush=True)
while (message := receive(connection, CancelEdit | StopFit)) is not None:
    match message.id:
        case "crash": os.kill(os.getpid(), signal.SIGKILL)
        case "garbage": connection.sendall(b"\\xff" * 100)
        case "hang": time.sleep(1000)
        case "wrong": send(connection, StopFit(id="x"))
        case "log": print("x" * 3_000_000, "\\nend of log", file=sys.stderr, flush=True)
        case "close": connection.close(); time.sleep(1000)
        case "child": send(connection, CancelEdit(id=str(subprocess.Popen(["sleep", "1000"]).pid)))
        case _: send(connection, message)
sys.exit(0)
"""


class Watched:
    """A child and all that it told."""

    def __init__(self, code: str = ECHO) -> None:
        self.heard: list[Message] = []
        self.lost = 0
        self.child = Child("echo", [sys.executable, "-c", code], CancelEdit, self.heard.append, self._count)

    def _count(self) -> None:
        self.lost += 1

    async def say(self, id: str) -> None:
        await self.child.send(CancelEdit(id=id))

    async def hears(self, id: str) -> None:
        await until(lambda: CancelEdit(id=id) in self.heard)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


def exists(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def with_child(talk: Callable[[Watched], Coroutine[Any, Any, None]], code: str = ECHO) -> Watched:
    watched = Watched(code)

    async def run() -> None:
        await watched.child.start()
        try:
            await talk(watched)
        finally:
            await watched.child.stop(5)
        assert watched.child.state == "stopped" and watched.child.pid is None

    asyncio.run(run())
    return watched


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(child_module, "REAP_S", 0.2)


def test_a_child_answers_and_stops_when_its_socket_ends() -> None:
    async def talk(it: Watched) -> None:
        assert it.child.state == "starting"
        await it.say("before it is up")
        await it.hears("before it is up")
        assert it.child.state == "up"

    watched = with_child(talk)
    assert watched.lost == watched.child.restarts == 0


@pytest.mark.parametrize("how", ["crash", "garbage", "wrong", "close", "kill"])
def test_a_child_that_fails_in_any_way_is_started_again(how: str) -> None:
    async def talk(it: Watched) -> None:
        await it.say("a")
        await it.hears("a")
        pid = it.child.pid
        it.child.kill() if how == "kill" else await it.say(how)
        await until(lambda: it.lost == 1)
        await until(lambda: it.child.state == "starting")
        await it.say("b")
        await it.hears("b")
        assert it.child.restarts == 1 and it.child.pid != pid and not exists(pid or 0)

    with_child(talk)


def test_a_child_that_cannot_start_is_tried_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "FIRST_DELAY_S", 0.1)
    monkeypatch.setattr(child_module, "MAX_DELAY_S", 0.4)
    times: list[float] = []

    async def talk() -> None:
        child = Child("nothing", ["/no/such/program"], CancelEdit, print, lambda: times.append(time.monotonic()))
        await child.start()
        await until(lambda: len(times) == 5)
        assert child.state == "down" and child.restarts == 4
        with pytest.raises(ChildDown, match="the nothing is down"):
            await child.send(CancelEdit(id="a"))
        await child.stop(5)

    asyncio.run(talk())
    pauses = [after - before for before, after in pairwise(times)]
    assert [round(pause, 1) for pause in pauses] == pytest.approx([0.1, 0.2, 0.4, 0.4], abs=0.11)


def test_a_child_that_ignores_the_end_of_its_socket_is_killed() -> None:
    async def run() -> None:
        watched = Watched()
        await watched.child.start()
        await watched.say("a")
        await watched.hears("a")
        pid = watched.child.pid or 0
        await watched.say("hang")
        began = time.monotonic()
        await watched.child.stop(0.1)
        assert time.monotonic() - began < 5 and not exists(pid) and watched.lost == 0

    asyncio.run(run())


def test_what_a_dead_child_leaves_behind_is_killed() -> None:
    async def talk(it: Watched) -> None:
        await it.say("child")
        await until(lambda: it.heard)
        await it.say("crash")
        await until(lambda: it.lost)
        [told] = it.heard
        assert isinstance(told, CancelEdit)
        await until(lambda: not exists(int(told.id)))

    with_child(talk)


def test_giving_up_ends_the_child_for_good() -> None:
    async def talk(it: Watched) -> None:
        await it.say("a")
        await it.hears("a")
        it.child.give_up()
        await until(lambda: it.child.state == "stopped")
        with pytest.raises(ChildDown):
            await it.say("b")

    watched = with_child(talk)
    assert watched.lost == watched.child.restarts == 0


def test_what_a_child_writes_is_logged_however_long(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def talk(it: Watched) -> None:
        await it.say("log")
        await until(lambda: "echo: end of log" in caplog.messages)

    with_child(talk)
    assert "echo: hello" in caplog.messages


def test_a_listener_that_raises_goes_on_listening(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        heard: list[Message] = []

        def fail(message: Message) -> None:
            heard.append(message)
            raise ZeroDivisionError

        child = Child("echo", [sys.executable, "-c", ECHO], CancelEdit | EditEnded, fail)
        await child.start()
        for _ in range(2):
            await child.send(CancelEdit(id="a"))
        await until(lambda: len(heard) == 2)
        await child.stop(5)

    asyncio.run(run())
    assert "ZeroDivisionError" in caplog.text


def test_children_die_with_a_front_that_is_killed() -> None:
    code = f"""
import asyncio, sys
from engine.server.child import Child
from engine.server.messages import CancelEdit

async def main():
    children = [Child("echo", [sys.executable, "-c", {ECHO!r}], CancelEdit, lambda _: print(child.pid, flush=True))
                for _ in range(2)]
    for child in children:
        await child.start()
        await child.send(CancelEdit(id="a"))
        await asyncio.sleep(1)
    await asyncio.sleep(1000)

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT) as front:
        assert front.stdout is not None
        pids = [int(front.stdout.readline()) for _ in range(2)]
        assert len(set(pids)) == 2 and all(map(exists, pids))
        os.kill(front.pid, 9)
    end = time.monotonic() + PATIENCE_S
    while any(map(exists, pids)):
        assert time.monotonic() < end
        time.sleep(0.01)
