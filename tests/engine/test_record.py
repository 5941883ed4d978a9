"""Dataclasses as JSON: what was written is read, everything else is refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import record


@dataclass(frozen=True)
class Inner:
    size: int | str


@dataclass(frozen=True)
class Outer:
    name: str
    factor: float
    exact: bool
    spacing: str | None
    inner: tuple[Inner, ...]
    by_name: Mapping[str, tuple[int, ...]]


text = st.text(st.characters(exclude_categories=["Cs"]))
outers = st.builds(
    Outer,
    text,
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none() | text,
    st.lists(st.builds(Inner, st.integers(-(2**63), 2**63) | text)).map(tuple),
    st.dictionaries(text, st.lists(st.integers()).map(tuple)),
)
VALID = {"name": "n", "factor": 1, "exact": True, "spacing": None, "inner": [{"size": 1}], "by_name": {"a": [1]}}


@given(outers)
def test_reads_what_it_writes(outer: Outer) -> None:
    assert record.build(Outer, record.parse(record.dump(outer).encode())) == outer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, "name is 1 instead of str"),
        ({"factor": "1"}, "factor is '1' instead of float"),
        ({"factor": True}, "factor is True instead of float"),
        ({"factor": float("inf")}, "factor is inf instead of float"),
        ({"exact": 1}, "exact is 1 instead of bool"),
        ({"spacing": 2}, "spacing is 2 instead of str or NoneType"),
        ({"inner": {}}, "inner is {} instead of tuple"),
        ({"inner": [3]}, "inner has int instead of size"),
        ({"inner": [{"size": 1.5}]}, "size is 1.5 instead of int or str"),
        ({"by_name": {"a": ["x"]}}, "by_name.a is 'x' instead of int"),
        (
            {"extra": 1},
            "the top level has name, factor, exact, spacing, inner, by_name, extra instead of name, factor,",
        ),
    ],
)
def test_refuses_another_type_and_names_the_place(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        record.build(Outer, VALID | change)
    assert str(caught.value).startswith(message)


def test_refuses_a_missing_key() -> None:
    with pytest.raises(ValueError, match=r"^the top level has name instead of name, factor, exact"):
        record.build(Outer, {"name": "n"})


@pytest.mark.parametrize(
    ("text", "message"),
    [(b'{"a": 1, "a": 2}', "twice"), (b"[" * 10**6, "nested"), (b"{", "Expecting"), (b"\xff", "codec")],
)
def test_refuses_a_broken_text(text: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        record.parse(text)
