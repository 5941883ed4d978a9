"""What a row asks for: the columns of the two kinds of table."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from engine.bulk.errors import TableError, listed
from engine.bulk.table import RawRow, read_table
from engine.schedule import Solver

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
_FILES: Final = {"image", "tail"}


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of both kinds.

    Attributes:
        id: names the row for ever; unique in its table.
        prompt: what the picture shows (fit), or is to show (edit).
        name: of the result's file, without its suffix; the id if empty.
    """

    id: str
    prompt: str
    name: str = ""

    @property
    def stem(self) -> str:
        """The result's name without its suffix."""
        return self.name or self.id


class FitRow(Row, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="fit"):
    """A fit; but for the image, fields as in `engine.server.messages.FitSettings`.

    Attributes:
        image: path of the picture, relative to the table.
    """

    image: str
    preset: Literal["fast", "paper"] = "fast"
    subject: Literal["animal", "object", "person"] = "animal"
    crop: Literal["centre", "pad", "stretch"] = "centre"
    seed: int = 0
    steps: int | None = None
    learning_rate: float | None = None


class EditRow(Row, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="edit"):
    """An edit; but for the tail, fields as in `engine.edit_request.EditRequest`.

    Attributes:
        tail: path of a NAME.hiper.safetensors, relative to the table.
    """

    tail: str
    seed: int = 0
    negative_prompt: str = ""
    tail_strength: float | None = None
    guidance_scale: float | None = None
    num_inference_steps: int | None = None
    solver: Solver = "ddim"


class Task(msgspec.Struct, frozen=True):
    """A row to do.

    Attributes:
        row: what it asks for.
        mark: tells whether a result is that of this row, see `mark`.
    """

    row: FitRow | EditRow
    mark: str


Kind = TypeVar("Kind", FitRow, EditRow)


def read_rows(path: Path, kind: type[Kind], check: Callable[[Kind], str], defaults: RawRow) -> list[Task]:
    """Read a table of which every row can be done, as far as that can be known before.

    Args:
        path: as for `read_table`.
        kind: of its rows.
        check: raises an exception about a row that cannot be done; returns the `file_digest` of the file it names.
        defaults: for cells that are empty.

    Raises:
        TableError: naming the rows that cannot be done.
    """
    tasks: list[Task] = []
    problems: list[str] = []
    for number, raw in enumerate(read_table(path), start=1):
        try:
            row = _convert(defaults | raw, kind, path.parent)
            tasks.append(Task(row, mark(row, check(row))))
        except Exception as error:  # whatever it is, the user is to hear of it together with the other rows
            problems.append(f"row {number} ({raw.get('id', 'no id')!s:.60}): {error}")
    problems += _twice([task.row for task in tasks])
    if problems:
        raise TableError(f"{path} has rows that cannot be done; correct these and ask again:\n  {listed(problems)}")
    return tasks


def mark(row: Row, digest: str) -> str:
    """Names a row by all that decides its result, wherever its files lie.

    Args:
        row: the row.
        digest: of the file it names, see `file_digest`.
    """
    asked = {name: value for name, value in msgspec.to_builtins(row).items() if name not in _FILES}
    return hashlib.sha256(msgspec.json.encode([asked, digest])).hexdigest()[:32]


def file_digest(path: str) -> str:
    """SHA-256 of a file, in hex.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _convert(raw: RawRow, kind: type[Kind], folder: Path) -> Kind:
    """A row with absolute paths; text becomes a number where one is wanted, and a number text."""
    texts = {name: _text(name, value) for name, value in raw.items()}
    for name in texts.keys() & _FILES:
        texts[name] = str(folder.absolute() / texts[name])
    row = msgspec.convert(texts, kind, strict=False)
    for what, value in (("id", row.id), ("name", row.stem)):
        if not _NAME.fullmatch(value):
            raise ValueError(f"{what} is {value!r:.60} but names a file; use up to 120 of A-Z a-z 0-9 . _ -")
    return row


def _text(name: str, value: Any) -> str:
    """Programs for tables make 7.0 of a 7 beside an empty cell."""
    if type(value) not in (str, int, float):
        raise ValueError(f"{name} is {value!r:.40} but must be text or a number")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _twice(rows: Sequence[Row]) -> Iterator[str]:
    """Ids and names that are there twice; some disks know no upper case."""
    for what, values in (("id", [row.id for row in rows]), ("name", [row.stem for row in rows])):
        seen: set[str] = set()
        for value in values:
            if value.casefold() in seen:
                yield f"{what} {value} is there twice"
            seen.add(value.casefold())
