"""Reads records, those of every version that was ever written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import FORMATS
from engine.capped_file import read_capped
from engine.errors import HiPerError

# In the order of a report.
KINDS = (
    "edit",
    "rows",
    "batching",
    "serve",
    "scale",
    "capacity",
    "startup",
    "unet",
    "fit",
    "presets",
    "fidelity",
    "fidelity-gate",
    "images",
    "floors",
    "ladder",
    "suite",
)
MAX_SIZE_BYTES = 64 * 2**20
_OBJECTS = ("hardware", "versions", "settings", "results")


class RecordError(HiPerError):
    """A record cannot be read, or two cannot be compared."""

    exit_code = 18


@dataclass(frozen=True, eq=False)
class Record:
    """A record.

    Attributes:
        path: of its file.
        content: as `write_record` wrote it.
    """

    path: Path
    content: dict[str, Any]

    @property
    def name(self) -> str:
        """The script and the model, such as "edit-menagerie"; the same for every run."""
        return str(self.content.get("name") or re.sub(r"-\d{8}T\d{6}Z$", "", self.path.stem))

    @property
    def kind(self) -> str:
        """The script; its whole name where no script of ours is known by it."""
        fitting = [kind for kind in KINDS if self.name == kind or self.name.startswith(f"{kind}-")]
        return max(fitting, key=len, default=self.name)

    @property
    def results(self) -> dict[str, Any]:
        """What was found."""
        return dict(self.content["results"])

    @property
    def settings(self) -> dict[str, Any]:
        """Of the run."""
        return dict(self.content["settings"])

    @property
    def hardware(self) -> dict[str, Any]:
        """As found."""
        return dict(self.content["hardware"])

    @property
    def errors(self) -> dict[str, str]:
        """Sides that failed."""
        return dict(self.content.get("errors") or {})

    @property
    def time(self) -> str:
        """When it was written, ISO 8601 in UTC."""
        return str(self.content["time"])

    @property
    def commit(self) -> str:
        """Short, with a star where files differed from it."""
        return str(self.content.get("commit") or "no commit")[:9] + "*" * bool(self.content.get("dirty"))

    @property
    def model_digest(self) -> str | None:
        """Of the weights; None where they are random or the record is too old to say."""
        return self.content.get("model_digest") or self.settings.get("digest")


def read_records(paths: Iterable[Path]) -> list[Record]:
    """Read records and folders of records, oldest first.

    Raises:
        RecordError: a file is no record, or a folder has none.
    """
    records = [record for path in paths for record in (_read_folder(path) if path.is_dir() else [read_record(path)])]
    return sorted(records, key=lambda record: (record.time, record.path.name))


def read_record(path: Path) -> Record:
    """Read one record.

    Raises:
        RecordError: it is none, or of a version that this program does not know.
    """
    try:
        content = json.loads(read_capped(path, MAX_SIZE_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(f"{path} is no record: {error}; name files that hiper-bench run wrote") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found not in FORMATS:
        raise RecordError(f"{path} has format {found!r} but must be {' or '.join(FORMATS)}; measure again")
    missing = [name for name in _OBJECTS if not isinstance(content.get(name), dict)]
    if missing or not isinstance(content.get("time"), str):
        raise RecordError(f"{path} lacks {', '.join(missing) or 'time'}; measure again")
    return Record(path.resolve(), content)


def newest(records: Sequence[Record]) -> list[Record]:
    """The last record of every name, in the order of a report."""
    last = {record.name: record for record in sorted(records, key=lambda record: record.time)}
    known = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(last.values(), key=lambda record: (known.get(record.kind, len(KINDS)), record.name))


def _read_folder(folder: Path) -> list[Record]:
    """Other JSON files may lie there too, such as a suite's state."""
    records = [read_record(path) for path in sorted(folder.glob("*.json")) if re.search(r"-\d{8}T\d{6}Z$", path.stem)]
    if not records:
        raise RecordError(f"{folder} holds no record; name a folder that hiper-bench run filled")
    return records
