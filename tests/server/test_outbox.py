"""Messages on their way out. Oracle: the order they were put in, and a clock."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from engine.server import outbox as module
from engine.server.messages import EditEnded, EditStep, FromEngine
from engine.server.outbox import Outbox
from engine.server.wire import receive


@pytest.fixture
def line() -> Iterator[tuple[Outbox, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(30)
        yield Outbox(theirs), ours


def step(number: int) -> EditStep:
    return EditStep(id="a", step=number, steps=99)


def test_order_is_kept_and_closing_sends_what_lingers(
    line: tuple[Outbox, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER_S", 1000)
    outbox, reader = line
    for number in range(50):
        outbox.put(step(number), urgent=number % 7 == 3)
    outbox.close()
    assert [receive(reader, FromEngine) for _ in range(50)] == [step(number) for number in range(50)]


def test_what_is_urgent_takes_along_what_lingers(
    line: tuple[Outbox, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER_S", 1000)
    outbox, reader = line
    outbox.put(step(1), urgent=False)
    reader.settimeout(0.05)
    with pytest.raises(TimeoutError):
        receive(reader, FromEngine)
    reader.settimeout(30)
    end = EditEnded(id="a", reason="late", message="too late")
    outbox.put(end)
    assert [receive(reader, FromEngine), receive(reader, FromEngine)] == [step(1), end]


def test_nothing_lingers_for_ever(line: tuple[Outbox, socket.socket]) -> None:
    outbox, reader = line
    outbox.put(step(1), urgent=False)
    assert receive(reader, FromEngine) == step(1)


def test_many_threads_lose_nothing(line: tuple[Outbox, socket.socket]) -> None:
    outbox, reader = line
    threads = [
        threading.Thread(target=lambda: [outbox.put(step(i), urgent=i % 2 == 0) for i in range(200)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    heard = [receive(reader, FromEngine) for _ in range(800)]
    assert sorted(it.step for it in heard if isinstance(it, EditStep)) == sorted([*range(200)] * 4)


def test_a_reader_that_is_gone_ends_it(line: tuple[Outbox, socket.socket]) -> None:
    outbox, reader = line
    reader.close()
    outbox.put(step(1))
    time.sleep(0.05)
    outbox.put(step(2))
    outbox.close()
