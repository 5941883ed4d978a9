"""Padding to buckets, against a network that notes the shapes it was compiled for and called with."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.runtimes import Network, TensorInfo
from engine.runtimes.buckets import BUCKETS, BucketedNetwork, Shapes, bucket_of, choose_buckets

A = TensorInfo("a", np.dtype(np.float32), (None, None))
OUT = TensorInfo("out", np.dtype(np.float32), (None, None))


class _Negate:
    inputs = (A,)
    outputs = (OUT,)

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        assert {name: array.shape for name, array in inputs.items()} == self._shapes
        return {"out": -inputs["a"]}


def _bucketed(max_compiled: int = 8) -> tuple[BucketedNetwork, list[Shapes]]:
    compiled: list[Shapes] = []

    def compile_for(shapes: Shapes) -> Network:
        compiled.append(shapes)
        return _Negate(shapes)

    return BucketedNetwork((A,), (OUT,), compile_for, max_compiled), compiled


@given(st.integers(1, 32))
def test_a_bucket_is_the_next_power_of_two(rows: int) -> None:
    assert bucket_of(rows) == 1 << (rows - 1).bit_length()


@pytest.mark.parametrize("rows", [0, 33])
def test_refuses_rows_outside_the_buckets(rows: int) -> None:
    with pytest.raises(ValueError, match=rf"^a call has {rows} rows; use 1 to 32$"):
        bucket_of(rows)


@given(st.integers(1, 32))
def test_returns_the_rows_that_were_given(rows: int) -> None:
    array = np.random.default_rng(rows).standard_normal((rows, 2), np.float32)
    assert (_bucketed()[0]({"a": array})["out"] == -array).all()


def test_compiles_once_per_bucket() -> None:
    network, compiled = _bucketed()
    for rows in range(1, 33):
        network({"a": np.zeros((rows, 2), np.float32)})
    assert [shapes["a"] for shapes in compiled] == [(bucket, 2) for bucket in BUCKETS]


@pytest.mark.parametrize(
    ("buckets", "most", "kept"),
    [(BUCKETS, 2, [2, 8]), ((1, 2, 4), 2, [2, 4]), (BUCKETS, 3, [2, 4, 8]), ((3, 5, 8), 2, [3, 8])],
)
def test_the_buckets_worth_most_are_kept(buckets: tuple[int, ...], most: int, kept: list[int]) -> None:
    assert choose_buckets(buckets, most) == kept


def test_forgets_what_was_not_used_for_longest() -> None:
    network, compiled = _bucketed(max_compiled=2)
    for rows in (1, 2, 1, 4, 1, 2):
        network({"a": np.zeros((rows, 2), np.float32)})
    assert [shapes["a"][0] for shapes in compiled] == [1, 2, 4, 2]
