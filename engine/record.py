"""Frozen dataclasses as JSON: written whole, read back strictly."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")


def dump(record: "DataclassInstance") -> str:
    """Write a dataclass as indented JSON, its keys in the order of its fields."""
    return json.dumps(asdict(record), indent=1, allow_nan=False) + "\n"


def parse(text: bytes) -> Any:
    """Read JSON in which no key is said twice.

    Raises:
        ValueError: it is not such a JSON text.
    """
    try:
        return json.loads(text, object_pairs_hook=_distinct)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def build(kind: type[Record], value: Any, where: str = "the top level") -> Record:
    """Make a dataclass of a JSON value.

    Args:
        kind: its fields are scalars or unions of them, dataclasses, `tuple[X, ...]` or `Mapping[str, X]`.
        value: what `parse` returned.
        where: place of the value in the text, for the message.

    Raises:
        ValueError: a key is missing or unknown, or a value has another type; the message names the place.
    """
    hints = get_type_hints(kind)
    if not isinstance(value, dict) or value.keys() != hints.keys():
        found = ", ".join(value) if isinstance(value, dict) else type(value).__name__
        raise ValueError(f"{where} has {found or 'nothing'} instead of {', '.join(hints)}")
    return kind(**{name: _convert(hint, value[name], name) for name, hint in hints.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return build(hint, value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(arguments[0], item, where) for item in value)
    if origin is Mapping and isinstance(value, dict):
        return {name: _convert(arguments[1], item, f"{where}.{name}") for name, item in value.items()}
    return _scalar(arguments if origin is UnionType else (hint,), value, where)


def _scalar(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if float in kinds and type(value) is int and abs(value) < 2**53:
        value = float(value)
    if type(value) not in kinds or (isinstance(value, float) and not math.isfinite(value)):
        names = " or ".join(getattr(kind, "__name__", "an object") for kind in kinds)
        raise ValueError(f"{where} is {value!r:.40} instead of {names}")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key is there twice")
    return record
