"""What a key may have under way. Oracle: counting by hand, with a clock moved by hand."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.server import limits as limits_module
from engine.server.caller import Caller
from engine.server.errors import ApiError
from engine.server.limits import Limits
from engine.server.records import Key


def caller(max_edits: int = 8, edits_per_minute: int = 60, id: str = "key_a") -> Caller:
    return Caller(id, Key(id, "alice", frozenset({"edit"}), max_edits, edits_per_minute, 2, 0.0))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def refused(limits: Limits, who: Caller, edits: int = 1) -> ApiError:
    with pytest.raises(ApiError) as caught, limits.admit_edit(who, edits):
        pass
    assert (caught.value.status, caught.value.code) == (429, "quota_exceeded")
    return caught.value


def impossible(limits: Limits, who: Caller, edits: int) -> ApiError:
    with pytest.raises(ApiError) as caught, limits.admit_edit(who, edits):
        pass
    assert (caught.value.status, caught.value.code, caught.value.param) == (422, "beyond_quota", "n")
    assert caught.value.retry_after_s is None
    return caught.value


def test_edits_under_way_are_counted_while_they_are() -> None:
    limits, who = Limits(), caller(max_edits=3)
    with limits.admit_edit(who, 2):
        assert "2 edits of this key are under way and 2 more were asked, 3 are allowed" in str(refused(limits, who, 2))
        with limits.admit_edit(who, 1), limits.admit_edit(caller(id="key_b"), 8):
            refused(limits, who)
    with limits.admit_edit(who, 3):
        pass


def test_an_edit_that_fails_is_under_way_no_more() -> None:
    limits, who = Limits(), caller(max_edits=1)
    for _ in range(3):
        with pytest.raises(KeyError), limits.admit_edit(who, 1):
            raise KeyError


def test_a_minutes_edits_can_be_spent_at_once_and_come_back_evenly() -> None:
    clock = Clock()
    limits, who = Limits(clock), caller(max_edits=100, edits_per_minute=6)
    with limits.admit_edit(who, 6):
        pass
    error = refused(limits, who)
    assert error.retry_after_s == pytest.approx(10)
    clock.now += 10
    with limits.admit_edit(who, 1):
        pass
    clock.now += 3600
    with limits.admit_edit(who, 6):
        pass
    refused(limits, who)


def test_a_refused_request_costs_nothing() -> None:
    limits, who = Limits(Clock()), caller(max_edits=4, edits_per_minute=8)
    with limits.admit_edit(who, 3):
        refused(limits, who, 2)
    with limits.admit_edit(who, 4):
        pass
    refused(limits, who, 2)
    with limits.admit_edit(who, 1):
        pass


@pytest.mark.parametrize("who", [caller(max_edits=3), caller(edits_per_minute=3)])
def test_what_no_waiting_makes_possible_is_said_at_once(who: Caller) -> None:
    limits = Limits(Clock())
    assert "n is 4 but the key allows 3 edits at once, which no waiting changes" in str(impossible(limits, who, 4))
    with limits.admit_edit(who, 3):
        impossible(limits, who, 4)


def test_edits_that_were_given_back_can_be_had_again_and_no_more_than_a_minutes() -> None:
    limits, who = Limits(Clock()), caller(edits_per_minute=6)
    with limits.admit_edit(who, 6):
        pass
    limits.give_back(who, 2)
    with limits.admit_edit(who, 2):
        refused(limits, who)
    limits.give_back(who, 100)
    limits.give_back(Caller("local"), 1)
    with limits.admit_edit(who, 6):
        refused(limits, who)


def test_a_caller_stands_in_a_queue_once_and_nobody_waits_for_another() -> None:
    async def test() -> list[str]:
        limits, order, queue = Limits(), list[str](), asyncio.Lock()

        async def look(id: str) -> None:
            async with limits.turn(caller(id=id)), queue:
                await asyncio.sleep(0)
                order.append(id)

        await asyncio.gather(*(look(id) for id in ("a", "a", "a", "b", "c")))
        assert not limits._turns
        return order

    assert asyncio.run(test()) == ["a", "b", "c", "a", "a"]


def test_streams_are_counted_while_they_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "STREAMS", 2)
    limits = Limits()
    for who in (caller(), Caller("local")):
        with limits.admit_stream(who), limits.admit_stream(who):
            with pytest.raises(ApiError, match="2 streams of events are open") as caught, limits.admit_stream(who):
                pass
            assert (caught.value.status, caught.value.code) == (429, "quota_exceeded")
            with limits.admit_stream(caller(id="key_b")):
                pass
        with limits.admit_stream(who):
            pass


def test_without_a_key_nothing_is_counted() -> None:
    limits = Limits(Clock())
    with limits.admit_edit(Caller("local"), 1000), limits.admit_edit(Caller("local"), 1000):
        pass


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 8)), max_size=60), st.integers(1, 20))
def test_never_more_than_two_minutes_worth_in_any_minute(requests: list[tuple[float, int]], per_minute: int) -> None:
    clock = Clock()
    limits, who = Limits(clock), caller(max_edits=8, edits_per_minute=per_minute)
    admitted: list[tuple[float, int]] = []
    for pause, edits in requests:
        clock.now += pause
        try:
            with limits.admit_edit(who, edits):
                admitted.append((clock.now, edits))
        except ApiError as error:
            assert (error.code == "beyond_quota") == (edits > per_minute) == (error.retry_after_s is None)
    for start, _ in admitted:
        assert sum(edits for at, edits in admitted if start <= at < start + 60) <= 2 * per_minute + 1e-6
