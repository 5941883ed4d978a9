"""When a fit will end. Oracle: a fit at an even pace, whose end is known."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.server.fit_pace import remaining_s
from engine.server.records import Event, FitRow

KINDS = st.sampled_from(["queued", "started", "progress", "checkpoint", "resumed"])


def fit(step: int, steps: int = 100, state: str = "running") -> FitRow:
    values: dict[str, Any] = dict.fromkeys(FitRow.__dataclass_fields__)
    return FitRow(**values | {"state": state, "step": step, "steps": steps})


def told(*events: tuple[str, int, float]) -> list[Event]:
    return [Event(seq, kind, {"step": step}, at) for seq, (kind, step, at) in enumerate(events, 1)]  # type: ignore[arg-type]


def test_an_even_pace_ends_when_it_should() -> None:
    events = told(("queued", 0, 0), ("started", 0, 50), ("progress", 10, 80), ("progress", 20, 90))
    assert remaining_s(fit(20), events, 90) == pytest.approx(80)
    assert remaining_s(fit(20), events, 95) == pytest.approx(75)


def test_neither_the_wait_before_the_first_step_nor_an_earlier_attempt_counts() -> None:
    before = told(("started", 0, 0), ("progress", 1, 900), ("progress", 2, 1000), ("queued", 2, 5000))
    after = told(("resumed", 2, 9000), ("progress", 3, 9100), ("progress", 5, 9102))
    assert remaining_s(fit(5), before + after, 9102) == pytest.approx(95)
    assert remaining_s(fit(2), before + after[:2], 9100) is None


def test_a_fit_that_stands_still_or_a_clock_set_back_is_no_less_than_nothing() -> None:
    events = told(("started", 0, 50), ("progress", 10, 60), ("progress", 20, 70))
    assert remaining_s(fit(20), events, 10_000) == 0
    back = told(("started", 0, 50), ("progress", 10, 60), ("progress", 20, 30))
    assert remaining_s(fit(20), back, 30) == 0


@pytest.mark.parametrize("state", ["queued", "succeeded", "failed", "cancelled"])
def test_what_does_not_run_has_no_end_in_sight(state: str) -> None:
    events = told(("started", 0, 50), ("progress", 10, 60), ("progress", 20, 70))
    assert remaining_s(fit(20, state=state), events, 80) is None


@given(st.lists(st.tuples(KINDS, st.integers(0, 120), st.floats(-1e9, 1e9))), st.floats(-1e9, 1e9))
def test_whatever_was_told_it_is_nothing_or_some_seconds(events: list[tuple[str, int, float]], now: float) -> None:
    left = remaining_s(fit(5), told(*events), now)
    assert left is None or left >= 0
