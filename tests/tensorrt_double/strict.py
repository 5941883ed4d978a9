"""Holds a double to the recorded interface: no name, argument, type or enum passes that the real bindings lack."""

import enum
import functools
import json
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def load_api(version: str) -> dict[str, Any]:
    return json.loads((HERE / f"api-{version}.json").read_text())


def make_enums(api: dict[str, Any]) -> dict[str, type[enum.Enum]]:
    """As pybind11 makes them: members convert to int, and equal no number."""
    return {name: _Convertible(name, members) for name, members in api["enums"].items()}


class _Convertible(enum.Enum):
    def __int__(self) -> int:
        return self.value


def hold(kind: type, facts: dict[str, Any], names: dict[str, type]) -> type:
    """Return a class like `kind` in which every public call is checked first.

    Args:
        kind: the double of one class.
        facts: what was recorded of the real class.
        names: all enums and doubles by name, for the types of arguments.
    """
    public = {name: member for name, member in vars(kind).items() if not name.startswith("_")}
    assert public.keys() <= facts["methods"].keys() | facts["properties"].keys(), public.keys()
    members: dict[str, Any] = {"__module__": "tensorrt"}
    for name, member in {**public, "__init__": kind.__init__}.items():
        if callable(member) and facts["methods"].get(name):
            members[name] = _checked(member, facts["methods"][name], names)
    writable = {name for name, can_be_set in facts["properties"].items() if can_be_set}

    def set_attribute(self: Any, name: str, value: Any) -> None:
        if not name.startswith("_") and isinstance(self, held) and type(self) is held and name not in writable:
            raise AttributeError(f"{kind.__name__}.{name} cannot be set")
        object.__setattr__(self, name, value)

    members["__setattr__"] = set_attribute
    held = type(kind.__name__, (kind,), members)
    return held


def _checked(method: Callable[..., Any], signatures: list[str], names: dict[str, type]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not any(_fits(signature, args, kwargs, names) for signature in signatures):
            raise TypeError(f"{method.__qualname__}{args}{kwargs}: incompatible function arguments, {signatures}")
        return method(self, *args, **kwargs)

    return call


def _fits(signature: str, args: tuple[Any, ...], kwargs: dict[str, Any], names: dict[str, type]) -> bool:
    parameters = [part.partition(": ") for part in signature.split(", ")] if signature else []
    given = {name: value for (name, _, _), value in zip(parameters, args, strict=False)}
    if len(args) > len(parameters) or given.keys() & kwargs.keys():
        return False
    given |= kwargs
    wanted = {name: kind for name, _, kind in parameters}
    required = {name for name, kind in wanted.items() if " = " not in kind}
    return required <= given.keys() <= wanted.keys() and all(
        _is_a(value, wanted[name].partition(" = ")[0], names) for name, value in given.items()
    )


def _is_a(value: Any, kind: str, names: dict[str, type]) -> bool:
    if kind in ("int", "typing.SupportsInt"):
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in ("buffer", "typing_extensions.Buffer"):
        return isinstance(value, bytes | bytearray | memoryview) or hasattr(value, "nbytes")
    if kind == "Dims":
        return isinstance(value, Sized) and all(isinstance(size, int) for size in value)
    plain = {"str": str, "bool": bool, "tuple": tuple, "list": list}
    expected = plain.get(kind) or names.get(kind.rpartition(".")[2])
    return expected is not None and isinstance(value, expected)
