"""The loss curve: points lie where their values say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiper.loss_curve import SIZE, loss_curve, nice_ticks

ORANGE = (0xD2, 0x60, 0x1A)


def dot(picture):
    """Middle of the marked point, below the legend."""
    below, left = np.nonzero((np.asarray(picture)[36:] == ORANGE).all(-1))
    return left.mean(), below.mean()


def test_the_lowest_held_out_loss_is_marked():
    losses = [(step, 1.0 - step / 200) for step in range(1, 101)]
    early, late = (dot(loss_curve(losses, {at: 0.4})) for at in (20, 80))
    assert early[0] == pytest.approx(64 + (SIZE[0] - 84) * 0.2, abs=1.5)
    assert late[0] == pytest.approx(64 + (SIZE[0] - 84) * 0.8, abs=1.5)
    assert early[1] == late[1]


def test_a_lower_loss_lies_lower():
    losses = [(1, 1.0), (2, 0.0)]
    assert dot(loss_curve(losses, {1: 0.1}))[1] > dot(loss_curve(losses, {1: 0.9}))[1]


@pytest.mark.parametrize("losses", [[(1, 0.5)], [(1, 0.0), (2, 0.0)], [(1, 1e9), (2, 1e-9)]])
def test_any_fit_can_be_drawn(losses):
    assert loss_curve(losses).size == SIZE


def test_a_fit_without_steps_has_no_curve():
    with pytest.raises(ValueError, match="at least one loss"):
        loss_curve([])


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_ticks_enclose_the_values(first, second):
    low, high = sorted((first, second))
    ticks = nice_ticks(low, high)
    slack = 1e-9 * max(1, high)
    assert ticks[0] <= low + slack and ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 8
